//! Where things are: binaries, scratch space, and each server's environment.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::measure::{Env, Pipeline, run};

/// The bucket of every case.
pub const BUCKET: &str = "bench";

/// Directories and the environment that all measured processes share.
pub struct Site {
    ours: PathBuf,
    peers: PathBuf,
    scripts: PathBuf,
    /// Whether our own tools are left out.
    pub peers_only: bool,
    /// A directory that is deleted in the end.
    pub scratch: PathBuf,
}

impl Site {
    /// Makes paths absolute: cases run in directories of their own.
    ///
    /// # Errors
    /// When a directory does not exist.
    pub fn new(ours: &Path, peers: &Path, scripts: &Path, peers_only: bool, scratch: &Path) -> Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("{}", path.display()));
        Ok(Self {
            ours: absolute(ours)?,
            peers: absolute(peers)?,
            scripts: absolute(scripts)?,
            peers_only,
            scratch: scratch.to_path_buf(),
        })
    }

    /// Path of one of our binaries.
    pub fn ours(&self, name: &str) -> String {
        self.ours.join(name).to_string_lossy().into_owned()
    }

    /// Path of a peer's binary.
    pub fn peer(&self, name: &str) -> String {
        self.peers.join(name).to_string_lossy().into_owned()
    }

    /// Path of one of the project's scripts.
    pub fn script(&self, name: &str) -> String {
        self.scripts.join(name).to_string_lossy().into_owned()
    }

    /// Path below the scratch directory.
    pub fn path(&self, name: &str) -> String {
        self.scratch.join(name).to_string_lossy().into_owned()
    }

    /// The whole environment of a process that talks to `url`: nothing is inherited but the keys the stack printed.
    ///
    /// # Errors
    /// When the keys are not there.
    pub fn endpoint(&self, url: &str) -> Result<Env> {
        let key = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", self.ours.display(), self.peers.display());
        Ok([
            ("PATH", path),
            ("HOME", self.path("")),
            ("LC_ALL", "C.UTF-8".into()),
            ("AWS_ACCESS_KEY_ID", key("AWS_ACCESS_KEY_ID")?),
            ("AWS_SECRET_ACCESS_KEY", key("AWS_SECRET_ACCESS_KEY")?),
            ("AWS_REGION", key("AWS_REGION")?),
            ("AWS_DEFAULT_REGION", key("AWS_REGION")?),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("AWS_ENDPOINT_URL_S3", url.into()),
            ("S3_ENDPOINT_URL", url.into()), // s5cmd's own name for it
            ("RCLONE_CONFIG", "/dev/null".into()),
            ("RCLONE_CONFIG_PEER_TYPE", "s3".into()),
            ("RCLONE_CONFIG_PEER_PROVIDER", "Other".into()),
            ("RCLONE_CONFIG_PEER_ENV_AUTH", "true".into()),
            ("RCLONE_CONFIG_PEER_ENDPOINT", url.into()),
            ("RCLONE_S3_NO_CHECK_BUCKET", "true".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
    }

    /// Lets a script be run.
    ///
    /// # Errors
    /// When it is not there.
    pub fn make_executable(&self, script: &str) -> Result<()> {
        Ok(std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755))?)
    }

    /// Makes the bucket, which may be there from a run before.
    ///
    /// # Errors
    /// When it is still not there afterwards.
    pub fn make_bucket(&self, env: &Env) -> Result<()> {
        let aws = |words: &[&str]| {
            let stage = [self.peer("aws")].into_iter().chain(words.iter().map(ToString::to_string)).collect();
            run(&[Pipeline::new(env, vec![stage])])
        };
        let made = aws(&["s3", "mb", &format!("s3://{BUCKET}")]);
        aws(&["s3", "ls", &format!("s3://{BUCKET}")]).map(drop).map_err(|err| made.err().unwrap_or(err))
    }
}

/// A stage, from words.
pub fn stage<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}
