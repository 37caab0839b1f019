//! Names in a store: which key holds what.

use crate::number::ReleaseNumber;
use archive::Format;
use std::fmt;
use std::str::FromStr;

/// Name of the pointer that every build moves forward.
pub const LATEST: &str = "latest";
/// Name of the pointer that promotions move.
pub const LATEST_STABLE: &str = "latest-stable";

/// The keys of one artifact's releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    artifact: String,
}

/// What a key in the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `<artifact>-<n>.release`
    Record(ReleaseNumber),
    /// `<artifact>-<n>.tar…`
    Artifact(ReleaseNumber, Format),
}

impl Key {
    /// The release it belongs to.
    #[must_use]
    pub fn number(self) -> ReleaseNumber {
        match self {
            Self::Record(number) | Self::Artifact(number, _) => number,
        }
    }
}

/// The text can't name an artifact.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "an artifact's name is made of letters, digits, '.', '_' and '-', starts with a letter or digit and has at most 128 characters"
)]
pub struct NotAnArtifact;

impl FromStr for Layout {
    type Err = NotAnArtifact;

    fn from_str(artifact: &str) -> Result<Self, NotAnArtifact> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let named = artifact.len() <= 128
            && artifact.starts_with(|c: char| c.is_ascii_alphanumeric())
            && artifact.bytes().all(plain);
        if named { Ok(Self { artifact: artifact.to_owned() }) } else { Err(NotAnArtifact) }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.artifact)
    }
}

impl Layout {
    /// The artifact's name.
    #[must_use]
    pub fn artifact(&self) -> &str {
        &self.artifact
    }

    /// What all keys of releases start with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}-", self.artifact)
    }

    /// Name of a release, also of its directory on a host.
    #[must_use]
    pub fn name(&self, number: ReleaseNumber) -> String {
        format!("{}-{number}", self.artifact)
    }

    /// Key of a release's record.
    #[must_use]
    pub fn record(&self, number: ReleaseNumber) -> String {
        format!("{}-{number}.release", self.artifact)
    }

    /// Key of a release's archive.
    #[must_use]
    pub fn archive(&self, number: ReleaseNumber, format: Format) -> String {
        format!("{}-{number}.{}", self.artifact, format.name())
    }

    /// Every key under which a build that claimed this number may have begun an upload.
    #[must_use]
    pub fn keys(&self, number: ReleaseNumber) -> [String; 4] {
        let archive = |format| self.archive(number, format);
        [self.record(number), archive(Format::Tar), archive(Format::TarZst), archive(Format::TarGz)]
    }

    /// What a key holds; `None` for keys of other artifacts and of other things.
    #[must_use]
    pub fn parse(&self, key: &str) -> Option<Key> {
        let rest = key.strip_prefix(&self.artifact)?.strip_prefix('-')?;
        let (number, kind) = rest.split_once('.')?;
        let number = number.parse().ok()?;
        if kind == "release" {
            return Some(Key::Record(number));
        }
        kind.parse().ok().map(|format| Key::Artifact(number, format))
    }
}

/// Key of the pointer of that name.
#[must_use]
pub fn pointer(name: &str) -> String {
    format!("{name}.txt")
}

/// Key of the list of promotions of a channel.
#[must_use]
pub fn promotions(channel: &str) -> String {
    if channel == LATEST_STABLE { "promotions.csv".to_owned() } else { format!("promotions-{channel}.csv") }
}

/// Whether `name` can be a channel: not a number, not one of the words that `--release` knows.
#[must_use]
pub fn is_channel(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    plain
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && !matches!(name, LATEST | "previous")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        let layout: Layout = "obelix-app".parse().unwrap();
        let number = "42".parse().unwrap();
        assert_eq!(layout.parse(&layout.record(number)), Some(Key::Record(number)));
        for format in [Format::Tar, Format::TarGz, Format::TarZst] {
            assert_eq!(layout.parse(&layout.archive(number, format)), Some(Key::Artifact(number, format)));
            assert!(layout.keys(number).contains(&layout.archive(number, format)));
        }
        for other in
            ["obelix-app-1-2.tar", "obelix-app-042.tar", "obelix-42.tar", "latest.txt", "obelix-app-42.tar.bz2"]
        {
            assert_eq!(layout.parse(other), None, "{other}");
        }
    }

    #[test]
    fn names() {
        for wrong in ["", "a/b", ".x", "-x", "a b", "é"] {
            assert!(wrong.parse::<Layout>().is_err(), "{wrong}");
        }
        assert!(is_channel("canary") && !is_channel("latest") && !is_channel("7") && !is_channel("../x"));
    }
}
