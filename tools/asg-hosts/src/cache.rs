//! The last answers, kept on disk: whole and unchanged, or not at all.

use crate::fleet::Fleet;
use cli::Failure;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First words of a file of this version.
const MAGIC: &str = "asg-hosts cache 1 ";

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
    path: PathBuf,
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
        Self { path: dir.join(format!("asg-hosts-{}", &sum(&key)[..32])) }
    }

    /// The answers and their age, if there are any. A file that is damaged, of another user or from the future is none.
    pub(crate) fn read(&self, now: SystemTime) -> Option<(Fleet, Duration)> {
        let mut file = File::open(&self.path).ok()?;
        if file.metadata().ok()?.uid() != rustix::process::geteuid().as_raw() {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let (checksum, rest) = text.strip_prefix(MAGIC)?.split_once('\n')?;
        if sum(rest.as_bytes()) != checksum {
            return None;
        }
        let (time, fleet) = rest.split_once('\n')?;
        let age = now.duration_since(UNIX_EPOCH + Duration::from_secs(time.parse().ok()?)).ok()?;
        Some((serde_json::from_str(fleet).ok()?, age))
    }

    /// Keeps answers for later runs.
    ///
    /// # Errors
    /// The directory can't be made or written.
    pub(crate) fn write(&self, fleet: &Fleet, now: SystemTime) -> Result<(), Failure> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| Failure::io(format!("unable to make {}", dir.display()), error))?;
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // One buffer, its checksum filled in last: a large fleet is tens of megabytes.
        let head = MAGIC.len() + 64 + 1;
        let mut bytes = vec![b' '; head];
        bytes.extend_from_slice(format!("{time}\n").as_bytes());
        serde_json::to_writer(&mut bytes, fleet).expect("texts, numbers and flags are JSON");
        let checksum = sum(&bytes[head..]);
        bytes[..head].copy_from_slice(format!("{MAGIC}{checksum}\n").as_bytes());
        durable::replace_private(&self.path, &bytes)
    }
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
