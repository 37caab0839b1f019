//! A directory held open, and the one way to what lies in it.
//!
//! Others may be able to write there, or to the directories above. So each name is reached through the descriptor of its
//! directory; links are not followed and pipes not waited for; type and owner are looked at on the descriptor that is used.

use crate::owner::Owner;
use crate::way::{Links, Way};
use crate::{Entry, TEMPORARY_PREFIX, if_there};
use failure::Failure;
use rustix::fs::{
    Access, AtFlags, Mode, OFlags, accessat, fchmod, fstat, linkat, mkdirat, openat, readlinkat, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names tried for a temporary file or directory.
const TRIES: u32 = 100;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const PUBLIC: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);
const WARY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// A directory.
#[derive(Clone, Debug)]
pub struct Dir {
    path: PathBuf,
    fd: Arc<OwnedFd>,
    pub(crate) owner: Owner,
}

impl Dir {
    /// Opens a directory that the user named: links to it are his own, and followed, but for those that somebody else made
    /// where everybody writes.
    ///
    /// # Errors
    /// It is not there, can't be read, or such a link leads to it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        Self::open_at(path).map_err(|error| Failure::io(unable("open", path), error))
    }

    /// The same; `None` if it is not there.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open_if_there(path: &Path) -> Result<Option<Self>, Failure> {
        if_there(Self::open_at(path)).map_err(|error| Failure::io(unable("open", path), error))
    }

    /// Opens it, and makes what is missing of it.
    ///
    /// # Errors
    /// It can't be made or read.
    pub fn make(path: &Path) -> Result<Self, Failure> {
        Self::make_with(path, Mode::from_raw_mode(0o777))
    }

    /// The same; what is missing is made for its owner alone.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_private(path: &Path) -> Result<Self, Failure> {
        Self::make_with(path, Mode::RWXU)
    }

    /// The same; what is missing is made for everybody to enter and list, whatever the umask: what others shall read will
    /// lie in it.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_public(path: &Path) -> Result<Self, Failure> {
        Self::make_with(path, PUBLIC)
    }

    fn make_with(path: &Path, mode: Mode) -> Result<Self, Failure> {
        if let Some(there) = Self::open_if_there(path)? {
            return Ok(there);
        }
        match (path.parent(), path.file_name()) {
            (Some(above), Some(name)) if !above.as_os_str().is_empty() => {
                Self::make_with(above, mode)?.child_with(name, mode)
            }
            (Some(_), Some(name)) => Self::open(Path::new("."))?.child_with(name, mode),
            // It ends in dots.
            _ => Self::open(path),
        }
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        let there = Way::along(path, Links::ByPlace)?.end;
        let fd = match openat(&there, ".", DIRECTORY, Mode::empty()) {
            // What may be entered and not listed still leads to names that are known.
            Err(Errno::ACCESS) => openat(&there, ".", DIRECTORY | OFlags::PATH, Mode::empty()),
            opened => opened,
        };
        Self::of(path.to_owned(), fd?)
    }

    fn of(path: PathBuf, fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { path, owner: Owner::of(&fd)?, fd: Arc::new(fd) })
    }

    /// A directory in this one, made if it is missing.
    ///
    /// # Errors
    /// It can't be made, or something else has its name.
    pub fn child(&self, name: impl AsRef<OsStr>) -> Result<Self, Failure> {
        self.child_with(name.as_ref(), Mode::from_raw_mode(0o777))
    }

    fn child_with(&self, name: &OsStr, mode: Mode) -> Result<Self, Failure> {
        let open = || match mkdirat(&self.fd, name, mode) {
            Ok(()) => {
                let made = self.child_at(name)?;
                if mode == PUBLIC {
                    fchmod(&made.fd, mode)?;
                }
                // For whom this one belongs to.
                self.owner.gets(&made.fd);
                if mode.intersects(Mode::RWXG) {
                    self.owner.shares(&made.fd, Mode::RWXG | Mode::SGID)?;
                }
                Ok(Self { owner: Owner::of(&made.fd)?, ..made })
            }
            Err(Errno::EXIST) => self.child_at(name),
            // Where nothing can be made, it may be there all the same.
            Err(error) => if_there(self.child_at(name))?.ok_or_else(|| error.into()),
        };
        open().map_err(|error| self.failed("make", name, error))
    }

    /// A directory in this one; `None` if it is not there.
    ///
    /// # Errors
    /// It can't be read, or something else has its name.
    pub fn child_if_there(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>, Failure> {
        if_there(self.child_at(name.as_ref())).map_err(|error| self.failed("open", name, error))
    }

    fn child_at(&self, name: &OsStr) -> io::Result<Self> {
        let fd = match openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let is_link = self.entry(name).is_ok_and(|found| found.is_some_and(|found| found.is_link()));
                let what = if is_link { "a link, which is not followed" } else { "no directory" };
                return Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {what}")));
            }
            opened => opened?,
        };
        self.owner.accepts(&fstat(&fd)?)?;
        Self::of(self.path.join(name), fd)
    }

    /// A new directory in this one, with a name that begins like this: for this user alone, until it is given away.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new_child(&self, prefix: &str) -> Result<Self, Failure> {
        let made = make_unique(prefix, |name| {
            mkdirat(&self.fd, name, Mode::RWXU)?;
            self.child_at(name)
        });
        made.map_err(|error| self.failed("make a directory in", "", error))
    }

    /// Refuses a directory of another user, also where a group writes it: for what only its owner can do.
    ///
    /// # Errors
    /// It belongs neither to this user nor is this root.
    pub fn expect_own(&self) -> Result<(), Failure> {
        let refused = || Failure::permanent(format!("unable to write {}: {}", self.path.display(), self.owner.whose()));
        if self.owner.is_anothers() { Err(refused()) } else { Ok(()) }
    }

    /// Owner and group of what root makes for somebody else in this directory; `None` where it belongs to who makes it.
    #[must_use]
    pub fn heir(&self) -> Option<(u32, u32)> {
        self.owner.heir()
    }

    /// Gives a directory that was made here for this user alone to whom this one belongs to, with this mode.
    ///
    /// # Errors
    /// The mode can't be set.
    pub fn give(&self, child: &Self, mode: u32) -> io::Result<()> {
        self.owner.gets(&child.fd);
        Ok(fchmod(&child.fd, Mode::from_raw_mode(mode))?)
    }

    /// The same directory, in which files of the owner of `name` are believed, too: a file that the user named, and whose
    /// owner is his choice.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn trusting(self, name: impl AsRef<OsStr>) -> Result<Self, Failure> {
        let entry = self.entry(&name).map_err(|error| self.failed("read", &name, error))?;
        let owner = entry.map_or(self.owner, |entry| self.owner.trusting(entry.0.st_uid));
        Ok(Self { owner, ..self })
    }

    /// The same directory, in which files of this user are believed, too.
    #[must_use]
    pub fn trusting_user(self, uid: u32) -> Self {
        Self { owner: self.owner.trusting(uid), ..self }
    }

    /// Its path, for messages and for other programs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this user may make something in it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        accessat(&self.fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    /// What a name in it represents; `None` if it is not there.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn entry(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Entry>> {
        if_there(statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)).map(|stat| stat.map(Entry))
    }

    /// The names in it, in no order.
    ///
    /// # Errors
    /// It can't be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let names = rustix::fs::Dir::read_from(&self.fd)?.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
        let names =
            names.collect::<io::Result<Vec<_>>>()?.into_iter().filter(|name| !matches!(&name[..], b"." | b".."));
        Ok(names.map(OsString::from_vec).collect())
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    /// It is not there, can't be read, or is something that this is not meant for: then the error says what.
    pub fn file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.opened(name.as_ref(), OFlags::RDONLY)
    }

    /// Opens a file that is there to be read and written.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn file_to_write(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.opened(name.as_ref(), OFlags::RDWR)
    }

    /// Opens a file to be read and written, which is made if it is missing: for this user, and the directory's group if
    /// that may write the directory.
    ///
    /// # Errors
    /// It can't be made, or as [`Self::file`].
    pub fn private_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let (name, mode) = (name.as_ref(), self.owner.private());
        let is_taken = |error: &io::Error| error.kind() == ErrorKind::AlreadyExists;
        let file = match self.new_file(name, mode.as_raw_mode()) {
            Err(error) if is_taken(&error) => self.file_to_write(name)?,
            // Where nothing can be made, it may be there all the same.
            Err(error) => if_there(self.file_to_write(name))?.ok_or(error)?,
            made => return made,
        };
        let found = fstat(&file)?;
        // Only of what holds nothing: it may be a file of root that somebody has moved here. A lock that others could open
        // is one that they could hold.
        if found.st_size == 0 {
            if !self.owner.has(&found) {
                self.owner.gets(&file);
            }
            if found.st_mode & 0o777 != mode.as_raw_mode() {
                let _ = fchmod(&file, mode);
            }
        }
        Ok(file)
    }

    /// Makes a file to be read and written, with this mode as far as the umask lets it.
    ///
    /// # Errors
    /// Something has that name, or it can't be made.
    pub fn new_file(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = File::from(openat(&self.fd, name.as_ref(), flags | WARY, Mode::from_raw_mode(mode))?);
        self.owner.gets(&file);
        if mode & Mode::RWXG.as_raw_mode() != 0 {
            self.owner.shares(&file, Mode::RGRP | Mode::WGRP)?;
        }
        Ok(file)
    }

    fn opened(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        // Opening a pipe or a device is seen on its other side, so it is looked at before.
        if let Some(there) = self.entry(name)? {
            there.expect_file()?;
            self.owner.accepts(&there.0)?;
        }
        let file = match openat(&self.fd, name, flags | WARY, Mode::empty()) {
            // It was a file just now.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
                return Err(io::Error::new(ErrorKind::InvalidInput, "somebody puts something else in its place"));
            }
            opened => File::from(opened?),
        };
        let found = Entry::of(&file)?;
        found.expect_file()?;
        self.owner.accepts(&found.0)?;
        Ok(file)
    }

    /// The content of a file; `None` if it is not there.
    ///
    /// # Errors
    /// It can't be read, or is longer than `limit` bytes.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        let name = name.as_ref();
        let read = || {
            let Some(file) = if_there(self.file(name))? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes")));
            }
            Ok(Some(bytes))
        };
        read().map_err(|error| self.failed("read", name, error))
    }

    /// Replaces a file by one with these bytes: readers see the old one or the new one, also after a power cut.
    ///
    /// # Errors
    /// The directory can't be written, or the disk is full; the file is then as it was.
    pub fn replace(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<(), Failure> {
        self.replace_with(name.as_ref(), bytes, 0o666)
    }

    /// The same, for a file that only its owner may read.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub fn replace_private(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<(), Failure> {
        self.replace_with(name.as_ref(), bytes, 0o600)
    }

    fn replace_with(&self, name: &OsStr, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        let replace = || {
            let temporary = self.temporary(bytes, mode)?;
            renameat(&self.fd, &temporary.name, &self.fd, name)?;
            self.sync_names()
        };
        replace().map_err(|error| self.failed("write", name, error))
    }

    /// Makes a file with these bytes unless something has that name; tells whether it did.
    ///
    /// # Errors
    /// The directory can't be written, or the disk is full.
    pub fn create(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<bool, Failure> {
        let name = name.as_ref();
        let temporary = self.temporary(bytes, 0o666);
        let temporary = temporary.map_err(|error| self.failed("write", name, error))?;
        self.link(self, &temporary.name, name)
    }

    /// Gives the complete file `from` of the directory `of` this name too, unless something has it; tells whether it did.
    /// A hard link, since a rename would replace what is there.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn link(&self, of: &Self, from: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> Result<bool, Failure> {
        let name = name.as_ref();
        let made = match linkat(&of.fd, from.as_ref(), &self.fd, name, AtFlags::empty()) {
            Ok(()) => self.sync_names().map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        };
        made.map_err(|error| self.failed("write", name, error))
    }

    /// Lets the link `name` lead to `target` from one moment to the next: it is never absent in between.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn switch_link(&self, name: impl AsRef<OsStr>, target: &Path) -> Result<(), Failure> {
        let name = name.as_ref();
        let switch = || {
            let temporary = make_unique(TEMPORARY_PREFIX, |temporary| {
                symlinkat(target, &self.fd, temporary)?;
                Ok(Temporary { dir: self, name: temporary.to_owned() })
            })?;
            self.owner.gets_link(&self.fd, &temporary.name);
            renameat(&self.fd, &temporary.name, &self.fd, name)?;
            self.sync_names()
        };
        switch().map_err(|error| self.failed("write", name, error))
    }

    /// Where a link leads; `None` if it is not there, or no link.
    #[must_use]
    pub fn link_target(&self, name: impl AsRef<OsStr>) -> Option<PathBuf> {
        let target = readlinkat(&self.fd, name.as_ref(), Vec::new()).ok()?;
        Some(OsStr::from_bytes(target.as_bytes()).into())
    }

    /// Gives what has the name `from` here the name `to` in another directory, in place of a file of that name.
    ///
    /// # Errors
    /// One of the two directories can't be written.
    pub fn rename(&self, from: impl AsRef<OsStr>, dir: &Self, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(renameat(&self.fd, from.as_ref(), &dir.fd, to.as_ref())?)
    }

    /// Takes away a file; tells whether it was there.
    ///
    /// # Errors
    /// It is a directory, or the directory can't be written.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<bool, Failure> {
        let name = name.as_ref();
        let removed = if_there(unlinkat(&self.fd, name, AtFlags::empty()));
        removed.map(|removed| removed.is_some()).map_err(|error| self.failed("remove", name, error))
    }

    /// Makes the names in it survive a power cut.
    ///
    /// # Errors
    /// The disk did not take them.
    pub fn sync(&self) -> Result<(), Failure> {
        self.sync_names().map_err(|error| Failure::io(unable("sync", &self.path), error))
    }

    pub(crate) fn sync_names(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// A failure at this name, with what helps.
    #[must_use]
    pub fn failed(&self, verb: &str, name: impl AsRef<OsStr>, error: io::Error) -> Failure {
        let name = name.as_ref();
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        Failure::io(unable(verb, &path), self.owner.explain(error))
    }

    fn temporary(&self, bytes: &[u8], mode: u32) -> io::Result<Temporary<'_>> {
        let (temporary, mut file) = make_unique(TEMPORARY_PREFIX, |name| {
            let file = self.new_file(name, mode)?;
            Ok((Temporary { dir: self, name: name.to_owned() }, file))
        })?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temporary)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A name that is removed when this is dropped, if it still stands.
struct Temporary<'a> {
    dir: &'a Dir,
    name: OsString,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename it is gone, which is as well.
        let _ = unlinkat(&self.dir.fd, &self.name, AtFlags::empty());
    }
}

/// Makes something under a name that nothing has.
fn make_unique<T>(prefix: &str, make: impl Fn(&OsStr) -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        let name = format!("{prefix}{:016x}", rand::random::<u64>());
        tries += 1;
        match make(OsStr::new(&name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tries < TRIES => {}
            made => return made,
        }
    }
}

fn unable(verb: &str, path: &Path) -> String {
    format!("unable to {verb} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkfifoat;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    fn held() -> (tempfile::TempDir, Dir) {
        let dir = tempfile::tempdir().unwrap();
        let held = Dir::open(dir.path()).unwrap();
        (dir, held)
    }

    #[test]
    fn replace_then_create() {
        let (dir, held) = held();
        held.replace("f", b"one").unwrap();
        held.replace("f", b"two").unwrap();
        assert!(!held.create("f", b"three").unwrap());
        assert_eq!(held.read("f", 3).unwrap().unwrap(), b"two");
        assert!(held.read("f", 2).unwrap_err().to_string().ends_with("it is longer than 2 bytes"));
        assert_eq!(held.read("nothing", 3).unwrap(), None);
        assert!(held.create("g", b"three").unwrap());
        held.replace_private("f", b"four").unwrap();
        assert_eq!(fs::metadata(dir.path().join("f")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(held.names().unwrap().len(), 2, "no temporary file stays");
    }

    #[test]
    fn a_link_is_switched() {
        let (_dir, held) = held();
        held.switch_link("current", Path::new("a")).unwrap();
        held.switch_link("current", Path::new("b")).unwrap();
        assert_eq!(held.link_target("current").unwrap(), Path::new("b"));
        assert_eq!(held.names().unwrap().len(), 1);
    }

    #[test]
    fn directories_are_made_once() {
        let (dir, held) = held();
        let deep = Dir::make(&dir.path().join("a/b/c")).unwrap();
        deep.replace("f", b"x").unwrap();
        assert!(dir.path().join("a/b/c/f").is_file());
        assert!(Dir::make(&dir.path().join("a/b/c")).unwrap().entry("f").unwrap().is_some());
        assert!(held.child("a").unwrap().child("b").unwrap().child_if_there("d").unwrap().is_none());
        assert_eq!(held.new_child("n-").unwrap().path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_no_file_is_refused_by_its_kind() {
        let (dir, held) = held();
        symlink("nowhere", dir.path().join("link")).unwrap();
        symlink(dir.path(), dir.path().join("way")).unwrap();
        symlink("/dev/zero", dir.path().join("zero")).unwrap();
        mkfifoat(&held, "pipe", Mode::RWXU).unwrap();
        fs::create_dir(dir.path().join("dir")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        for (name, kind) in [
            ("link", "a link"),
            ("zero", "a link"),
            ("way", "a link"),
            ("pipe", "a pipe"),
            ("dir", "a directory"),
            ("socket", "a socket"),
        ] {
            let said = [
                held.read(name, 9).unwrap_err(),
                held.try_lock(name).unwrap_err(),
                held.private_file(name).map_err(|error| held.failed("open", name, error)).unwrap_err(),
            ];
            for failure in said {
                assert!(failure.to_string().contains(&format!("it is {kind}")), "{failure}");
                assert!(!failure.is_temporary(), "{failure}");
            }
        }
        for name in ["link", "way", "pipe"] {
            assert!(held.child(name).is_err(), "{name}");
        }
        assert!(!dir.path().join("nowhere").exists());
    }

    /// As root: what belongs to a third one is not believed, and what root makes belongs to the directory's owner.
    #[test]
    fn owners_and_groups() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (dir, _) = held();
        let path = dir.path().join("f");
        let at = |mode, owner: u32, group: u32| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            chown(dir.path(), Some(owner), Some(group)).unwrap();
            let held = Dir::open(dir.path()).unwrap();
            held.remove("f").unwrap();
            fs::write(&path, "x").unwrap();
            held
        };
        for (mode, owner, file, believed) in
            [(0o755, 0, 0, true), (0o755, 7, 7, true), (0o755, 7, 0, true), (0o755, 7, 8, false), (0o1777, 0, 8, false)]
        {
            let held = at(mode, owner, 5);
            chown(&path, Some(file), Some(9)).unwrap();
            assert_eq!(held.read("f", 1).is_ok(), believed, "{mode:o} {owner} {file}");
            assert_eq!(held.try_lock("f").is_ok(), believed, "{mode:o} {owner} {file}");
        }
        // A file of root that the owner has moved here: it may hold what he must not read.
        let held = at(0o755, 7, 5);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        drop(held.try_lock("f").unwrap());
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o640), "only what holds nothing is given away");
        // Members of a group share a directory.
        let held = at(0o2775, 7, 5);
        chown(&path, Some(8), Some(5)).unwrap();
        assert!(held.read("f", 1).is_ok());
        // Another name of a file of root in a directory of somebody else.
        let held = at(0o755, 7, 5);
        chown(&path, Some(0), Some(0)).unwrap();
        fs::hard_link(&path, dir.path().join("g")).unwrap();
        assert!(held.read("g", 1).unwrap_err().to_string().contains("another name of a file of user 0"));
        held.replace("f", b"y").unwrap();
        held.switch_link("l", Path::new("f")).unwrap();
        drop(held.try_lock("lock").unwrap().unwrap());
        held.child("d").unwrap().replace("f", b"z").unwrap();
        for name in ["f", "l", "lock", "d", "d/f"] {
            assert_eq!(fs::symlink_metadata(dir.path().join(name)).unwrap().uid(), 7, "{name}");
        }
        assert_eq!(fs::metadata(dir.path().join("lock")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_lock_that_others_could_read_is_closed() {
        let (dir, held) = held();
        fs::write(dir.path().join("lock"), "").unwrap();
        fs::set_permissions(dir.path().join("lock"), fs::Permissions::from_mode(0o644)).unwrap();
        drop(held.try_lock("lock").unwrap().unwrap());
        assert_eq!(fs::metadata(dir.path().join("lock")).unwrap().mode() & 0o777, 0o600);
    }
}
