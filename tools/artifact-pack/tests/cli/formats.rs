//! What is packed comes out again: with GNU tar and with bsdtar, exactly.

use crate::harness::{Harness, ONE_REQUEST, contents, members, packed, sparse, tool, tree, wait_for_upload, write};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use testkit::{NullSink, Tool, figure, wait_until};

/// Extracts an archive with both tools and compares with what was packed.
#[track_caller]
fn both_extract(harness: &Harness, tree: &Path, file: &str) {
    let archive = harness.object(file).expect("the archive is there");
    let release = format!("file false {}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(release_lines(harness))));
    let mut wanted = contents(tree);
    wanted.insert(b"RELEASE".to_vec(), release);
    let at = write(harness.dir.path(), format!("copy-{file}"), &archive);
    for program in ["tar", "bsdtar"] {
        let found = Tool::new("sh").args(["-c", "command -v \"$0\"", program]).run();
        assert!(found.code == Some(0), "{program} is needed (bsdtar: Debian package libarchive-tools)");
        let into = tempfile::tempdir().unwrap();
        let _run = Tool::new(program).arg("-xf").arg(&at).arg("-C").arg(into.path()).run().succeeds().stderr_is_empty();
        let got = contents(into.path());
        let names = |map: &std::collections::BTreeMap<Vec<u8>, String>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&got), names(&wanted), "{program} {file}");
        assert!(got == wanted, "{program} {file}");
        let listed = Tool::new(program).arg("-tf").arg(&at).run().succeeds();
        let count = listed.stdout.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(count, wanted.len(), "{program} lists them all");
        assert!(listed.stdout.starts_with(b"RELEASE\n"), "{program} lists RELEASE first");
    }
}

fn release_lines(harness: &Harness) -> String {
    harness.text("latest.txt").lines().take(5).map(|line| format!("{line}\n")).collect()
}

/// Everything a name, a link and a mode can be.
fn odd_tree() -> tempfile::TempDir {
    let dir = tree(&[
        ("plain", "text"),
        ("empty", ""),
        ("-dash", "-"),
        ("a b\tc", "white"),
        ("new\nline", "n"),
        ("back\\slash", "b"),
    ]);
    let root = dir.path();
    for length in [99, 100, 101, 200, 255] {
        write(root, "n".repeat(length), b"long name");
    }
    for depth in [2, 3, 15] {
        // Names of 256 bytes and many more, as files, directories and links.
        let deep = format!("{depth}/{}", vec!["d".repeat(120); depth].join("/"));
        write(root, &deep, format!("{depth} deep").as_bytes());
        fs::create_dir_all(root.join(format!("{}/e", deep.replace('d', "e")))).unwrap();
        symlink("x", root.join(deep.replace('d', "e")).join("l".repeat(101))).unwrap();
    }
    write(root, "ümläut/日本語", "utf-8".as_bytes());
    write(root, OsStr::from_bytes(b"latin1-\xe9/\xff\xfe"), b"no utf-8");
    write(root, "s".repeat(50) + "/" + &"t".repeat(50), b"split anywhere");
    fs::create_dir_all(root.join("hollow/inner")).unwrap();
    fs::create_dir_all(root.join("y".repeat(100))).unwrap();
    let script = write(root, "bin/run", b"#!/bin/sh\n");
    fs::set_permissions(script, Permissions::from_mode(0o6711)).unwrap();
    let group_only = write(root, "bin/not-ours", b"x");
    fs::set_permissions(group_only, Permissions::from_mode(0o677)).unwrap();
    fs::hard_link(root.join("plain"), root.join("zz-hard")).unwrap();
    for (name, target) in
        [("to-file", "plain"), ("to-dir", "bin"), ("dangling", "no/such"), ("loop", "loop"), ("up", "bin/../plain")]
    {
        symlink(target, root.join(name)).unwrap();
    }
    for length in [99, 100, 101, 1000, 4000] {
        let target = format!("{}x", "./".repeat(length / 2 - 1) + &"v".repeat(length % 2 + 1));
        assert_eq!(target.len(), length);
        symlink(&target, root.join(format!("to-{length}"))).unwrap();
    }
    symlink(OsStr::from_bytes(b"latin1-\xe9"), root.join(OsStr::from_bytes(b"link-\xe9"))).unwrap();
    dir
}

#[test]
fn everything_comes_out_again() {
    let tree = odd_tree();
    for (format, suffix) in [("none", "tar"), ("zstd", "tar.zst"), ("gzip", "tar.gz")] {
        let harness = Harness::files();
        let run = harness.pack(tree.path()).args(["--compress", format]).run().succeeds();
        let record = harness.is_published(1, &run);
        assert_eq!((record.get("FORMAT"), record.get("FILE")), (suffix, &*format!("obelix-1.{suffix}")));
        both_extract(&harness, tree.path(), record.get("FILE"));
    }
}

/// The second name of a file is a file of its own, whichever names are packed.
#[test]
fn hard_links_are_copies() {
    let tree = tree(&[("a", "same")]);
    fs::hard_link(tree.path().join("a"), tree.path().join("b")).unwrap();
    let harness = Harness::files();
    let _run = harness.pack(tree.path()).run().succeeds();
    let into = tempfile::tempdir().unwrap();
    let _out = Tool::new("tar")
        .arg("-x")
        .arg("-C")
        .arg(into.path())
        .stdin(harness.object("obelix-1.tar").unwrap())
        .run()
        .succeeds();
    fs::write(into.path().join("a"), "changed").unwrap();
    assert_eq!(fs::read(into.path().join("b")).unwrap(), b"same");
}

#[test]
fn a_tree_of_an_empty_directory() {
    let empty = tree(&[]);
    fs::create_dir(empty.path().join("d")).unwrap();
    for harness in Harness::both() {
        let run = harness.pack(empty.path()).run().succeeds();
        let record = harness.is_published(1, &run);
        assert_eq!(record.get("SIZE"), "2560");
        assert_eq!(members(&harness.object("obelix-1.tar").unwrap()), ["RELEASE", "d/"]);
    }
}

#[test]
fn thousands_of_small_files() {
    let tree = tree(&[]);
    let count = figure(5_000, 40_000);
    for number in 0..count {
        write(tree.path(), format!("{}/{}/f{number}", number % 7, number % 90), format!("{number}").as_bytes());
    }
    for format in ["none", "zstd"] {
        let harness = Harness::files();
        let run = harness.pack(tree.path()).args(["--compress", format]).run().succeeds();
        let record = harness.is_published(1, &run);
        both_extract(&harness, tree.path(), record.get("FILE"));
    }
}

/// Past the 8 GiB that the octal digits of a header can say. The archive's head tells; the rest is zeros.
#[test]
fn a_file_of_more_than_8_gib() {
    const SIZE: u64 = (8 << 30) + 12_345;
    let tree = tree(&[]);
    sparse(tree.path(), "huge", SIZE);
    let harness = Harness::files();
    let mut run = harness.pack(tree.path()).start();
    let upload = wait_for_upload(&harness, ONE_REQUEST);
    // Parts are written at the same time: the first one may come after the second.
    let head = wait_until("the first part", || {
        let mut head = vec![0; 1 << 20];
        File::open(&upload).unwrap().read_exact(&mut head).unwrap();
        if head[0] == 0 { Err("zeros".to_owned()) } else { Ok(head) }
    });
    run.kill();
    for program in ["tar", "bsdtar"] {
        let listed = Tool::new(program).arg("-tvf").arg("-").stdin(head.clone()).run();
        let listing = listed.stdout_str();
        let huge =
            listing.lines().find(|line| line.ends_with(" huge")).unwrap_or_else(|| panic!("{}", listed.report()));
        assert!(huge.contains(&format!(" {SIZE} ")), "{program}: {huge}");
    }
    if figure(false, true) {
        let sink = NullSink::start();
        sink.create_bucket("build");
        let run = tool().args(["--artifact", "obelix", "--store", "s3://build/x", "-C"]).arg(tree.path()).arg(".");
        let run = run.aws(sink.endpoint()).run().succeeds();
        let whole = SIZE.next_multiple_of(512) + 512 + 1024 + 1024;
        let _run = run.stdout_contains(&format!("\nSIZE={whole}\n"));
        assert_eq!(sink.object("build", "x/obelix-1.tar").unwrap().size, whole);
    }
}

/// Sorted by the bytes of the whole name.
#[test]
fn members_are_sorted() {
    let tree = tree(&[("a/b", "1"), ("a.b", "2"), ("a-b", "3")]);
    let harness = Harness::files();
    let _run = harness.pack(tree.path()).run().succeeds();
    assert_eq!(packed(&harness), ["a/", "a-b", "a.b", "a/b"], "sorted by bytes");
}
