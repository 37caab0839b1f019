//! Files that are there whole or not at all, whatever moment the machine stops, and locks between processes.

mod disk;
mod exclusive;
mod lock;
mod slots;
mod staged;

pub use disk::Disk;
pub use exclusive::replace_exclusively;
pub use lock::Lock;
pub use slots::Slots;
pub use staged::Staged;

use failure::Failure;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::NamedTempFile;

/// Prefix of the temporary files made here; a leftover with it was never visible under its own name. Particular enough
/// that whoever removes leftovers removes nobody else's.
pub const TEMPORARY_PREFIX: &str = ".asg-tools-";

/// Replaces `path` by a file with these bytes: readers see the old file or the new one, also after a power cut.
///
/// # Errors
/// The directory can't be written, or the disk is full; `path` is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    replace_by(temporary_with(path, bytes, 0o666)?, path)
}

/// The same, for a file that only its owner may read.
///
/// # Errors
/// As [`replace`].
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    replace_by(temporary_with(path, bytes, 0o600)?, path)
}

/// Creates `path` with these bytes unless something has that name; tells whether it did.
///
/// # Errors
/// The directory can't be written, or the disk is full.
pub fn create(path: &Path, bytes: &[u8]) -> Result<bool, Failure> {
    let file = temporary_with(path, bytes, 0o666)?;
    let created = create_from(file.path(), path)?;
    Ok(created)
}

/// Gives the complete file `from` the name `path` too, unless something has that name; tells whether it did.
/// A hard link, since a rename would replace what is there.
///
/// # Errors
/// The directory can't be written.
pub fn create_from(from: &Path, path: &Path) -> Result<bool, Failure> {
    match fs::hard_link(from, path) {
        Ok(()) => sync_dir(parent(path)).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failure::io(unable("write", path), error)),
    }
}

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

/// Makes the names in `dir` survive a power cut.
///
/// # Errors
/// The directory can't be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<(), Failure> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(|error| Failure::io(unable("sync", dir), error))
}

/// Lets `link` point at `target` from one moment to the next: it is never absent in between.
///
/// # Errors
/// The directory can't be written.
pub fn switch_link(link: &Path, target: &Path) -> Result<(), Failure> {
    let dir = parent(link);
    let place = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .make_in(dir, |path| std::os::unix::fs::symlink(target, path))
        .map_err(|error| Failure::io(unable("write", link), error))?;
    place.into_temp_path().persist(link).map_err(|error| Failure::io(unable("write", link), error.error))?;
    sync_dir(dir)
}

fn replace_by(file: NamedTempFile, path: &Path) -> Result<(), Failure> {
    file.persist(path).map_err(|error| Failure::io(unable("write", path), error.error))?;
    sync_dir(parent(path))
}

fn temporary_with(path: &Path, bytes: &[u8], mode: u32) -> Result<NamedTempFile, Failure> {
    let write = || -> io::Result<NamedTempFile> {
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(parent(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|error| Failure::io(unable("write", path), error))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn unable(verb: &str, path: &Path) -> String {
    format!("unable to {verb} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_then_create() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert!(!create(&path, b"three").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(create(&dir.path().join("g"), b"three").unwrap());
        replace_private(&path, b"four").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "no temporary file stays");
    }

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

    #[test]
    fn a_link_is_switched() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        switch_link(&link, Path::new("a")).unwrap();
        switch_link(&link, Path::new("b")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("b"));
    }
}
