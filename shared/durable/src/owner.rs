//! Whom a directory belongs to: that decides whose files in it are believed, and who gets the ones that are made there.

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid, chownat, fchmod, fchown, fstat};
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

/// Owner, group and mode of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
    mode: u32,
    also: Option<u32>,
}

impl Owner {
    pub(crate) fn of(dir: impl AsFd) -> io::Result<Self> {
        let stat = fstat(dir)?;
        Ok(Self { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode, also: None })
    }

    /// The same; files of this user are believed, too.
    pub(crate) fn trusting(self, uid: u32) -> Self {
        Self { also: Some(uid), ..self }
    }

    /// Its group writes it, and nobody else but its owner.
    fn is_of_a_group(self) -> bool {
        self.mode & 0o022 == 0o020
    }

    /// Of a file that nobody can open who may not write the directory.
    pub(crate) fn private(self) -> Mode {
        Mode::from_raw_mode(if self.is_of_a_group() { 0o660 } else { 0o600 })
    }

    /// What is there belongs to somebody who may write the directory by its owner's will, to this user or to root.
    ///
    /// # Errors
    /// It does not: whoever made it could make the tools do what he can't.
    pub(crate) fn accepts(self, found: &Stat) -> io::Result<()> {
        if found.st_uid == self.uid || self.also == Some(found.st_uid) {
            return Ok(());
        }
        let refused = |why: String| Err(io::Error::new(ErrorKind::PermissionDenied, why));
        // Some kernels let anybody give a file of root a second name.
        if found.st_uid == 0 && found.st_nlink > 1 && !FileType::from_raw_mode(found.st_mode).is_dir() {
            return refused("it is another name of a file of user 0".to_owned());
        }
        // Where a group writes, whoever put it there is of the group.
        if self.is_of_a_group() || found.st_uid == 0 || Uid::from_raw(found.st_uid) == geteuid() {
            return Ok(());
        }
        refused(format!("it belongs to user {}, and its directory to user {}", found.st_uid, self.uid))
    }

    /// Owner and group of what root makes here for somebody else.
    pub(crate) fn heir(self) -> Option<(u32, u32)> {
        (geteuid().is_root() && self.uid != 0).then_some((self.uid, self.gid))
    }

    /// Gives what was made in the directory to whom it belongs: root works for the owner, and a group shares its files.
    pub(crate) fn gets(self, made: impl AsFd) {
        let heir = self.heir();
        if heir.is_some() || self.is_of_a_group() {
            // Where it can't be given, it stays root's, and is believed as well.
            let _ = fchown(made, heir.map(|(uid, _)| Uid::from_raw(uid)), Some(Gid::from_raw(self.gid)));
        }
    }

    /// Lets the group do `what` with something that was made in a directory that it writes, whatever the umask said.
    pub(crate) fn shares(self, made: impl AsFd, what: Mode) -> io::Result<()> {
        if self.is_of_a_group() {
            let mode = Mode::from_raw_mode(fstat(&made)?.st_mode & 0o7777);
            fchmod(made, mode | what)?;
        }
        Ok(())
    }

    /// Whether it belongs neither to this user nor is this root, who may do everything.
    pub(crate) fn is_anothers(self) -> bool {
        self.uid != geteuid().as_raw() && !geteuid().is_root()
    }

    /// What to do about a directory of another user.
    pub(crate) fn whose(self) -> String {
        format!("its directory belongs to user {}; run this as that user, or as root", self.uid)
    }

    /// Whether it is as after [`Self::gets`].
    pub(crate) fn has(self, made: &Stat) -> bool {
        self.heir().is_none_or(|(uid, _)| uid == made.st_uid) && (!self.is_of_a_group() || made.st_gid == self.gid)
    }

    /// The same for a link.
    pub(crate) fn gets_link(self, dir: impl AsFd, name: &OsStr) {
        if let Some((uid, gid)) = self.heir() {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            let _ = chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        }
    }

    /// What helps a user who may not do something in the directory of another one.
    pub(crate) fn explain(self, error: io::Error) -> io::Error {
        let may_not = self.is_anothers() && !self.is_of_a_group();
        // One of the kernel, not one of those above.
        if !may_not || error.kind() != ErrorKind::PermissionDenied || error.raw_os_error().is_none() {
            return error;
        }
        io::Error::new(ErrorKind::PermissionDenied, format!("{error}: {}", self.whose()))
    }
}
