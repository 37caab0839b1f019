//! A file that several processes keep up to date: written by one of them at a time, and never by one that was killed.

use crate::{parent, sync_dir, unable};
use failure::Failure;
use rustix::fs::OFlags;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Replaces `path`, which only its owner may read, by what `fill` writes, unless another process is just doing that;
/// tells whether it did. The file is filled under the name `.NAME.new`, which is always the same: what a killed process
/// leaves there is overwritten by the next one.
///
/// # Errors
/// The directory can't be written, the disk is full, or `.NAME.new` belongs to somebody else; `path` is as it was.
pub fn replace_exclusively(path: &Path, fill: impl FnOnce(&File) -> io::Result<()>) -> Result<bool, Failure> {
    let at = beside(path);
    let unable = |error| Failure::io(unable("write", path), error);
    let Some(file) = open(&at).map_err(unable)? else { return Ok(false) };
    let filled = fill(&file).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&at, path));
    if let Err(error) = filled {
        // A full disk needs the room; nobody else writes there, since the lock is still held.
        let _ = fs::remove_file(&at);
        return Err(unable(error));
    }
    sync_dir(parent(path)).map(|()| true)
}

/// The empty file to fill, locked; `None` while another process has it, or just gave it its name.
fn open(at: &Path) -> io::Result<Option<File>> {
    // A pipe or a link that somebody put there must neither hold the run up nor lead it elsewhere.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(at);
    let file = open?;
    let opened = file.metadata()?;
    if !opened.is_file() || opened.uid() != rustix::process::geteuid().as_raw() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    if fs::symlink_metadata(at).map_or(true, |named| named.ino() != opened.ino()) {
        return Ok(None);
    }
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    Ok(Some(file))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    parent(path).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn one_writer_at_a_time_and_leftovers_are_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(beside(&path), "left over, and longer").unwrap();
        let written = replace_exclusively(&path, |mut file| {
            assert!(!replace_exclusively(&path, |_| Ok(())).unwrap(), "the second one at the same time");
            file.write_all(b"one")
        });
        assert!(written.unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let failed = replace_exclusively(&path, |mut file| {
            file.write_all(b"half")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err_and(|failure| failure.is_temporary()));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half stays");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), beside(&path)).unwrap();
        assert!(replace_exclusively(&path, |_| Ok(())).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}
