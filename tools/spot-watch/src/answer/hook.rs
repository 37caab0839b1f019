//! The program that runs at a notice: in a process group of its own, ended with all of it before the instance is.

use failure::Failure;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

/// How much of the output is kept: its end.
const TAIL: usize = 4096;
/// A group that is asked to end has this long.
const GRACE: Duration = Duration::from_secs(2);
/// What somebody left behind may hold the pipe open; what the program itself wrote is there by then.
const LAST_READ: Duration = Duration::from_millis(200);

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
        let elapsed_ms = crate::event::millis(started.elapsed());
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

type Tail = Arc<Mutex<VecDeque<u8>>>;

impl Hook<'_> {
    /// Runs it to its end, to the deadline, or until `ending` says that this process itself has to end.
    pub(crate) async fn run(self, deadline: Instant, ending: watch::Receiver<bool>) -> Outcome {
        let started = Instant::now();
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                let error = Failure::io(format!("unable to run {}", self.command), error).to_string();
                return Outcome { error: Some(error), ..Outcome::new(Verdict::NotStarted, started) };
            }
        };
        let tail: Tail = Arc::default();
        // They go on reading when this is over: what the program left behind may still write.
        let out = child.stdout.take().map(|out| tokio::spawn(drain(out, Arc::clone(&tail))));
        let err = child.stderr.take().map(|err| tokio::spawn(drain(err, Arc::clone(&tail))));
        if let Some(mut stdin) = child.stdin.take() {
            let event = self.stdin;
            // A program that does not read its stdin breaks this pipe, as it may.
            tokio::spawn(async move { drop(stdin.write_all(&event).await) });
        }
        let (outcome, status) = wait(&mut child, deadline, ending).await;
        let read = async {
            for reader in [out, err].into_iter().flatten() {
                let _ = reader.await;
            }
        };
        let _ = tokio::time::timeout(LAST_READ, read).await;
        let mut done = Outcome::new(outcome, started);
        let tail: Vec<u8> = tail.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        done.output = String::from_utf8_lossy(&tail).into_owned();
        if let Some(status) = status {
            done.exit_code = status.code();
            done.signal = std::os::unix::process::ExitStatusExt::signal(&status);
        }
        done
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = if self.shell {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(self.command);
            shell
        } else {
            Command::new(OsStr::new(self.command))
        };
        // Its output is told to everybody.
        command.env_remove("SPOT_WATCH_NOTIFY");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).spawn()
    }
}

/// Waits for the end and names it. Whatever is left of the group is ended with a program that ran too long.
async fn wait(
    child: &mut Child,
    deadline: Instant,
    mut ending: watch::Receiver<bool>,
) -> (Verdict, Option<ExitStatus>) {
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let cut = tokio::select! {
        status = child.wait() => {
            let good = status.as_ref().is_ok_and(ExitStatus::success);
            return (if good { Verdict::Ok } else { Verdict::Failed }, status.ok());
        }
        () = tokio::time::sleep_until(deadline) => Verdict::TimedOut,
        _ = ending.wait_for(|ending| *ending) => Verdict::Interrupted,
    };
    let Some(group) = group else { return (cut, None) };
    let _ = kill_process_group(group, Signal::TERM);
    let status = tokio::time::timeout(GRACE, child.wait()).await;
    // Also when the program itself has ended: its children may not have.
    let _ = kill_process_group(group, Signal::KILL);
    match status {
        Ok(status) => (cut, status.ok()),
        Err(_) => (cut, child.wait().await.ok()),
    }
}

async fn drain(mut from: impl AsyncRead + Unpin, tail: Tail) {
    let mut block = vec![0; TAIL];
    while let Ok(count @ 1..) = from.read(&mut block).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&block[..count]);
        let excess = tail.len().saturating_sub(TAIL);
        drop(tail.drain(..excess));
    }
}
