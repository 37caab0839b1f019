//! What a name in a directory represents, and who may read it.

use rustix::fs::{FileType, Gid, Mode, Stat, Uid, fchmod, fchown, fstat};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a name represents; a link represents itself.
#[derive(Clone, Copy, Debug)]
pub struct Entry(pub(crate) Stat);

impl Entry {
    /// Of an open file.
    ///
    /// # Errors
    /// The kernel can't tell.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self(fstat(file)?))
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.0.st_mode)
    }

    /// A regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind().is_file()
    }

    /// A directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind().is_dir()
    }

    /// A symbolic link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.kind().is_symlink()
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }

    /// Whether it belongs to this user.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.0.st_uid == rustix::process::geteuid().as_raw()
    }

    /// Number of the file in its file system.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.0.st_ino
    }

    /// Seconds and nanoseconds of the last change, since 1970.
    #[must_use]
    pub fn changed(&self) -> (i64, u64) {
        (self.0.st_mtime, self.0.st_mtime_nsec)
    }

    /// The time of the last change; 1970 for what is earlier, or later than this machine can say.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.changed();
        let since = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }

    /// Gives a file the owner and the mode of another one; without one, everybody may read it.
    pub(crate) fn copy_access(like: Option<Self>, file: &File) -> io::Result<()> {
        let made = fstat(file)?;
        let mode = match like {
            Some(Self(like)) => {
                if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid) {
                    fchown(file, Some(Uid::from_raw(like.st_uid)), Some(Gid::from_raw(like.st_gid)))?;
                }
                like.st_mode & 0o7777
            }
            None => 0o644,
        };
        // Last: a change of owner takes bits of the mode away.
        Ok(fchmod(file, Mode::from_raw_mode(mode))?)
    }

    pub(crate) fn expect_file(&self) -> io::Result<()> {
        let what = match self.kind() {
            FileType::RegularFile => return Ok(()),
            FileType::Directory => "a directory",
            FileType::Symlink => "a link, which is not followed",
            FileType::Fifo => "a pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, and no file")))
    }
}
