//! Which releases stay on a host, and what needs no store.

use crate::harness::{Harness, fetch, plain, sealed, snapshot};
use archive::Format;
use durable::Dir;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use testkit::{FaultProxy, Plan, S3Model, figure, wait_until};

#[test]
fn the_most_lately_used_stay() {
    let harness = Harness::new();
    for number in 1..=8 {
        harness.publish(number, plain(number));
    }
    for number in 1..=5 {
        let _run = harness.release(number).run().succeeds();
    }
    assert_eq!(harness.shelf(), [2, 3, 4, 5], "three besides the current one by default");
    let _run = harness.release(2).run().succeeds();
    let _run = harness.release(6).run().succeeds();
    assert_eq!(harness.shelf(), [2, 4, 5, 6], "2 was in use after 3, 4 and 5 were");
    let _run = harness.release(7).args(["--keep", "2"]).run().succeeds();
    assert_eq!(harness.shelf(), [2, 6, 7]);
    let _run = harness.release(8).args(["--keep", "9"]).run().succeeds();
    assert_eq!(harness.shelf(), [2, 6, 7, 8]);
    harness.assert_tidy();
}

/// A clock that was ahead leaves times in the future; the order in which releases were current holds all the same.
#[test]
fn a_clock_that_is_put_back() {
    let harness = Harness::new();
    for number in 1..=8 {
        harness.publish(number, plain(number));
    }
    let fetch = |number| drop(harness.release(number).args(["--keep", "2"]).run().succeeds());
    (1..=4).for_each(fetch);
    assert_eq!(harness.shelf(), [2, 3, 4]);
    let ahead = SystemTime::now() + Duration::from_secs(2 * 24 * 3600);
    for number in harness.shelf() {
        fs::File::open(harness.into.join(format!("app-{number}"))).unwrap().set_modified(ahead).unwrap();
    }
    fetch(5);
    assert_eq!(harness.shelf(), [3, 4, 5], "4 was just left");
    fetch(3);
    fetch(6);
    assert_eq!(harness.shelf(), [3, 5, 6], "3 and 5 were in use after 4 was");
}

/// The switch is done and its record printed, whatever becomes of the release that leaves.
#[test]
fn what_cannot_be_removed_is_a_warning() {
    let harness = Harness::with_first();
    let mut texts = Vec::new();
    for number in 2..=4 {
        texts.push(String::from_utf8(harness.publish(number, plain(number)).record.to_bytes()).unwrap());
    }
    let fetch = |number| harness.release(number).args(["--keep", "2"]);
    let _runs = [2, 3].map(|number| fetch(number).run().succeeds().stderr_is_empty());
    let record = harness.into.join(".artifact-fetch/app-1.release");
    fs::remove_file(&record).unwrap();
    fs::create_dir_all(record.join("in-the-way")).unwrap();
    let run = fetch(4).run().succeeds().stdout_is(&texts[2]).stderr_is_one_line();
    let _run = run.stderr_contains("release 4 is current, but an old one is left: unable to remove ");
    harness.assert_current(4);
}

/// Another run holds the lock for as long as it likes.
#[test]
fn a_signal_ends_the_wait_for_the_lock() {
    let harness = Harness::with_first();
    harness.publish(2, plain(2));
    let _run = harness.release(2).run().succeeds();
    let held = Dir::open(&harness.into.join(".artifact-fetch")).unwrap().try_lock("lock").unwrap().unwrap();
    for number in [1, 3] {
        harness.publish(3, plain(3));
        let before = snapshot(&harness.into);
        let mut run = harness.release(number).arg("-v").start();
        if number == 1 {
            wait_until("the last step before the lock", || {
                let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
                if said.contains("is here already") { Ok(()) } else { Err(said) }
            });
        } else {
            run.wait_until_it_catches_signals();
        }
        assert!(run.is_running());
        run.terminate();
        let _run = run.wait().killed_by(15).stdout_is("");
        assert!(snapshot(&harness.into) == before);
    }
    drop(held);
    let _run = harness.release(3).run().succeeds().stderr_is_empty();
    harness.assert_tidy();
}

#[test]
fn other_artifacts_and_strangers_are_left_alone() {
    let harness = Harness::with_first();
    fs::create_dir(harness.into.join("app-x")).unwrap();
    fs::create_dir(harness.into.join("app-90")).unwrap();
    fs::write(harness.into.join(".tmp-somebody's"), "x").unwrap();
    symlink("nowhere", harness.into.join(".tmp-link")).unwrap();
    fs::create_dir(harness.into.join("apple-1")).unwrap();
    for number in 2..=6 {
        harness.publish(number, plain(number));
        let _run = harness.fetch().args(["--keep", "2"]).run().succeeds().stderr_is_empty();
    }
    let names = crate::harness::names(&harness.into);
    assert_eq!(
        names,
        [
            ".artifact-fetch",
            ".tmp-link",
            ".tmp-somebody's",
            "app-4",
            "app-5",
            "app-6",
            "app-90",
            "app-x",
            "apple-1",
            "current"
        ]
    );
}

#[test]
fn going_back_needs_no_store() {
    let harness = Harness::with_first();
    let sealed = harness.publish(2, plain(2));
    let _run = harness.fetch().run().succeeds();
    fs::remove_dir_all(&harness.store).unwrap();
    let back = harness.release(1).run().succeeds().stderr_is_empty();
    assert!(back.stdout_str().starts_with("MODULE=app\nVERSION=1\n"));
    harness.assert_current(1);
    // And forth, in the store's own words.
    let text = String::from_utf8(sealed.record.to_bytes()).unwrap();
    let _run = harness.release(2).run().succeeds().stdout_is(&text).stderr_is_empty();
    harness.assert_current(2);
    let _run = harness.release(3).run().fails_with(1).stderr_is_one_line();
}

#[test]
fn what_is_there_is_not_downloaded() {
    let model = S3Model::start();
    let proxy = FaultProxy::start(&model.endpoint(), Plan::None);
    let harness = Harness::new();
    let sealed = sealed(1, plain(1), Format::Tar);
    model.put_raw("b", "p/latest-stable.txt", sealed.promoted());
    model.put_raw("b", "p/latest.txt", sealed.record.to_bytes());
    model.put_raw("b", "p/app-1.tar", sealed.archive.clone());
    model.put_raw("b", "p/app-1.release", sealed.record.to_bytes());
    let fetch = || fetch("s3://b/p", &harness.into).aws(proxy.endpoint());
    let text = String::from_utf8(sealed.record.to_bytes()).unwrap();
    let _run = fetch().run().succeeds().stdout_is(&text).stderr_is_empty();
    harness.assert_current(1);
    let before = snapshot(&harness.into);
    for release in ["latest-stable", "latest"] {
        let first = proxy.count();
        let _run = fetch().args(["--release", release]).run().succeeds().stdout_is(&text).stderr_is_empty();
        let asked: Vec<String> =
            proxy.log().split_off(usize::try_from(first).unwrap()).into_iter().map(|seen| seen.path).collect();
        let pointer = format!("/b/p/{release}.txt");
        assert_eq!(asked, [pointer.as_str(), "/b/p/app-1.release"], "the pointer and its record alone");
    }
    let first = proxy.count();
    let path = format!("{}\n", harness.into.join("app-1").display());
    let _run = fetch().args(["--release", "1", "--print-path"]).run().succeeds().stdout_is(&path);
    assert_eq!(proxy.count(), first, "a number that is here asks nobody");
    let _run = fetch().args(["--release", "-"]).stdin(sealed.promoted()).run().succeeds().stdout_is(&text);
    assert_eq!(proxy.count(), first + 1, "a record on stdin is compared with the store's");
    assert!(snapshot(&harness.into) == before);
}

#[test]
fn the_same_release_twice_at_once() {
    for round in 0..figure(10, 50) {
        let harness = Harness::new();
        let sealed = harness.publish(1, plain(1));
        let text = String::from_utf8(sealed.record.to_bytes()).unwrap();
        let runs: Vec<_> = (0..2).map(|_| harness.fetch().start()).collect();
        for run in runs {
            let _run = run.wait().succeeds().stderr_is_empty().stdout_is(&text);
        }
        assert_eq!(harness.shelf(), [1], "round {round}");
        harness.assert_current(1);
        harness.assert_tidy();
    }
}

/// Six releases and a shelf for three: runs take each other's releases off it, and `current` never dangles.
#[test]
fn different_releases_at_once() {
    let harness = Harness::new();
    for number in 1..=6 {
        harness.publish(number, plain(number));
    }
    for round in 0..figure(10, 50) {
        let runs: Vec<_> = (1..=6)
            .map(|number| {
                // Half of them by their records: stdin can be read but once, also if the release must be fetched twice.
                let record = fs::read(harness.store.join(format!("app-{number}.release"))).unwrap();
                let by_record = || harness.fetch().args(["--release", "-"]).stdin(record);
                let tool = if number % 2 == 0 { by_record() } else { harness.release(number) };
                (number, tool.args(["--keep", "2"]).start())
            })
            .collect();
        for (number, run) in runs {
            let run = run.wait().succeeds().stderr_is_empty();
            assert!(run.stdout_str().contains(&format!("\nVERSION={number}\n")), "{}", run.report());
        }
        let current = harness.current().unwrap();
        harness.assert_current(current.strip_prefix("app-").unwrap().parse().unwrap());
        assert_eq!(harness.shelf().len(), 3, "round {round}");
        harness.assert_tidy();
    }
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let harness = Harness::with_first();
    harness.publish(2, plain(2));
    let taken = harness.into.join("app-2");
    let refused = |what: &str| {
        let before = snapshot(&harness.into);
        for release in ["latest-stable", "2"] {
            let run = harness.fetch().args(["--release", release]).run().fails_with(1).stderr_is_one_line();
            let _run = run.stderr_contains("was not put there by artifact-fetch");
            assert!(snapshot(&harness.into) == before, "{what}");
        }
    };
    fs::create_dir(&taken).unwrap();
    refused("a directory");
    fs::remove_dir(&taken).unwrap();
    fs::write(&taken, "x").unwrap();
    refused("a file");
    fs::remove_file(&taken).unwrap();
    for target in ["app-1", "/etc", "nowhere"] {
        symlink(target, &taken).unwrap();
        refused(target);
        fs::remove_file(&taken).unwrap();
    }
    // `current` as somebody's directory can't be swapped either, but the release may stand beside it.
    fs::remove_file(harness.into.join("current")).unwrap();
    fs::create_dir(harness.into.join("current")).unwrap();
    fs::write(harness.into.join("current/x"), "x").unwrap();
    let _run = harness.fetch().run().fails_with(1).stderr_is_one_line().stderr_contains("current");
    assert_eq!(fs::read(harness.into.join("current/x")).unwrap(), b"x");
    fs::remove_dir_all(harness.into.join("current")).unwrap();
    fs::write(harness.into.join("current"), "somebody's").unwrap();
    let _run =
        harness.fetch().run().fails_with(1).stderr_is_one_line().stderr_contains("current is there, but is not a link");
    assert_eq!(fs::read(harness.into.join("current")).unwrap(), b"somebody's");
    fs::remove_file(harness.into.join("current")).unwrap();
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    harness.assert_current(2);
    harness.assert_tidy();
}

/// What `cd "$(… --print-path)"` gets must be the directory's own bytes.
#[test]
fn the_path_is_printed_as_it_is() {
    let harness = Harness::with_first();
    let into = harness.root.path().join(OsStr::from_bytes(b"not\xffUTF-8"));
    fs::create_dir(&into).unwrap();
    let store = format!("file://{}", harness.store.display());
    let run = fetch(&store, &into).arg("--print-path").run().succeeds();
    assert_eq!(run.stdout, [into.join("app-1").as_os_str().as_bytes(), b"\n"].concat());
}

#[test]
fn another_release_of_the_same_number_is_refused() {
    let harness = Harness::with_first();
    harness.publish(1, crate::harness::tree(1, 9));
    let before = snapshot(&harness.into);
    let _run = harness.fetch().run().fails_with(1).stderr_is_one_line().stderr_contains("its SHA-256 differs");
    assert!(snapshot(&harness.into) == before);
}

#[test]
fn a_dry_run_changes_nothing() {
    let harness = Harness::with_first();
    let text = String::from_utf8(harness.publish(2, plain(2)).record.to_bytes()).unwrap();
    let before = snapshot(harness.root.path());
    let run = harness.fetch().arg("--dry-run").run().succeeds().stdout_is(&text).stderr_is_one_line();
    let _run = run.stderr_contains("current would change from 1 to 2");
    assert!(snapshot(harness.root.path()) == before);
    fs::remove_dir_all(&harness.into).unwrap();
    let _run = harness.fetch().arg("--dry-run").run().succeeds().stderr_contains("from no release to 2");
    assert!(!harness.into.exists());
}

#[test]
fn the_switch_is_said_on_request() {
    let harness = Harness::new();
    harness.publish(1, plain(1));
    let _first = harness.fetch().arg("-v").run().succeeds().stderr_contains("artifact-fetch: current is release 1\n");
    let again = harness.fetch().arg("-v").run().succeeds();
    let _again = again.stderr_contains("artifact-fetch: current is release 1 already\n");
    harness.publish(2, plain(2));
    let second = harness.fetch().arg("-v").run().succeeds();
    let _second = second.stderr_contains("artifact-fetch: current is switched from release 1 to 2\n");
}
