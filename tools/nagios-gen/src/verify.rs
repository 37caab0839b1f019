//! Nagios' own check of a candidate, in a copy of the main configuration that reads the live tree and writes elsewhere.

use crate::command;
use crate::config::Config;
use crate::definitions;
use crate::place::Place;
use durable::Dir;
use failure::Failure;
use nix::unistd::{Group, User};
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// Where Debian puts the daemon, and cron's PATH does not look.
const BESIDES_PATH: &str = "/usr/sbin";

/// Where an unchanged FILE is checked. Not `TMPDIR`, which may be closed to Nagios' own user.
const APART: &str = "/tmp";
/// What Nagios writes is below this.
const WRITTEN: &str = "written";

/// A directory for the check, removed when this is dropped.
pub(crate) struct Scratch {
    dir: Dir,
    /// Where Nagios writes, and nobody else.
    written: Dir,
}

impl Scratch {
    /// Makes the directory beside FILE, where Nagios' own user is known to reach it.
    ///
    /// # Errors
    /// The directory can't be made, or the configuration names a user that is not there.
    pub(crate) fn beside(place: &Place, config: &Config) -> Result<Self, Failure> {
        match place.scratch()? {
            Some(dir) => Self::furnish(dir, config),
            None => Self::apart(config),
        }
    }

    /// Makes the directory somewhere else: where FILE lies, nothing is written as long as it stays the same.
    ///
    /// # Errors
    /// As [`Self::beside`].
    pub(crate) fn apart(config: &Config) -> Result<Self, Failure> {
        Self::furnish(Dir::open(Path::new(APART))?.new_child("nagios-gen-")?, config)
    }

    /// Nagios gives its privileges up before it checks: what it writes belongs to its own user, and the rest is out of that
    /// user's reach.
    fn furnish(dir: Dir, config: &Config) -> Result<Self, Failure> {
        let scratch = Self { written: dir.child(WRITTEN)?, dir };
        let Self { dir, written } = &scratch;
        let hand_over = || {
            fchmod(written, Mode::from_raw_mode(0o700))?;
            fchmod(dir, Mode::from_raw_mode(0o750))
        };
        let unable = |error: Errno| dir.failed("make", "", error.into());
        hand_over().map_err(unable)?;
        if rustix::process::geteuid().is_root() {
            let (user, group) = owner(config)?;
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            fchown(dir, None, Some(group)).and_then(|()| fchown(written, Some(user), Some(group))).map_err(unable)?;
        }
        Ok(scratch)
    }

    /// An empty file for what a program says.
    ///
    /// # Errors
    /// It can't be made.
    pub(crate) fn log(&self) -> Result<File, Failure> {
        self.new_file("log", 0o600)
    }

    fn new_file(&self, name: &str, mode: u32) -> Result<File, Failure> {
        self.dir.remove(name)?;
        let made = self.dir.new_file(name, mode).and_then(|file| {
            fchmod(&file, Mode::from_raw_mode(mode))?;
            Ok(file)
        });
        made.map_err(|error| self.dir.failed("write", name, error))
    }

    /// Lets Nagios check the tree of `config` with `candidate` in place of `place`'s file; returns fingerprints of what
    /// it would watch.
    ///
    /// # Errors
    /// Nagios refuses it, or can't be run.
    pub(crate) async fn verify(
        &self,
        program: &Path,
        config: &Config,
        place: &Place,
        candidate: &Path,
        limit: Duration,
    ) -> Result<Vec<u64>, Failure> {
        const MAIN: &str = "nagios.cfg";
        let shadow = config.shadow(place.file(), candidate, self.written.path())?;
        let mut main = self.new_file(MAIN, 0o644)?;
        main.write_all(shadow.as_bytes()).map_err(|error| self.dir.failed("write", MAIN, error))?;
        let mut check = Command::new(program);
        check.args(["--verify-config", "--precache-objects"]).arg(self.dir.path().join(MAIN));
        let what = program.display().to_string();
        let ended = command::run(check, self.log()?, &what, limit).await?;
        if !ended.status.success() {
            let error = ended.words.lines().map(str::trim).find(|line| line.starts_with("Error:"));
            let why = error.unwrap_or_else(|| ended.last_line());
            return Err(ended.failure(&what, why).context(format!("unable to verify {}", place.file().display())));
        }
        const CACHE: &str = "precached_object_file";
        // Reopened: it belongs to Nagios' own user by now, who made the file.
        let written = self.dir.clone().trusting(WRITTEN)?.child(WRITTEN)?;
        let watched = written.file(CACHE).and_then(|file| definitions::watched(BufReader::new(file)));
        watched.map_err(|error| written.failed("read", CACHE, error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next run removes what stays.
        let _ = fs::remove_dir_all(self.dir.path());
    }
}

/// The program that verifies.
///
/// # Errors
/// None was named and there is none.
pub(crate) fn program(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).chain([PathBuf::from(BESIDES_PATH)]).collect();
    let names = ["nagios4", "nagios"].into_iter();
    let found = names.flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|path| path.is_file());
    found
        .ok_or_else(|| Failure::permanent("unable to verify: no nagios4 or nagios in PATH or /usr/sbin (see --nagios)"))
}

/// Whom Nagios runs as.
pub(crate) fn owner(config: &Config) -> Result<(u32, u32), Failure> {
    let unknown = |what: &str, name: &str| {
        Failure::permanent(format!("{} names the {what} {name}, whom this host does not know", config.path().display()))
    };
    let user = config.value("nagios_user").unwrap_or("nagios");
    let group = config.value("nagios_group").unwrap_or("nagios");
    let uid = match user.parse() {
        Ok(uid) => Some(uid),
        Err(_) => User::from_name(user).ok().flatten().map(|user| user.uid.as_raw()),
    };
    let gid = match group.parse() {
        Ok(gid) => Some(gid),
        Err(_) => Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw()),
    };
    Ok((uid.ok_or_else(|| unknown("user", user))?, gid.ok_or_else(|| unknown("group", group))?))
}
