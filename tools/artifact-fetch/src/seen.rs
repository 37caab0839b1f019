//! The promotion that this host saw last of each channel, so that nobody who can write a pointer can serve an old one again.
//!
//! A text of lines, each a promotion's number, its channel and its store, between a line with the version and one with a
//! hash over all of them: a number that a bad disk made smaller would let an old promotion pass.

use durable::Dir;
use failure::Failure;
use release::record::sha256;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const NAME: &str = "promotions";
const HEAD: &str = "promotions 1\n";
const SEAL: &str = "sha256 ";
/// No honest file is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// A channel of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Channel {
    /// Name and store in one line, in which nothing else can look like it.
    line: String,
}

impl Channel {
    pub(crate) fn new(name: &str, store: &str) -> Self {
        Self { line: format!("{name} {}", store.escape_default()) }
    }
}

/// What a host remembers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    numbers: BTreeMap<Channel, u64>,
}

impl Seen {
    /// What `dir` says; nothing was seen where nothing is said.
    ///
    /// # Errors
    /// It can't be read, or is not whole: then nobody knows what was seen.
    pub(crate) fn read(dir: &Dir) -> Result<Self, Failure> {
        let Some(bytes) = dir.read(NAME, LONGEST)? else { return Ok(Self::default()) };
        let path = dir.path().join(NAME);
        let text = String::from_utf8(bytes).map_err(|_| damaged(&path))?;
        if !text.starts_with(HEAD) && text.starts_with("promotions ") {
            let version = text.lines().next().unwrap_or_default();
            let what = format!("unable to use {}: another version of artifact-fetch wrote it", path.display());
            return Err(Failure::permanent(format!("{what} ({version})")));
        }
        parse(&text).map(|numbers| Self { numbers }).ok_or_else(|| damaged(&path))
    }

    /// The number that was seen last; 0 if none was.
    pub(crate) fn last(&self, channel: &Channel) -> u64 {
        self.numbers.get(channel).copied().unwrap_or(0)
    }

    /// Remembers another number, on disk when this returns. The caller holds the lock of the shelf.
    ///
    /// # Errors
    /// It can't be written, and what was seen before counts.
    pub(crate) fn remember(mut self, dir: &Dir, channel: Channel, number: u64) -> Result<(), Failure> {
        self.numbers.insert(channel, number);
        let mut text = HEAD.to_owned();
        for (channel, number) in self.numbers.iter().filter(|(_, number)| **number > 0) {
            let _ = writeln!(text, "{number} {}", channel.line);
        }
        let seal = hex::encode(sha256(text.as_bytes()));
        let _ = writeln!(text, "{SEAL}{seal}");
        dir.replace(NAME, text.as_bytes())
    }
}

fn parse(text: &str) -> Option<BTreeMap<Channel, u64>> {
    let (above, seal) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let above = format!("{above}\n");
    if seal.strip_prefix(SEAL)? != hex::encode(sha256(above.as_bytes())) {
        return None;
    }
    let number = |line: &str| {
        let (number, channel) = line.split_once(' ')?;
        Some((Channel { line: channel.to_owned() }, number.parse().ok()?))
    };
    above.strip_prefix(HEAD)?.lines().map(number).collect()
}

fn damaged(path: &Path) -> Failure {
    let path = path.display();
    Failure::permanent(format!(
        "unable to use {path}: it is damaged, so nobody knows which promotion was seen here last; look at what was promoted, then remove it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn channels() -> [Channel; 4] {
        [
            Channel::new("latest-stable", "s3://b/p/"),
            Channel::new("canary", "s3://b/p/"),
            Channel::new("latest-stable", "file:///a b\nc/"),
            Channel::new("latest-stable", "file:///a b\\nc/"),
        ]
    }

    #[test]
    fn each_channel_has_its_own_number() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        for (number, channel) in (1..).zip(channels()) {
            let seen = Seen::read(&dir).unwrap();
            assert_eq!(seen.last(&channel), 0);
            seen.remember(&dir, channel, number).unwrap();
        }
        let seen = Seen::read(&dir).unwrap();
        assert_eq!(channels().map(|channel| seen.last(&channel)), [1, 2, 3, 4]);
        let [first, ..] = channels();
        seen.remember(&dir, first.clone(), 0).unwrap();
        assert_eq!(Seen::read(&dir).unwrap().last(&first), 0);
    }

    #[test]
    fn any_byte_that_is_wrong_or_missing_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let (dir, path) = (Dir::open(place.path()).unwrap(), place.path().join("promotions"));
        let [channel, ..] = channels();
        Seen::read(&dir).unwrap().remember(&dir, channel.clone(), 42).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(Seen::read(&dir).is_err_and(|failure| !failure.is_temporary()), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            assert!(Seen::read(&dir).is_err_and(|failure| !failure.is_temporary()), "flipped at {at}");
        }
        fs::write(&path, [&whole[..], b"\n"].concat()).unwrap();
        assert!(Seen::read(&dir).is_err());
        fs::write(&path, &whole).unwrap();
        assert_eq!(Seen::read(&dir).unwrap().last(&channel), 42);
    }

    #[test]
    fn a_later_version_is_named() {
        let place = tempfile::tempdir().unwrap();
        let (dir, path) = (Dir::open(place.path()).unwrap(), place.path().join("promotions"));
        fs::write(&path, "promotions 2\n").unwrap();
        let failure = Seen::read(&dir).unwrap_err();
        assert!(failure.to_string().contains("another version of artifact-fetch wrote it (promotions 2)"));
    }
}
