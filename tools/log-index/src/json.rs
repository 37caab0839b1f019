//! Lines that are JSON objects: indexed as they are, byte by byte, with their own time.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Looks through a line without taking it apart: `Ok` if it is one JSON object, with the time in the field, if it has one.
///
/// # Errors
/// Why it is none.
pub(crate) fn look(text: &str, time_field: &str) -> Result<Option<Timestamp>, String> {
    // Most lines are told by their first character.
    if !text.trim_ascii_start().starts_with('{') {
        return Err("not a JSON object".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = TimeIn(time_field).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value.and_then(|value| time(&value)))
}

/// Writes the object on one line: what is between its tokens may hold newlines, which end a line of a bulk request.
pub(crate) fn write(text: &str, body: &mut Vec<u8>) {
    let start = body.len();
    body.extend_from_slice(text.as_bytes());
    // Inside strings JSON has no bare newlines.
    for byte in &mut body[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// The value of one field of an object.
struct TimeIn<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for TimeIn<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TimeIn<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                let _: IgnoredAny = map.next_value()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is this one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// A time as the servers' default for dates has it: ISO 8601, in UTC where no zone is given, or milliseconds since 1970.
fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => Timestamp::from_millisecond(number.as_i64()?).ok(),
        Value::String(text) => {
            let in_utc = |time: civil::DateTime| time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
            let zoned = text.parse().ok();
            zoned.or_else(|| text.parse().ok().and_then(in_utc)).or_else(|| {
                let millis = text.parse().ok()?;
                Timestamp::from_millisecond(millis).ok()
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(text: &str) -> Result<Option<String>, String> {
        look(text, "@timestamp").map(|time| time.map(|time| time.to_string()))
    }

    #[test]
    fn its_own_time() {
        let at = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(looked(r#"{"@timestamp":"2026-11-24T13:00:00.5Z","a":[{"b":1}]}"#), at("2026-11-24T13:00:00.5Z"));
        assert_eq!(looked(r#"{"a":"\u0040","@timestamp":"2026-11-24T13:00:00+02:00"}"#), at("2026-11-24T11:00:00Z"));
        assert_eq!(looked(r#"{"\u0040timestamp":"2026-11-24T13:00:00"}"#), at("2026-11-24T13:00:00Z"));
        assert_eq!(looked(r#"{"@timestamp":"2026-11-24"}"#), at("2026-11-24T00:00:00Z"));
        assert_eq!(looked(r#"{"@timestamp":1774357200000}"#), at("2026-03-24T13:00:00Z"));
        assert_eq!(looked(r#"{"@timestamp":"1774357200000"}"#), at("2026-03-24T13:00:00Z"));
        assert_eq!(look(r#"{"ts":1774357200000}"#, "ts").unwrap().unwrap().to_string(), "2026-03-24T13:00:00Z");
    }

    #[test]
    fn none_of_its_own() {
        for text in ["{}", r#"{"@timestamp":null}"#, r#"{"@timestamp":"soon"}"#, r#"{"a":{"@timestamp":1}}"#] {
            assert_eq!(looked(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn no_object() {
        for text in ["", "{", "[]", "1", "\"{}\"", "{} {}", "{}x", "{'a':1}", "null", "{\"a\":\"\n\"}"] {
            assert!(looked(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(100_000), "1");
        assert!(looked(&deep).is_err(), "and no stack overflow");
    }

    #[test]
    fn newlines_between_tokens() {
        let text = "{\r\n \"a\": \"b\\n\"\n}\n";
        assert_eq!(looked(text), Ok(None));
        let mut body = Vec::new();
        write(text, &mut body);
        assert_eq!(body, b"{   \"a\": \"b\\n\" } ");
    }
}
