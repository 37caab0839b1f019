//! The last answers, kept on disk: whole and unchanged, or not at all.

use crate::fleet::Fleet;
use durable::{Dir, Entry};
use failure::Failure;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, IntoInnerError, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First line of a file of this version. The time, the answers, and the checksum of both follow, each on a line.
const MAGIC: &str = "asg-hosts cache 3\n";

/// Bytes of the largest fleet that is kept.
const LONGEST: u64 = 1 << 30;

/// What of the environment decides who is asked and as whom.
const ENVIRONMENT: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_AUTO_SCALING",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_USE_FIPS_ENDPOINT",
    "HOME",
];

/// Answers to one question, in a file of their own.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    name: String,
}

/// Everything that decides an answer.
#[derive(Debug, Serialize)]
pub(crate) struct Question<'a> {
    pub(crate) regions: &'a [String],
    pub(crate) profile: Option<&'a str>,
    pub(crate) endpoint_url: Option<&'a str>,
    pub(crate) groups: &'a [String],
    pub(crate) needs_groups: bool,
}

impl Cache {
    pub(crate) fn new(dir: &Path, question: &Question<'_>) -> Self {
        let environment = ENVIRONMENT.map(|name| std::env::var_os(name).map(OsString::into_encoded_bytes));
        let key = serde_json::to_vec(&(question, environment)).expect("texts and bytes are JSON");
        let name = format!("asg-hosts-{}", &hex::encode(Sha256::digest(&key))[..32]);
        Self { dir: dir.to_owned(), name }
    }

    /// The answers and their age, if there are any. A file that is damaged, of another user or from the future is none.
    pub(crate) fn read(&self, now: SystemTime) -> Option<(Fleet, Duration)> {
        let dir = Dir::open(&self.dir).ok()?;
        // Not even of the directory's owner: what root believes decides what root does.
        dir.entry(&self.name).ok()?.filter(Entry::is_own)?;
        let text = String::from_utf8(dir.read(&self.name, LONGEST).ok()??).ok()?;
        let (rest, checksum) = text.strip_prefix(MAGIC)?.strip_suffix('\n')?.rsplit_once('\n')?;
        if hex::encode(Sha256::digest(rest)) != checksum {
            return None;
        }
        let (time, fleet) = rest.split_once('\n')?;
        let made = UNIX_EPOCH.checked_add(Duration::from_secs(time.parse().ok()?))?;
        let age = now.duration_since(made).ok()?;
        Some((serde_json::from_str(fleet).ok()?, age))
    }

    /// Keeps answers for later runs, unless another run is just keeping its own.
    ///
    /// # Errors
    /// The directory can't be made or written.
    pub(crate) fn write(&self, fleet: &Fleet, now: SystemTime) -> Result<(), Failure> {
        let dir = Dir::make_private(&self.dir)?;
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Written as it is made: the text of a large fleet is tens of megabytes.
        let _kept = dir.replace_exclusively(&self.name, |mut file| {
            file.write_all(MAGIC.as_bytes())?;
            let mut out = BufWriter::with_capacity(1 << 16, Summed { file, sum: Sha256::new() });
            writeln!(out, "{time}")?;
            serde_json::to_writer(&mut out, fleet)?;
            let summed = out.into_inner().map_err(IntoInnerError::into_error)?;
            writeln!(file, "\n{}", hex::encode(summed.sum.finalize()))
        })?;
        Ok(())
    }
}

/// A file, and the checksum of what was written to it.
struct Summed<'a> {
    file: &'a File,
    sum: Sha256,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.sum.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
