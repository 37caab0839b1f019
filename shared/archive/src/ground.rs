//! Where the members of an archive go: into a directory, or nowhere, when only the rules are asked.

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt, Permissions};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, chownat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Most bytes of a file that [`Paper`] keeps: one more than any release record has.
const MOST_KEPT: usize = 64 * 1024 + 1;

/// A tree under construction. Every call answers as Linux does: a missing parent is `NotFound`, one that is no directory
/// is `NotADirectory`, a name that is taken is `AlreadyExists`.
pub(crate) trait Ground {
    /// A file that is being written.
    type File: Write;

    fn make_dir(&mut self, name: &[u8]) -> io::Result<()>;

    fn is_dir(&self, name: &[u8]) -> bool;

    fn is_file(&self, name: &[u8]) -> bool;

    fn make_file(&mut self, name: &[u8]) -> io::Result<Self::File>;

    /// Ends a file. `mtime` is in seconds since 1970.
    fn end_file(&mut self, file: Self::File, mode: u32, mtime: i64) -> io::Result<()>;

    fn hard_link(&mut self, target: &[u8], name: &[u8]) -> io::Result<()>;

    fn symlink(&mut self, target: &[u8], name: &[u8]) -> io::Result<()>;

    fn set_dir_mode(&mut self, name: &[u8], mode: u32) -> io::Result<()>;
}

/// A directory; the kernel resolves every path beneath it.
pub(crate) struct Disk {
    dir: Dir,
    heir: Option<(Uid, Gid)>,
}

impl Disk {
    /// Whatever is made belongs to `heir`, owner and group; nobody else may be able to enter the directory meanwhile.
    pub(crate) fn new(dir: BorrowedFd<'_>, heir: Option<(u32, u32)>) -> io::Result<Self> {
        let dir = Dir::from_std_file(dir.try_clone_to_owned()?.into());
        Ok(Self { dir, heir: heir.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))) })
    }

    /// Where it can't be given, as in a container without that capability, it stays root's.
    fn give(&self, name: &[u8]) {
        if let Some((uid, gid)) = self.heir {
            let _ = chownat(&self.dir, path(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        }
    }
}

impl Ground for Disk {
    type File = File;

    fn make_dir(&mut self, name: &[u8]) -> io::Result<()> {
        self.dir.create_dir(path(name))?;
        self.give(name);
        Ok(())
    }

    fn is_dir(&self, name: &[u8]) -> bool {
        self.dir.symlink_metadata(path(name)).is_ok_and(|meta| meta.is_dir())
    }

    fn is_file(&self, name: &[u8]) -> bool {
        self.dir.symlink_metadata(path(name)).is_ok_and(|meta| meta.is_file())
    }

    fn make_file(&mut self, name: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        self.dir.open_with(path(name), &options)
    }

    fn end_file(&mut self, file: File, mode: u32, mtime: i64) -> io::Result<()> {
        if let Some((uid, gid)) = self.heir {
            let _ = rustix::fs::fchown(&file, Some(uid), Some(gid));
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        let mtime = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let atime = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        Ok(rustix::fs::futimens(&file, &Timestamps { last_access: atime, last_modification: mtime })?)
    }

    fn hard_link(&mut self, target: &[u8], name: &[u8]) -> io::Result<()> {
        self.dir.hard_link(path(target), &self.dir, path(name))
    }

    fn symlink(&mut self, target: &[u8], name: &[u8]) -> io::Result<()> {
        self.dir.symlink_contents(path(target), path(name))?;
        self.give(name);
        Ok(())
    }

    fn set_dir_mode(&mut self, name: &[u8], mode: u32) -> io::Result<()> {
        self.dir.set_permissions(path(name), Permissions::from_std(PermissionsExt::from_mode(mode)))
    }
}

/// No directory at all: only what stands under which name is known, and the content of one file.
///
/// A name is kept as two hashes under keys of this run, 16 bytes however long it is: a million of them fit into some
/// 50 MB, and nobody can choose two names that meet.
pub(crate) struct Paper {
    keys: [RandomState; 2],
    members: HashMap<[u64; 2], Stands>,
    wanted: &'static [u8],
    content: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Directory,
    File,
    Link,
}

impl Paper {
    /// Nothing yet. The content of the file `wanted` will be kept, as far as a release record goes.
    pub(crate) fn new(wanted: &'static [u8]) -> Self {
        let keys = [RandomState::new(), RandomState::new()];
        Self { keys, members: HashMap::new(), wanted, content: None }
    }

    /// The content of the file that was wanted, if there was one.
    pub(crate) fn into_content(self) -> Option<Vec<u8>> {
        self.content
    }

    fn key(&self, name: &[u8]) -> [u64; 2] {
        [self.keys[0].hash_one(name), self.keys[1].hash_one(name)]
    }

    fn at(&self, name: &[u8]) -> Option<Stands> {
        self.members.get(&self.key(name)).copied()
    }

    fn make(&mut self, name: &[u8], what: Stands) -> io::Result<()> {
        match parent(name).map(|parent| self.at(parent)) {
            None | Some(Some(Stands::Directory)) => {}
            Some(None) => return Err(ErrorKind::NotFound.into()),
            Some(Some(Stands::File | Stands::Link)) => return Err(ErrorKind::NotADirectory.into()),
        }
        if self.at(name).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.members.insert(self.key(name), what);
        Ok(())
    }
}

impl Ground for Paper {
    type File = Sheet;

    fn make_dir(&mut self, name: &[u8]) -> io::Result<()> {
        self.make(name, Stands::Directory)
    }

    fn is_dir(&self, name: &[u8]) -> bool {
        self.at(name) == Some(Stands::Directory)
    }

    fn is_file(&self, name: &[u8]) -> bool {
        self.at(name) == Some(Stands::File)
    }

    fn make_file(&mut self, name: &[u8]) -> io::Result<Sheet> {
        self.make(name, Stands::File)?;
        Ok(if name == self.wanted { Sheet::Kept(Vec::new()) } else { Sheet::Blank })
    }

    fn end_file(&mut self, file: Sheet, _mode: u32, _mtime: i64) -> io::Result<()> {
        if let Sheet::Kept(content) = file {
            self.content = Some(content);
        }
        Ok(())
    }

    fn hard_link(&mut self, _target: &[u8], name: &[u8]) -> io::Result<()> {
        self.make(name, Stands::File)
    }

    fn symlink(&mut self, _target: &[u8], name: &[u8]) -> io::Result<()> {
        self.make(name, Stands::Link)
    }

    fn set_dir_mode(&mut self, _name: &[u8], _mode: u32) -> io::Result<()> {
        Ok(())
    }
}

/// A file of [`Paper`].
pub(crate) enum Sheet {
    /// Nobody asks for its content.
    Blank,
    /// The beginning of it.
    Kept(Vec<u8>),
}

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Self::Kept(content) = self {
            let room = MOST_KEPT.saturating_sub(content.len());
            content.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The directory that a name is in; `None` at the root of the tree.
pub(crate) fn parent(name: &[u8]) -> Option<&[u8]> {
    name.iter().rposition(|&byte| byte == b'/').map(|slash| &name[..slash])
}

fn path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}
