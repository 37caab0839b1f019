//! A line that is a JSON object, as a document beside log-index's own fields: what would take the place of one is moved, so that
//! neither a line's origin can be forged nor the type of a field that every line has be decided by one of them.

use super::json::{self, Member};
use super::origin::{self, Origin};
use crate::args::Parse;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Where the own fields are. The servers take `a.b` for `b` within `a`, and pass over a dot at a key's end.
const PLACE: [&str; 2] = ["log", "origin"];

/// Its members, each where it belongs.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    kept: Vec<(Cow<'a, str>, Value<'a>)>,
    log: Members<'a>,
    origin: Members<'a>,
    /// Every `@timestamp`.
    timestamps: Vec<&'a str>,
    /// The field that holds its own time.
    time: Option<&'a str>,
    moved: Vec<String>,
}

/// How a value is written.
#[derive(Debug)]
enum Value<'a> {
    /// As it stands.
    Plain(&'a str),
    /// As a text that holds its JSON.
    Text(&'a str),
}

/// Members of an inner object, each key once.
#[derive(Debug, Default)]
struct Members<'a> {
    list: Vec<Member<'a>>,
    keys: BTreeSet<Cow<'a, str>>,
}

/// The object that a member stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Line,
    Log,
    Origin,
}

impl<'a> Object<'a> {
    /// Takes a line apart.
    ///
    /// # Errors
    /// Why it is no object.
    pub(crate) fn parse(text: &'a str, time_field: &str, parse: Parse) -> Result<Self, String> {
        let mut object = Self::default();
        for (key, value) in json::members(text)? {
            if key == time_field {
                object.time = Some(value);
            }
            let head = parts(&key).next().unwrap_or_default();
            match head {
                "log" => object.place(Within::Line, key, value),
                "@timestamp" if key == head => object.timestamps.push(value),
                // These two are texts in every document, whatever the first of a day has there.
                "message" | "parse_error" if key == head => {
                    let text = value.starts_with('"') || value == "null";
                    object.kept.push((key, if text { Value::Plain(value) } else { Value::Text(value) }));
                }
                "@timestamp" | "message" | "parse_error" => object.move_aside(Within::Line, &key, value),
                "syslog" if parse == Parse::Syslog => object.move_aside(Within::Line, &key, value),
                _ => object.kept.push((key, Value::Plain(value))),
            }
        }
        Ok(object)
    }

    /// Its own time, as it stands.
    pub(crate) fn time(&self) -> Option<&'a str> {
        self.time
    }

    /// Every `@timestamp` that it has; `counted`: but the last one, which is the document's.
    pub(crate) fn other_times(&self, counted: Option<&str>) -> impl Iterator<Item = Cow<'a, str>> {
        let mut times = self.timestamps.clone();
        if let Some(counted) = counted {
            times.pop_if(|last| std::ptr::eq::<str>(*last, counted));
        }
        times.into_iter().filter(|value| *value != "null").map(Cow::Borrowed)
    }

    /// What had to leave its place, as JSON.
    pub(crate) fn take_moved(&mut self) -> Vec<String> {
        std::mem::take(&mut self.moved)
    }

    /// Writes the document, on one line.
    ///
    /// # Errors
    /// None but those of the library.
    pub(crate) fn write(&self, timestamp: &str, origin: &Origin<'_>, body: &mut Vec<u8>) -> serde_json::Result<()> {
        let start = body.len();
        body.extend_from_slice(br#"{"@timestamp":"#);
        serde_json::to_writer(&mut *body, timestamp)?;
        for (key, value) in &self.kept {
            body.push(b',');
            serde_json::to_writer(&mut *body, key)?;
            body.push(b':');
            match value {
                Value::Plain(value) => body.extend_from_slice(value.as_bytes()),
                Value::Text(value) => serde_json::to_writer(&mut *body, value)?,
            }
        }
        let inner = !(self.origin.list.is_empty() && origin.is_empty());
        if inner || !self.log.list.is_empty() {
            body.extend_from_slice(br#","log":{"#);
            self.log.write(body)?;
            if inner {
                body.extend_from_slice(if self.log.list.is_empty() { br#""origin":{"# } else { br#","origin":{"# });
                self.origin.write(body)?;
                if !origin.is_empty() {
                    if !self.origin.list.is_empty() {
                        body.push(b',');
                    }
                    // Its members, without the brace that opens it; the one that closes it closes both.
                    let opened = body.len();
                    serde_json::to_writer(&mut *body, origin)?;
                    body.remove(opened);
                } else {
                    body.push(b'}');
                }
            }
            body.push(b'}');
        }
        body.push(b'}');
        json::join_lines(&mut body[start..]);
        Ok(())
    }

    /// A member at or below `log`.
    fn place(&mut self, within: Within, key: Cow<'a, str>, value: &'a str) {
        let above = match within {
            Within::Line => &PLACE[..0],
            Within::Log => &PLACE[..1],
            Within::Origin => &PLACE[..],
        };
        let path: Vec<&str> = above.iter().copied().chain(parts(&key)).collect();
        let inner = match path[..] {
            // A key of dots alone is none to the servers either.
            _ if path.len() == above.len() => None,
            ["log"] => Some(Within::Log),
            ["log", "origin"] => Some(Within::Origin),
            ["log", "origin", name, ..] if origin::NAMES.contains(&name) => None,
            _ => return self.keep(within, key, value),
        };
        match inner.map(|inner| (inner, json::members(value))) {
            Some((inner, Ok(members))) => {
                members.into_iter().for_each(|(key, value)| self.place(inner, key, value));
            }
            _ => self.move_aside(within, &key, value),
        }
    }

    fn keep(&mut self, within: Within, key: Cow<'a, str>, value: &'a str) {
        let members = match within {
            Within::Line => return self.kept.push((key, Value::Plain(value))),
            Within::Log => &mut self.log,
            Within::Origin => &mut self.origin,
        };
        // Several objects of the line may have come together in this one.
        if members.keys.insert(key.clone()) {
            members.list.push((key, value));
        } else {
            self.move_aside(within, &key, value);
        }
    }

    fn move_aside(&mut self, within: Within, key: &str, value: &str) {
        let above = match within {
            Within::Line => "",
            Within::Log => "log.",
            Within::Origin => "log.origin.",
        };
        let key = serde_json::Value::String(format!("{above}{key}"));
        self.moved.push(format!("{key}:{value}"));
    }
}

impl Members<'_> {
    fn write(&self, body: &mut Vec<u8>) -> serde_json::Result<()> {
        for (number, (key, value)) in self.list.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            serde_json::to_writer(&mut *body, key)?;
            body.push(b':');
            body.extend_from_slice(value.as_bytes());
        }
        Ok(())
    }
}

/// The names that a key stands for.
fn parts(key: &str) -> impl Iterator<Item = &str> {
    key.split('.').filter(|part| !part.is_empty())
}
