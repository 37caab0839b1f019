//! A file that several processes keep up to date: written by one of them at a time, and never by one that was killed.

use crate::Dir;
use failure::Failure;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

impl Dir {
    /// Replaces the file `name`, which only its owner may read, by what `fill` writes, unless another process is just doing
    /// that; tells whether it did. The file is filled under the name `.NAME.new`, which is always the same: what a killed
    /// process leaves there is overwritten by the next one.
    ///
    /// # Errors
    /// The directory can't be written, the disk is full, or `.NAME.new` belongs to somebody else; the file is as it was.
    pub fn replace_exclusively(
        &self,
        name: impl AsRef<OsStr>,
        fill: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<bool, Failure> {
        let name = name.as_ref();
        let beside = beside(name);
        let replace = || {
            let Some(file) = self.locked(&beside)? else { return Ok(false) };
            file.set_len(0)?;
            let filled = fill(&file).and_then(|()| file.sync_all()).and_then(|()| self.rename(&beside, self, name));
            if let Err(error) = filled {
                // A full disk needs the room; nobody else writes there, since the lock is still held.
                let _ = self.remove(&beside);
                return Err(error);
            }
            self.sync_names().map(|()| true)
        };
        replace().map_err(|error| self.failed("write", name, error))
    }
}

fn beside(name: &OsStr) -> OsString {
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".new");
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn one_writer_at_a_time_and_leftovers_are_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let path = place.path().join("f");
        fs::write(place.path().join(".f.new"), "left over, and longer").unwrap();
        let written = dir.replace_exclusively("f", |mut file| {
            assert!(!dir.replace_exclusively("f", |_| Ok(())).unwrap(), "the second one at the same time");
            file.write_all(b"one")
        });
        assert!(written.unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let failed = dir.replace_exclusively("f", |mut file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err_and(|failure| failure.is_temporary()));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing half stays");
        std::os::unix::fs::symlink(place.path().join("elsewhere"), place.path().join(".f.new")).unwrap();
        assert!(dir.replace_exclusively("f", |_| Ok(())).is_err());
        assert!(!place.path().join("elsewhere").exists());
    }
}
