//! A lock between processes of one host, given back by the kernel however the holder ends.

use crate::{Dir, Entry};
use failure::Failure;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

/// An exclusive lock on a file, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Dir {
    const POLL: Duration = Duration::from_millis(5);

    /// Waits at most `limit` for the lock on a file of this directory, which is made if it is missing. Who may not write
    /// the directory can't open it, and so can't hold the lock.
    ///
    /// # Errors
    /// Somebody else held it all the time (temporary), or the file can't be made.
    pub fn lock(&self, name: impl AsRef<OsStr>, limit: Duration) -> Result<Lock, Failure> {
        let name = name.as_ref();
        let start = Instant::now();
        loop {
            if let Some(lock) = self.try_lock(name)? {
                return Ok(lock);
            }
            if start.elapsed() >= limit {
                let (path, waited) = (self.path().join(name), limit.as_secs_f32());
                return Err(Failure::temporary(format!("unable to lock {} within {waited} s", path.display())));
            }
            std::thread::sleep(Self::POLL);
        }
    }

    /// The lock, unless somebody holds it now.
    ///
    /// # Errors
    /// The file can't be made or locked at all.
    pub fn try_lock(&self, name: impl AsRef<OsStr>) -> Result<Option<Lock>, Failure> {
        let name = name.as_ref();
        self.locked(name)
            .map_err(|error| self.failed("lock", name, error))
            .map(|file| file.map(|file| Lock { _file: file }))
    }

    /// The file, made if it is missing and locked; `None` if somebody else holds it.
    pub(crate) fn locked(&self, name: &OsStr) -> io::Result<Option<File>> {
        let file = self.private_file(name)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        // Its holder may have taken it away before giving the lock back.
        let opened = Entry::of(&file)?;
        let stands = self.entry(name)?.is_some_and(|named| named.inode() == opened.inode());
        Ok(stands.then_some(file))
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(dir.path()).unwrap();
        let held = dir.try_lock("lock").unwrap();
        assert!(held.is_some());
        assert!(dir.try_lock("lock").unwrap().is_none());
        assert!(dir.lock("lock", Duration::ZERO).is_err_and(|failure| failure.is_temporary()));
        drop(held);
        assert!(dir.try_lock("lock").unwrap().is_some());
    }
}
