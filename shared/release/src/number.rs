//! Release numbers: 1, 2, 3, … per artifact, never used twice.

use std::fmt;
use std::str::FromStr;

/// The number of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseNumber(u64);

impl ReleaseNumber {
    /// The number of the first release of an artifact.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    ///
    /// # Panics
    /// Never in practice: parsing bounds numbers far below the end of the type.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no release number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a release number: expected digits without a leading zero")]
pub struct NotANumber;

impl FromStr for ReleaseNumber {
    type Err = NotANumber;

    /// Accepts what `Display` writes and nothing else, so that a number has one name in a store.
    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let plain =
            (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        if !plain {
            return Err(NotANumber);
        }
        text.parse().map(Self).map_err(|_| NotANumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_each() {
        assert_eq!("42".parse::<ReleaseNumber>().map(ReleaseNumber::get), Ok(42));
        for wrong in ["", "0", "042", "+42", "-1", "4 2", "latest", "9999999999999999"] {
            assert_eq!(wrong.parse::<ReleaseNumber>(), Err(NotANumber), "{wrong}");
        }
    }
}
