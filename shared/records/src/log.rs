//! A log record: one line as a Kafka message. Its value is the line without its newline, its key the host; the rest is in headers.

use std::fmt;
use std::str::FromStr;

/// Name of the header that holds the [`LogId`].
pub const ID_HEADER: &str = "id";
/// Name of the header that holds the path of the file the line stood in.
pub const PATH_HEADER: &str = "path";

/// What names one line for good, however often it is sent: the host, the file and the line's offset in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The host that read the line.
    pub host: String,
    /// The random id that the file got when it was first seen.
    pub file: FileId,
    /// Offset of the line's first byte.
    pub offset: u64,
}

/// Random id of a file, or of a stream from stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for FileId {
    type Err = LogIdError;

    fn from_str(text: &str) -> Result<Self, LogIdError> {
        let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| LogIdError(text.to_owned()))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.host, self.file, self.offset)
    }
}

impl FromStr for LogId {
    type Err = LogIdError;

    /// Parses `host/file/offset`; the host may hold slashes.
    fn from_str(text: &str) -> Result<Self, LogIdError> {
        let wrong = || LogIdError(text.to_owned());
        let (rest, offset) = text.rsplit_once('/').ok_or_else(wrong)?;
        let (host, file) = rest.rsplit_once('/').ok_or_else(wrong)?;
        let offset: u64 = offset.parse().map_err(|_| wrong())?;
        let id = Self { host: host.to_owned(), file: file.parse().map_err(|_| wrong())?, offset };
        // One spelling for each line: `+7` or `007` would be the id of a second one.
        if id.to_string() == text && !host.is_empty() { Ok(id) } else { Err(wrong()) }
    }
}

/// Text that names no line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of a log record (host/file/offset): {0:?}")]
pub struct LogIdError(String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(host in "[a-z0-9./-]{1,40}", file: u64, offset: u64) {
            let id = LogId { host, file: FileId(file), offset };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn one_spelling_for_each(text in "[a/]{0,3}[0-9a-f]{15,17}/[+0-9]{0,4}") {
            if let Ok(id) = text.parse::<LogId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
