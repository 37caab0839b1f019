//! What `--release` asks for, as text.

use crate::layout::{self, is_channel};
use crate::number::ReleaseNumber;
use std::fmt;
use std::str::FromStr;

/// Which release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// That number.
    Number(ReleaseNumber),
    /// The one that a pointer names: `latest`, `latest-stable` or another channel.
    Pointer(String),
    /// The one that the channel named before.
    Previous,
    /// The one whose record is on stdin.
    Stdin,
}

/// The text selects nothing.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("expected a release number, latest, latest-stable, previous, the name of a channel, or -")]
pub struct NotASelector;

impl FromStr for Selector {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<Self, NotASelector> {
        match text {
            "-" => Ok(Self::Stdin),
            "previous" => Ok(Self::Previous),
            layout::LATEST => Ok(Self::Pointer(text.to_owned())),
            name if is_channel(name) => Ok(Self::Pointer(text.to_owned())),
            number => number.parse().map(Self::Number).map_err(|_| NotASelector),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Pointer(name) => f.write_str(name),
            Self::Previous => f.write_str("previous"),
            Self::Stdin => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for word in ["42", "latest", "latest-stable", "canary", "previous", "-"] {
            assert_eq!(word.parse::<Selector>().unwrap().to_string(), word);
        }
        for wrong in ["", "0", "-1", "Latest", "../x", "4x"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }
}
