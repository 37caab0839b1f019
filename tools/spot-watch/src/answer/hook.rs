//! The program that runs at a notice: in a process group of its own, ended with all of it before the instance is.

use failure::Failure;
use process::{End, Output, Program};
use serde::{Deserialize, Serialize};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::Instant;

/// How much of the output is kept: its end.
const TAIL: usize = 4096;
/// A group that is asked to end has this long.
const GRACE: Duration = Duration::from_secs(2);

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Ok,
    Failed,
    TimedOut,
    /// This process had to end before it.
    Interrupted,
    NotStarted,
    DryRun,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Interrupted => "interrupted",
            Self::NotStarted => "not started",
            Self::DryRun => "dry run",
        })
    }
}

/// What came of it: the fields of the event `hook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) outcome: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    pub(crate) elapsed_ms: u64,
    /// The last 4 KiB of stdout and stderr.
    pub(crate) output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Outcome {
    pub(crate) fn dry_run() -> Self {
        Self::new(Verdict::DryRun, Instant::now())
    }

    pub(crate) fn is_good(&self) -> bool {
        matches!(self.outcome, Verdict::Ok | Verdict::DryRun)
    }

    fn new(outcome: Verdict, started: Instant) -> Self {
        let elapsed_ms = crate::duration::millis(started.elapsed());
        Self { outcome, exit_code: None, signal: None, elapsed_ms, output: String::new(), error: None }
    }
}

/// A program and what it is told.
pub(crate) struct Hook<'a> {
    pub(crate) command: &'a str,
    /// Let a shell read the line.
    pub(crate) shell: bool,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The event.
    pub(crate) stdin: Vec<u8>,
}

impl Hook<'_> {
    /// Runs it to its end, to the deadline, or until `ending` says that this process itself has to end.
    pub(crate) async fn run(self, deadline: Instant, mut ending: watch::Receiver<bool>) -> Outcome {
        let started = Instant::now();
        let mut program = match Program::start(self.prepared(), Some(self.stdin), Output::Tail(TAIL)) {
            Ok(program) => program,
            Err(error) => {
                // What follows a program's name may be a password.
                let unable = match self.command.split_once(char::is_whitespace) {
                    None => format!("unable to run {}", self.command),
                    Some((program, _)) => format!("unable to run {program} …, which needs --shell"),
                };
                let error = Failure::io(unable, error).to_string();
                return Outcome { error: Some(error), ..Outcome::new(Verdict::NotStarted, started) };
            }
        };
        let cut = async {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => Verdict::TimedOut,
                _ = ending.wait_for(|ending| *ending) => Verdict::Interrupted,
            }
        };
        let (verdict, status) = match program.wait(cut, GRACE).await {
            Ok(End::Itself(status)) => (if status.success() { Verdict::Ok } else { Verdict::Failed }, Some(status)),
            Ok(End::Cut(verdict, status)) => (verdict, status),
            Err(_) => (Verdict::Failed, None),
        };
        let output = String::from_utf8_lossy(&program.output().await).into_owned();
        Outcome {
            exit_code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            output,
            ..Outcome::new(verdict, started)
        }
    }

    fn prepared(&self) -> Command {
        let mut command = if self.shell {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(self.command);
            shell
        } else {
            Command::new(self.command)
        };
        // Its output is told to everybody.
        command.env_remove("SPOT_WATCH_NOTIFY");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}
