//! A file that is complete on disk before it takes the name it is for, so that it can be looked at in between.

use crate::{if_there, parent, sync_dir, unable};
use failure::Failure;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// A complete file under a name of its own; removed when dropped.
#[derive(Debug)]
#[must_use = "a staged file is removed when it is dropped"]
pub struct Staged {
    path: PathBuf,
}

impl Staged {
    /// Writes `bytes` to the file `at` and syncs it. What a killed run left under that name is replaced, so the caller
    /// holds a lock. Mode and owner are those of `like`; without it everybody may read the file.
    ///
    /// # Errors
    /// The directory can't be written, the disk is full, or this user can't give the file away.
    pub fn write(at: &Path, bytes: &[u8], like: Option<&Metadata>) -> Result<Self, Failure> {
        let unable = |error| Failure::io(unable("write", at), error);
        remove(at).map_err(unable)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(at).map_err(unable)?;
        let staged = Self { path: at.to_owned() };
        fill(file, bytes, like).map_err(unable)?;
        Ok(staged)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the name it is for, in the same directory, in place of what has that name.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn publish(self, path: &Path) -> Result<(), Failure> {
        fs::rename(&self.path, path).map_err(|error| Failure::io(unable("write", path), error))?;
        sync_dir(parent(path))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename it is gone, which is as well.
        let _ = fs::remove_file(&self.path);
    }
}

fn fill(mut file: File, bytes: &[u8], like: Option<&Metadata>) -> io::Result<()> {
    file.write_all(bytes)?;
    if let Some(like) = like {
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
    }
    // Last: a change of owner takes bits of the mode away.
    file.set_permissions(like.map_or_else(|| Permissions::from_mode(0o644), Metadata::permissions))?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    if_there(fs::remove_file(path)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_kept_and_leftovers_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("f"), dir.path().join(".f.new"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        fs::write(&new, "left over, and longer").unwrap();
        let staged = Staged::write(&new, b"new", Some(&fs::metadata(&path).unwrap())).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(staged.path()).unwrap()), (b"old".to_vec(), b"new".to_vec()));
        staged.publish(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        drop(Staged::write(&new, b"never", None).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
