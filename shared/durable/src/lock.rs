//! A lock between processes of one host, given back by the kernel however the holder ends.

use failure::Failure;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// An exclusive lock on a file, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    const POLL: Duration = Duration::from_millis(5);

    /// Waits at most `limit` for the lock on the file `path`, which is made if missing and never removed.
    ///
    /// # Errors
    /// Somebody else held it all the time (temporary), or the file can't be made.
    pub fn acquire(path: &Path, limit: Duration) -> Result<Self, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                let waited = limit.as_secs_f32();
                return Err(Failure::temporary(format!("unable to lock {} within {waited} s", path.display())));
            }
            std::thread::sleep(Self::POLL);
        }
    }

    /// The lock, unless somebody holds it now.
    ///
    /// # Errors
    /// The file can't be made or locked at all.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, Failure> {
        let unable = |error| Failure::io(format!("unable to lock {}", path.display()), error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(unable)?;
        Self::of(file).map_err(unable)
    }

    /// The lock on a file or directory that belongs to somebody else: it is opened for reading, and never made.
    ///
    /// # Errors
    /// It is not there, or can't be locked at all.
    pub fn try_acquire_on(path: &Path) -> Result<Option<Self>, Failure> {
        let unable = |error| Failure::io(format!("unable to lock {}", path.display()), error);
        Self::of(File::open(path).map_err(unable)?).map_err(unable)
    }

    fn of(file: File) -> io::Result<Option<Self>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_acquire(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        assert!(Lock::acquire(&path, Duration::ZERO).is_err_and(|failure| failure.is_temporary()));
        assert!(Lock::try_acquire_on(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_acquire_on(&path).unwrap().is_some());
        assert!(Lock::try_acquire_on(&dir.path().join("nothing")).is_err());
    }
}
