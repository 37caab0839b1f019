//! git in one repository, with a deadline and without what a hook or a Jenkins step has in its environment for another.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What would lead git away from the directory that was asked for.
const ELSEWHERE: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
];

/// The git of one directory.
#[derive(Clone, Debug)]
pub struct Git {
    dir: PathBuf,
    timeout: Duration,
}

impl Git {
    /// git in `dir`; no run of it takes longer than `timeout`.
    #[must_use]
    pub fn new(dir: &Path, timeout: Duration) -> Self {
        Self { dir: dir.to_owned(), timeout }
    }

    /// Where it runs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs git to its end.
    ///
    /// # Errors
    /// git can't be started, or does not end in time (`TimedOut`).
    pub async fn run(&self, args: &[&str], stdin: &[u8]) -> io::Result<Output> {
        let mut command = Command::new("git");
        // Housekeeping is no business of ours, and may outlive the deadline.
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        // Its helper outlives it, and would wait for a silent server without end.
        let patience = format!("http.lowSpeedTime={}", self.timeout.as_secs().max(1));
        command.args(["-c", "http.lowSpeedLimit=1", "-c", &patience, "-C"]).arg(&self.dir).args(args);
        for name in ELSEWHERE {
            command.env_remove(name);
        }
        // Looking must not write: a status would refresh the index otherwise, beside whoever works in the checkout.
        command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let work = async move {
            if let Some(mut pipe) = child.stdin.take() {
                // A git that does not read its input says why by its exit code.
                let _ = pipe.write_all(stdin).await;
            }
            child.wait_with_output().await
        };
        let finished = tokio::time::timeout(self.timeout, work).await;
        finished.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
    }
}
