//! A tree that changes while it is packed: the build fails, names the file, and publishes nothing.

use crate::harness::{Harness, ONE_REQUEST, is_root, sparse, tree, until_said, write};
use rand::RngExt;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use testkit::{Finished, KillPoint, Seed, Tool};

const VICTIM: &str = "code/victim.py";
const CONTENT: &[u8] = b"print('as it was found')\n";

type Change = fn(&Path);

fn vanish(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn grow(path: &Path) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"x").unwrap();
}

fn shrink(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
}

/// Same size, same time of writing, other bytes.
fn rewrite(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let times = FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
    file.write_all_at(b"X", 0).unwrap();
    file.set_times(times).unwrap();
}

/// Another file of the same size and time takes the name.
fn replace(path: &Path) {
    let found = fs::metadata(path).unwrap();
    let other = path.with_extension("new");
    let file = File::create(&other).unwrap();
    file.set_len(found.len()).unwrap();
    file.set_times(FileTimes::new().set_modified(found.modified().unwrap())).unwrap();
    fs::rename(other, path).unwrap();
}

fn become_link(path: &Path) {
    let other = path.with_extension("was");
    fs::rename(path, &other).unwrap();
    symlink(other.file_name().unwrap(), path).unwrap();
}

fn become_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn become_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Starts the tool, lets `change` happen after the walk and before the first file is read, and waits for the end.
fn run_with_change(harness: &Harness, tool: Tool, change: impl FnOnce() + Send + 'static) -> Finished {
    if harness.url.starts_with("s3:") {
        // The first request comes after the walk.
        let next = harness.proxy().count() + 1;
        harness.proxy().on_request(next, KillPoint::Interleave, Box::new(change));
        return tool.run();
    }
    // The first thing it does in a directory is to take the lock.
    let lock = OpenOptions::new().create(true).append(true).open(harness.dir.path().join(".lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut run = tool.arg("-v").start();
    until_said(&mut run, "members found");
    change();
    drop(lock);
    run.wait()
}

#[test]
fn between_the_walk_and_the_read() {
    let cases: [(Change, &str); 8] = [
        (vanish, "it vanished while it was packed"),
        (grow, "it grew from 25 to 26 bytes while it was packed"),
        (shrink, "it shrank from 25 to 24 bytes while it was packed"),
        (rewrite, "it was written to or replaced while it was packed"),
        (replace, "it was written to or replaced while it was packed"),
        (become_link, "it became a link while it was packed"),
        (become_directory, "it was replaced while it was packed"),
        (become_pipe, "it was replaced while it was packed"),
    ];
    for harness in Harness::both() {
        let steady = tree(&[("a", "a")]);
        let _first = harness.pack(steady.path()).run().succeeds();
        let before = harness.objects();
        for (change, words) in cases {
            let tree = tree(&[("code/aaa.py", "a")]);
            let victim = write(tree.path(), VICTIM, CONTENT);
            let run = run_with_change(&harness, harness.pack(tree.path()), move || change(&victim));
            let run = run.fails_with(75).stderr_contains(&format!("unable to pack {VICTIM}: ")).stderr_contains(words);
            assert!(run.stdout.is_empty());
            harness.is_as_before(&before, &run);
        }
        let abandoned = harness.objects().values().filter(|bytes| bytes.starts_with(b"STATE=abandoned")).count();
        assert_eq!(abandoned, cases.len(), "each failed build has used up its number");
        let _again = harness.pack(steady.path()).run().succeeds().stdout_contains("VERSION=10\n");
    }
}

/// The same in the middle of an upload of several parts, compressed or not. The file before the victim fills all buffers.
#[test]
fn in_the_middle_of_an_upload() {
    let seed = Seed::from_env_or_random("in_the_middle_of_an_upload");
    let mut noise = vec![0; 96 << 20];
    seed.rng().fill(&mut noise[..]);
    let shared = tree(&[]);
    let noise = write(shared.path(), "noise", &noise);
    let cases: [(Change, &str); 5] = [
        (vanish, "it vanished"),
        (grow, "it grew"),
        (shrink, "it shrank"),
        (rewrite, "it was written to"),
        (become_link, "it became a link"),
    ];
    for (index, (change, words)) in cases.into_iter().enumerate() {
        let harness = Harness::s3();
        let tree = tree(&[]);
        fs::hard_link(&noise, tree.path().join("aaa")).unwrap();
        let victim = write(tree.path(), VICTIM, CONTENT);
        harness.proxy().on_match(
            Box::new(|info| info.is_create()),
            KillPoint::Interleave,
            Box::new(move || change(&victim)),
        );
        let format = ["none", "zstd", "gzip"][index % 3];
        let run = harness.pack(tree.path()).args(["--compress", format]).run().fails_with(75);
        let run = run.stderr_contains(&format!("unable to pack {VICTIM}: {words}"));
        harness.is_as_before(&Default::default(), &run);
    }
}

/// The file that is being read itself: it is open, and a good deal of it is packed already.
#[test]
fn under_the_reader() {
    let cases: [(Change, &str); 4] = [
        (grow, "it grew"),
        (shrink, "it shrank"),
        (rewrite, "it was written to or replaced"),
        (replace, "it was written to or replaced"),
    ];
    for (change, words) in cases {
        let harness = Harness::s3();
        let tree = tree(&[]);
        let victim = sparse(tree.path(), "victim", 7 * ONE_REQUEST);
        harness.proxy().on_match(
            Box::new(|info| info.is_create()),
            KillPoint::Interleave,
            Box::new(move || change(&victim)),
        );
        let run =
            harness.pack(tree.path()).run().fails_with(75).stderr_contains(&format!("unable to pack victim: {words}"));
        harness.is_as_before(&Default::default(), &run);
    }
}

#[test]
fn a_file_that_may_not_be_read() {
    let harness = Harness::s3();
    let tree = tree(&[]);
    let victim = write(tree.path(), VICTIM, CONTENT);
    fs::set_permissions(tree.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(victim, Permissions::from_mode(0o000)).unwrap();
    let run = as_nobody(&harness, tree.path()).run().fails_with(1);
    let run = run.stderr_contains(&format!("unable to pack {VICTIM}: Permission denied"));
    harness.is_as_before(&Default::default(), &run);

    let dir = tree.path().join("code");
    fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
    if is_root() {
        let run = as_nobody(&harness, tree.path())
            .run()
            .fails_with(1)
            .stderr_contains("unable to pack code: Permission denied");
        harness.is_as_before(&Default::default(), &run);
    }
}

/// The tool as a user whom permissions stop.
fn as_nobody(harness: &Harness, tree: &Path) -> Tool {
    let place = ["--artifact", "obelix", "--store", &harness.url, "-C"];
    let tool = match is_root() {
        true => Tool::new("setpriv").args(["--reuid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_artifact-pack")]),
        false => crate::harness::tool(),
    };
    tool.args(place).arg(tree).arg(".").aws(harness.proxy().endpoint())
}

/// Files whose length says nothing of their content would end up empty or cut off.
#[test]
fn a_file_that_holds_more_than_its_length() {
    let harness = Harness::files();
    let run = harness.tool().args(["-C", "/proc/self", "status"]).run().fails_with(75);
    let run = run.stderr_contains("unable to pack status: it holds more bytes than its length says");
    harness.is_as_before(&Default::default(), &run);
}

/// A directory that is gone by the time its files are read is a file that vanished.
#[test]
fn a_whole_directory_vanishes_or_becomes_a_link() {
    for to_link in [false, true] {
        for harness in Harness::both() {
            let tree = tree(&[(VICTIM, "x")]);
            let dir: PathBuf = tree.path().join("code");
            let elsewhere = tempfile::tempdir().unwrap();
            write(elsewhere.path(), "victim.py", b"y");
            let target = elsewhere.path().to_owned();
            let run = run_with_change(&harness, harness.pack(tree.path()), move || {
                fs::remove_dir_all(&dir).unwrap();
                if to_link {
                    symlink(target, dir).unwrap();
                }
            });
            let run = run.fails_with(75).stderr_contains(&format!("unable to pack {VICTIM}: "));
            harness.is_as_before(&Default::default(), &run);
        }
    }
}
