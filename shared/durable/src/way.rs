//! The way to what a path names: step by step, since not each link on it is of somebody whom it should be followed for.

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows in one path.
const MOST_LINKS: u32 = 40;
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Which links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// All, but for those that somebody else than this user, root and the directory's owner made where everybody writes. The
    /// kernel may do the same in directories such as `/tmp`, or not: `fs.protected_symlinks`.
    ByPlace,
    /// Those of root, and others to what belongs to their owner.
    ByTarget,
}

/// What a path names, held and not opened: what was looked at is what further steps begin from.
#[derive(Debug)]
pub struct Way {
    /// Its path, without links; relative where it was.
    pub path: PathBuf,
    /// What is there.
    pub end: OwnedFd,
    /// The directory that it was found in, and its name there; `None` for one that is reached by `/`, `.` or `..`.
    pub above: Option<(OwnedFd, OsString)>,
}

enum Step {
    Root,
    Up,
    Into(OsString),
    /// A link of this user ends here.
    Arrive(u32),
}

impl Way {
    /// Goes along `path`.
    ///
    /// # Errors
    /// Nothing is there, a directory can't be entered, or a link is not followed.
    pub fn along(path: &Path, links: Links) -> io::Result<Self> {
        let root = || openat(CWD, "/", STEP, Mode::empty());
        let mut way = if path.is_absolute() {
            Self { path: "/".into(), end: root()?, above: None }
        } else {
            Self { path: PathBuf::new(), end: openat(CWD, ".", STEP, Mode::empty())?, above: None }
        };
        let mut ahead = steps(path);
        let mut followed = 0;
        while let Some(step) = ahead.pop() {
            match step {
                Step::Root => way = Self { path: "/".into(), end: root()?, above: None },
                Step::Up => way.up()?,
                Step::Arrive(owner) => way.arrive(owner)?,
                Step::Into(name) => {
                    let next = openat(&way.end, &name, STEP, Mode::empty())?;
                    let found = fstat(&next)?;
                    if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
                        way.path.push(&name);
                        way.above = Some((std::mem::replace(&mut way.end, next), name));
                        continue;
                    }
                    followed += 1;
                    if followed > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    match links {
                        Links::ByPlace => way.expect_trusted(&name, &found)?,
                        Links::ByTarget => ahead.push(Step::Arrive(found.st_uid)),
                    }
                    let target = OsString::from_vec(readlinkat(&next, "", Vec::new())?.into_bytes());
                    ahead.extend(steps(Path::new(&target)));
                }
            }
        }
        Ok(way)
    }

    fn up(&mut self) -> io::Result<()> {
        self.end = openat(&self.end, "..", STEP, Mode::empty())?;
        self.above = None;
        match self.path.components().next_back() {
            Some(Component::Normal(_)) => drop(self.path.pop()),
            Some(Component::RootDir) => {}
            _ => self.path.push(".."),
        }
        Ok(())
    }

    fn expect_trusted(&self, name: &OsStr, link: &Stat) -> io::Result<()> {
        let dir = fstat(&self.end)?;
        if dir.st_mode & 0o002 == 0 || [geteuid().as_raw(), 0, dir.st_uid].contains(&link.st_uid) {
            return Ok(());
        }
        let (name, user) = (name.display(), link.st_uid);
        let why = format!("{name} is a link of user {user} where everybody writes: it is not followed");
        Err(io::Error::new(ErrorKind::InvalidInput, why))
    }

    fn arrive(&self, link: u32) -> io::Result<()> {
        let Stat { st_uid: owner, .. } = fstat(&self.end)?;
        if link == 0 || link == owner {
            return Ok(());
        }
        let path = self.path.display();
        let why = format!("a link of user {link} to {path}, which belongs to user {owner}, is not followed");
        Err(io::Error::new(ErrorKind::PermissionDenied, why))
    }
}

/// The steps along `path`, the last one first.
fn steps(path: &Path) -> Vec<Step> {
    let steps = path.components().rev().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};

    fn number(path: &Path) -> io::Result<u64> {
        let way = Way::along(path, Links::ByPlace)?;
        // Both of what it says lead there.
        if let Some((dir, name)) = &way.above {
            assert_eq!(fstat(openat(dir, name, STEP, Mode::empty())?)?.st_ino, fstat(&way.end)?.st_ino);
        }
        assert_eq!(fs::metadata(Path::new(".").join(&way.path))?.ino(), fstat(&way.end)?.st_ino);
        Ok(fstat(&way.end)?.st_ino)
    }

    #[test]
    fn it_arrives_where_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        for (link, target) in [("l", "a"), ("m", "l/b/.."), ("a/up", "../m/b"), ("a/abs", at("l").to_str().unwrap())] {
            symlink(target, at(link)).unwrap();
        }
        for way in [".", "a/b", "l/b", "m", "m/up/..", "a/abs/up", "./a//b/", "l/abs/abs/b/../up"] {
            assert_eq!(number(&at(way)).unwrap(), fs::metadata(at(way)).unwrap().ino(), "{way}");
        }
        for way in ["c", "a/b/c", "l/c"] {
            assert_eq!(number(&at(way)).unwrap_err().kind(), ErrorKind::NotFound, "{way}");
        }
        symlink("round", at("round")).unwrap();
        assert_eq!(number(&at("round")).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert_eq!(number(Path::new("/")).unwrap(), fs::metadata("/").unwrap().ino());
        for relative in ["", ".", "..", "../..", "src/../..", "src/.."] {
            let there = fs::metadata(Path::new(".").join(relative)).unwrap();
            assert_eq!(number(Path::new(relative)).unwrap(), there.ino(), "{relative}");
        }
    }

    #[test]
    fn another_users_link_counts_only_where_not_everybody_writes() {
        if !geteuid().is_root() {
            eprintln!("only root can give a link away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("open/link"));
        fs::create_dir_all(&target).unwrap();
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&target, &link).unwrap();
        for (mode, owner, link_owner, counts) in [
            (0o1777, 0, 4001, false),
            (0o777, 0, 4001, false),
            (0o755, 0, 4001, true),
            (0o775, 0, 4001, true),
            (0o1777, 4001, 4001, true),
            (0o1777, 4002, 0, true),
        ] {
            let open = link.parent().unwrap();
            fs::set_permissions(open, Permissions::from_mode(mode)).unwrap();
            lchown(open, Some(owner), None).unwrap();
            lchown(&link, Some(link_owner), None).unwrap();
            let found = number(&link);
            assert_eq!(found.is_ok(), counts, "{mode:o} {owner} {link_owner}: {found:?}");
        }
    }
}
