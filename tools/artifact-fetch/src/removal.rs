//! Taking a tree away, however deep it is.

use durable::{Dir, if_there};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes a directory of `above` and all in it; it may be gone already. std's own way keeps a directory open for each level, and
/// runs out of files in a deep tree. Here what lies deeper is moved up first, so that two are open at once.
pub(crate) fn remove_tree(above: &Dir, name: &OsStr) -> io::Result<()> {
    let Some(top) = if_there(openat(above, name, DIRECTORY, Mode::empty()))? else { return Ok(()) };
    let mut moved = 0;
    loop {
        let names = names(&top)?;
        if names.is_empty() {
            return Ok(unlinkat(above, name, AtFlags::REMOVEDIR)?);
        }
        for name in names {
            remove(&top, &name, &mut moved)?;
        }
    }
}

fn remove(top: &OwnedFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    if unlink(top, name)? {
        return Ok(());
    }
    let dir = openat(top, name, DIRECTORY, Mode::empty())?;
    for below in names(&dir)? {
        if !unlink(&dir, &below)? {
            move_up(&dir, &below, top, moved)?;
        }
    }
    Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// False for a directory, which stays.
fn unlink(dir: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        // POSIX has the second one, and so have some file systems; what is no directory fails at the next step.
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match renameat(from, name, top, moved.to_string()) {
            // The tree has that name itself.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            done => return Ok(done?),
        }
    }
}

fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn everything_goes_and_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let (dir, kept) = (root.path().join("tree"), root.path().join("kept"));
        fs::create_dir_all(dir.join("a/b/c/d")).unwrap();
        for names_of_its_own in ["1", "2/3/x", "4"] {
            fs::create_dir_all(dir.join(names_of_its_own)).unwrap();
        }
        fs::write(dir.join("3"), "x").unwrap();
        fs::write(dir.join("4/f"), "x").unwrap();
        fs::write(dir.join("a/b/c/f"), "x").unwrap();
        fs::write(&kept, "x").unwrap();
        symlink(root.path(), dir.join("a/out")).unwrap();
        symlink(root.path(), dir.join("out")).unwrap();
        let above = Dir::open(root.path()).unwrap();
        remove_tree(&above, OsStr::new("tree")).unwrap();
        assert!(!dir.exists() && kept.exists());
        remove_tree(&above, OsStr::new("tree")).unwrap();
    }
}
