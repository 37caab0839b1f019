//! Files that are there whole or not at all, whatever moment the machine stops, locks between processes, and the one safe
//! way to open what lies in a directory in which others may write.

mod dir;
mod disk;
mod entry;
mod exclusive;
mod lock;
mod owner;
mod slots;
mod staged;
mod version;
mod way;

pub use dir::Dir;
pub use disk::Disk;
pub use entry::Entry;
pub use lock::Lock;
pub use slots::Slots;
pub use staged::Staged;
pub use version::Version;
pub use way::{Links, Way};

use std::io::{self, ErrorKind};

/// Prefix of the temporary files made here; a leftover with it was never visible under its own name. Particular enough
/// that whoever removes leftovers removes nobody else's.
pub const TEMPORARY_PREFIX: &str = ".asg-tools-";

/// What a file or directory was asked for, or `None` where it is not there.
///
/// # Errors
/// All others.
pub fn if_there<T>(answer: Result<T, impl Into<io::Error>>) -> io::Result<Option<T>> {
    match answer.map_err(Into::into) {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_is_not_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(if_there(fs::read(&path)).unwrap(), None);
        fs::write(&path, "one").unwrap();
        assert_eq!(if_there(fs::read(&path)).unwrap(), Some(b"one".to_vec()));
        assert!(if_there(fs::read(path.join("g"))).is_err(), "below a file");
        assert_eq!(if_there(Err::<(), _>(rustix::io::Errno::NOENT)).unwrap(), None);
    }
}
