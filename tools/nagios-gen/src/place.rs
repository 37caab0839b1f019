//! FILE and what lies beside it: names that begin with a dot, which Nagios does not read.
//!
//! `.FILE.good` is the last content that a running Nagios confirmed, `.FILE.pending` says that FILE was replaced and nobody
//! confirmed it since, `.FILE.lock` is the lock. `.FILE.new`, `.FILE.note` and `.FILE.verify/` live as long as a run.

use durable::{Lock, Staged};
use failure::Failure;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What only a killed run leaves: a candidate, a note being written, the place of a check.
const CANDIDATE: &str = "new";
const NOTE: &str = "note";
const SCRATCH: &str = "verify";

/// A file of objects in its directory.
pub(crate) struct Place {
    file: PathBuf,
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
        let file = match fs::canonicalize(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
                return Err(refused("it is a link to a file that does not exist"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let name = path.file_name().ok_or_else(|| refused("no file name"))?;
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                fs::canonicalize(dir).map(|dir| dir.join(name))
            }
            found => found,
        };
        let file = file.map_err(|error| Failure::io(what(), error))?;
        match fs::metadata(&file) {
            Ok(found) if found.is_dir() => Err(refused("it is a directory")),
            Ok(found) if !found.is_file() => Err(refused("it is a device or a pipe")),
            _ => Ok(Self { file }),
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
        let path = self.beside("lock");
        let lock = wait_for(&path, limit, || Lock::try_acquire(&path)).await?;
        for left in [CANDIDATE, NOTE, SCRATCH].map(|what| self.beside(what)) {
            let removed = match left.symlink_metadata() {
                Ok(left_over) if left_over.is_dir() => fs::remove_dir_all(&left),
                Ok(_) => fs::remove_file(&left),
                Err(_) => Ok(()),
            };
            removed.map_err(|error| Failure::io(format!("unable to remove {}", left.display()), error))?;
        }
        Ok(lock)
    }

    /// The content of FILE; `None` if it does not exist.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn standing(&self) -> Result<Option<Vec<u8>>, Failure> {
        read(&self.file)
    }

    /// What the running Nagios confirmed last.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn good(&self) -> Result<Option<Vec<u8>>, Failure> {
        read(&self.beside("good"))
    }

    /// Whether FILE was replaced and not confirmed since.
    pub(crate) fn is_pending(&self) -> bool {
        self.beside("pending").exists()
    }

    /// A candidate for FILE with FILE's mode and owner, complete on disk.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn stage(&self, bytes: &[u8]) -> Result<Staged, Failure> {
        let like = durable::if_there(fs::metadata(&self.file))
            .map_err(|error| Failure::io(format!("unable to read {}", self.file.display()), error))?;
        Staged::write(&self.beside(CANDIDATE), bytes, like.as_ref())
    }

    /// Remembers `bytes` as what to go back to.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn keep_good(&self, bytes: &[u8]) -> Result<(), Failure> {
        let like = fs::metadata(&self.file).ok();
        Staged::write(&self.beside(NOTE), bytes, like.as_ref())?.publish(&self.beside("good"))
    }

    /// Notes that FILE is about to be replaced.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn mark_pending(&self) -> Result<(), Failure> {
        Staged::write(&self.beside(NOTE), b"", None)?.publish(&self.beside("pending"))
    }

    /// Notes that the running Nagios has taken FILE.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn clear_pending(&self) -> Result<(), Failure> {
        let path = self.beside("pending");
        let removed = durable::if_there(fs::remove_file(&path))
            .map_err(|error| Failure::io(format!("unable to remove {}", path.display()), error))?;
        if removed.is_some() { durable::sync_dir(self.dir()) } else { Ok(()) }
    }

    /// Where Nagios checks a candidate. In this directory, since Nagios' own user is known to reach it.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.beside(SCRATCH)
    }

    fn dir(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.file.file_name().unwrap_or_default());
        name.push(format!(".{what}"));
        self.dir().join(name)
    }
}

/// Asks for a lock until it is given, in a way that a signal can end.
///
/// # Errors
/// It was not given within `limit`, or can't be.
pub(crate) async fn wait_for(
    path: &Path,
    limit: Duration,
    ask: impl Fn() -> Result<Option<Lock>, Failure>,
) -> Result<Lock, Failure> {
    const PAUSE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(lock) = ask()? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            let waited = limit.as_secs_f32();
            return Err(Failure::temporary(format!(
                "unable to lock {} within {waited} s: another run is at work",
                path.display()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    durable::if_there(fs::read(path)).map_err(|error| Failure::io(format!("unable to read {}", path.display()), error))
}
