//! The index that a record belongs to: named from its time alone, so that a record that comes again comes to the same.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, civil};

/// Longest name that the servers take, in bytes.
const LONGEST: usize = 255;

/// A pattern, and the name that it last gave.
#[derive(Clone, Debug)]
pub(crate) struct IndexName {
    pattern: String,
    second: i64,
    name: String,
}

impl IndexName {
    /// # Errors
    /// The pattern is no pattern, or gives names that the servers refuse.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let mut name = Self { pattern: pattern.to_owned(), second: i64::MIN, name: String::new() };
        // Names of months and days differ: every day of a leap year has its turn.
        let first = civil::date(2024, 1, 1).to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        for day in 0..366 {
            let time = first.checked_add(day.days()).map_err(|error| error.to_string())?;
            legal(name.of(time.timestamp()).ok_or("not a pattern of strftime's")?)?;
        }
        let later = first.checked_add(1.nanosecond()).map_err(|error| error.to_string())?;
        if strtime::format(pattern, &first).ok() != strtime::format(pattern, &later).ok() {
            return Err("an index for each fraction of a second is too much".to_owned());
        }
        Ok(name)
    }

    /// The index of what happened then; `None` for a time that has no name.
    pub(crate) fn of(&mut self, time: Timestamp) -> Option<&str> {
        if time.as_second() != self.second || self.name.is_empty() {
            self.name = strtime::format(&self.pattern, &time.to_zoned(TimeZone::UTC)).ok()?;
            self.second = time.as_second();
        }
        Some(&self.name)
    }

    /// A pattern of the servers' that every name of this one matches.
    pub(crate) fn wildcard(&self) -> String {
        let mut wildcard = String::new();
        for piece in pieces(&self.pattern) {
            match piece {
                Piece::Plain(c) => wildcard.push(c),
                Piece::Time(_) if wildcard.ends_with('*') => {}
                Piece::Time(_) => wildcard.push('*'),
            }
        }
        wildcard
    }

    /// The pattern as a name that the servers take.
    pub(crate) fn plain(&self) -> String {
        let plain = |piece| match piece {
            Piece::Plain(c) => c,
            Piece::Time(letter) => letter.to_ascii_lowercase(),
        };
        pieces(&self.pattern).into_iter().map(plain).collect()
    }
}

/// A piece of a pattern.
enum Piece {
    Plain(char),
    /// What stands for a part of the time, by its letter.
    Time(char),
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), pattern.chars());
    while let Some(c) = rest.next() {
        // Between the sign and the letter there may be flags and a width.
        let letter = (c == '%').then(|| rest.find(char::is_ascii_alphabetic)).flatten();
        pieces.push(letter.map_or(Piece::Plain(c), Piece::Time));
    }
    pieces
}

fn legal(name: &str) -> Result<(), String> {
    let why = if name.is_empty() || name.len() > LONGEST {
        "1 to 255 bytes"
    } else if name.chars().any(char::is_uppercase) {
        "no capital letters"
    } else if name.starts_with(['-', '_', '+']) || [".", ".."].contains(&name) {
        "another first character"
    } else if name.chars().any(|c| c.is_control() || c.is_whitespace() || r#"\/*?"<>|,#:%"#.contains(c)) {
        "none of \\ / * ? \" < > | , # : %, no spaces"
    } else {
        return Ok(());
    };
    Err(format!("it gives {name:?}, and the name of an index has {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pattern: &str, time: &str) -> String {
        IndexName::new(pattern).unwrap().of(time.parse().unwrap()).unwrap().to_owned()
    }

    #[test]
    fn names() {
        assert_eq!(named("logs-%Y.%m.%d", "2026-11-24T23:59:59.999Z"), "logs-2026.11.24");
        assert_eq!(named("logs-%Y.%m.%d", "2026-11-25T00:30:00+01:00"), "logs-2026.11.24");
        assert_eq!(named("logs", "2026-11-24T23:59:59Z"), "logs");
    }

    #[test]
    fn what_the_servers_refuse() {
        for pattern in
            ["", "Logs", "logs-%B", "logs-%a", "-x", "a b", "a/b", "%Q", "logs-%D", "x%%", "..", "a\n", "l-%f"]
        {
            assert!(IndexName::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn patterns_of_the_servers() {
        let of = |pattern: &str| {
            let name = IndexName::new(pattern).unwrap();
            (name.wildcard(), name.plain())
        };
        let both = |wildcard: &str, plain: &str| (wildcard.to_owned(), plain.to_owned());
        assert_eq!(of("logs-%Y.%m.%d"), both("logs-*.*.*", "logs-y.m.d"));
        assert_eq!(of("l%Y%-m-%H"), both("l*-*", "lym-h"));
        assert_eq!(of("logs"), both("logs", "logs"));
    }

    #[test]
    fn a_name_is_not_kept_past_its_second() {
        let mut name = IndexName::new("l-%H%M%S").unwrap();
        assert_eq!(name.of("2026-11-24T23:59:59.999Z".parse().unwrap()), Some("l-235959"));
        assert_eq!(name.of("2026-11-25T00:00:00Z".parse().unwrap()), Some("l-000000"));
    }
}
