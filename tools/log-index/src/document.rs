//! What a record becomes: the two lines of a bulk request, the action with index and id, and the document.

mod id;
mod json;
mod object;
mod origin;
mod syslog;

use self::object::Object;
use self::origin::Origin;
use self::syslog::Parts;
use crate::args::{Documents, Ids, Parse};
use crate::index_name::IndexName;
use jiff::{SignedDuration, Timestamp};
use rdkafka::Message;
use serde::Serialize;
use std::borrow::Cow;

/// What an action begins with; the name of the index, which has no quote, comes next.
pub(crate) const ACTION: &[u8] = br#"{"create":{"_index":""#;

/// Writes documents.
#[derive(Debug)]
pub(crate) struct Writer {
    index: IndexName,
    parse: Parse,
    time_field: String,
    bounds: Bounds,
    ids: Ids,
    id: String,
    time: Time,
}

/// How far a line's own time may be from its message's.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    oldest: SignedDuration,
    newest: SignedDuration,
}

/// The time that was written last, as the servers read it whatever came first: RFC 3339, in UTC, to the millisecond.
#[derive(Debug)]
struct Time {
    millis: i64,
    text: String,
}

/// A line that isn't an object, as a document.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    syslog: Option<Parts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parse_error: Option<String>,
    #[serde(skip_serializing_if = "Log::is_empty")]
    log: Log<'a>,
}

#[derive(Serialize)]
struct Log<'a> {
    origin: Origin<'a>,
}

#[derive(Serialize)]
struct Action<'a> {
    create: Target<'a>,
}

#[derive(Serialize)]
struct Target<'a> {
    #[serde(rename = "_index")]
    index: &'a str,
    #[serde(rename = "_id")]
    id: &'a str,
}

impl Writer {
    pub(crate) fn new(documents: &Documents) -> Self {
        let signed = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Self {
            index: documents.index.clone(),
            parse: documents.parse,
            time_field: documents.time_field.clone(),
            bounds: Bounds { oldest: signed(documents.oldest), newest: signed(documents.newest) },
            ids: documents.ids,
            id: String::new(),
            time: Time { millis: i64::MIN, text: String::new() },
        }
    }

    /// The id of the record that was written last.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Appends a record's lines to the body of a request.
    ///
    /// # Errors
    /// Why it can't be indexed, whatever the server says.
    pub(crate) fn write(&mut self, record: &impl Message, body: &mut Vec<u8>) -> Result<(), String> {
        id::name(self.ids, record, &mut self.id);
        let read = record.timestamp().to_millis().and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let text = String::from_utf8_lossy(record.payload().unwrap_or_default());
        let why = match &text {
            // What was replaced is not as it was, object or not.
            Cow::Owned(_) => Some("not UTF-8: what isn't was replaced".to_owned()),
            Cow::Borrowed(_) if self.parse == Parse::None => None,
            Cow::Borrowed(text) => match Object::parse(text, &self.time_field, self.parse) {
                Ok(object) => return self.write_object(record, read, object, body),
                Err(why) => (self.parse == Parse::Json).then_some(why),
            },
        };
        self.write_line(record, read, &text, why, body)
    }

    fn write_object(
        &mut self,
        record: &impl Message,
        read: Option<Timestamp>,
        mut object: Object<'_>,
        body: &mut Vec<u8>,
    ) -> Result<(), String> {
        let own = object.time().and_then(json::time);
        let counted = own.filter(|own| self.bounds.hold(*own, read));
        let time = self.write_action(counted, read, own, body)?;
        let mut origin = Origin::of(record);
        origin.time.extend(object.other_times(object.time().filter(|_| counted.is_some())));
        origin.moved = object.take_moved();
        object.write(self.time.text(time), &origin, body).map_err(|error| error.to_string())?;
        body.push(b'\n');
        Ok(())
    }

    fn write_line(
        &mut self,
        record: &impl Message,
        read: Option<Timestamp>,
        text: &str,
        mut parse_error: Option<String>,
        body: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (mut own, mut message, mut parts) = (None, text, None);
        if self.parse == Parse::Syslog {
            match syslog::parse(text, read) {
                Ok(line) => (own, message, parts) = (Some(line.time), line.message, Some(line.parts)),
                Err(why) => parse_error = parse_error.or_else(|| Some(why.to_owned())),
            }
        }
        let counted = own.filter(|own| self.bounds.hold(*own, read));
        let time = self.write_action(counted, read, own, body)?;
        let mut origin = Origin::of(record);
        if let Some(own) = own.filter(|_| counted.is_none()) {
            origin.time.push(format!("\"{own}\"").into());
        }
        let timestamp = self.time.text(time);
        let line = Line { timestamp, message, syslog: parts, parse_error, log: Log { origin } };
        serde_json::to_writer(&mut *body, &line).map_err(|error| error.to_string())?;
        body.push(b'\n');
        Ok(())
    }

    /// Writes the first line, and returns the document's time.
    fn write_action(
        &mut self,
        counted: Option<Timestamp>,
        read: Option<Timestamp>,
        own: Option<Timestamp>,
        body: &mut Vec<u8>,
    ) -> Result<Timestamp, String> {
        let time = counted.or(read).ok_or(match own {
            Some(_) => "no time of its message, which its own would have to be near to",
            None => "it has no time of its own, and no time of its message",
        })?;
        let index = self.index.of(time).ok_or("its time has no index")?;
        let action = Action { create: Target { index, id: &self.id } };
        serde_json::to_writer(&mut *body, &action).map_err(|error| error.to_string())?;
        body.push(b'\n');
        Ok(time)
    }
}

impl Bounds {
    /// Whether a line's own time counts. One that is far from when its line was read is a wrong clock's, or no time of the line
    /// at all; it would name an index that is closed, or one more of too many.
    fn hold(self, own: Timestamp, read: Option<Timestamp>) -> bool {
        let Some(read) = read else { return false };
        let after = own.duration_since(read);
        after <= self.newest && after.checked_neg().is_none_or(|before| before <= self.oldest)
    }
}

impl Time {
    fn text(&mut self, time: Timestamp) -> &str {
        if self.millis != time.as_millisecond() {
            *self = Self { millis: time.as_millisecond(), text: format!("{time:.3}") };
        }
        &self.text
    }
}

impl Log<'_> {
    fn is_empty(&self) -> bool {
        self.origin.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser as _;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage, Timestamp as Stamp};
    use serde::de::IgnoredAny;
    use serde_json::{Value, json};
    use std::sync::Mutex;

    const NOON: i64 = 1_795_525_200_000;

    fn writer(options: &[&str]) -> Writer {
        let line = ["log-index", "--brokers", "b:1", "--topic", "t", "--group", "g", "--url", "http://s:1"];
        let line = line.iter().chain(&["--index", "i-%Y.%m.%d"]).chain(options);
        Writer::new(&Args::try_parse_from(line).unwrap().documents)
    }

    fn message(value: &[u8], headers: &[(&str, &str)], offset: i64) -> OwnedMessage {
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            all = all.insert(Header { key, value: Some(*value) });
        }
        let (key, topic) = (Some(b"web-1".to_vec()), "t".to_owned());
        OwnedMessage::new(Some(value.to_vec()), key, topic, Stamp::CreateTime(NOON), 0, offset, Some(all))
    }

    /// Index, id and document.
    fn written(options: &[&str], record: &OwnedMessage) -> (String, String, Value) {
        let mut body = Vec::new();
        writer(options).write(record, &mut body).unwrap();
        let text = String::from_utf8(body).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && text.ends_with('\n'), "{text}");
        assert!(text.as_bytes().starts_with(ACTION));
        let action: Value = serde_json::from_str(lines[0]).unwrap();
        let of = |name: &str| action["create"][name].as_str().unwrap().to_owned();
        (of("_index"), of("_id"), serde_json::from_str(lines[1]).unwrap())
    }

    fn document(value: &str) -> Value {
        written(&[], &message(value.as_bytes(), &[("id", "1"), ("path", "/a"), ("service", "obelix")], 7)).2
    }

    fn origin() -> Value {
        json!({ "host": "web-1", "path": "/a", "fields": { "service": "obelix" } })
    }

    #[test]
    fn own_fields_are_in_every_document() {
        let at = "2026-11-24T13:00:00.000Z";
        assert_eq!(document("x"), json!({ "@timestamp": at, "message": "x", "log": { "origin": origin() } }));
        assert_eq!(document("{}"), json!({ "@timestamp": at, "log": { "origin": origin() } }));
        let of_ecs =
            document(r#"{"host":{"name":"a"},"log":{"level":"info","origin":{"function":"f"}},"log.logger":"l"}"#);
        let mut expected = origin();
        expected["function"] = json!("f");
        let log = json!({ "level": "info", "origin": expected });
        assert_eq!(of_ecs, json!({ "@timestamp": at, "host": { "name": "a" }, "log": log, "log.logger": "l" }));
        let none = OwnedMessage::new(Some(b"{}".to_vec()), None, "t".into(), Stamp::CreateTime(NOON), 0, 1, None);
        assert_eq!(written(&[], &none).2, json!({ "@timestamp": at }));
    }

    /// Every way to write the name of a field that is log-index's.
    #[test]
    fn a_line_forges_nothing() {
        for (line, moved) in [
            (r#"{"log":"text"}"#, vec![r#""log":"text""#]),
            (r#"{"log":null}"#, vec![r#""log":null"#]),
            (r#"{"log":[{"origin":{"host":"x"}}]}"#, vec![r#""log":[{"origin":{"host":"x"}}]"#]),
            (r#"{"log":{"origin":{"host":"x"}}}"#, vec![r#""log.origin.host":"x""#]),
            (r#"{"lo\u0067":{"or\u0069gin":{"\u0068ost":"x"}}}"#, vec![r#""log.origin.host":"x""#]),
            (r#"{"log.origin.host":"x"}"#, vec![r#""log.origin.host":"x""#]),
            (r#"{"log.origin.host.":"x"}"#, vec![r#""log.origin.host.":"x""#]),
            (r#"{"log..origin.host":"x"}"#, vec![r#""log..origin.host":"x""#]),
            (r#"{".log.origin.host":"x"}"#, vec![r#"".log.origin.host":"x""#]),
            (r#"{"log.origin.host.name":"x"}"#, vec![r#""log.origin.host.name":"x""#]),
            (r#"{"log.origin":{"path":"x"}}"#, vec![r#""log.origin.path":"x""#]),
            (r#"{"log":{"origin.fields.service":"x"}}"#, vec![r#""log.origin.fields.service":"x""#]),
            (r#"{"log":{"origin":"x"}}"#, vec![r#""log.origin":"x""#]),
            (r#"{"log":{"":"x"}}"#, vec![r#""log.":"x""#]),
            (r#"{"log":{"..":{"origin":1}}}"#, vec![r#""log...":{"origin":1}"#]),
            (r#"{"log":{"origin":{"moved":1,"time":2}}}"#, vec![r#""log.origin.moved":1"#, r#""log.origin.time":2"#]),
            (r#"{"log.origin":1,"log":{"origin":2}}"#, vec![r#""log.origin":1"#, r#""log.origin":2"#]),
            (r#"{"@timestamp.x":1,"message.y":2}"#, vec![r#""@timestamp.x":1"#, r#""message.y":2"#]),
        ] {
            let mut expected = origin();
            expected["moved"] = json!(moved);
            let expected = json!({ "@timestamp": "2026-11-24T13:00:00.000Z", "log": { "origin": expected } });
            assert_eq!(document(line), expected, "{line}");
        }
        let twice =
            document(r#"{"log":{"a":1,"origin":{"b":1}},"log":{"a":2,"c":3},"log.origin":{"b":2,"d":{"host":4}}}"#);
        assert_eq!(
            (&twice["log"]["a"], &twice["log"]["c"], &twice["log"]["origin"]["b"]),
            (&json!(1), &json!(3), &json!(1))
        );
        assert_eq!(twice["log"]["origin"]["d"], json!({ "host": 4 }));
        assert_eq!(twice["log"]["origin"]["moved"], json!([r#""log.a":2"#, r#""log.origin.b":2"#]));
    }

    /// Fields that documents of lines have too are of their type in objects as well.
    #[test]
    fn one_line_does_not_decide_the_type_of_a_field() {
        let odd = document(r#"{"message":{"a":1},"parse_error":3,"syslog":"x"}"#);
        assert_eq!(
            (&odd["message"], &odd["parse_error"], &odd["syslog"]),
            (&json!("{\"a\":1}"), &json!("3"), &json!("x"))
        );
        let odd = written(&["--parse", "syslog"], &message(br#"{"syslog":"x"}"#, &[("id", "1")], 1)).2;
        assert_eq!((&odd["syslog"], &odd["log"]["origin"]["moved"]), (&Value::Null, &json!([r#""syslog":"x""#])));
        let dotted =
            message(b"x", &[("id", "1"), ("a.b", "1"), ("a_b", "2"), (" ", "3"), ("dead-letter-error", "4")], 1);
        assert_eq!(written(&[], &dotted).2["log"]["origin"]["fields"], json!({ "a_b": "1" }));
    }

    #[test]
    fn a_time_counts_near_to_its_message() {
        let at = |value: &str, options: &[&str]| {
            let (index, _, source) = written(options, &message(value.as_bytes(), &[], 1));
            (index, source["@timestamp"].as_str().unwrap().to_owned(), source["log"]["origin"]["time"].clone())
        };
        let found = |index: &str, time: &str, kept: Value| (index.to_owned(), time.to_owned(), kept);
        let (noon, day) = ("2026-11-24T13:00:00.000Z", "i-2026.11.24");
        for (line, index, time) in [
            (r#"{"@timestamp":"2026-11-24T14:00:00.123456+02:00"}"#, day, "2026-11-24T12:00:00.123Z"),
            (r#"{"@timestamp":"2026-11-17T13:00:00Z"}"#, "i-2026.11.17", "2026-11-17T13:00:00.000Z"),
            (r#"{"@timestamp":"2026-11-25T13:00:00Z"}"#, "i-2026.11.25", "2026-11-25T13:00:00.000Z"),
            (r#"{"@timestamp":1795525200001}"#, day, "2026-11-24T13:00:00.001Z"),
        ] {
            assert_eq!(at(line, &[]), found(index, time, Value::Null), "{line}");
        }
        for (value, kept) in [
            (r#""2026-11-17T12:59:59.999Z""#, true),
            (r#""2026-11-25T13:00:00.001Z""#, true),
            (r#""1966-01-01T00:00:00Z""#, true),
            ("1772600767", true),
            ("1772600767.25", true),
            (r#""soon""#, true),
            (r#"{"$date":1}"#, true),
            ("null", false),
        ] {
            let kept = if kept { json!([value]) } else { Value::Null };
            assert_eq!(at(&format!(r#"{{"@timestamp":{value}}}"#), &[]), found(day, noon, kept), "{value}");
        }
        let wide = ["--oldest", "36500d", "--newest", "2d"];
        let of = |time: &str| format!(r#"{{"@timestamp":"{time}"}}"#);
        assert_eq!(at(&of("1966-01-01T00:00:00Z"), &wide).0, "i-1966.01.01");
        assert_eq!(at(&of("2026-11-26T13:00:00Z"), &wide).0, "i-2026.11.26");
        let other = at(r#"{"ts":"2026-11-24T10:00:00Z","@timestamp":"2026-11-24T11:00:00Z"}"#, &["--time-field", "ts"]);
        assert_eq!(other, found(day, "2026-11-24T10:00:00.000Z", json!([r#""2026-11-24T11:00:00Z""#])));
        let twice = at(r#"{"@timestamp":1,"@timestamp":"2026-11-24T11:00:00Z"}"#, &[]);
        assert_eq!(twice, found(day, "2026-11-24T11:00:00.000Z", json!(["1"])));
        let syslog = at("<13>1 2001-01-01T00:00:00Z h a - - - text", &["--parse", "syslog"]);
        assert_eq!(syslog, found(day, noon, json!([r#""2001-01-01T00:00:00Z""#])));
    }

    #[test]
    fn none_is_none() {
        let line = r#"{"message":"x","@timestamp":"2026-11-24T10:00:00Z"}"#;
        let (_, _, source) = written(&["--parse", "none"], &message(line.as_bytes(), &[], 1));
        assert_eq!((&source["message"], &source["@timestamp"]), (&json!(line), &json!("2026-11-24T13:00:00.000Z")));
        assert_eq!(source["parse_error"], Value::Null);
    }

    #[test]
    fn ids() {
        let id = |options: &[&str], value: &str, headers: &[(&str, &str)], offset| {
            written(options, &message(value.as_bytes(), headers, offset)).1
        };
        let line = [("id", "web-1/00000000000000aa/0"), ("path", "/a")];
        let first = id(&[], "x", &line, 1);
        // Fixed for good: another would make another document of each line that is sent again across an upgrade.
        assert_eq!(first, "web-1/00000000000000aa/0/UC6kY999ytJC1_rKYKrREK_l4oI9Nmaw");
        assert_eq!(id(&[], "x", &line, 9), first, "wherever it is");
        assert_eq!(id(&[], "x", &[line[0], line[1], ("dead-letter-error", "e"), ("dead-letter-id", "f")], 9), first);
        assert_ne!(id(&[], "y", &line, 1), first);
        assert_ne!(id(&[], "x", &[line[0], ("path", "/b")], 1), first);
        assert_ne!(id(&[], "x", &[line[0], line[1], ("service", "s")], 1), first);
        assert_eq!(id(&["--ids", "v1"], "x", &line, 1), line[0].1);
        assert_eq!(id(&[], "x", &[], 7), format!("t-0-7-{NOON}"));
        assert_eq!(id(&[], "x", &[("id", "")], 7), format!("t-0-7-{NOON}"));
        assert_eq!(id(&["--ids", "v1"], "x", &[], 7), "t-0-7");
        let long = "a".repeat(513);
        for cut in [479, 480, 512, 513] {
            let id = id(&[], "x", &[("id", &long[..cut])], 1);
            assert!(id.len() <= 512 && (cut == 479) == id.starts_with("aaa"), "{id}");
        }
        let letter = |own: &str, position: &str| {
            id(&[], "x", &[("id", own), ("dead-letter-position", position), ("dead-letter-id", own)], 7)
        };
        assert_eq!(letter("logs-2-1-5", "logs-2-1"), "logs-2-1-5", "a dead letter of a record without an id");
        assert_ne!(letter("t-2-1-5", "t-2-1"), "t-2-1-5", "no letter of the topic is in the topic");
        assert_ne!(letter(&first, "logs-2-1"), first, "nobody takes a line's id");
    }

    #[test]
    fn almost_a_line() {
        let samples: [&[u8]; 3] = [
            br#"{"@timestamp":"2026-01-23T11:20:02Z","message":"m","log":{"origin":{"host":1}},"a.b":[1,{"c":null}],"n":-1.5e3}"#,
            br#"{"@timestamp": "1769167202.5", "syslog": "x", "log.origin.host": {}, "message": 7, "parse_error": []}"#,
            b"<34>Dec 31 23:59:58 web-1 sshd[812]: Accepted publickey for admin",
        ];
        let writers = ["auto", "none", "json", "syslog"].map(|parse| Mutex::new(writer(&["--parse", parse])));
        testkit::comes_to_an_end("almost_a_line", &samples, |bytes| {
            let record = message(bytes, &[("id", "1"), ("path", "/a")], 7);
            for writer in &writers {
                let mut body = Vec::new();
                writer.lock().unwrap().write(&record, &mut body).unwrap();
                // JSON, whatever its numbers are.
                let mut lines = body.split(|byte| *byte == b'\n').map(serde_json::from_slice::<IgnoredAny>);
                let whole = matches!((lines.next(), lines.next(), lines.count()), (Some(Ok(_)), Some(Ok(_)), 1));
                assert!(whole, "{} of {bytes:?}", String::from_utf8_lossy(&body));
            }
        });
    }
}
