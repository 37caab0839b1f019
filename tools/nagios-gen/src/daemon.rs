//! The running Nagios: told to read its configuration again, and believed only on evidence.
//!
//! A reload command that succeeds proves nothing: SIGHUP is asynchronous, and Nagios ends at a configuration it refuses.
//! Taken means that after the command Nagios wrote its object cache anew, with exactly the objects of the verified tree,
//! and then a status file with a new start of the program, by a process that is alive.

use crate::command;
use crate::config::Config;
use crate::definitions;
use crate::verify::Scratch;
use cli::Failure;
use rustix::process::{Pid, test_kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// A Nagios that can be reloaded.
pub(crate) struct Daemon<'a> {
    command: &'a str,
    objects: PathBuf,
    status: PathBuf,
    limit: Duration,
}

/// Inode, seconds and nanoseconds: another one for every time a file was written.
type Stamp = (u64, i64, i64);

/// One start of the daemon, or restart by SIGHUP: its pid and the second. No two are alike, since Nagios waits a second
/// before it restarts.
type Start = (i32, i64);

impl<'a> Daemon<'a> {
    /// The Nagios of `config`, which `command` reloads.
    ///
    /// # Errors
    /// It writes no object cache or no status file.
    pub(crate) fn new(config: &Config, command: &'a str, limit: Duration) -> Result<Self, Failure> {
        let (objects, status) = (config.written("object_cache_file")?, config.written("status_file")?);
        Ok(Self { command, objects, status, limit })
    }

    /// Runs the command and waits until Nagios runs with the objects `wanted`.
    ///
    /// # Errors
    /// The command failed, or Nagios has not taken them in time.
    pub(crate) async fn reload(&self, wanted: &[u64], scratch: &Scratch) -> Result<(), Failure> {
        let before = (stamp(&self.objects), start(&self.status));
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(self.command);
        let what = format!("the reload command {:?}", self.command);
        let ended = command::run(shell, &scratch.log(), &what, self.limit).await?;
        if !ended.status.success() {
            return Err(ended.failure(&what, ended.last_line()));
        }
        let deadline = Instant::now() + self.limit;
        let mut looked_at = None;
        while let Err(why) = self.took(wanted, before, &mut looked_at) {
            const PAUSE: Duration = Duration::from_millis(20);
            if Instant::now() >= deadline {
                let waited = self.limit.as_secs_f32();
                return Err(Failure::temporary(format!("Nagios has not taken it within {waited} s: {why}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn took(
        &self,
        wanted: &[u64],
        before: (Option<Stamp>, Option<Start>),
        looked_at: &mut Option<(Stamp, bool)>,
    ) -> Result<(), String> {
        let objects = self.objects.display();
        let now = stamp(&self.objects).ok_or_else(|| format!("{objects} does not exist"))?;
        if Some(now) == before.0 {
            return Err(format!("{objects} was not written again"));
        }
        // Read once for each time it was written: it is long. A look at a half written one is followed by another stamp.
        let right = match *looked_at {
            Some((stamp, right)) if stamp == now => right,
            _ => fs::read(&self.objects)
                .is_ok_and(|text| definitions::watched(&String::from_utf8_lossy(&text)) == wanted),
        };
        *looked_at = Some((now, right));
        if !right {
            return Err(format!("{objects} has other objects than the verified configuration"));
        }
        let status = self.status.display();
        let start = start(&self.status).ok_or_else(|| format!("{status} does not exist"))?;
        if Some(start) == before.1 {
            return Err(format!("{status} shows no new start"));
        }
        let alive = Pid::from_raw(start.0).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        if alive { Ok(()) } else { Err(format!("process {} of {status} is gone", start.0)) }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// What the status file says at its top.
fn start(path: &Path) -> Option<Start> {
    const TOP: u64 = 64 * 1024;
    let top = BufReader::new(File::open(path).ok()?.take(TOP));
    let (mut pid, mut start) = (None, None);
    for line in top.lines() {
        match line.ok()?.trim().split_once('=') {
            Some(("nagios_pid", value)) => pid = value.parse().ok(),
            Some(("program_start", value)) => start = value.parse().ok(),
            _ => {}
        }
        if let (Some(pid), Some(start)) = (pid, start) {
            return Some((pid, start));
        }
    }
    None
}
