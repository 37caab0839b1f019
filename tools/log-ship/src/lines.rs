//! Cuts bytes into records: lines, or lines joined to the one that begins them.

use crate::args::LongLines;
use memchr::memchr;
use regex::bytes::Regex;

/// How lines are cut.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// Longest value in bytes.
    pub(crate) max: usize,
    /// What the first line of a record looks like; without it every line is one.
    pub(crate) first_line: Option<Regex>,
    /// What becomes of longer ones.
    pub(crate) long: LongLines,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A record of so many bytes; the next one begins after `taken`.
    Record { length: usize, taken: usize },
    /// A piece of a record that is too long.
    Piece { length: usize },
    /// A record that is too long and ends here, or goes on (`whole` is false).
    Reject { taken: usize, whole: bool },
    /// The record may go on in bytes that are not there yet.
    More,
}

impl Cutter {
    /// Looks at `bytes`, which begin where a record or the rest of a long one does. `end`: nothing will ever follow them.
    pub(crate) fn cut(&self, bytes: &[u8], end: bool) -> Cut {
        let (length, taken) = match &self.first_line {
            None => match memchr(b'\n', bytes) {
                Some(at) => (at, at + 1),
                None => (bytes.len(), bytes.len()),
            },
            Some(first) => self.joined(first, bytes, end),
        };
        let whole = taken > length || (end && length > 0);
        if length > self.max {
            return match self.long {
                LongLines::Split => Cut::Piece { length: self.max },
                LongLines::Reject => Cut::Reject { taken, whole },
            };
        }
        if whole { Cut::Record { length, taken } } else { Cut::More }
    }

    /// Length of the record of several lines at the start, and where the next begins. The same number twice: its end is
    /// not known yet.
    fn joined(&self, first: &Regex, bytes: &[u8], end: bool) -> (usize, usize) {
        let mut at = 0;
        while let Some(newline) = memchr(b'\n', &bytes[at..]) {
            let last = at + newline;
            at = last + 1;
            let next = &bytes[at..];
            let next = match memchr(b'\n', next) {
                Some(length) => &next[..length],
                None if end => next,
                // What has not been written to its end can't be judged.
                None => return (bytes.len(), bytes.len()),
            };
            if (end && next.is_empty() && at == bytes.len()) || first.is_match(next) {
                return (last, at);
            }
            if last > self.max {
                break;
            }
        }
        (bytes.len(), bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(cutter: &Cutter, mut bytes: &[u8], end: bool) -> (Vec<String>, usize) {
        let mut found = Vec::new();
        loop {
            let (length, taken) = match cutter.cut(bytes, end) {
                Cut::Record { length, taken } => (length, taken),
                Cut::Piece { length } => (length, length),
                Cut::Reject { taken, .. } => (0, taken),
                Cut::More => return (found, bytes.len()),
            };
            found.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
            bytes = &bytes[taken..];
        }
    }

    fn cutter(first_line: Option<&str>, long: LongLines) -> Cutter {
        Cutter { max: 10, first_line: first_line.map(|text| Regex::new(text).unwrap()), long }
    }

    #[test]
    fn lines() {
        let plain = cutter(None, LongLines::Split);
        assert_eq!(all(&plain, b"a\n\nbc\r\nd", false), (vec!["a".into(), String::new(), "bc\r".into()], 1));
        assert_eq!(all(&plain, b"a\nd", true), (vec!["a".into(), "d".into()], 0));
        assert_eq!(all(&plain, b"", true), (vec![], 0));
        assert_eq!(all(&plain, b"0123456789abc\nd\n", false), (vec!["0123456789".into(), "abc".into(), "d".into()], 0));
    }

    #[test]
    fn long_ones_are_rejected_to_their_end() {
        let strict = cutter(None, LongLines::Reject);
        assert_eq!(strict.cut(b"0123456789a\nb\n", false), Cut::Reject { taken: 12, whole: true });
        assert_eq!(strict.cut(b"0123456789a", false), Cut::Reject { taken: 11, whole: false });
        assert_eq!(strict.cut(b"0123456789\n", false), Cut::Record { length: 10, taken: 11 });
    }

    #[test]
    fn joined() {
        let joining = cutter(Some("^[A-Z]"), LongLines::Split);
        assert_eq!(all(&joining, b"A\n b\nC\n d\n", false), (vec!["A\n b".into()], 5));
        assert_eq!(all(&joining, b"A\n b\nC\n d\n", true), (vec!["A\n b".into(), "C\n d".into()], 0));
        assert_eq!(all(&joining, b"A\n b\nC", true), (vec!["A\n b".into(), "C".into()], 0));
        assert_eq!(all(&joining, b"A\n b\nC", false), (vec![], 6));
        assert_eq!(all(&joining, b"A\nB\nC\n", false), (vec!["A".into(), "B".into()], 2));
    }
}
