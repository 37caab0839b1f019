//! The first lines of a request or an answer: kept as the bytes they were, and read.

use std::io;

/// Header fields in their order, names in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// True when the comma-separated list in this header has this member.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.get(name).is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(member)))
    }

    fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> io::Result<Self> {
        let mut fields = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let colon =
                line.iter().position(|byte| *byte == b':').ok_or_else(|| malformed("a header without a colon"))?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            let value = String::from_utf8_lossy(&line[colon + 1..]).trim().to_owned();
            fields.push((name, value));
        }
        Ok(Self(fields))
    }
}

#[derive(Debug)]
pub(crate) struct RequestHead {
    /// As received, the empty line included.
    pub raw: Vec<u8>,
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Headers,
}

impl RequestHead {
    pub fn parse(raw: Vec<u8>) -> io::Result<Self> {
        let mut lines = lines(&raw);
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let headers = Headers::parse(lines)?;
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(malformed("a request line without three words"));
        };
        if !version.starts_with("HTTP/1.") {
            return Err(malformed("a request that is not HTTP/1"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), headers, raw })
    }

    pub fn expects_continue(&self) -> bool {
        self.headers.lists("expect", "100-continue")
    }
}

#[derive(Debug)]
pub(crate) struct ResponseHead {
    /// As received, the empty line included.
    pub raw: Vec<u8>,
    pub status: u16,
    pub headers: Headers,
}

impl ResponseHead {
    pub fn parse(raw: Vec<u8>) -> io::Result<Self> {
        let mut lines = lines(&raw);
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| malformed("an answer without a status"))?;
        Ok(Self { status, headers: Headers::parse(lines)?, raw })
    }
}

fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
