//! Nagios' own check of a candidate, in a copy of the main configuration that reads the live tree and writes elsewhere.

use crate::command;
use crate::config::Config;
use crate::definitions;
use crate::place::Place;
use failure::Failure;
use nix::unistd::{Group, User};
use std::fs::{self, File, Permissions};
use std::io::BufReader;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// Where Debian puts the daemon, and cron's PATH does not look.
const BESIDES_PATH: &str = "/usr/sbin";

/// Where an unchanged FILE is checked. Not `TMPDIR`, which may be closed to Nagios' own user.
const APART: &str = "/tmp";

/// A directory for the check, removed when this is dropped.
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// Makes the directory beside FILE, where Nagios' own user is known to reach it.
    ///
    /// # Errors
    /// The directory can't be made, or the configuration names a user that is not there.
    pub(crate) fn beside(place: &Place, config: &Config) -> Result<Self, Failure> {
        let scratch = Self { dir: place.scratch() };
        fs::create_dir(&scratch.dir).map_err(|error| scratch.unable(error))?;
        scratch.furnish(config)
    }

    /// Makes the directory somewhere else: where FILE lies, nothing is written as long as it stays the same.
    ///
    /// # Errors
    /// As [`Self::beside`].
    pub(crate) fn apart(config: &Config) -> Result<Self, Failure> {
        let made = tempfile::Builder::new().prefix("nagios-gen-").tempdir_in(APART);
        let made = made.map_err(|error| Failure::io(format!("unable to make a directory in {APART}"), error))?;
        Self { dir: made.keep() }.furnish(config)
    }

    /// Nagios gives its privileges up before it checks: what it writes belongs to its own user, and the rest is out of that
    /// user's reach.
    fn furnish(self, config: &Config) -> Result<Self, Failure> {
        let unable = |error| self.unable(error);
        fs::create_dir(self.written()).map_err(unable)?;
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).map_err(unable);
        mode(&self.written(), 0o700)?;
        mode(&self.dir, 0o750)?;
        if rustix::process::geteuid().is_root() {
            let (user, group) = owner(config)?;
            chown(&self.dir, None, Some(group)).map_err(unable)?;
            chown(self.written(), Some(user), Some(group)).map_err(unable)?;
        }
        Ok(self)
    }

    fn unable(&self, error: std::io::Error) -> Failure {
        Failure::io(format!("unable to make {}", self.dir.display()), error)
    }

    /// A file for what a program says.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn written(&self) -> PathBuf {
        self.dir.join("written")
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
        let shadow = config.shadow(place.file(), candidate, &self.written())?;
        let main = self.dir.join("nagios.cfg");
        let unable = |error| Failure::io(format!("unable to write {}", main.display()), error);
        fs::write(&main, shadow).map_err(unable)?;
        fs::set_permissions(&main, Permissions::from_mode(0o644)).map_err(unable)?;
        let mut check = Command::new(program);
        check.args(["--verify-config", "--precache-objects"]).arg(&main);
        let what = program.display().to_string();
        let ended = command::run(check, &self.log(), &what, limit).await?;
        if !ended.status.success() {
            let error = ended.words.lines().map(str::trim).find(|line| line.starts_with("Error:"));
            let why = error.unwrap_or_else(|| ended.last_line());
            return Err(ended.failure(&what, why).context(format!("unable to verify {}", place.file().display())));
        }
        let cache = self.written().join("precached_object_file");
        let watched = File::open(&cache).and_then(|file| definitions::watched(BufReader::new(file)));
        watched.map_err(|error| Failure::io(format!("unable to read {}", cache.display()), error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next run removes what stays.
        let _ = fs::remove_dir_all(&self.dir);
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
fn owner(config: &Config) -> Result<(u32, u32), Failure> {
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
