//! Programs that read through `current` while it is switched.

use crate::harness::{Harness, plain};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use testkit::figure;

/// The number that one file of the release says, opened below `current` held as a directory.
fn whole_version(current: &Path) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = openat(CWD, current, flags | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let said = ["bin/run", "f0", "f1", "f2", "link"].map(|name| {
        let mut text = String::new();
        File::from(openat(&dir, name, flags, Mode::empty()).unwrap()).read_to_string(&mut text).unwrap();
        text
    });
    assert!(said.iter().all(|text| *text == said[0]), "one directory, two versions: {said:?}");
    said[0].clone()
}

/// Runs `read` in a loop while `work` goes on; returns how often it ran.
fn beside(work: impl FnOnce(), read: impl Fn() + Sync) -> u64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                read();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        worked.unwrap();
    });
    count.into_inner()
}

#[test]
fn every_open_through_current_succeeds_while_releases_come_and_go() {
    let harness = Harness::with_first();
    for number in 1..=5 {
        harness.publish(number, plain(number));
    }
    // Five releases, two kept beside the current one: every switch downloads one release and removes another. A path is
    // looked up within one system call, which does not last as long as three runs of a program.
    let switches = figure(200, 1_000);
    let reads = beside(
        || {
            for step in 0..switches {
                let number = step % 5 + 1;
                let _run = harness.release(number).args(["--keep", "2"]).run().succeeds().stderr_is_empty();
                harness.assert_current(number);
            }
        },
        || {
            let said = fs::read_to_string(harness.into.join("current/bin/run")).unwrap();
            assert!(("1"..="5").contains(&said.as_str()), "{said}");
        },
    );
    assert!(reads > switches, "{reads} reads");
    assert_eq!(harness.shelf().len(), 3);
    harness.assert_tidy();
}

#[test]
fn who_opens_current_as_a_directory_sees_one_version_whole() {
    let harness = Harness::with_first();
    for number in 1..=4 {
        harness.publish(number, plain(number));
    }
    // All four stay (--keep 3): a directory that is held open is emptied only after --keep further switches, and how many
    // of those fit between two reads of one thread is up to the scheduler, not to the tool.
    let switches = figure(200, 1_000);
    let reads = beside(
        || {
            for step in 0..switches {
                let _run = harness.release(step % 4 + 1).args(["--keep", "3"]).run().succeeds().stderr_is_empty();
            }
        },
        || {
            let said = whole_version(&harness.into.join("current"));
            assert!(("1"..="4").contains(&said.as_str()), "{said}");
        },
    );
    assert!(reads > switches, "{reads} reads");
}
