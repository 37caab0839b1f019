//! Which pointers are followed: to sealed records that say the same, and never back to an older promotion.

use crate::harness::{ARTIFACT, Harness, SEEN, Sealed, fetch, five_lines, names, plain, sealed, snapshot};
use archive::Format;
use durable::Dir;
use rand::RngExt;
use release::Claim;
use release::claim::Builder;
use std::fs;
use std::path::PathBuf;
use testkit::{Finished, Seed, Tool, figure};

/// Where a pointer may stand: its file in the store, and what is asked for.
const POINTERS: [(&str, &str); 4] =
    [("latest-stable.txt", "latest-stable"), ("latest.txt", "latest"), ("canary.txt", "canary"), ("", "-")];

/// A harness whose pointers all name release 1, which is current, and the release 2 that is not in its store.
fn harness() -> (Harness, Sealed) {
    let harness = Harness::with_first();
    fs::copy(harness.store.join("latest-stable.txt"), harness.store.join("canary.txt")).unwrap();
    let second = sealed(2, plain(2), Format::Tar);
    fs::write(harness.store.join(&second.file), &second.archive).unwrap();
    (harness, second)
}

/// Follows each pointer with `bytes` in it: refused, whatever the leave, with these words, and nothing changes.
fn refused(harness: &Harness, bytes: &[u8], words: &str) {
    for (file, release) in POINTERS {
        let stdin = if release == "-" { bytes.to_vec() } else { Vec::new() };
        let good = fs::read(harness.store.join(file)).ok();
        if release != "-" {
            fs::write(harness.store.join(file), bytes).unwrap();
        }
        let before = snapshot(harness.root.path());
        for leave in [&[][..], &["--unverified"], &["--unverified", "--allow-rollback"], &["--dry-run", "--unverified"]]
        {
            let run = harness.fetch().args(["--release", release]).args(leave).stdin(stdin.clone()).run();
            let run = run.fails_with(1).stdout_is("").stderr_is_one_line().stderr_contains(words);
            let place = if release == "-" { "stdin" } else { file };
            assert!(run.stderr_str().contains(place), "{place}: {}", run.report());
            assert!(snapshot(harness.root.path()) == before, "{release}: {}", run.report());
        }
        if let Some(good) = good.filter(|_| release != "-") {
            fs::write(harness.store.join(file), good).unwrap();
        }
    }
    harness.assert_current(1);
    harness.assert_tidy();
}

#[test]
fn a_pointer_to_what_is_not_sealed_is_refused() {
    let (harness, second) = harness();
    let build = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
    let claimed = Claim::Claimed { build, builder: Builder::this_process() };
    let record = harness.store.join(&second.record_key);
    for pointer in [second.promoted(), second.record.to_bytes()] {
        refused(&harness, &pointer, "names release 2, which is not sealed");
    }
    for pointer in [second.promoted(), second.record.to_bytes(), five_lines(2)] {
        fs::write(&record, claimed.to_bytes()).unwrap();
        refused(&harness, &pointer, "names release 2: release 2 of app is not finished");
        fs::write(&record, Claim::Abandoned { build }.to_bytes()).unwrap();
        refused(&harness, &pointer, "names release 2: release 2 of app was abandoned by its build");
        fs::write(&record, five_lines(2)).unwrap();
        refused(&harness, &pointer, "it is not sealed");
        fs::write(&record, "").unwrap();
        refused(&harness, &pointer, "app-2.release is not a release record");
        fs::remove_file(&record).unwrap();
    }
    // It was the record alone that was missing.
    fs::write(&record, second.record.to_bytes()).unwrap();
    for (file, release) in POINTERS {
        let (harness, second) = self::harness();
        fs::write(harness.store.join(&second.record_key), second.record.to_bytes()).unwrap();
        let stdin = if release == "-" { second.promoted() } else { Vec::new() };
        if release != "-" {
            fs::write(harness.store.join(file), second.promoted()).unwrap();
        }
        let _run = harness.fetch().args(["--release", release]).stdin(stdin).run().succeeds().stderr_is_empty();
        harness.assert_current(2);
    }
}

/// A pointer with a seal of its own, which whoever can write it can make.
#[test]
fn a_pointer_that_differs_from_its_record_is_refused() {
    let (harness, second) = harness();
    fs::write(harness.store.join(&second.record_key), second.record.to_bytes()).unwrap();
    let another_build = {
        let mut lines = String::from_utf8(five_lines(2)).unwrap().replace("BUILD=77", "BUILD=78").into_bytes();
        let record = release::Record::parse(&lines).unwrap();
        lines.clear();
        Sealed {
            record: record.sealed(second.record.artifact().unwrap().clone()).unwrap(),
            ..sealed(2, plain(2), Format::Tar)
        }
    };
    let other_bytes = sealed(2, plain(3), Format::Tar);
    let other_format = sealed(2, plain(2), Format::TarGz);
    for other in [another_build, other_bytes, other_format] {
        refused(&harness, &other.promoted(), "is not the record of release 2");
        refused(&harness, &other.record.to_bytes(), "is not the record of release 2");
    }
    let five = String::from_utf8(five_lines(2)).unwrap().replace("GIT_COMMIT=0", "GIT_COMMIT=1");
    refused(&harness, five.as_bytes(), "is not the record of release 2");
}

/// Promotes release `number` of a harness by promotion `n`.
fn promote(harness: &Harness, number: u64, n: u64, channel: &str) {
    let release = sealed(number, plain(number), Format::Tar);
    fs::write(harness.store.join(&release.file), &release.archive).unwrap();
    fs::write(harness.store.join(&release.record_key), release.record.to_bytes()).unwrap();
    fs::write(harness.store.join(format!("{channel}.txt")), release.promoted_as(n)).unwrap();
}

fn memory(harness: &Harness) -> PathBuf {
    harness.into.join(".artifact-fetch").join(SEEN)
}

fn remembered(harness: &Harness) -> Option<Vec<u8>> {
    fs::read(memory(harness)).ok()
}

fn is_rollback(run: Finished, found: &str, last: u64) {
    let run = run.fails_with(1).stdout_is("").stderr_is_one_line().stderr_contains("--allow-rollback");
    let words = format!("latest-stable.txt carries {found}, and promotion {last} was seen on this host");
    let _run = run.stderr_contains(&words);
}

#[test]
fn an_older_promotion_is_refused() {
    let harness = Harness::new();
    promote(&harness, 1, 1, "latest-stable");
    let first = fs::read(harness.store.join("latest-stable.txt")).unwrap();
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    promote(&harness, 2, 2, "latest-stable");
    let second = fs::read(harness.store.join("latest-stable.txt")).unwrap();
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    // `previous` goes back by a promotion of its own.
    promote(&harness, 1, 3, "latest-stable");
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    harness.assert_current(1);
    let before = (snapshot(&harness.into), remembered(&harness));
    // The pointers of before; and the record of a release, as an old script copies it.
    for (pointer, found) in [
        (first, "promotion 1"),
        (second, "promotion 2"),
        (sealed(2, plain(2), Format::Tar).record.to_bytes(), "no promotion"),
    ] {
        fs::write(harness.store.join("latest-stable.txt"), pointer).unwrap();
        is_rollback(harness.fetch().run(), found, 3);
        is_rollback(harness.fetch().arg("--dry-run").run(), found, 3);
        // What is asked for otherwise has no promotion.
        let _run = harness.release(2).arg("--dry-run").run().succeeds();
    }
    promote(&harness, 1, 3, "latest-stable");
    assert!((snapshot(&harness.into), remembered(&harness)) == before);
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
}

/// Each store and each channel counts for itself.
#[test]
fn promotions_of_other_channels_and_stores() {
    let harness = Harness::new();
    promote(&harness, 1, 7, "latest-stable");
    promote(&harness, 1, 2, "canary");
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    let _run = harness.fetch().args(["--release", "canary"]).run().succeeds().stderr_is_empty();
    let copy = harness.root.path().join("copy");
    let _run = Tool::new("cp").arg("-r").args([&harness.store, &copy]).run().succeeds();
    let release = sealed(1, plain(1), Format::Tar);
    fs::write(copy.join("latest-stable.txt"), release.promoted_as(1)).unwrap();
    let _run = fetch(&format!("file://{}", copy.display()), &harness.into).run().succeeds().stderr_is_empty();
    promote(&harness, 1, 6, "latest-stable");
    is_rollback(harness.fetch().run(), "promotion 6", 7);
    promote(&harness, 1, 1, "canary");
    let _run =
        harness.fetch().args(["--release", "canary"]).run().fails_with(1).stderr_contains("promotion 2 was seen");
    // The same store, written otherwise.
    let slash = fetch(&format!("file://{}/", harness.store.display()), &harness.into);
    is_rollback(slash.run(), "promotion 6", 7);
}

/// A store that was restored from a backup: leave is asked for once, and promotions count on from there.
#[test]
fn a_rollback_with_leave_begins_the_count_again() {
    let harness = Harness::new();
    promote(&harness, 1, 7, "latest-stable");
    let _run = harness.fetch().run().succeeds();
    promote(&harness, 2, 3, "latest-stable");
    let before = remembered(&harness);
    let run = harness.fetch().args(["--allow-rollback", "--dry-run"]).run().succeeds();
    let _run = run.stderr_contains("carries promotion 3, and promotion 7 was seen on this host: it would be forgotten");
    assert_eq!(remembered(&harness), before);
    let run = harness.fetch().arg("--allow-rollback").run().succeeds().stderr_is_one_line();
    let _run = run.stderr_contains("promotion 7 was seen on this host: it is forgotten");
    harness.assert_current(2);
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    promote(&harness, 1, 2, "latest-stable");
    is_rollback(harness.fetch().run(), "promotion 2", 3);
    promote(&harness, 1, 4, "latest-stable");
    let _run = harness.fetch().arg("--allow-rollback").run().succeeds().stderr_is_empty();
    // An old script's pointer has no number, and the next one with a number is later than that.
    fs::write(harness.store.join("latest-stable.txt"), sealed(2, plain(2), Format::Tar).record.to_bytes()).unwrap();
    is_rollback(harness.fetch().run(), "no promotion", 4);
    let _run = harness.fetch().arg("--allow-rollback").run().succeeds().stderr_is_one_line();
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    promote(&harness, 1, 1, "latest-stable");
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
}

/// It is remembered before the first byte of the archive: an archive that can't be had does not hide its promotion.
#[test]
fn a_promotion_counts_before_its_download() {
    let harness = Harness::new();
    promote(&harness, 1, 1, "latest-stable");
    let _run = harness.fetch().run().succeeds();
    promote(&harness, 2, 2, "latest-stable");
    let archive = harness.store.join("app-2.tar");
    fs::write(&archive, "short").unwrap();
    let _run = harness.fetch().run().fails_with(1).stderr_contains("does not match its record");
    promote(&harness, 1, 1, "latest-stable");
    is_rollback(harness.fetch().run(), "promotion 1", 2);
    promote(&harness, 2, 2, "latest-stable");
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    harness.assert_current(2);
}

#[test]
fn a_dry_run_remembers_nothing() {
    let harness = Harness::new();
    promote(&harness, 1, 1, "latest-stable");
    let before = snapshot(harness.root.path());
    let _run = harness.fetch().arg("--dry-run").run().succeeds();
    assert!(snapshot(harness.root.path()) == before && names(&harness.into).is_empty());
}

#[test]
fn a_memory_that_is_damaged_is_named() {
    let seed = Seed::from_env_or_random("a_memory_that_is_damaged_is_named");
    let mut rng = seed.rng();
    let harness = Harness::new();
    promote(&harness, 1, 12, "latest-stable");
    let _run = harness.fetch().run().succeeds();
    let path = memory(&harness);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[rng.random_range(0..whole.len())] ^= 1;
    let refused = |words: &str| {
        for args in [&[][..], &["--allow-rollback"], &["--dry-run"]] {
            let run = harness.fetch().args(args).run().fails_with(1).stdout_is("").stderr_is_one_line();
            let _run = run.stderr_contains(&path.display().to_string()).stderr_contains(words);
        }
        // Who names a number asks no memory.
        let _run = harness.release(1).run().succeeds().stderr_is_empty();
    };
    for bytes in [&whole[..whole.len() / 2], b"", b"junk\n"] {
        fs::write(&path, bytes).unwrap();
        refused("it is damaged");
    }
    fs::write(&path, flipped).unwrap();
    refused("unable to use ");
    fs::write(&path, "promotions 2\nsomething else\n").unwrap();
    refused("another version of artifact-fetch wrote it");
    fs::remove_file(&path).unwrap();
    let _run = Tool::new("mkfifo").arg(&path).run().succeeds();
    refused("it is a pipe");
    fs::remove_file(&path).unwrap();
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    assert_eq!(fs::read(&path).unwrap(), whole);
}

/// Old releases leave the host, and what dead runs left; the memory stays.
#[test]
fn sweeping_keeps_the_memory() {
    let harness = Harness::new();
    for number in 1..=6 {
        promote(&harness, number, number, "latest-stable");
        if number > 1 {
            let left = format!("{}left", durable::TEMPORARY_PREFIX);
            fs::write(harness.into.join(".artifact-fetch").join(left), "x").unwrap();
        }
        let _run = harness.fetch().args(["--keep", "2"]).run().succeeds().stderr_is_empty();
    }
    assert_eq!(harness.shelf(), [4, 5, 6]);
    harness.assert_tidy();
    promote(&harness, 5, 5, "latest-stable");
    is_rollback(harness.fetch().run(), "promotion 5", 6);
}

/// Runs that read the pointer at other moments: none fails for what another one saw, and none goes back behind it.
#[test]
fn fetches_at_the_same_time_as_promotions() {
    let harness = Harness::new();
    promote(&harness, 1, 1, "latest-stable");
    let _run = harness.fetch().run().succeeds();
    for round in 0..figure(8, 60) {
        let mut runs = Vec::new();
        for step in 1..=4 {
            let n = round * 4 + step + 1;
            let release = sealed(n, plain(n), Format::Tar);
            fs::write(harness.store.join(&release.file), &release.archive).unwrap();
            fs::write(harness.store.join(&release.record_key), release.record.to_bytes()).unwrap();
            let store = Dir::open(&harness.store).unwrap();
            store.replace("latest-stable.txt", &release.promoted_as(n)).unwrap();
            runs.push(harness.fetch().args(["--keep", "9"]).start());
        }
        for run in runs {
            let _run = run.wait().succeeds().stderr_is_empty();
        }
        harness.assert_current(round * 4 + 5);
    }
    harness.assert_tidy();
    assert_eq!(harness.current(), Some(format!("{ARTIFACT}-{}", figure(8, 60) * 4 + 1)));
}

/// Killed anywhere: the next run ends right, and what was seen is never less.
#[test]
fn killed_at_any_moment_the_memory_holds() {
    let seed = Seed::from_env_or_random("killed_at_any_moment_the_memory_holds");
    let mut rng = seed.rng();
    let harness = Harness::new();
    promote(&harness, 1, 1, "latest-stable");
    let started = std::time::Instant::now();
    let _run = harness.fetch().run().succeeds();
    let longest = started.elapsed();
    let (mut before, mut after) = (0, 0);
    for n in 2..2 + figure(40, 400) {
        promote(&harness, n, n, "latest-stable");
        let moment = longest.mul_f64(rng.random_range(0.0..1.0));
        let started = std::time::Instant::now();
        let mut run = harness.fetch().args(["--keep", "2"]).start();
        // A moment and not a state is what is waited for here, to less than a millisecond.
        while started.elapsed() < moment {
            std::hint::spin_loop();
        }
        run.kill();
        drop(run);
        // Seen or not, by what an older pointer meets now.
        promote(&harness, n - 1, n - 1, "latest-stable");
        match harness.fetch().args(["--keep", "2"]).run() {
            run if run.code == Some(0) => {
                before += 1;
                assert_ne!(harness.current(), Some(format!("{ARTIFACT}-{n}")), "{}", run.report());
            }
            run => {
                after += 1;
                is_rollback(run, &format!("promotion {}", n - 1), n);
            }
        }
        promote(&harness, n, n, "latest-stable");
        let _run = harness.fetch().args(["--keep", "2"]).run().succeeds().stderr_is_empty();
        harness.assert_current(n);
        harness.assert_tidy();
    }
    eprintln!("{before} runs were killed before they had seen the promotion, {after} after");
}
