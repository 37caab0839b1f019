//! The list of promotions of a channel: one CSV row for each time its pointer moved.

use crate::number::ReleaseNumber;
use serde::{Deserialize, Serialize};

/// One promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// 1, 2, 3, …
    pub n: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// user@host
    pub who: String,
    /// Release before, empty for the first.
    pub from: String,
    /// Release after.
    pub to: String,
    /// Its commit.
    pub commit: String,
    /// Free text.
    pub reason: String,
}

impl Row {
    /// Whether it is of a promotion to that release.
    #[must_use]
    pub fn is_to(&self, number: ReleaseNumber) -> bool {
        self.to.parse() == Ok(number)
    }

    /// The release before; `None` for the first, and for what a hand wrote that is no number.
    #[must_use]
    pub fn before(&self) -> Option<ReleaseNumber> {
        self.from.parse().ok()
    }

    /// Whether the release after is another than the one before. One promoted over itself, to renew an old script's
    /// pointer, left nothing behind.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.before().is_none_or(|before| !self.is_to(before))
    }
}

/// All promotions, in order of their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    rows: Vec<Row>,
}

impl History {
    /// Parses the list.
    ///
    /// # Errors
    /// Says what is no row.
    pub fn parse(bytes: &[u8]) -> Result<Self, csv::Error> {
        let mut rows: Vec<Row> = csv::Reader::from_reader(bytes).deserialize().collect::<Result<_, _>>()?;
        rows.sort_by_key(|row| row.n);
        Ok(Self { rows })
    }

    /// The list as CSV, with its header.
    ///
    /// # Panics
    /// Never: rows of text always serialise into memory.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        let header = ["n", "time", "who", "from", "to", "commit", "reason"];
        writer.write_record(header).expect("memory takes every row");
        for row in &self.rows {
            writer.serialize(row).expect("memory takes every row");
        }
        writer.into_inner().expect("memory takes every row")
    }

    /// The rows, oldest first.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The newest row.
    #[must_use]
    pub fn last(&self) -> Option<&Row> {
        self.rows.last()
    }

    /// The row of that number.
    #[must_use]
    pub fn row(&self, n: u64) -> Option<&Row> {
        self.rows.iter().find(|row| row.n == n)
    }

    /// Adds a row at its place; one of the same number stays as it is.
    pub fn add(&mut self, row: Row) {
        if let Err(place) = self.rows.binary_search_by_key(&row.n, |row| row.n) {
            self.rows.insert(place, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u64, reason: &str) -> Row {
        let text = |s: &str| s.to_owned();
        Row {
            n,
            time: text("t"),
            who: text("me@h"),
            from: text(""),
            to: text("1"),
            commit: text("c"),
            reason: text(reason),
        }
    }

    #[test]
    fn sorted_and_quoted() {
        let mut history = History::default();
        history.add(row(2, "a, \"b\""));
        history.add(row(1, ""));
        history.add(row(2, "another"));
        let text = String::from_utf8(history.to_bytes()).unwrap();
        assert_eq!(text, "n,time,who,from,to,commit,reason\n1,t,me@h,,1,c,\n2,t,me@h,,1,c,\"a, \"\"b\"\"\"\n");
        assert_eq!(History::parse(text.as_bytes()).unwrap(), history);
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let [first, again, back] = [("", "41"), ("41", "41"), ("41", "7")].map(|(from, to)| Row {
            from: from.to_owned(),
            to: to.to_owned(),
            ..row(1, "")
        });
        let number = |text: &str| text.parse().unwrap();
        assert!(first.moved() && !again.moved() && back.moved());
        assert!(back.is_to(number("7")) && !back.is_to(number("70")) && !first.is_to(number("7")));
        assert_eq!((first.before(), back.before()), (None, Some(number("41"))));
    }

    #[test]
    fn empty_has_its_header() {
        assert_eq!(History::default().to_bytes(), b"n,time,who,from,to,commit,reason\n");
        assert_eq!(History::parse(b"n,time,who,from,to,commit,reason\n").unwrap(), History::default());
    }
}
