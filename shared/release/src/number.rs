//! Release numbers: 1, 2, 3, … per artifact, never used twice.

use failure::Failure;
use std::fmt;
use std::str::FromStr;

/// The number of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseNumber(u64);

impl ReleaseNumber {
    /// The number of the first release of an artifact.
    pub const FIRST: Self = Self(1);

    /// No higher number is parsed.
    const LAST: Self = Self(999_999_999_999_999);

    /// The number after this one, while there is one: somebody's stray file may have the last.
    ///
    /// # Errors
    /// There is none (permanent).
    pub fn next(self) -> Result<Self, Failure> {
        if self < Self::LAST {
            return Ok(Self(self.0 + 1));
        }
        Err(Failure::permanent(format!("release {self} is in use, and no number is higher: remove what has it")))
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
    fn every_number_given_out_can_be_read_back() {
        let almost: ReleaseNumber = "999999999999998".parse().unwrap();
        let last = almost.next().unwrap();
        assert_eq!(last.to_string().parse(), Ok(last));
        assert!(last.next().is_err());
    }

    #[test]
    fn one_spelling_each() {
        assert_eq!("42".parse::<ReleaseNumber>().map(ReleaseNumber::get), Ok(42));
        for wrong in ["", "0", "042", "+42", "-1", "4 2", "latest", "9999999999999999"] {
            assert_eq!(wrong.parse::<ReleaseNumber>(), Err(NotANumber), "{wrong}");
        }
    }
}
