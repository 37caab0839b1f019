//! Stores that the old shell scripts wrote: a tar and five lines, no checksum anywhere.

use crate::depot::{Depot, five_lines, names, snapshot};
use std::fs;
use std::path::Path;
use testkit::Tool;

/// A store as the scripts leave it, packed by the machine's own tar.
fn old_store(depot: &Depot, number: u64, tar_args: &[&str]) {
    let work = depot.root.path().join(format!("work-{number}"));
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
    let tar = Tool::new("tar").cwd(&work).arg("-cf").arg(depot.store.join(format!("app-{number}.tar")));
    let _run = tar.args(tar_args).run().succeeds();
    for pointer in ["latest.txt", "latest-stable.txt"] {
        fs::write(depot.store.join(pointer), five_lines(number)).unwrap();
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
            let depot = Depot::new();
            old_store(&depot, 7, tar_args);
            let before = snapshot(depot.root.path());
            let fetch = || depot.fetch().args(["--release", release]);
            let run = fetch().stdin(if release == "-" { five_lines(7) } else { vec![] }).run();
            let run = run.fails_with(1).stdout_is("").stderr_is_one_line();
            let run =
                run.stderr_contains("release 7 of app has no checksum").stderr_contains("app-7.release does not exist");
            let _run = run.stderr_contains("release-promote --release 7").stderr_contains("--unverified");
            assert!(snapshot(depot.root.path()) == before);
            let run = fetch().arg("--unverified").stdin(if release == "-" { five_lines(7) } else { vec![] }).run();
            let record = String::from_utf8(five_lines(7)).unwrap();
            let run = run.succeeds().stdout_is(&record).stderr_is_one_line();
            let _run = run.stderr_contains("release 7 of app has no checksum");
            depot.assert_current(7);
            assert_eq!(fs::read(depot.into.join("current/link")).unwrap(), b"7");
            assert!(depot.into.join("current/empty").is_dir());
            depot.assert_tidy();
            // Quiet is quiet, and what is there stays there without the store.
            let _run =
                depot.fetch().args(["--release", "7", "-q"]).run().succeeds().stderr_is_empty().stdout_is(&record);
        }
    }
}

/// Promoting an old release seals a record beside it; from then on the pointer's five lines lead to checksums.
#[test]
fn an_old_pointer_to_a_sealed_release_is_verified() {
    let depot = Depot::new();
    let sealed = depot.publish(1, crate::depot::plain(1));
    fs::write(depot.store.join("latest.txt"), five_lines(1)).unwrap();
    let text = String::from_utf8(sealed.record.to_bytes()).unwrap();
    let fetch = || depot.fetch().args(["--release", "latest"]);
    let mut bad = sealed.archive.clone();
    bad[700] ^= 1;
    fs::write(depot.store.join(&sealed.file), bad).unwrap();
    let _run = fetch().run().fails_with(1).stderr_is_one_line().stderr_contains("does not match its record");
    fs::write(depot.store.join(&sealed.file), &sealed.archive).unwrap();
    let _run = fetch().run().succeeds().stdout_is(&text).stderr_is_empty();
}

/// Nothing but its end mark tells that an old archive is whole: wherever it is cut, it is refused.
#[test]
fn an_old_archive_that_was_cut_is_refused() {
    let depot = Depot::with_first();
    old_store(&depot, 7, &["."]);
    let path = depot.store.join("app-7.tar");
    let whole = fs::read(&path).unwrap();
    let content = whole.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512);
    let before = snapshot(&depot.into);
    for end in (0..=content).step_by(512).chain((100..content).step_by(997)) {
        fs::write(&path, &whole[..end]).unwrap();
        let run = depot.fetch().args(["-q", "--unverified"]).run().fails_with(1).stderr_is_one_line().stdout_is("");
        assert!(snapshot(&depot.into) == before, "cut at {end}\n{}", run.report());
    }
}

#[test]
fn an_old_archive_must_speak_of_itself() {
    let refused = |change: &dyn Fn(&Path), release: &str, words: &str| {
        let depot = Depot::with_first();
        old_store(&depot, 7, &["."]);
        let work = depot.root.path().join("work-7");
        change(&work);
        let _run = Tool::new("tar").cwd(&work).arg("-cf").arg(depot.store.join("app-7.tar")).arg(".").run().succeeds();
        let before = snapshot(&depot.into);
        let _run = depot
            .fetch()
            .args(["-q", "--unverified", "--release", release])
            .run()
            .fails_with(1)
            .stderr_is_one_line()
            .stderr_contains(words);
        assert!(snapshot(&depot.into) == before);
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
        let depot = Depot::with_first();
        fs::write(depot.store.join("app-7.tar"), archive).unwrap();
        let before = snapshot(&depot.into);
        let run = depot.fetch().args(["-q", "--unverified", "--release", "7"]).run();
        assert!(run.code == Some(1) && run.stdout.is_empty(), "{what}\n{}", run.report());
        assert!(snapshot(&depot.into) == before, "{what}");
    }
}

/// What was taken unverified stays so when the release gets its checksum, and fetching it again warns.
#[test]
fn a_release_that_was_taken_unverified_is_named() {
    let depot = Depot::new();
    old_store(&depot, 7, &["."]);
    let _run = depot.fetch().arg("--unverified").run().succeeds();
    let archive = fs::read(depot.store.join("app-7.tar")).unwrap();
    depot.publish(7, archive);
    let run = depot.fetch().run().succeeds().stderr_is_one_line();
    let _run = run.stderr_contains("app-7 was fetched before release 7 had a checksum, and was never verified");
}

#[test]
fn the_store_itself_is_only_read() {
    let depot = Depot::new();
    old_store(&depot, 7, &["."]);
    let before = snapshot(&depot.store);
    let _run = depot.fetch().arg("--unverified").run().succeeds();
    assert!(snapshot(&depot.store) == before);
    assert_eq!(names(&depot.store), ["app-7.tar", "latest-stable.txt", "latest.txt"]);
}
