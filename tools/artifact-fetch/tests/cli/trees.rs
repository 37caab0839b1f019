//! What an unpacked tree looks like: modes, names, links, in every format.

use crate::harness::{Harness, five_lines};
use archive::Format;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use testkit::Tool;
use testkit::tars::EntryType;
use testkit::tars::{Tar, gzip, zstd};

fn tree() -> Vec<u8> {
    let name = [b"long/".repeat(60), b"name".to_vec()].concat();
    Tar::new()
        .file("RELEASE", &five_lines(2))
        .dir("./empty/")
        .member(b"run", EntryType::Regular, b"#!/bin/sh\n", |header| header.set_mode(0o755))
        .member(b"old", EntryType::Regular, b"", |header| header.set_mtime(1))
        .member(b"n\xff\xfe", EntryType::Regular, b"odd", |_| {})
        .member(b"link", EntryType::Symlink, b"", |header| {
            header.as_old_mut().linkname[..3].copy_from_slice(b"n\xff\xfe")
        })
        .symlink("dangling", "not/there")
        .hard_link("hard", "run")
        .long(EntryType::GNULongName, &name)
        .file("short", b"deep")
        .pax(&[("path", "ü/pax".as_bytes()), ("mtime", b"1.5")])
        .file("short", b"pax")
        .file("implied/by/name", b"x")
        .member(b"closed", EntryType::Directory, b"", |header| header.set_mode(0o000))
        .file("closed/inside", b"x")
        .end()
}

#[test]
fn a_tree_comes_out_as_it_was_packed_whatever_the_umask() {
    for (format, pack) in
        [(Format::Tar, <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>), (Format::TarGz, gzip), (Format::TarZst, zstd)]
    {
        for umask in ["000", "022", "077"] {
            let mut harness = Harness::new();
            harness.publish_as(2, pack(&tree()), format);
            let into = harness.root.path().join("srv/releases");
            harness.into.clone_from(&into);
            let script = format!(
                "umask {umask}; exec {} --artifact app --store file://{} --into {}",
                env!("CARGO_BIN_EXE_artifact-fetch"),
                harness.store.display(),
                into.display()
            );
            let _run = Tool::new("/bin/sh").args(["-c", &script]).run().succeeds().stderr_is_empty();
            let root = into.join("current");
            // A web server of another user gets there.
            for made in [&into, into.parent().unwrap()] {
                assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o7777, 0o755, "{}", made.display());
            }
            let mode = |name: &[u8]| {
                fs::symlink_metadata(root.join(OsStr::from_bytes(name))).unwrap().permissions().mode() & 0o7777
            };
            assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o755);
            for (name, expected) in [
                (&b"RELEASE"[..], 0o644),
                (b"run", 0o755),
                (b"n\xff\xfe", 0o644),
                (b"empty", 0o755),
                // Nobody packed it: it gets what a directory gets.
                (b"implied", 0o755),
                (b"implied/by", 0o755),
                // Its owner must be able to remove it one day.
                (b"closed", 0o700),
            ] {
                assert_eq!(mode(name), expected, "{} under umask {umask}", name.escape_ascii());
            }
            assert_eq!(fs::metadata(root.join("RELEASE")).unwrap().mtime(), 1_000_000_000);
            assert_eq!(fs::metadata(root.join("old")).unwrap().mtime(), 1);
            assert_eq!(fs::read(root.join("link")).unwrap(), b"odd");
            assert_eq!(fs::read_link(root.join("dangling")).unwrap(), OsStr::new("not/there"));
            assert_eq!(fs::metadata(root.join("hard")).unwrap().ino(), fs::metadata(root.join("run")).unwrap().ino());
            assert_eq!(fs::read(root.join("long/".repeat(60)).join("name")).unwrap(), b"deep");
            assert_eq!(fs::read(root.join("ü/pax")).unwrap(), b"pax");
            assert_eq!(fs::read_dir(root.join("empty")).unwrap().count(), 0);
            harness.assert_tidy();
        }
    }
}

#[test]
fn a_tree_has_no_owner_but_whoever_fetched_it() {
    let harness = Harness::new();
    let tar = Tar::new().member(b"x", EntryType::Regular, b"", |header| {
        header.set_uid(12_345);
        header.set_gid(12_345);
    });
    harness.publish(1, tar.end());
    let _run = harness.fetch().run().succeeds();
    let (own, made) = (fs::metadata(&harness.store).unwrap(), fs::metadata(harness.into.join("current/x")).unwrap());
    assert_eq!((made.uid(), made.gid()), (own.uid(), own.gid()));
}

/// Larger than one range and than every buffer on the way.
#[test]
fn a_large_file_comes_out_byte_for_byte() {
    let content: Vec<u8> = (0..9_000_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let harness = Harness::new();
    for (number, (format, pack)) in
        [(Format::Tar, <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>), (Format::TarGz, gzip), (Format::TarZst, zstd)]
            .into_iter()
            .enumerate()
    {
        let number = number as u64 + 1;
        harness.publish_as(number, pack(&Tar::new().file("big", &content).end()), format);
        let _run = harness.release(number).run().succeeds().stderr_is_empty();
        assert!(fs::read(harness.into.join("current/big")).unwrap() == content, "{format}");
    }
}
