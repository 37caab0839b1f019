//! Other programs: run with a deadline, in a process group that ends with them, their words kept for the message.

use failure::{Class, Failure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// How a program ended, and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) words: String,
}

/// Runs `command` with nothing on stdin. Both its outputs go to the file `log`: a pipe could be held open by what the
/// program leaves running.
///
/// # Errors
/// It can't be started, or has not ended within `limit`: it is killed then, with all of its group.
pub(crate) async fn run(mut command: Command, log: &Path, what: &str, limit: Duration) -> Result<Ended, Failure> {
    let unable = |error| Failure::io(format!("unable to run {what}"), error);
    let out = File::create(log).map_err(unable)?;
    let err = out.try_clone().map_err(unable)?;
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    let mut child = command.spawn().map_err(unable)?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let Ok(status) = tokio::time::timeout(limit, child.wait()).await else {
        let waited = limit.as_secs_f32();
        return Err(Failure::temporary(format!("{what} has not ended within {waited} s and was killed")));
    };
    // What it left running, a daemon perhaps, is meant to be.
    group.0 = None;
    let status = status.map_err(unable)?;
    let words = fs::read(log).map_err(unable)?;
    Ok(Ended { status, words: String::from_utf8_lossy(&words).into_owned() })
}

impl Ended {
    /// The failure of a program that did not succeed. Its own 75 says that trying again can help; nothing else does.
    pub(crate) fn failure(&self, what: &str, why: &str) -> Failure {
        let class = if self.status.code() == Some(75) { Class::Temporary } else { Class::Permanent };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        Failure::new(class, format!("{what} failed ({}){why}", self.status))
    }

    /// The last thing it said.
    pub(crate) fn last_line(&self) -> &str {
        self.words.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// A process group that is killed when this is dropped: at a deadline, or when a signal ends the run.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that nobody is left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
