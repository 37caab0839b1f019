//! Lines that are JSON objects: taken apart into members, whose values stay as they stand, byte by byte.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A member of an object: its key, and its value as it stands in the text.
pub(crate) type Member<'a> = (Cow<'a, str>, &'a str);

/// A key, copied only where it is written with escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Takes a text apart that is one JSON object; what its members hold is looked through, and left as it is.
///
/// # Errors
/// Why it is none.
pub(crate) fn members(text: &str) -> Result<Vec<Member<'_>>, String> {
    // Most lines are told by their first character.
    if !text.trim_ascii_start().starts_with('{') {
        return Err("not a JSON object".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(members)
}

/// All members in their order: a map would keep one of each key.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            members.push((key, value.get()));
        }
        Ok(members)
    }
}

/// Puts it into one line: between an object's tokens there may be newlines, which end a line of a
/// bulk request.
pub(crate) fn join_lines(body: &mut [u8]) {
    // Inside strings JSON has no bare newlines.
    for byte in body {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A time as the servers' default for dates has it: ISO 8601, in UTC where no zone is given, or milliseconds since 1970.
pub(crate) fn time(value: &str) -> Option<Timestamp> {
    match serde_json::from_str(value).ok()? {
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
        let members = members(text)?;
        let found = members.iter().find(|(key, _)| key == "@timestamp");
        Ok(found.and_then(|(_, value)| time(value)).map(|time| time.to_string()))
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
    }

    #[test]
    fn none_of_its_own() {
        for text in ["{}", r#"{"@timestamp":null}"#, r#"{"@timestamp":"soon"}"#, r#"{"a":{"@timestamp":1}}"#] {
            assert_eq!(looked(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn no_object() {
        let texts = [
            "",
            "{",
            "[]",
            "1",
            "\"{}\"",
            "{} {}",
            "{}x",
            "{'a':1}",
            "null",
            "{\"a\":\"\n\"}",
            "{,}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":01}",
            "{\"a\":1x}",
            "{1:1}",
            "{\"a\":1}\u{a0}",
        ];
        for text in texts {
            assert!(members(text).is_err(), "{text}");
            assert!(serde_json::from_str::<serde_json::Map<String, Value>>(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(100_000), "1");
        assert!(members(&deep).is_err(), "and no stack overflow");
    }

    #[test]
    fn members_as_they_stand() {
        let text = "{\r\n \"a\": \"b\\n\",\t\"\\u0061\" :1e3, \"c\":{ \"d\" : [1, 2] } ,\"e\":-0}\n";
        let found: Vec<(String, &str)> =
            members(text).unwrap().into_iter().map(|(key, value)| (key.into_owned(), value)).collect();
        let expected = [("a", "\"b\\n\""), ("a", "1e3"), ("c", "{ \"d\" : [1, 2] }"), ("e", "-0")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
        let mut body = text.as_bytes().to_vec();
        join_lines(&mut body);
        assert!(!body.contains(&b'\n') && serde_json::from_slice::<Value>(&body).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn an_object_is_one_for_the_library_too(text in r#"(\{|\}|"a"|"b\\u0061"|:|,|1|\[|\]|null| |x){0,12}"#) {
            let ours = members(&text).is_ok();
            // Duplicate keys are the server's matter.
            let theirs = serde_json::from_str::<serde_json::Map<String, Value>>(&text).is_ok();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
