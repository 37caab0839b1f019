//! Durations on command lines.

use jiff::{Span, SpanRelativeTo};
use std::time::Duration;

/// No longer, so that no sum of a duration and a time is out of range.
const CENTURY: Duration = Duration::from_secs(36_500 * 86_400);

/// A duration as people write it: `30s`, `5m`, `24h`, `1h30m`, `7d`.
///
/// # Errors
/// Not a duration, negative, or more than a century.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as 30s, 5m, 24h or 7d, up to 36500d".to_owned();
    let span: Span = text.parse().map_err(|_| expected())?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    Duration::try_from(time).ok().filter(|time| *time <= CENTURY).ok_or_else(expected)
}

/// A duration between two of something, or a limit: at least 10 ms.
///
/// # Errors
/// Not a duration, or a shorter one.
pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_millis(10) => Err("expected at least 10ms".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("1d 2h"), Ok(Duration::from_secs(26 * 3600)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("36500d"), Ok(CENTURY));
        assert!(interval("9ms").is_err());
        assert_eq!(interval("10ms"), Ok(Duration::from_millis(10)));
        let wrong =
            ["", "soon", "-5s", "-1d", "1y", "1mo", "36501d", "9223372036854775807s", "99999999999999999999d", "nan"];
        for text in wrong {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
