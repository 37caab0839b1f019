//! The running Nagios: told to read its configuration again, and believed only on evidence.
//!
//! A reload command that succeeds proves nothing: SIGHUP is asynchronous, and Nagios ends at a configuration it refuses.
//! Taken means that after the command Nagios wrote its object cache anew, with exactly the objects of the verified tree,
//! and then its status file, by a process that is alive. (The start of the program that stands in the status file is no
//! evidence: a second signal cuts the pause of a restart short, and the second stays the same.)

use crate::command;
use crate::config::Config;
use crate::definitions;
use crate::verify::{self, Scratch};
use durable::Dir;
use failure::Failure;
use rustix::process::{Pid, test_kill_process};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// A Nagios that can be reloaded.
pub(crate) struct Daemon<'a> {
    command: &'a str,
    objects: PathBuf,
    status: PathBuf,
    /// Whom Nagios runs as, if the host knows him.
    user: Option<u32>,
    limit: Duration,
}

/// Modification time, inode and length: another one for every time a file was written. The length tells a file that is
/// still being written from the whole one, since the kernel's clock for files ticks slowly.
type Stamp = (i64, i64, u64, u64);

/// How often the command is given at most. Nagios loses a signal that comes while it restarts, for one that another program or a
/// killed run has sent.
const ROUNDS: u32 = 3;

impl<'a> Daemon<'a> {
    /// The Nagios of `config`, which `command` reloads.
    ///
    /// # Errors
    /// It writes no object cache or no status file.
    pub(crate) fn new(config: &Config, command: &'a str, limit: Duration) -> Result<Self, Failure> {
        let (objects, status) = (config.written("object_cache_file")?, config.written("status_file")?);
        let user = verify::owner(config).ok().map(|(user, _)| user);
        Ok(Self { command, objects, status, user, limit })
    }

    /// Runs the command and waits until Nagios runs with the objects `wanted`, all of it within the limit.
    ///
    /// # Errors
    /// The command failed, or Nagios has not taken them in time.
    pub(crate) async fn reload(&self, wanted: &[u64], scratch: &Scratch) -> Result<(), Failure> {
        let before = stamp(&self.objects);
        let mut started = Instant::now();
        let deadline = started + self.limit;
        loop {
            self.run(scratch, deadline - started).await?;
            // Given again only where it would end in time: the last wait has all that is left.
            let next = Instant::now() + self.limit / ROUNDS;
            let until = if next + started.elapsed() < deadline { next } else { deadline };
            match self.wait(wanted, before, until).await {
                Ok(()) => return Ok(()),
                Err(why) if until == deadline => {
                    let waited = self.limit.as_secs_f32();
                    return Err(Failure::temporary(format!("Nagios has not taken it within {waited} s: {why}")));
                }
                Err(_) => started = Instant::now(),
            }
        }
    }

    /// Opens what Nagios writes. A link or a pipe in its place would lead elsewhere, or have no end.
    fn open(&self, path: &Path) -> io::Result<File> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Err(ErrorKind::NotFound.into()) };
        let dir = Dir::open(dir).map_err(|failure| io::Error::other(failure.to_string()))?;
        let user = self.user;
        user.map_or(dir.clone(), |user| dir.trusting_user(user)).file(name)
    }

    async fn run(&self, scratch: &Scratch, limit: Duration) -> Result<(), Failure> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(self.command);
        // Not shown: a command line may hold a password.
        let what = "the reload command";
        let ended = command::run(shell, scratch.log()?, what, limit).await?;
        if ended.status.success() { Ok(()) } else { Err(ended.failure(what, ended.last_line())) }
    }

    async fn wait(&self, wanted: &[u64], before: Option<Stamp>, until: Instant) -> Result<(), String> {
        const PAUSE: Duration = Duration::from_millis(20);
        let mut looked_at = None;
        loop {
            match self.took(wanted, before, &mut looked_at) {
                Err(why) if Instant::now() >= until => return Err(why),
                Err(_) => tokio::time::sleep(PAUSE).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    fn took(&self, wanted: &[u64], before: Option<Stamp>, looked_at: &mut Option<(Stamp, bool)>) -> Result<(), String> {
        let objects = self.objects.display();
        let now = stamp(&self.objects).ok_or_else(|| format!("{objects} does not exist"))?;
        if Some(now) == before {
            return Err(format!("{objects} was not written again"));
        }
        // Read once for each time it was written: it is long. A look at a half written one is followed by another stamp.
        let right = match *looked_at {
            Some((stamp, right)) if stamp == now => right,
            _ => {
                let watched = self.open(&self.objects).and_then(|file| definitions::watched(BufReader::new(file)));
                watched.is_ok_and(|watched| watched == wanted)
            }
        };
        *looked_at = Some((now, right));
        if !right {
            return Err(format!("{objects} has other objects than the verified configuration"));
        }
        let status = self.status.display();
        // Nagios writes its status last, and then all the time: a status after the objects is one with them.
        if stamp(&self.status).is_none_or(|then| (then.0, then.1) < (now.0, now.1)) {
            return Err(format!("{status} was not written after {objects}"));
        }
        let pid = self.open(&self.status).ok().and_then(pid).ok_or_else(|| format!("{status} names no process"))?;
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return Err(format!("process {pid} of {status} is gone"));
        }
        Ok(())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.ino(), metadata.len()))
}

/// The process that wrote the status file, which says so at its top.
fn pid(status: File) -> Option<Pid> {
    const TOP: u64 = 64 * 1024;
    let top = BufReader::new(status.take(TOP));
    let mut lines = top.lines().map_while(Result::ok);
    let pid = lines.find_map(|line| line.trim().strip_prefix("nagios_pid=").map(str::to_owned))?;
    Pid::from_raw(pid.parse().ok()?)
}
