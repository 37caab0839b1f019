//! Archives that nobody honest packs: refused as a whole, with one line, and nothing is changed anywhere.

use crate::harness::{Harness, five_lines, snapshot};
use archive::{Format, Limits, UnpackError};
use rand::RngExt;
use std::fs::File;
use std::os::fd::AsFd;
use testkit::hostile::{self, Hostile};
use testkit::tars::{EntryType, Tar, gzip, zstd};
use testkit::{Seed, Tool, figure};

fn start() -> Tar {
    Tar::new().file("RELEASE", &five_lines(2)).dir("d").file("d/good", b"good")
}

/// Every archive is refused with its own words; neither the target nor anything beside it changes.
fn refused(cases: Vec<Hostile>) {
    let harness = Harness::with_first();
    std::fs::write(harness.root.path().join("outside"), "untouched").unwrap();
    for case in cases {
        let format = case.format.parse().unwrap();
        is_refused(&harness, &[], format, (case.what, case.archive, case.words));
    }
}

fn refused_as(format: Format, args: &[&str], cases: Vec<(&str, Vec<u8>, &str)>) {
    let harness = Harness::with_first();
    for case in cases {
        is_refused(&harness, args, format, case);
    }
}

fn is_refused(harness: &Harness, args: &[&str], format: Format, (what, archive, words): (&str, Vec<u8>, &str)) {
    harness.publish_as(2, archive, format);
    let before = snapshot(harness.root.path());
    let run = harness.fetch().args(args).run();
    let told = format!("{what}\n{}", run.report());
    let lines = run.stderr.iter().filter(|byte| **byte == b'\n').count();
    assert!(run.code == Some(1) && lines == 1 && run.stdout.is_empty(), "{told}");
    assert!(run.stderr_str().contains(words), "expected {words:?}: {told}");
    assert!(snapshot(harness.root.path()) == before, "something changed: {told}");
    harness.assert_tidy();
}

#[test]
fn names_that_lead_elsewhere() {
    refused(hostile::names_that_lead_elsewhere(&five_lines(2)));
}

#[test]
fn links_that_lead_out() {
    refused(hostile::links_that_lead_out(&five_lines(2)));
}

#[test]
fn members_that_meet() {
    refused(hostile::members_that_meet(&five_lines(2)));
}

#[test]
fn kinds_that_no_release_has() {
    refused(hostile::kinds_that_no_release_has(&five_lines(2)));
}

#[test]
fn bytes_that_are_no_archive() {
    refused(hostile::bytes_that_are_no_archive(&five_lines(2)));
}

#[test]
fn headers_and_padding_without_end() {
    refused(hostile::headers_and_padding_without_end(&five_lines(2)));
}

#[test]
fn too_many_names() {
    refused(hostile::too_many_names(&five_lines(2)));
}

#[test]
fn odd_ones_are_taken() {
    for (what, archive) in hostile::odd(&five_lines(2)) {
        let harness = Harness::with_first();
        harness.publish(2, archive);
        let run = harness.fetch().run();
        assert!(run.code == Some(0) && run.stderr.is_empty(), "{what}\n{}", run.report());
        harness.assert_tidy();
    }
}

/// release-promote asks the rules alone, without a directory: they take and refuse what unpacking does, member by member.
#[test]
fn the_rules_without_a_directory_are_the_same() {
    const NAMES: [&str; 14] =
        ["a", "b", "a/b", "a/b/c", "b/c", "a/b/c/d", "./a//", "RELEASE", ".", "a/x", "l", "l/m", "l/m/n/o", "x/y"];
    const TARGETS: [&str; 10] = ["a", "..", "b/c", "../..", "/x", "l", "a/b", "RELEASE", "l/m", "no/../.."];
    let seed = Seed::from_env_or_random("the_rules_without_a_directory_are_the_same");
    let mut rng = seed.rng();
    let dir = tempfile::tempdir().unwrap();
    let (mut taken, mut refused) = (0, 0);
    for round in 0..figure(4_000, 40_000) {
        let mut tar = Tar::new();
        for _ in 0..rng.random_range(1..7) {
            let (name, target) = (NAMES[rng.random_range(0..14)], TARGETS[rng.random_range(0..10)]);
            tar = match rng.random_range(0..5) {
                0 => tar.dir(name),
                1 => tar.symlink(name, target),
                2 => tar.hard_link(name, target),
                _ => tar.file(name, name.as_bytes()),
            };
        }
        let bytes = tar.end();
        let limits = Limits { bytes: 1_000, members: 9 };
        let into = dir.path().join(round.to_string());
        std::fs::create_dir(&into).unwrap();
        let unpacked = archive::unpack(&bytes[..], File::open(&into).unwrap().as_fd(), None, limits);
        let inspected = archive::inspect(&bytes[..], b"RELEASE", limits);
        match (&unpacked, &inspected) {
            (Ok(()), Ok(content)) => {
                taken += 1;
                let release = into.join("RELEASE");
                let plain = release.symlink_metadata().is_ok_and(|meta| meta.is_file());
                if let (true, Some(content)) = (plain, content) {
                    assert_eq!(&std::fs::read(release).unwrap(), content);
                }
            }
            // A directory that is wanted below a file may have been counted before the file is met.
            (Err(_), Err(UnpackError::TooMuch { .. })) => refused += 1,
            (Err(one), Err(other)) if std::mem::discriminant(one) == std::mem::discriminant(other) => refused += 1,
            _ => panic!("unpacked: {unpacked:?}, inspected: {inspected:?}: {:?}", String::from_utf8_lossy(&bytes)),
        }
        std::fs::remove_dir_all(&into).unwrap();
    }
    eprintln!("{taken} were taken, {refused} refused");
    assert!(taken > 100 && refused > 100);
}

#[test]
fn bombs() {
    let zeros = vec![0; 100 << 20];
    let file = start().file("big", &zeros).end();
    let directory = start().member(b"big", EntryType::Directory, &zeros, |_| {}).end();
    let cases = |pack: fn(&[u8]) -> Vec<u8>| {
        vec![
            ("a file", pack(&file), "more than 1048576 bytes"),
            ("a directory with content", pack(&directory), "more than 1048576 bytes"),
        ]
    };
    refused_as(Format::TarGz, &["--max-size", "1MiB"], cases(gzip));
    refused_as(Format::TarZst, &["--max-size", "1MiB"], cases(zstd));
}

#[test]
fn too_many_members() {
    let files = (0..10).fold(start(), |tar, index| tar.file(&format!("x{index}"), b"")).end();
    let links = (0..10).fold(start(), |tar, index| tar.symlink(&format!("x{index}"), "d")).end();
    let deep = start().file(&format!("{}x", "a/".repeat(10)), b"x").end();
    let words = "more than 10 members";
    let cases = vec![("files", files, words), ("links", links, words), ("directories nobody named", deep, words)];
    refused_as(Format::Tar, &["--max-entries", "10"], cases);
}

/// More levels than this run may have files open.
#[test]
fn a_deep_tree_is_removed_with_few_files() {
    let harness = Harness::with_first();
    let limited = |number: u64| {
        let store = format!("file://{}", harness.store.display());
        let tool = Tool::new("sh").args(["-c", "ulimit -n 64; exec \"$@\"", "-", env!("CARGO_BIN_EXE_artifact-fetch")]);
        let tool = tool.args(["--artifact", crate::harness::ARTIFACT, "--store", &store, "--into"]).arg(&harness.into);
        tool.args(["--keep", "2", "--release"]).arg(number.to_string())
    };
    let deep = |number: u64| {
        let tar = Tar::new()
            .file("RELEASE", &crate::harness::five_lines(number))
            .file("bin/run", number.to_string().as_bytes());
        tar.long(EntryType::GNULongName, format!("{}f", "a/".repeat(254)).as_bytes()).file("f", b"x")
    };
    harness.publish(2, deep(2).file("../x", b"x").end());
    let _run = limited(2).run().fails_with(1).stderr_contains("'..'");
    harness.assert_tidy();
    for number in 2..=5 {
        harness.publish(number, deep(number).end());
        let _run = limited(number).run().succeeds().stderr_is_empty();
    }
    assert_eq!(harness.shelf(), [3, 4, 5]);
    harness.assert_tidy();
}

#[test]
fn a_tree_may_hold_the_names_that_the_shelf_uses() {
    let harness = Harness::with_first();
    let tar = start().file("bin/run", b"2").dir("current").file("current/x", b"x").dir(".artifact-fetch");
    let tar = tar.file(".artifact-fetch/lock", b"mine").symlink("app-3", "d").file("app-1/RELEASE", b"y");
    harness.publish(2, tar.file(&format!("{}x", durable::TEMPORARY_PREFIX), b"z").end());
    let first = snapshot(&harness.into.join("app-1"));
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    harness.assert_current(2);
    harness.assert_tidy();
    assert!(snapshot(&harness.into.join("app-1")) == first);
    assert_eq!(std::fs::read(harness.into.join("app-2/.artifact-fetch/lock")).unwrap(), b"mine");
}
