//! Stores that the old shell scripts wrote: a tar and five lines, no checksum anywhere.

use crate::harness::{Harness, five_lines, names, snapshot};
use std::fs;
use std::path::Path;
use testkit::Tool;

/// A store as the scripts leave it, packed by the machine's own tar.
fn old_store(harness: &Harness, number: u64, tar_args: &[&str]) {
    let work = harness.root.path().join(format!("work-{number}"));
    fs::create_dir_all(work.join("bin")).unwrap();
    fs::create_dir(work.join("empty")).unwrap();
    fs::write(work.join("RELEASE"), five_lines(number)).unwrap();
    fs::write(work.join("bin/run"), number.to_string()).unwrap();
    // Too long for a header's first field, so that every format shows how it spells such a name.
    let long = work.join("long-".repeat(15));
    fs::create_dir(&long).unwrap();
    fs::write(long.join("name-".repeat(15)), "x").unwrap();
    std::os::unix::fs::symlink("bin/run", work.join("link")).unwrap();
    fs::hard_link(work.join("bin/run"), work.join("bin/twin")).unwrap();
    let tar = Tool::new("tar").cwd(&work).arg("-cf").arg(harness.store.join(format!("app-{number}.tar")));
    let _run = tar.args(tar_args).run().succeeds();
    for pointer in ["latest.txt", "latest-stable.txt"] {
        fs::write(harness.store.join(pointer), five_lines(number)).unwrap();
    }
}

#[test]
fn an_old_release_is_fetched_with_leave_and_a_warning() {
    for tar_args in [
        &["RELEASE", "bin", "empty", "link"][..],
        &["."],
        &["./RELEASE", "./bin", "./link", "./empty"],
        &["--format=gnu", "."],
        &["--format=posix", "."],
        &["--format=ustar", "."],
        &["-b", "4096", "."],
    ] {
        for release in ["latest-stable", "latest", "7", "-"] {
            let harness = Harness::new();
            old_store(&harness, 7, tar_args);
            let before = snapshot(harness.root.path());
            let fetch = || harness.fetch().args(["--release", release]);
            let run = fetch().stdin(if release == "-" { five_lines(7) } else { vec![] }).run();
            let run = run.fails_with(1).stdout_is("").stderr_is_one_line();
            let run =
                run.stderr_contains("release 7 of app has no checksum").stderr_contains("app-7.release does not exist");
            let _run = run.stderr_contains("release-promote --release 7").stderr_contains("--unverified");
            assert!(snapshot(harness.root.path()) == before);
            let run = fetch().arg("--unverified").stdin(if release == "-" { five_lines(7) } else { vec![] }).run();
            let record = String::from_utf8(five_lines(7)).unwrap();
            let run = run.succeeds().stdout_is(&record).stderr_is_one_line();
            let _run = run.stderr_contains("release 7 of app has no checksum");
            harness.assert_current(7);
            assert_eq!(fs::read(harness.into.join("current/link")).unwrap(), b"7");
            assert!(harness.into.join("current/empty").is_dir());
            harness.assert_tidy();
            // Quiet is quiet, and what is there stays there without the store.
            let _run =
                harness.fetch().args(["--release", "7", "-q"]).run().succeeds().stderr_is_empty().stdout_is(&record);
        }
    }
}

/// Promoting an old release seals a record beside it; from then on the pointer's five lines lead to checksums.
#[test]
fn an_old_pointer_to_a_sealed_release_is_verified() {
    let harness = Harness::new();
    let sealed = harness.publish(1, crate::harness::plain(1));
    fs::write(harness.store.join("latest.txt"), five_lines(1)).unwrap();
    let text = String::from_utf8(sealed.record.to_bytes()).unwrap();
    let fetch = || harness.fetch().args(["--release", "latest"]);
    let mut bad = sealed.archive.clone();
    bad[700] ^= 1;
    fs::write(harness.store.join(&sealed.file), bad).unwrap();
    let _run = fetch().run().fails_with(1).stderr_is_one_line().stderr_contains("does not match its record");
    fs::write(harness.store.join(&sealed.file), &sealed.archive).unwrap();
    let _run = fetch().run().succeeds().stdout_is(&text).stderr_is_empty();
}

/// Nothing but its end mark tells that an old archive is whole: wherever it is cut, it is refused.
#[test]
fn an_old_archive_that_was_cut_is_refused() {
    let harness = Harness::with_first();
    old_store(&harness, 7, &["."]);
    let path = harness.store.join("app-7.tar");
    let whole = fs::read(&path).unwrap();
    let content = whole.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512);
    let before = snapshot(&harness.into);
    for end in (0..=content).step_by(512).chain((100..content).step_by(997)) {
        fs::write(&path, &whole[..end]).unwrap();
        let run = harness.fetch().args(["-q", "--unverified"]).run().fails_with(1).stderr_is_one_line().stdout_is("");
        assert!(snapshot(&harness.into) == before, "cut at {end}\n{}", run.report());
    }
}

#[test]
fn an_old_archive_must_speak_of_itself() {
    let refused = |change: &dyn Fn(&Path), release: &str, words: &str| {
        let harness = Harness::with_first();
        old_store(&harness, 7, &["."]);
        let work = harness.root.path().join("work-7");
        change(&work);
        let _run =
            Tool::new("tar").cwd(&work).arg("-cf").arg(harness.store.join("app-7.tar")).arg(".").run().succeeds();
        let before = snapshot(&harness.into);
        let _run = harness
            .fetch()
            .args(["-q", "--unverified", "--release", release])
            .run()
            .fails_with(1)
            .stderr_is_one_line()
            .stderr_contains(words);
        assert!(snapshot(&harness.into) == before);
    };
    refused(&|work| fs::remove_file(work.join("RELEASE")).unwrap(), "7", "has no record");
    refused(&|work| fs::write(work.join("RELEASE"), five_lines(8)).unwrap(), "7", "its VERSION is 8");
    refused(&|work| fs::write(work.join("RELEASE"), "hello\n").unwrap(), "7", "has no record");
    refused(
        &|work| {
            fs::remove_file(work.join("RELEASE")).unwrap();
            std::os::unix::fs::symlink("bin/run", work.join("RELEASE")).unwrap();
        },
        "7",
        "has no record",
    );
    refused(
        &|work| std::os::unix::fs::symlink("/etc/passwd", work.join("evil")).unwrap(),
        "latest-stable",
        "absolute path",
    );
}

/// The table that release-promote refuses too.
#[test]
fn an_old_archive_of_another_release_is_refused() {
    for (what, archive) in testkit::hostile::of_another_release(&five_lines(8)) {
        let harness = Harness::with_first();
        fs::write(harness.store.join("app-7.tar"), archive).unwrap();
        let before = snapshot(&harness.into);
        let run = harness.fetch().args(["-q", "--unverified", "--release", "7"]).run();
        assert!(run.code == Some(1) && run.stdout.is_empty(), "{what}\n{}", run.report());
        assert!(snapshot(&harness.into) == before, "{what}");
    }
}

/// What was taken unverified stays so when the release gets its checksum, and fetching it again warns.
#[test]
fn a_release_that_was_taken_unverified_is_named() {
    let harness = Harness::new();
    old_store(&harness, 7, &["."]);
    let _run = harness.fetch().arg("--unverified").run().succeeds();
    let archive = fs::read(harness.store.join("app-7.tar")).unwrap();
    harness.publish(7, archive);
    let run = harness.fetch().run().succeeds().stderr_is_one_line();
    let _run = run.stderr_contains("app-7 was fetched before release 7 had a checksum, and was never verified");
}

#[test]
fn the_store_itself_is_only_read() {
    let harness = Harness::new();
    old_store(&harness, 7, &["."]);
    let before = snapshot(&harness.store);
    let _run = harness.fetch().arg("--unverified").run().succeeds();
    assert!(snapshot(&harness.store) == before);
    assert_eq!(names(&harness.store), ["app-7.tar", "latest-stable.txt", "latest.txt"]);
}
