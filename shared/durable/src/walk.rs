//! The way to a directory that the user named: step by step, since not each link on it is his.

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Links on one way, as many as the kernel takes.
const MOST_LINKS: u32 = 40;
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Goes to what `path` names, and gives it for further steps from there: it is not opened. A link counts where it lies in a
/// directory that not everybody writes, or belongs to this user, to root, or to that directory's owner. The kernel may do the
/// same for directories such as `/tmp`, or not: `fs.protected_symlinks`.
///
/// # Errors
/// It is not there, can't be entered, or a link of somebody else is on the way.
pub(crate) fn walk(path: &Path) -> io::Result<OwnedFd> {
    let start = |path: &Path| openat(CWD, if path.is_absolute() { "/" } else { "." }, STEP, Mode::empty());
    let mut here = start(path)?;
    let mut steps = steps(path);
    let mut links = 0;
    while let Some(name) = steps.pop_front() {
        let next = openat(&here, &name, STEP, Mode::empty())?;
        let found = fstat(&next)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            here = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        if !is_trusted(&found, &fstat(&here)?) {
            let (name, user) = (name.display(), found.st_uid);
            let why = format!("{name} is a link of user {user} where everybody writes: it is not followed");
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        let target = PathBuf::from(OsStr::from_bytes(readlinkat(&next, "", Vec::new())?.as_bytes()));
        if target.is_absolute() {
            here = start(&target)?;
        }
        self::steps(&target).into_iter().rev().for_each(|step| steps.push_front(step));
    }
    Ok(here)
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(step).collect()
}

fn is_trusted(link: &Stat, dir: &Stat) -> bool {
    dir.st_mode & 0o002 == 0 || [geteuid().as_raw(), 0, dir.st_uid].contains(&link.st_uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};

    fn number(path: &Path) -> io::Result<u64> {
        Ok(fstat(walk(path)?)?.st_ino)
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
        assert_eq!(number(Path::new("")).unwrap(), fs::metadata(".").unwrap().ino());
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
