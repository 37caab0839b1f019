//! What a record becomes: the two lines of a bulk request, the action with index and id, and the document.

use crate::args::{Documents, Parse};
use crate::dead_letters;
use crate::index_name::IndexName;
use crate::syslog::Parts;
use crate::{json, syslog};
use jiff::Timestamp;
use rdkafka::Message;
use rdkafka::message::{Header, Headers};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest id that the servers take, in bytes.
const LONGEST_ID: usize = 512;
/// Fields that headers can't take.
const OWN: [&str; 6] = ["@timestamp", "host", "message", "parse_error", "path", "syslog"];

/// Writes documents.
#[derive(Debug)]
pub(crate) struct Writer {
    index: IndexName,
    parse: Parse,
    time_field: String,
    id: String,
    time: (i64, String),
}

/// A line that isn't an object, as a document.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    syslog: Option<Parts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parse_error: Option<String>,
    #[serde(flatten)]
    fields: Fields<'a>,
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
        Self {
            index: documents.index.clone(),
            parse: documents.parse,
            time_field: documents.time_field.clone(),
            id: String::new(),
            time: (i64::MIN, String::new()),
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
        let read = record.timestamp().to_millis().and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let text = String::from_utf8_lossy(record.payload().unwrap_or_default());
        name(record, &mut self.id);
        let object = match text {
            Cow::Borrowed(text) => json::look(text, &self.time_field),
            // What was replaced is not as it was, object or not.
            Cow::Owned(_) => Err("not UTF-8: what isn't was replaced".to_owned()),
        };
        let own = match object {
            Ok(own) => own,
            Err(why) => {
                let told = self.parse == Parse::Json || matches!(text, Cow::Owned(_));
                return self.write_line(record, read, &text, told.then_some(why), body);
            }
        };
        self.write_action(own.or(read), body)?;
        json::write(&text, body);
        body.push(b'\n');
        Ok(())
    }

    fn write_action(&mut self, time: Option<Timestamp>, body: &mut Vec<u8>) -> Result<(), String> {
        let time = time.ok_or("it has no time of its own, and no time of its message")?;
        let index = self.index.of(time).ok_or("its time has no index")?;
        let action = Action { create: Target { index, id: &self.id } };
        serde_json::to_writer(&mut *body, &action).map_err(|error| error.to_string())?;
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
        let (mut time, mut message, mut parts) = (read, text, None);
        if self.parse == Parse::Syslog {
            match syslog::parse(text, read) {
                Ok(line) => (time, message, parts) = (Some(line.time), line.message, Some(line.parts)),
                Err(why) => parse_error = parse_error.or_else(|| Some(why.to_owned())),
            }
        }
        self.write_action(time, body)?;
        let time = time.unwrap_or_default();
        if self.time.0 != time.as_millisecond() {
            self.time = (time.as_millisecond(), format!("{time:.3}"));
        }
        let document = Document {
            timestamp: &self.time.1,
            host: record.key().map(String::from_utf8_lossy),
            path: header(record, records::PATH_HEADER).map(String::from_utf8_lossy),
            message,
            syslog: parts,
            parse_error,
            fields: Fields::of(record),
        };
        serde_json::to_writer(&mut *body, &document).map_err(|error| error.to_string())?;
        body.push(b'\n');
        Ok(())
    }
}

/// The id of a record: what its header says, else where it stands.
fn name(record: &impl Message, id: &mut String) {
    id.clear();
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && text.len() <= LONGEST_ID);
    match header(record, records::ID_HEADER) {
        Some(bytes) if !bytes.is_empty() => match text(bytes) {
            Some(text) => id.push_str(text),
            // What can't be an id is made one, always the same.
            None => {
                for byte in Sha256::digest(bytes) {
                    let _ = write!(id, "{byte:02x}");
                }
            }
        },
        _ => {
            let _ = write!(id, "{}-{}-{}", record.topic(), record.partition(), record.offset());
        }
    }
}

fn header<'a>(record: &'a impl Message, key: &str) -> Option<&'a [u8]> {
    record.headers()?.iter().find(|header| header.key == key)?.value
}

/// The other headers, as fields.
struct Fields<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    fn of(record: &'a impl Message) -> Self {
        let Some(headers) = record.headers() else { return Self(Vec::new()) };
        let own = |key: &str| {
            key == records::ID_HEADER || OWN.contains(&key) || key.starts_with(dead_letters::HEADERS) || key.is_empty()
        };
        let mut fields: Vec<(&str, _)> = Vec::new();
        for Header { key, value } in headers.iter() {
            if !own(key) && !fields.iter().any(|(known, _)| *known == key) {
                fields.push((key, String::from_utf8_lossy(value.unwrap_or_default())));
            }
        }
        Self(fields)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
