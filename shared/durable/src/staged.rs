//! A file that is complete on disk before it takes the name it is for, so that it can be looked at in between.

use crate::{Dir, Entry};
use failure::Failure;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// A complete file under a name of its own; removed when dropped.
#[derive(Debug)]
#[must_use = "a staged file is removed when it is dropped"]
pub struct Staged {
    dir: Dir,
    name: OsString,
}

impl Staged {
    /// Writes `bytes` to the file `at` in `dir` and syncs it. What a killed run left under that name is replaced, so the
    /// caller holds a lock. Mode and owner are those of `like`; without it everybody may read the file.
    ///
    /// # Errors
    /// The directory can't be written, the disk is full, or this user can't give the file away.
    pub fn write(dir: &Dir, at: impl AsRef<OsStr>, bytes: &[u8], like: Option<Entry>) -> Result<Self, Failure> {
        let at = at.as_ref();
        dir.remove(at)?;
        let file = dir.new_file(at, 0o600).map_err(|error| dir.failed("write", at, error))?;
        let staged = Self { dir: dir.clone(), name: at.to_owned() };
        fill(file, bytes, like).map_err(|error| dir.failed("write", at, error))?;
        Ok(staged)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// Gives it the name it is for, in the same directory, in place of what has that name.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn publish(self, name: impl AsRef<OsStr>) -> Result<(), Failure> {
        let name = name.as_ref();
        let published = self.dir.rename(&self.name, &self.dir, name).and_then(|()| self.dir.sync_names());
        published.map_err(|error| self.dir.failed("write", name, error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename it is gone, which is as well.
        let _ = self.dir.remove(&self.name);
    }
}

fn fill(mut file: File, bytes: &[u8], like: Option<Entry>) -> io::Result<()> {
    file.write_all(bytes)?;
    Entry::copy_access(like, &file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn mode_is_kept_and_leftovers_are_replaced() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let path = place.path().join("f");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(place.path().join(".f.new"), "left over, and longer").unwrap();
        let staged = Staged::write(&dir, ".f.new", b"new", dir.entry("f").unwrap()).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(staged.path()).unwrap()), (b"old".to_vec(), b"new".to_vec()));
        staged.publish("f").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        drop(Staged::write(&dir, ".f.new", b"never", None).unwrap());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
