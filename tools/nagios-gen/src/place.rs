//! FILE and what lies beside it: names that begin with a dot, which Nagios does not read.
//!
//! `.FILE.good` is the last content that a running Nagios confirmed, `.FILE.pending` says that FILE was replaced and nobody
//! confirmed it since, `.FILE.lock` is the lock. `.FILE.new`, `.FILE.note` and `.FILE.verify/` live as long as a run.

use durable::{Dir, Links, Lock, Staged, Way};
use failure::Failure;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What only a killed run leaves: a candidate, a note being written, the place of a check.
const CANDIDATE: &str = "new";
const NOTE: &str = "note";
const SCRATCH: &str = "verify";
/// Bytes of the longest file of objects that is read.
const LONGEST: u64 = 1 << 30;

/// A file of objects in its directory.
pub(crate) struct Place {
    file: PathBuf,
    dir: Dir,
    name: OsString,
}

impl Place {
    /// Finds the file that `path` names, also through a link; it need not exist yet.
    ///
    /// # Errors
    /// Its directory does not exist, or the path names something else than a file: a rename would take a device away from
    /// the whole machine.
    pub(crate) fn find(path: &Path) -> Result<Self, Failure> {
        let what = || format!("unable to write {}", path.display());
        let refused = |why: &str| Failure::permanent(format!("{}: {why}", what()));
        let file = match resolve(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
                return Err(refused("it is a link to a file that does not exist"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let name = path.file_name().ok_or_else(|| refused("no file name"))?;
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                resolve(dir).map(|dir| dir.join(name))
            }
            found => found,
        };
        let file = file.map_err(|error| Failure::io(what(), error))?;
        match fs::metadata(&file) {
            Ok(found) if found.is_dir() => Err(refused("it is a directory")),
            Ok(found) if !found.is_file() => Err(refused("it is a device or a pipe")),
            _ => {
                let name = file.file_name().unwrap_or_default().to_owned();
                let dir = Dir::open(file.parent().unwrap_or(Path::new("/")))?;
                // What is remembered beside it has its owner, also when it is gone.
                let dir = dir.trusting(beside(&name, "good"))?.trusting(&name)?;
                Ok(Self { file, dir, name })
            }
        }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Waits until no other run works on this file, and removes what a killed one left.
    ///
    /// # Errors
    /// Others hold the lock all the time, or the directory can't be written.
    pub(crate) async fn lock(&self, limit: Duration) -> Result<Lock, Failure> {
        let lock = wait_for(&self.dir, &self.beside("lock"), limit).await?;
        for left in [CANDIDATE, NOTE, SCRATCH].map(|what| self.beside(what)) {
            match self.dir.entry(&left) {
                Ok(Some(found)) if found.is_dir() => {
                    let path = self.dir.path().join(&left);
                    fs::remove_dir_all(path).map_err(|error| self.dir.failed("remove", &left, error))?;
                }
                Ok(Some(_)) => drop(self.dir.remove(&left)?),
                _ => {}
            }
        }
        Ok(lock)
    }

    /// The content of FILE; `None` if it does not exist.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn standing(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.dir.read(&self.name, LONGEST)
    }

    /// What the running Nagios confirmed last.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn good(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.dir.read(self.beside("good"), LONGEST)
    }

    /// Whether FILE was replaced and not confirmed since.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.dir.entry(self.beside("pending")), Ok(Some(_)))
    }

    /// A candidate for FILE with FILE's mode and owner, complete on disk.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn stage(&self, bytes: &[u8]) -> Result<Staged, Failure> {
        let like = self.dir.entry(&self.name).map_err(|error| self.dir.failed("read", &self.name, error))?;
        Staged::write(&self.dir, self.beside(CANDIDATE), bytes, like)
    }

    /// Puts a candidate in FILE's place.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn publish(&self, candidate: Staged) -> Result<(), Failure> {
        candidate.publish(&self.name)
    }

    /// Remembers `bytes` as what to go back to.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn keep_good(&self, bytes: &[u8]) -> Result<(), Failure> {
        let like = self.dir.entry(&self.name).ok().flatten();
        Staged::write(&self.dir, self.beside(NOTE), bytes, like)?.publish(self.beside("good"))
    }

    /// Notes that FILE is about to be replaced.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn mark_pending(&self) -> Result<(), Failure> {
        Staged::write(&self.dir, self.beside(NOTE), b"", None)?.publish(self.beside("pending"))
    }

    /// Notes that the running Nagios has taken FILE.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn clear_pending(&self) -> Result<(), Failure> {
        if self.dir.remove(self.beside("pending"))? { self.dir.sync() } else { Ok(()) }
    }

    /// Makes the directory in which Nagios checks a candidate. Here, since Nagios' own user is known to reach it; `None`
    /// where the directory belongs to somebody else, who could change what Nagios reads there before it gives root up.
    ///
    /// # Errors
    /// It can't be made.
    pub(crate) fn scratch(&self) -> Result<Option<Dir>, Failure> {
        if self.dir.heir().is_some() { Ok(None) } else { self.dir.child(self.beside(SCRATCH)).map(Some) }
    }

    fn beside(&self, what: &str) -> OsString {
        beside(&self.name, what)
    }
}

/// The content of a file that the user named, also through a link; a pipe would be waited for without end.
///
/// # Errors
/// It can't be read, or is no file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let absent = |error| Failure::io(format!("unable to read {}", path.display()), error);
    let found = resolve(path).map_err(absent)?;
    let (above, name) = (found.parent().unwrap_or(Path::new("/")), found.file_name().unwrap_or_default());
    let read = Dir::open(above)?.trusting(name)?.read(name, LONGEST)?;
    read.ok_or_else(|| absent(ErrorKind::NotFound.into()))
}

/// The lock on a tree of Nagios: another run's FILE in it would change what was verified. It lies beside its main file
/// `path`; a user who may not write there has it beside his own FILE, which all his runs can do.
///
/// # Errors
/// Others hold it all the time, or it can't be made.
pub(crate) async fn lock_tree(path: &Path, place: &Place, limit: Duration) -> Result<Lock, Failure> {
    let unable = |error| Failure::io(format!("unable to lock {}", path.display()), error);
    let path = resolve(path).map_err(unable)?;
    let dir = Dir::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = beside(path.file_name().unwrap_or_default(), "lock");
    let dir = if dir.is_writable() { &dir } else { &place.dir };
    wait_for(dir, &name, limit).await
}

/// Where `path` leads, without links.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    Way::along(&std::path::absolute(path)?, Links::ByPlace).map(|way| way.path)
}

fn beside(name: &OsStr, what: &str) -> OsString {
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{what}"));
    beside
}

/// Asks for a lock until it is given, in a way that a signal can end.
async fn wait_for(dir: &Dir, name: &OsStr, limit: Duration) -> Result<Lock, Failure> {
    const PAUSE: Duration = Duration::from_millis(10);
    let start = Instant::now();
    loop {
        if let Some(lock) = dir.try_lock(name)? {
            return Ok(lock);
        }
        if start.elapsed() >= limit {
            let (path, waited) = (dir.path().join(name), limit.as_secs_f32());
            return Err(Failure::temporary(format!(
                "unable to lock {} within {waited} s: another run is at work",
                path.display()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
