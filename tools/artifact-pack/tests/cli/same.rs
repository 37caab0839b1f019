//! The same commit gives the same bytes, wherever and by whomever it is packed.

use crate::harness::{Harness, is_root, packed, tree, write};
use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use testkit::Tool;

/// When the commit of these tests was made, in seconds since 1970.
const COMMITTED: u64 = 1_453_548_002;

fn git(dir: &Path) -> Tool {
    let who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"];
    let date = format!("{COMMITTED} +0000");
    let git = Tool::new("git").arg("-C").arg(dir).args(who);
    git.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", date)
}

/// A repository with a commit of a bit of everything; its HEAD.
fn repository() -> (TempDir, String) {
    let dir = tree(&[("code/app.py", "print()\n"), ("code/lib/a.py", ""), ("docs/ä.md", "text"), ("README", "read")]);
    let script = write(dir.path(), "bin/run", b"#!/bin/sh\n");
    fs::set_permissions(script, Permissions::from_mode(0o755)).unwrap();
    symlink("../code/app.py", dir.path().join("bin/app")).unwrap();
    let _init = git(dir.path()).args(["init", "-q"]).run().succeeds();
    let _add = git(dir.path()).args(["add", "-A"]).run().succeeds();
    let _commit = git(dir.path()).args(["commit", "-q", "-m", "all"]).run().succeeds();
    let head = git(dir.path()).args(["rev-parse", "HEAD"]).run().succeeds();
    (dir, head.stdout_str().trim().to_owned())
}

/// Copies a tree file by file in reverse order, with other times and owners: a directory lists what it holds in the order
/// it was made on some file systems.
fn copy_backwards(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut entries: Vec<PathBuf> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries.into_iter().rev() {
        let target = to.join(path.file_name().unwrap());
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_symlink() {
            symlink(fs::read_link(&path).unwrap(), &target).unwrap();
        } else if meta.is_dir() {
            copy_backwards(&path, &target);
            fs::set_permissions(&target, Permissions::from_mode(0o2775)).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
            let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(77));
            File::options().write(true).open(&target).unwrap().set_times(times).unwrap();
            let mode = if meta.permissions().mode() & 0o100 != 0 { 0o777 } else { 0o666 };
            fs::set_permissions(&target, Permissions::from_mode(mode)).unwrap();
        }
        if is_root() {
            let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
            chownat(CWD, &target, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }
}

#[test]
fn two_clones_of_one_commit() {
    let (origin, head) = repository();
    let (here, shm) = (tempfile::tempdir().unwrap(), Path::new("/dev/shm"));
    // Another file system, if there is one to write to.
    let there = tempfile::tempdir_in(shm).unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let clone = "umask 002; git clone -q \"$0\" \"$1\"";
    let first = here.path().join("first");
    let _cloned = Tool::new("sh").args(["-c", clone]).arg(origin.path()).arg(&first).run().succeeds();
    let second = there.path().join("some").join("where/else");
    copy_backwards(&first, &second);

    for format in ["none", "gzip", "zstd"] {
        let (one, two) = (Harness::s3(), Harness::files());
        let packing = |tool: Tool| {
            // What git would refuse to read, since the other clone is another user's.
            let safe = [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")];
            let tool = safe.into_iter().fold(tool, |tool, (name, value)| tool.env(name, value));
            tool.args(["--compress", format, "--build", "7"]).run().succeeds().stderr_contains("numbers start at 1")
        };
        let run = packing(one.pack(&first));
        let record = one.is_published(1, &run);
        assert_eq!(record.get("GIT_COMMIT"), head);
        assert_eq!(record.get("TIMESTAMP"), "Sat Jan 23 11:20:02 UTC 2016");
        let other = packing(two.pack(&second));
        two.is_published(1, &other);
        assert_eq!(one.object(record.get("FILE")), two.object(record.get("FILE")), "{format}");
        assert_eq!(run.stdout_str(), other.stdout_str());
    }
}

#[test]
fn other_words_for_the_same_paths() {
    let (origin, _) = repository();
    let ways: [&[&str]; 4] = [
        &["./"],
        &["bin", "README", "code", "docs"],
        &["code/lib/a.py", "./code//lib", ".", "code", "bin/app"],
        &["./."],
    ];
    let pack = |paths: &[&str]| {
        let harness = Harness::files();
        let run = harness.tool().arg("-C").arg(origin.path()).args(paths).run().succeeds();
        let record = harness.is_published(1, &run);
        harness.object(record.get("FILE")).unwrap()
    };
    let whole = pack(&["."]);
    for paths in ways {
        assert!(pack(paths) == whole, "{paths:?}");
    }
    // From within, and through a link to it.
    let harness = Harness::files();
    let _run = harness.tool().cwd(origin.path()).arg(".").run().succeeds();
    assert!(harness.object("obelix-1.tar").unwrap() == whole);
    let link = tempfile::tempdir().unwrap();
    symlink(origin.path(), link.path().join("workspace")).unwrap();
    let harness = Harness::files();
    let _run = harness.pack(&link.path().join("workspace")).run().succeeds();
    assert!(harness.object("obelix-1.tar").unwrap() == whole);
}

#[test]
fn what_git_tracks() {
    let (origin, _) = repository();
    write(origin.path(), "code/app.pyc", b"not tracked");
    let tracked = git(origin.path()).args(["ls-files", "-z"]).run().succeeds().stdout;
    let listed: Vec<String> =
        String::from_utf8(tracked.clone()).unwrap().split_terminator('\0').map(str::to_owned).collect();
    let harness = Harness::s3();
    let run =
        harness.tool().arg("-C").arg(origin.path()).args(["--files-from", "-", "-0"]).stdin(tracked).run().succeeds();
    let record = harness.is_published(1, &run);
    assert_eq!(packed(&harness), listed);

    // The same list by lines from a file, shuffled and with an empty line.
    let lines = listed.iter().rev().map(|name| format!("./{name}\n\n")).collect::<String>();
    let list = write(harness.dir.path(), "list", lines.as_bytes());
    let other = Harness::s3();
    let run = other.tool().arg("-C").arg(origin.path()).arg("--files-from").arg(list).run().succeeds();
    let same = other.is_published(1, &run);
    assert_eq!(record, same);
}

/// What its owner keeps from others stays so in every release; what others may read, they may.
#[test]
fn modes_of_members() {
    let modes = [
        (0o600, "-rw-------"),
        (0o400, "-rw-------"),
        (0o640, "-rw-r-----"),
        (0o604, "-rw----r--"),
        (0o644, "-rw-r--r--"),
        (0o444, "-rw-r--r--"),
        (0o666, "-rw-r--r--"),
        (0o700, "-rwx------"),
        (0o750, "-rwxr-x---"),
        (0o755, "-rwxr-xr-x"),
        (0o777, "-rwxr-xr-x"),
        (0o2711, "-rwx--x--x"),
    ];
    let dir = tree(&[]);
    for (mode, _) in modes {
        let path = write(dir.path(), format!("d{mode:o}/f"), b"x");
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(mode | 0o700)).unwrap();
    }
    let harness = Harness::files();
    let _run = harness.pack(dir.path()).run().succeeds();
    let archive = harness.object("obelix-1.tar").unwrap();
    let listed = Tool::new("tar").arg("-tv").stdin(archive).run().succeeds();
    let shown = |name: &str| {
        let line = listed.stdout_str().lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
        line.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(shown("RELEASE"), "-rw-r--r--");
    for (mode, expected) in modes {
        assert_eq!(shown(&format!("d{mode:o}/f")), expected, "{mode:o}");
        let others = |text: &str| text[4..].replace(['r', 'w', 'x'], "+");
        let of_dir = shown(&format!("d{mode:o}/"));
        assert!(of_dir.starts_with("drwx") && others(&of_dir) == others(expected), "{mode:o}: {of_dir}");
    }
}

/// The time of every member: a second of the release's own, in the span of SOURCE_DATE_EPOCH, else the commit's time, else
/// now.
#[test]
fn times_of_members() {
    let (origin, head) = repository();
    let plain = tree(&[("a", "a")]);
    let time = |tool: Tool, harness: &Harness| {
        let _run = tool.run().succeeds();
        let archive = harness.object("obelix-1.tar").unwrap();
        let listed =
            Tool::new("tar").args(["-tv", "--full-time", "--utc", "--numeric-owner"]).stdin(archive).run().succeeds();
        let mut lines = listed.stdout_str().lines().map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(fields[1], "0/0", "{line}");
            format!("{} {}", fields[3], fields[4])
        });
        let first = lines.next().unwrap();
        assert!(lines.all(|other| other == first));
        first
    };
    let harness = Harness::files();
    assert_eq!(time(harness.pack(origin.path()), &harness), "2016-01-23 04:22:25");
    let _second = harness.pack(origin.path()).run().succeeds();
    let archive = harness.object("obelix-2.tar").unwrap();
    let listed = Tool::new("tar").args(["-tv", "--full-time", "--utc"]).stdin(archive).run().succeeds();
    assert!(listed.stdout_str().lines().all(|line| line.contains(" 2016-01-23 04:22:26 ")), "{}", listed.report());
    let harness = Harness::files();
    let given = harness.pack(origin.path()).env("SOURCE_DATE_EPOCH", "1000000000");
    assert_eq!(time(given, &harness), "2001-09-08 11:24:49");
    assert!(harness.text("latest.txt").contains("\nTIMESTAMP=Sun Sep  9 01:46:40 UTC 2001\n"));
    let harness = Harness::files();
    let span = || Timestamp::now().as_second() / 65_536;
    let (before, found) = (span(), time(harness.pack(plain.path()), &harness));
    let found: Timestamp = format!("{}Z", found.replace(' ', "T")).parse().unwrap();
    assert!((before..=span()).contains(&(found.as_second() / 65_536)) && found.as_second() % 65_536 == 1, "{found}");
    let harness = Harness::files();
    let empty = harness.pack(origin.path()).env("SOURCE_DATE_EPOCH", "").args(["--commit", &head[..12]]);
    assert_eq!(time(empty, &harness), "2016-01-23 04:22:25");
    for wrong in ["soon", "-1", "1.5", "99999999999"] {
        let harness = Harness::files();
        let run = harness.pack(plain.path()).env("SOURCE_DATE_EPOCH", wrong).run().fails_with(2);
        let run = run.stderr_contains("SOURCE_DATE_EPOCH");
        harness.is_as_before(&Default::default(), &run);
    }
}
