//! A notice of the instance's end, and how much time it leaves.

use crate::metadata::aws_clock::AwsClock;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// AWS gives notice two minutes ahead; a clock that says more is wrong.
const AHEAD: Duration = Duration::from_secs(120);
/// What is left where the time is past or can't be read: the instance still runs, so there is some.
const LEAST: Duration = Duration::from_secs(30);

/// The item `spot/instance-action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// `terminate`, `stop` or `hibernate`; whatever AWS may call it next.
    pub(crate) action: String,
    /// When, as AWS wrote it; approximate.
    pub(crate) time: String,
}

impl Notice {
    /// Only the action has to be there: a time that can't be read is no reason to let an instance go.
    pub(crate) fn parse(body: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(body).ok()?;
        let action = body.get("action")?.as_str().filter(|action| !action.is_empty())?.to_owned();
        let time = body.get("time").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self { action, time })
    }

    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }

    /// How long the instance is there still.
    pub(crate) fn left(&self, clock: &AwsClock) -> Duration {
        let left = self.at().map_or(Duration::ZERO, |at| clock.until(at));
        if left.is_zero() { LEAST } else { left.min(AHEAD) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let notice = Notice::parse("{\"action\": \"stop\", \"time\": \"2026-11-24T09:02:00Z\"}").unwrap();
        assert_eq!((notice.action.as_str(), notice.at()), ("stop", Some("2026-11-24T09:02:00Z".parse().unwrap())));
        for time in ["", ",\"time\":null", ",\"time\":3"] {
            assert_eq!(Notice::parse(&format!("{{\"action\":\"terminate\"{time}}}")).unwrap().at(), None);
        }
        for garbage in ["", "none", "{}", "[1]", "{\"action\":\"\"}", "{\"action\":3}", "<html>"] {
            assert_eq!(Notice::parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn time_left_is_never_nothing_and_never_hours() {
        let clock = AwsClock::default();
        clock.learn("Tue, 24 Nov 2026 09:00:00 GMT");
        let left = |time: &str| Notice { action: "stop".to_owned(), time: time.to_owned() }.left(&clock);
        assert!(left("2026-11-24T09:01:00Z") > Duration::from_secs(50));
        assert_eq!(left("2026-11-24T10:01:00Z"), AHEAD);
        assert_eq!(left("2026-11-24T08:59:00Z"), LEAST);
        assert_eq!(left("soon"), LEAST);
    }

    #[test]
    fn almost_a_notice() {
        let sample = br#"{"action": "terminate", "time": "2026-01-23T11:20:02Z"}"#;
        testkit::comes_to_an_end("almost_a_notice", &[sample], |bytes| {
            let Some(notice) = Notice::parse(&String::from_utf8_lossy(bytes)) else { return };
            let _left = notice.left(&AwsClock::default());
        });
    }
}
