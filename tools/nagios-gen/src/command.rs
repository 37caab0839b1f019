//! Other programs: run with a deadline, their words kept for the message.

use failure::{Class, Failure};
use process::{End, Output, Program};
use std::fs::File;
use std::io::{Read, Seek};
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::Command;

/// Its time is over: none is left to end in its own way.
const GRACE: Duration = Duration::ZERO;

/// How a program ended, and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) words: String,
}

/// Bytes of its words that are read.
const LONGEST: u64 = 16 << 20;

/// Runs `command` with nothing on stdin. Both its outputs go to the empty file `log`: what the program leaves running could
/// hold a pipe open.
///
/// # Errors
/// It can't be started, or has not ended within `limit`: it is killed then, with all of its group.
pub(crate) async fn run(command: Command, mut log: File, what: &str, limit: Duration) -> Result<Ended, Failure> {
    let unable = |error| Failure::io(format!("unable to run {what}"), error);
    let out = log.try_clone().map_err(unable)?;
    let mut program = Program::start(command, None, Output::File(out)).map_err(unable)?;
    let End::Itself(status) = program.wait(tokio::time::sleep(limit), GRACE).await.map_err(unable)? else {
        let waited = limit.as_secs_f32();
        return Err(Failure::temporary(format!("{what} has not ended within {waited} s and was killed")));
    };
    let mut words = Vec::new();
    log.rewind().and_then(|()| log.take(LONGEST).read_to_end(&mut words)).map_err(unable)?;
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
