//! The fields that are log-index's own: `log.origin`, from the message's key and headers, where no line reaches.

use crate::headers;
use rdkafka::Message;
use rdkafka::message::{Header, Headers};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// Names that are these fields' below `log.origin`.
pub(crate) const NAMES: [&str; 5] = ["host", "path", "fields", "time", "moved"];

/// Where a line comes from, and what of it could not stay in its place.
#[derive(Debug, Serialize)]
pub(crate) struct Origin<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Fields::is_empty")]
    fields: Fields<'a>,
    /// Times of the line that did not count, as JSON: a quote before a date keeps the server from taking the field for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) time: Vec<Cow<'a, str>>,
    /// Members of the line in whose places are fields of log-index, as JSON: text has no type that the next one could break.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) moved: Vec<String>,
}

impl<'a> Origin<'a> {
    /// What the message itself says.
    pub(crate) fn of(record: &'a impl Message) -> Self {
        Self {
            host: record.key().map(String::from_utf8_lossy),
            path: header(record, records::PATH_HEADER).map(String::from_utf8_lossy),
            fields: Fields::of(record),
            time: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { host, path, fields, time, moved } = self;
        host.is_none() && path.is_none() && fields.is_empty() && time.is_empty() && moved.is_empty()
    }
}

/// The value of the first header of this name.
pub(crate) fn header<'a>(record: &'a impl Message, key: &str) -> Option<&'a [u8]> {
    record.headers()?.iter().find(|header| header.key == key)?.value
}

/// The other headers.
#[derive(Debug)]
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    fn of(record: &'a impl Message) -> Self {
        let Some(headers) = record.headers() else { return Self(Vec::new()) };
        let own = |key: &str| {
            [records::ID_HEADER, records::PATH_HEADER].contains(&key)
                || key.starts_with(headers::OF_DEAD_LETTERS)
                || key.trim().is_empty()
        };
        let mut fields: Vec<(Cow<'a, str>, _)> = Vec::new();
        for Header { key, value } in headers.iter().filter(|header| !own(header.key)) {
            // A dot makes an object of the field before it, which no line with that field as a text would get past.
            let key = if key.contains('.') { Cow::Owned(key.replace('.', "_")) } else { Cow::Borrowed(key) };
            if !fields.iter().any(|(known, _)| *known == key) {
                fields.push((key, String::from_utf8_lossy(value.unwrap_or_default())));
            }
        }
        Self(fields)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
