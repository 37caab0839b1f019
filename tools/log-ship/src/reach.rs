//! Files and folders by their paths, through links only as far as those may lead who made them: who can put a link into a
//! folder of logs could otherwise have any file shipped that log-ship can read.

use durable::{Links, Way};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where `path` leads, without links.
///
/// # Errors
/// It leads nowhere, or through a link that is not followed.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    Ok(Way::along(path, Links::ByTarget)?.path)
}

/// Opens the regular file that `path` leads to; what is no regular file counts as not there.
///
/// # Errors
/// There is none, it can't be read, or a link to it is not followed.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let Way { end, above: Some((dir, name)), .. } = Way::along(path, Links::ByTarget)? else {
        return Err(ErrorKind::NotFound.into());
    };
    let found = fstat(&end)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(ErrorKind::NotFound.into());
    }
    // What has been put in its place meanwhile is neither followed nor waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(&dir, &name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(ErrorKind::NotFound.into()),
        other => other?,
    };
    let opened = fstat(&file)?;
    if (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino) {
        Ok(File::from(file))
    } else {
        Err(ErrorKind::NotFound.into())
    }
}

/// Whether this says that nothing is there, and not that it can't be looked at.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn links_lead_where_the_kernel_says() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "x").unwrap();
        symlink("b/../b", dir.join("a/inner")).unwrap();
        symlink(dir.join("a/inner"), dir.join("outer")).unwrap();
        symlink("outer/file", dir.join("file")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        for path in ["file", "outer/file", "a/../outer/./file", "a/b/file"] {
            let path = dir.join(path);
            assert_eq!(resolve(&path).unwrap(), path.canonicalize().unwrap());
            assert!(open(&path).is_ok(), "{path:?}");
        }
        assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
        assert_eq!(resolve(&dir.join("loop")).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        for none in ["none", "file/x", "outer"] {
            assert!(open(&dir.join(none)).is_err(), "{none}");
        }
        rustix::fs::mknodat(CWD, dir.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(open(&dir.join("pipe")).unwrap_err().kind(), ErrorKind::NotFound, "and nobody waits");
    }

    /// Links can be given away by root alone.
    #[test]
    fn a_link_leads_to_what_its_owner_has() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let own = |path: &str, owner| lchown(dir.join(path), Some(owner), None).unwrap();
        for folder in ["root", "mine"] {
            fs::create_dir(dir.join(folder)).unwrap();
            fs::write(dir.join(folder).join("file"), "x").unwrap();
        }
        own("mine", 1000);
        own("mine/file", 1000);
        for (link, target) in [("by-root", "mine"), ("to-root", "root"), ("to-mine", "mine"), ("chain", "to-root")] {
            symlink(target, dir.join(link)).unwrap();
        }
        symlink("../root/file", dir.join("mine/link")).unwrap();
        for link in ["to-root", "to-mine", "mine/link"] {
            own(link, 1000);
        }
        for path in ["by-root/file", "to-mine/file", "mine/file", "root/file"] {
            assert!(open(&dir.join(path)).is_ok(), "{path}");
        }
        for path in ["to-root/file", "mine/link", "by-root/link", "to-mine/link", "chain/file", "to-root/../root/file"]
        {
            assert!(open(&dir.join(path)).unwrap_err().to_string().ends_with("is not followed"), "{path}");
            assert!(resolve(&dir.join(path)).is_err(), "{path}");
        }
    }
}
