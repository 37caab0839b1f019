//! The release record: `KEY=VALUE` lines that shell scripts read with grep and cut, sealed by a hash over themselves.

use crate::number::ReleaseNumber;
use archive::Format;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use store::Head;
use uuid::Uuid;

/// The keys of the original scripts, in the order in which they write them.
pub const ORIGINAL_KEYS: [&str; 5] = ["MODULE", "VERSION", "BUILD", "GIT_COMMIT", "TIMESTAMP"];
/// The keys that a promotion adds to the pointer's record.
const PROMOTION_KEYS: [&str; 4] = ["PROMOTION", "PROMOTED_AT", "PROMOTED_BY", "REASON"];
const SEAL: &str = "RECORD_SHA256";
/// Keys that only records with a seal carry: one of them without the seal means a damaged record.
const SEALED_KEYS: [&str; 7] = ["FILE", "SIZE", "SHA256", "CRC64NVME", "FORMAT", "PROMOTION", SEAL];
/// Records are small; more than this is something else under a record's name.
pub const MAX_BYTES: usize = 64 * 1024;
/// No value that these tools write is longer.
pub const MAX_VALUE: usize = 4 * 1024;
/// What a sealed record leaves free, so that every release can be promoted.
const PROMOTION_ROOM: usize = 5 * MAX_VALUE;

/// A release record: what was built from what and, once sealed, the artifact's name, size and checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    fields: Vec<(String, String)>,
    number: ReleaseNumber,
    artifact: Option<Artifact>,
}

/// The archive that a sealed record vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its name in the store.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// CRC-64/NVME of its bytes, where known.
    pub crc64nvme: Option<u64>,
    /// How it is packed.
    pub format: Format,
}

impl Artifact {
    /// Whether `head` shows it, whole and as `build` uploaded it.
    #[must_use]
    pub fn is_shown_by(&self, head: &Head, build: Uuid) -> bool {
        let same_sum = match (head.crc64nvme, self.crc64nvme) {
            (Some(stored), Some(sent)) => stored == sent,
            _ => true,
        };
        head.build == Some(build) && head.size == self.size && same_sum
    }
}

/// What the pointer's record says of its promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// Counts the promotions of a channel: 1, 2, 3, …
    pub n: u64,
    /// RFC 3339, UTC.
    pub at: String,
    /// user@host
    pub by: String,
    /// Free text.
    pub reason: String,
}

/// Why bytes are not a release record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not text, or far too long.
    #[error("it is not a text of KEY=VALUE lines")]
    NotText,
    /// A line without `=`, or with a key of other than letters, digits and underscores.
    #[error("line {0} is not KEY=VALUE")]
    Line(usize),
    /// A control character in a value.
    #[error("line {0} has a control character")]
    Control(usize),
    /// A value that is written would be longer than [`MAX_VALUE`].
    #[error("{0} is longer than 4096 bytes")]
    Long(String),
    /// A key stands twice.
    #[error("{0} stands twice")]
    Twice(String),
    /// A key is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is not what its key needs.
    #[error("{0} has a wrong value")]
    Value(&'static str),
    /// The hash over the record does not match it.
    #[error("its RECORD_SHA256 does not match: the record was damaged or changed by hand")]
    Seal,
    /// A key or value would mislead `grep VERSION` or `grep GIT_COMMIT`.
    #[error(
        "{0}: the words VERSION and GIT_COMMIT may stand in no other key and in no value, since scripts grep for them"
    )]
    Misleading(String),
}

impl Record {
    /// The five lines of the original scripts.
    ///
    /// # Errors
    /// A value with a control character, too long, or one that misleads the scripts' grep.
    pub fn new(
        module: &str,
        number: ReleaseNumber,
        build: &str,
        git_commit: &str,
        timestamp: &str,
    ) -> Result<Self, RecordError> {
        let number_text = number.to_string();
        let values = [module, &number_text, build, git_commit, timestamp];
        let mut record = Self { fields: Vec::new(), number, artifact: None };
        for (key, value) in ORIGINAL_KEYS.into_iter().zip(values) {
            record.push(key, value)?;
        }
        Ok(record)
    }

    /// Parses a record: a sealed one must match its seal, five lines of the original scripts are taken as they are.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError::NotText)?;
        if text.len() > MAX_BYTES {
            return Err(RecordError::NotText);
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut unsealed_len = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let line_number = fields.len() + 1;
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let start = text.len() - rest.len();
            rest = after;
            if line.is_empty() && rest.trim_matches('\n').is_empty() {
                break;
            }
            if line.chars().any(char::is_control) {
                return Err(RecordError::Control(line_number));
            }
            let (key, value) = line.split_once('=').ok_or(RecordError::Line(line_number))?;
            if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(RecordError::Line(line_number));
            }
            if fields.iter().any(|(known, _)| known == key) {
                return Err(RecordError::Twice(key.to_owned()));
            }
            if key == SEAL {
                unsealed_len = start;
            }
            fields.push((key.to_owned(), value.to_owned()));
        }
        let get = |key: &str| fields.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let number = get("VERSION")
            .ok_or(RecordError::Missing("VERSION"))?
            .parse()
            .map_err(|_| RecordError::Value("VERSION"))?;
        let mut artifact = None;
        if SEALED_KEYS.iter().any(|key| get(key).is_some()) {
            let seal = get(SEAL).ok_or(RecordError::Missing(SEAL))?;
            let is_last = fields.last().is_some_and(|(key, _)| key == SEAL);
            let sum = sha256(&text.as_bytes()[..unsealed_len]);
            if !is_last || hex::encode(sum) != seal {
                return Err(RecordError::Seal);
            }
            artifact = Some(Artifact {
                file: get("FILE").ok_or(RecordError::Missing("FILE"))?.to_owned(),
                size: get("SIZE")
                    .ok_or(RecordError::Missing("SIZE"))?
                    .parse()
                    .map_err(|_| RecordError::Value("SIZE"))?,
                sha256: get("SHA256")
                    .ok_or(RecordError::Missing("SHA256"))
                    .and_then(|text| unhex(text).ok_or(RecordError::Value("SHA256")))?,
                crc64nvme: match get("CRC64NVME") {
                    None | Some("") => None,
                    Some(text) => Some(u64::from_be_bytes(unhex(text).ok_or(RecordError::Value("CRC64NVME"))?)),
                },
                format: get("FORMAT")
                    .ok_or(RecordError::Missing("FORMAT"))?
                    .parse()
                    .map_err(|_| RecordError::Value("FORMAT"))?,
            });
        }
        Ok(Self { fields, number, artifact })
    }

    /// The record as it is stored and printed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        lines(&self.fields).into_bytes()
    }

    /// The first five lines, in the original order; what the `RELEASE` file inside the archive holds.
    #[must_use]
    pub fn original_lines(&self) -> Vec<u8> {
        let five = ORIGINAL_KEYS.map(|key| (key.to_owned(), self.get(key).unwrap_or_default().to_owned()));
        lines(&five).into_bytes()
    }

    /// The same record, vouching for an artifact.
    ///
    /// # Errors
    /// A value is too long or misleads the scripts' grep, or the whole is too long to be promoted.
    pub fn sealed(&self, artifact: Artifact) -> Result<Self, RecordError> {
        let mut record = Self { fields: Vec::new(), number: self.number, artifact: None };
        for key in ORIGINAL_KEYS {
            record.push(key, self.get(key).unwrap_or_default())?;
        }
        record.push("FILE", &artifact.file)?;
        record.push("SIZE", &artifact.size.to_string())?;
        record.push("SHA256", &hex::encode(artifact.sha256))?;
        if let Some(crc) = artifact.crc64nvme {
            record.push("CRC64NVME", &hex::encode(crc.to_be_bytes()))?;
        }
        record.push("FORMAT", artifact.format.name())?;
        for (key, value) in &self.fields {
            if !ORIGINAL_KEYS.contains(&key.as_str()) && !SEALED_KEYS.contains(&key.as_str()) {
                record.push(key, value)?;
            }
        }
        record.seal();
        record.read_back(MAX_BYTES - PROMOTION_ROOM)
    }

    /// The same record as the pointer of a channel carries it.
    ///
    /// # Errors
    /// The name or the reason has a control character, is too long or misleads the scripts' grep.
    pub fn promoted(&self, promotion: &Promotion) -> Result<Self, RecordError> {
        let mut record = self.without_promotion();
        record.fields.retain(|(key, _)| key != SEAL);
        let n = promotion.n.to_string();
        let values = [n.as_str(), &promotion.at, &promotion.by, &promotion.reason];
        for (key, value) in PROMOTION_KEYS.into_iter().zip(values) {
            record.push(key, value)?;
        }
        record.seal();
        record.read_back(MAX_BYTES)
    }

    /// The record of the release itself, without what a promotion added.
    #[must_use]
    pub fn without_promotion(&self) -> Self {
        let mut record = self.clone();
        record.fields.retain(|(key, _)| !PROMOTION_KEYS.contains(&key.as_str()) && key != SEAL);
        if record.artifact.is_some() {
            record.seal();
        }
        record
    }

    /// Whether this record, which named a release elsewhere, is the sealed one of that release: line by line, and then what
    /// a promotion adds. An old script's has the first five lines alone.
    #[must_use]
    pub fn is_of(&self, sealed: &Self) -> bool {
        if self.artifact.is_none() {
            return self.original_lines() == sealed.original_lines();
        }
        let (mut own, mut lines) = (self.without_promotion().fields, sealed.without_promotion().fields);
        // Each has a hash of its own, behind whatever else there is.
        own.pop();
        lines.pop();
        own.starts_with(&lines)
    }

    /// The promotion that this pointer's record speaks of.
    #[must_use]
    pub fn promotion(&self) -> Option<Promotion> {
        let text = |key| self.get(key).unwrap_or_default().to_owned();
        let n = self.get("PROMOTION")?.parse().ok()?;
        Some(Promotion { n, at: text("PROMOTED_AT"), by: text("PROMOTED_BY"), reason: text("REASON") })
    }

    /// `VERSION`.
    #[must_use]
    pub fn number(&self) -> ReleaseNumber {
        self.number
    }

    /// `GIT_COMMIT`, unless the record has none.
    #[must_use]
    pub fn git_commit(&self) -> Option<&str> {
        self.get("GIT_COMMIT").filter(|commit| !commit.is_empty())
    }

    /// The artifact, if the record is sealed.
    #[must_use]
    pub fn artifact(&self) -> Option<&Artifact> {
        self.artifact.as_ref()
    }

    /// The value of a key, also of keys unknown here.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn push(&mut self, key: &str, value: &str) -> Result<(), RecordError> {
        let line = self.fields.len() + 1;
        if value.chars().any(char::is_control) {
            return Err(RecordError::Control(line));
        }
        if value.len() > MAX_VALUE {
            return Err(RecordError::Long(key.to_owned()));
        }
        let misleads = |text: &str| text.contains("VERSION") || text.contains("GIT_COMMIT");
        if misleads(value) || (misleads(key) && key != "VERSION" && key != "GIT_COMMIT") {
            return Err(RecordError::Misleading(format!("{key}={value}")));
        }
        self.fields.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The record as whoever reads it will have it: nothing is written that can't be parsed.
    fn read_back(&self, longest: usize) -> Result<Self, RecordError> {
        let bytes = self.to_bytes();
        if bytes.len() > longest {
            return Err(RecordError::NotText);
        }
        Self::parse(&bytes)
    }

    fn seal(&mut self) {
        let sum = sha256(lines(&self.fields).as_bytes());
        self.fields.push((SEAL.to_owned(), hex::encode(sum)));
    }
}

fn lines(fields: &[(String, String)]) -> String {
    let mut text = String::new();
    for (key, value) in fields {
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes from their hexadecimal digits, which are written in lower case only.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn artifact() -> Artifact {
        Artifact {
            file: "obelix-42.tar".into(),
            size: 10_240,
            sha256: [7; 32],
            crc64nvme: Some(0x1234),
            format: Format::Tar,
        }
    }

    fn record() -> Record {
        let number = "42".parse().unwrap();
        Record::new("obelix", number, "117", "8f3c", "Mon Jan 23 11:20:02 IST 2016").unwrap()
    }

    #[test]
    fn sealed_record_in_full() {
        let text = String::from_utf8(record().sealed(artifact()).unwrap().to_bytes()).unwrap();
        let expected = "MODULE=obelix\nVERSION=42\nBUILD=117\nGIT_COMMIT=8f3c\n\
            TIMESTAMP=Mon Jan 23 11:20:02 IST 2016\nFILE=obelix-42.tar\nSIZE=10240\n\
            SHA256=0707070707070707070707070707070707070707070707070707070707070707\n\
            CRC64NVME=0000000000001234\nFORMAT=tar\n";
        let seal = hex::encode(sha256(expected.as_bytes()));
        assert_eq!(text, format!("{expected}RECORD_SHA256={seal}\n"));
    }

    #[test]
    fn promotion_comes_before_the_seal_and_goes_again() {
        let sealed = record().sealed(artifact()).unwrap();
        let promotion =
            Promotion { n: 3, at: "2026-01-02T03:04:05Z".into(), by: "me@host".into(), reason: String::new() };
        let pointer = sealed.promoted(&promotion).unwrap();
        let parsed = Record::parse(&pointer.to_bytes()).unwrap();
        assert_eq!(parsed.promotion(), Some(promotion));
        assert_eq!(parsed.without_promotion(), sealed);
    }

    #[test]
    fn a_pointer_is_of_the_record_that_it_was_made_from() {
        let sealed = record().sealed(artifact()).unwrap();
        let promotion = Promotion { n: 3, at: "t".into(), by: "me@host".into(), reason: String::new() };
        let pointer = sealed.promoted(&promotion).unwrap();
        assert!(sealed.is_of(&sealed) && pointer.is_of(&sealed) && record().is_of(&sealed));
        // Lines that a later version adds behind those of the release.
        let mut later = pointer.clone();
        later.fields.insert(later.fields.len() - 1, ("BEFORE".into(), "41".into()));
        assert!(later.is_of(&sealed));
        let other = Record::new("obelix", sealed.number(), "117", "8f3d", "Mon Jan 23 11:20:02 IST 2016").unwrap();
        assert!(!other.is_of(&sealed) && !other.sealed(artifact()).unwrap().is_of(&sealed));
        let bytes = record().sealed(Artifact { size: 1, ..artifact() }).unwrap();
        assert!(!bytes.is_of(&sealed) && !bytes.promoted(&promotion).unwrap().is_of(&sealed));
        // A line of the release that the pointer lacks, or one before its end that the release lacks.
        let mut more = record();
        more.fields.push(("TEAM".into(), "x".into()));
        let more = more.sealed(artifact()).unwrap();
        assert!(!pointer.is_of(&more) && more.is_of(&sealed));
    }

    #[test]
    fn original_lines_are_a_record() {
        let old = b"MODULE=obelix\nVERSION=41\nBUILD=9\nTIMESTAMP=x\n";
        let parsed = Record::parse(old).unwrap();
        assert_eq!((parsed.number().get(), parsed.git_commit(), parsed.artifact()), (41, None, None));
    }

    #[test]
    fn unknown_keys_are_kept() {
        let old = b"MODULE=o\nVERSION=1\nBUILD=\nGIT_COMMIT=\nTIMESTAMP=\nTEAM=x=y\n";
        let sealed = Record::parse(old).unwrap().sealed(artifact()).unwrap();
        assert_eq!(Record::parse(&sealed.to_bytes()).unwrap().get("TEAM"), Some("x=y"));
    }

    #[test]
    fn misleading_values_are_refused() {
        let number = ReleaseNumber::FIRST;
        assert!(Record::new("MYVERSION", number, "", "", "").is_err());
        assert!(Record::new("a", number, "GIT_COMMIT", "", "").is_err());
        assert!(Record::new("a", number, "x\ny", "", "").is_err());
    }

    #[test]
    fn what_is_written_can_be_read() {
        let longest = "x".repeat(MAX_VALUE);
        let make = |value: &str| Record::new("o", ReleaseNumber::FIRST, value, value, value);
        assert_eq!(make(&format!("{longest}x")), Err(RecordError::Long("BUILD".into())));
        let sealed = make(&longest).unwrap().sealed(artifact()).unwrap();
        let promotion = |by: &str| Promotion { n: u64::MAX, at: "t".into(), by: by.into(), reason: longest.clone() };
        let promoted = sealed.promoted(&promotion(&longest)).unwrap();
        assert_eq!(Record::parse(&promoted.to_bytes()), Ok(promoted));
        assert_eq!(sealed.promoted(&promotion(&format!("{longest}x"))), Err(RecordError::Long("PROMOTED_BY".into())));
        // An old record may hold what these tools never write; sealing it leaves room for its promotion.
        let lines = (0..12).map(|n| format!("K{n}={}\n", "x".repeat(4000))).collect::<String>();
        let old = Record::parse(format!("VERSION=1\n{lines}").as_bytes()).unwrap();
        assert_eq!(old.sealed(artifact()), Err(RecordError::NotText));
    }

    #[test]
    fn a_sealed_record_is_longer_than_any_claim() {
        let small =
            Artifact { file: "a-1.tar".into(), size: 0, sha256: [0; 32], crc64nvme: Some(0), format: Format::Tar };
        let sealed = Record::new("a", ReleaseNumber::FIRST, "", "", "").unwrap().sealed(small).unwrap();
        assert!(sealed.to_bytes().len() > crate::claim::LONGEST_CLAIM);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(bit in 0..7_usize, at in any::<prop::sample::Index>()) {
            let mut bytes = record().sealed(artifact()).unwrap().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            // The last newline is no part of what the seal covers, and harmless.
            prop_assume!(at != bytes.len() - 1);
            prop_assert!(Record::parse(&bytes).is_err());
        }

        #[test]
        fn round_trip(module in "[a-z]{1,20}", build in "[ -~]{0,40}", commit in "[0-9a-f]{40}", time in "\\PC{0,40}") {
            prop_assume!(!build.contains("VERSION") && !build.contains("GIT_COMMIT"));
            prop_assume!(!time.contains("VERSION") && !time.contains("GIT_COMMIT"));
            let sealed = Record::new(&module, ReleaseNumber::FIRST, &build, &commit, &time)
                .and_then(|record| record.sealed(artifact())).unwrap();
            prop_assert_eq!(Record::parse(&sealed.to_bytes()).unwrap(), sealed);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::parse(&bytes);
        }
    }
}
