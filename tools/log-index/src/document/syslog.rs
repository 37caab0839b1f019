//! Lines of syslog, RFC 5424 or 3164, with or without the priority that files leave out.

use chrono::{Datelike, TimeZone, Utc};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use syslog_loose::{IncompleteDate, Message, ProcId, Variant, parse_message_with_year_exact_tz};

/// A line taken apart.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) time: Timestamp,
    pub(crate) message: &'a str,
    pub(crate) parts: Parts<'a>,
}

/// What stands before the message: the document's field `syslog`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Parts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    facility: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    procid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msgid: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<&'a str, BTreeMap<&'a str, String>>,
}

/// Takes a line apart. A time without its year (RFC 3164) is of the year that brings it nearest to when the line was read;
/// a time without its zone is in UTC.
///
/// # Errors
/// Why it is no line of syslog.
pub(crate) fn parse(text: &str, read: Option<Timestamp>) -> Result<Line<'_>, &'static str> {
    let nearest = |date: IncompleteDate| year(date, read);
    let message = parse_message_with_year_exact_tz(text, nearest, Some(Utc), Variant::Either);
    let message = message.map_err(|_| "not a line of syslog")?;
    let time = message.timestamp.ok_or("a line of syslog without a time")?;
    let time = Timestamp::from_nanosecond(
        i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos()),
    );
    let time = time.map_err(|_| "a line of syslog with a time out of range")?;
    Ok(Line { time, message: message.msg, parts: parts(message) })
}

fn parts(message: Message<&str>) -> Parts<'_> {
    let mut data: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for element in &message.structured_data {
        let values = data.entry(element.id).or_default();
        values.extend(element.params().map(|(key, value)| (*key, value)));
    }
    Parts {
        facility: message.facility.map(|facility| facility.as_str()),
        severity: message.severity.map(|severity| severity.as_str()),
        hostname: message.hostname,
        appname: message.appname,
        procid: message.procid.map(|id| match id {
            ProcId::PID(number) => number.to_string(),
            ProcId::Name(name) => name.to_owned(),
        }),
        msgid: message.msgid,
        data,
    }
}

fn year((month, day, hour, minute, second): IncompleteDate, read: Option<Timestamp>) -> i32 {
    let read = read.and_then(|time| Utc.timestamp_millis_opt(time.as_millisecond()).single());
    // A record without any time: as good as another year, and the same whenever it comes.
    let Some(read) = read else { return 1970 };
    let distance = |year: i32| {
        let time = Utc.with_ymd_and_hms(year, month, day, hour, minute, second).single();
        time.map_or(i64::MAX, |time| (time - read).num_seconds().abs())
    };
    let years = read.year() - 1..=read.year() + 1;
    years.min_by_key(|year| distance(*year)).unwrap_or_else(|| read.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, String) {
        let line = parse(text, Some("2026-01-01T00:30:00Z".parse().unwrap())).unwrap();
        (line.time.to_string(), line.message.to_owned(), serde_json::to_string(&line.parts).unwrap())
    }

    #[test]
    fn rfc_5424() {
        let (time, message, parts) =
            parsed(r#"<165>1 2026-10-11T22:14:15.003Z web-1 app 17 ID47 [ex@1 k="v\"w" l="2"][o@1] it works"#);
        assert_eq!(time, "2026-10-11T22:14:15.003Z");
        assert_eq!(message, "it works");
        let want = r#"{"facility":"local4","severity":"notice","hostname":"web-1","appname":"app","procid":"17","msgid":"ID47","data":{"ex@1":{"k":"v\"w","l":"2"},"o@1":{}}}"#;
        assert_eq!(parts, want);
    }

    #[test]
    fn rfc_3164_as_in_files() {
        let (time, message, parts) = parsed("Dec 31 23:59:58 web-1 sshd[812]: Accepted publickey for admin");
        assert_eq!(time, "2025-12-31T23:59:58Z", "the old year's last second, read in the new one");
        assert_eq!(message, "Accepted publickey for admin");
        assert_eq!(parts, r#"{"hostname":"web-1","appname":"sshd","procid":"812"}"#);
        let (time, message, _) = parsed("2026-02-03T04:05:06.789012+01:00 web-1 cron[1]: (root) CMD (x)");
        assert_eq!((time.as_str(), message.as_str()), ("2026-02-03T03:05:06.789012Z", "(root) CMD (x)"));
    }

    #[test]
    fn a_leap_day_finds_its_year() {
        let line = parse("<13>Feb 29 12:00:00 h a: b", Some("2025-01-01T00:00:00Z".parse().unwrap())).unwrap();
        assert_eq!(line.time.to_string(), "2024-02-29T12:00:00Z");
    }

    #[test]
    fn no_syslog() {
        for text in ["", "hello", "{\"a\":1}", "GET / HTTP/1.1", "<13>", "Dec 32 25:00:00 h a: b"] {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn almost_a_line() {
        let samples: [&[u8]; 3] = [
            br#"<165>1 2026-10-11T22:14:15.003Z web-1 app 17 ID47 [ex@1 k="v\"w" l="2"][o@1] it works"#,
            b"<34>Dec 31 23:59:58 web-1 sshd[812]: Accepted publickey for admin",
            b"2026-02-03T04:05:06.789012+01:00 web-1 cron[1]: (root) CMD (x)",
        ];
        testkit::comes_to_an_end("almost_a_line", &samples, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            for read in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
                if let Ok(line) = parse(&text, read) {
                    let _json = serde_json::to_string(&line.parts).unwrap();
                }
            }
        });
    }
}
