//! The record: inside the archive, beside it, in `latest.txt` and on stdout, and what old shell scripts read in it.

use crate::harness::{Harness, Record, members, packed, tree, write};
use std::fs;
use testkit::Tool;

const KEYS: [&str; 11] = [
    "MODULE",
    "VERSION",
    "BUILD",
    "GIT_COMMIT",
    "TIMESTAMP",
    "FILE",
    "SIZE",
    "SHA256",
    "CRC64NVME",
    "FORMAT",
    "RECORD_SHA256",
];
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn release_is_the_first_member_and_holds_five_lines() {
    let tree = tree(&[("A-sorts-first", "x"), ("code/x", "y")]);
    for harness in Harness::both() {
        let given = ["--build", "77", "--commit", COMMIT, "--timestamp", "Sat Jan 23 11:20:02 UTC 2016"];
        let run = harness.pack(tree.path()).args(given).run().succeeds();
        let record = harness.is_published(1, &run);
        assert_eq!(record.keys(), KEYS);
        let archive = harness.object("obelix-1.tar").unwrap();
        assert_eq!(members(&archive)[0], "RELEASE");
        let five = format!(
            "MODULE=obelix\nVERSION=1\nBUILD=77\nGIT_COMMIT={COMMIT}\nTIMESTAMP=Sat Jan 23 11:20:02 UTC 2016\n"
        );
        let _inside = Tool::new("tar").args(["-xO", "RELEASE"]).stdin(archive).run().succeeds().stdout_is(&five);
        assert!(run.stdout_str().starts_with(&five));
        greps(&harness, 1, COMMIT);
    }
}

/// The words of the original scripts, on all three places.
fn greps(harness: &Harness, number: u64, commit: &str) {
    let dir = tempfile::tempdir().unwrap();
    let record = Record::of(&harness.text("latest.txt"));
    let archive = harness.object(record.get("FILE")).unwrap();
    let _out = Tool::new("tar").args(["-x", "RELEASE"]).cwd(dir.path()).stdin(archive).run().succeeds();
    fs::write(dir.path().join("latest.txt"), harness.text("latest.txt")).unwrap();
    fs::write(dir.path().join(".release"), harness.text(&format!("obelix-{number}.release"))).unwrap();
    for file in ["RELEASE", "latest.txt", ".release"] {
        let grep = |word: &str| {
            let line = format!("grep {word} {file} | cut -d'=' -f2");
            Tool::new("sh").args(["-c", &line]).cwd(dir.path()).run().succeeds()
        };
        let _number = grep("VERSION").stdout_is(&format!("{number}\n"));
        let _commit = grep("GIT_COMMIT").stdout_is(&format!("{commit}\n"));
    }
}

#[test]
fn a_release_among_the_paths_is_left_out() {
    let tree = tree(&[("RELEASE", "VERSION=999\nGIT_COMMIT=old\n"), ("code/RELEASE", "kept"), ("RELEASES", "kept")]);
    for paths in [&["."][..], &["RELEASE", "code", "RELEASES"], &["./RELEASE", "code/RELEASE", "."]] {
        let harness = Harness::files();
        let _run = harness.tool().arg("-C").arg(tree.path()).args(paths).run().succeeds();
        let kept: Vec<String> = packed(&harness).into_iter().filter(|name| name != "code/").collect();
        assert_eq!(kept, ["RELEASES", "code/RELEASE"]);
        greps(&harness, 1, "");
    }
}

/// What stands below a directory of that name could never be unpacked beside the record.
#[test]
fn a_directory_named_release_is_refused() {
    let tree = tree(&[("RELEASE/notes", "x")]);
    for paths in [".", "RELEASE/notes"] {
        let harness = Harness::s3();
        let run = harness.tool().arg("-C").arg(tree.path()).arg(paths).run().fails_with(1);
        let run = run
            .stderr_contains("unable to pack RELEASE/notes: RELEASE is not a directory in the release")
            .stderr_is_one_line_at_its_end();
        harness.is_as_before(&Default::default(), &run);
    }
    fs::remove_dir_all(tree.path().join("RELEASE")).unwrap();
    fs::create_dir(tree.path().join("RELEASE")).unwrap();
    let harness = Harness::s3();
    let _run = harness.pack(tree.path()).run().fails_with(1).stderr_contains("nothing to pack: ");
    write(tree.path(), "a", b"a");
    let _run = harness.pack(tree.path()).run().succeeds();
    assert_eq!(packed(&harness), ["a"]);
}

trait LastLine {
    fn stderr_is_one_line_at_its_end(self) -> Self;
}

impl LastLine for testkit::Finished {
    /// Notes may come first; the failure itself is one line.
    fn stderr_is_one_line_at_its_end(self) -> Self {
        assert!(crate::harness::last_line(&self).starts_with("artifact-pack: unable to "), "{}", self.report());
        self
    }
}

#[test]
fn environment_twins() {
    let tree = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let tool = |harness: &Harness| {
        crate::harness::tool()
            .args(["--store", &harness.url, "-C"])
            .arg(tree.path())
            .arg("a")
            .aws(harness.proxy().endpoint())
    };
    let twins = |tool: Tool, values: [&str; 4]| {
        let names = ["ARTIFACT", "BUILD_NUMBER", "GIT_COMMIT", "BUILD_TIMESTAMP"];
        names.into_iter().zip(values).fold(tool, |tool, (name, value)| tool.env(name, value))
    };
    let run = twins(tool(&harness), ["obelix", "1234", COMMIT, "2016-01-23_11-20-02"]).run().succeeds();
    let record = harness.is_published(1, &run);
    let fields = ["MODULE", "BUILD", "GIT_COMMIT", "TIMESTAMP"].map(|key| record.get(key));
    assert_eq!(fields, ["obelix", "1234", COMMIT, "2016-01-23_11-20-02"]);

    // The command line wins.
    let given = ["--build", "9", "--commit", "abc", "--timestamp", "t", "--artifact", "obelix"];
    let run = twins(tool(&harness), ["other", "1", "2", "3"]).args(given).run().succeeds();
    let record = harness.is_published(2, &run);
    assert_eq!(["MODULE", "BUILD", "GIT_COMMIT", "TIMESTAMP"].map(|key| record.get(key)), ["obelix", "9", "abc", "t"]);

    // Empty ones are as good as none.
    let run = twins(tool(&harness), ["obelix", "", "", ""]).env("SOURCE_DATE_EPOCH", "0").run().succeeds();
    let record = harness.is_published(3, &run);
    assert_eq!(
        ["BUILD", "GIT_COMMIT", "TIMESTAMP"].map(|key| record.get(key)),
        ["", "", "Thu Jan  1 00:00:00 UTC 1970"]
    );
    let before = harness.objects();
    let run = twins(tool(&harness), ["", "", "", ""]).run().fails_with(2).stderr_is_one_line();
    harness.is_as_before(&before, &run);
}

/// What release-promote would refuse to tag is said when it is recorded.
#[test]
fn a_commit_that_is_not_an_id() {
    let tree = tree(&[("a", "a")]);
    let harness = Harness::s3();
    for (commit, told) in [("HEAD", true), ("main", true), ("abc", true), ("0123456", false), (COMMIT, false)] {
        let run = harness.pack(tree.path()).args(["--commit", commit]).run().succeeds();
        let words = format!("artifact-pack: warning: {commit} is not a commit id, so this release can't be tagged\n");
        assert_eq!(run.stderr_str().contains(&words), told, "{}", run.report());
    }
}

/// Without anything given, the record says when it was built, as date(1) does.
#[test]
fn the_time_of_a_build_without_a_commit() {
    let tree = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let year = |text: &str| text.trim().rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    let now = || year(Tool::new("date").run().succeeds().stdout_str());
    let before = now();
    let run = harness
        .pack(tree.path())
        .run()
        .succeeds()
        .stderr_contains("it is not a git checkout; the record will have no commit (use --commit)");
    let record = harness.is_published(1, &run);
    let stamp = record.get("TIMESTAMP");
    assert!((before..=now()).contains(&year(stamp)), "{stamp}");
    assert!(stamp.contains(" UTC ") && stamp.split_whitespace().count() == 6, "{stamp}");
}

/// A checkout that git does not trust is not told as none: git's own words say what to do about it.
#[test]
fn a_checkout_of_somebody_else() {
    let tree = tree(&[("a", "a")]);
    let git = |words: &[&str]| Tool::new("git").arg("-C").arg(tree.path()).args(words).run().succeeds();
    let _made = git(&["init", "-q"]);
    let harness = Harness::s3();
    let run = harness
        .pack(tree.path())
        .run()
        .succeeds()
        .stderr_contains(" has no commit yet; the record will have none (use --commit)");
    assert_eq!(harness.is_published(1, &run).get("GIT_COMMIT"), "");
    // git's own test hook: every repository looks like another user's.
    let run = harness.pack(tree.path()).env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1").run().succeeds();
    assert_eq!(harness.is_published(2, &run).get("GIT_COMMIT"), "");
    let line = run.stderr_str().lines().find(|line| line.contains("dubious ownership")).map(str::to_owned);
    let line = line.unwrap_or_else(|| panic!("{}", run.report()));
    assert!(line.contains("; git config --global --add safe.directory "), "{line}");
    assert!(
        line.starts_with("artifact-pack: warning: ")
            && line.ends_with("; the record will have no commit (use --commit)")
    );
    assert!(!line.contains("fatal"), "nothing is: {line}");
}

#[test]
fn misleading_values_are_wrong_usage() {
    let tree = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let wrong = ["MY_VERSION=3", "GIT_COMMIT", "two\nlines", "tab\there", "\u{1b}[31m"];
    for option in ["--build", "--commit", "--timestamp"] {
        for value in wrong {
            let run =
                harness.pack(tree.path()).arg(format!("{option}={value}")).run().fails_with(2).stderr_is_one_line();
            harness.is_as_before(&Default::default(), &run);
        }
    }
    for artifact in ["a/b", "", "MY_VERSION", "GIT_COMMIT-x", ".hidden", "a b"] {
        let run = crate::harness::tool().args(["--artifact", artifact, "--store", &harness.url, "x"]);
        let run = run.aws(harness.proxy().endpoint()).run().fails_with(2).stderr_is_one_line();
        harness.is_as_before(&Default::default(), &run);
    }
    assert_eq!(harness.proxy().count(), 0, "nothing was asked");
    // A value with an equals sign is whole in the record; cut alone would cut it.
    let run = harness.pack(tree.path()).args(["--build", "a=b c"]).run().succeeds();
    assert_eq!(harness.is_published(1, &run).get("BUILD"), "a=b c");
}

/// Numbers go on from whatever the store holds, also from what old scripts left.
#[test]
fn numbers_go_on() {
    let tree = tree(&[("a", "a")]);
    let old = "MODULE=obelix\nVERSION=41\nBUILD=1\nGIT_COMMIT=x\nTIMESTAMP=y\n";
    for harness in Harness::both() {
        harness.put("latest.txt", old.as_bytes());
        harness.put("obelix-41.tar", b"an old tar");
        harness.put("obelix-app-99.tar", b"another artifact's");
        harness.put("obelix-0100.tar", b"no number of ours");
        let run = harness.pack(tree.path()).run().succeeds();
        let _record = harness.is_published(42, &run);
        assert_eq!(harness.object("obelix-41.tar").unwrap(), b"an old tar");
        assert_eq!(harness.sealed(), [42]);
        let note = run.stderr_str();
        assert!(!note.contains("numbers start at 1"), "{note}");
        write(tree.path(), "b", b"b");
    }
}

/// What no reader could take is refused before a number is taken.
#[test]
fn values_that_are_too_long() {
    let tree = tree(&[("a", "a")]);
    let harness = Harness::s3();
    for option in ["--build", "--commit", "--timestamp"] {
        let run = harness.pack(tree.path()).args([option, &"1".repeat(4097)]).run().fails_with(2).stderr_is_one_line();
        harness.is_as_before(&Default::default(), &run);
    }
    let run = harness.pack(tree.path()).args(["--build", &"1".repeat(4096)]).run().succeeds();
    let _record = harness.is_published(1, &run);
}

/// A hook's environment, or a log that shows signatures, does not change what is recorded.
#[test]
fn git_is_asked_about_the_directory_alone() {
    let tree = tree(&[("src/a", "a"), ("other/b", "b")]);
    let git = |dir: &str, args: &[&str]| {
        let tool =
            Tool::new("git").arg("-C").arg(tree.path().join(dir)).args(["-c", "user.name=A", "-c", "user.email=a"]);
        tool.args(args).run().succeeds().stdout_str().trim().to_owned()
    };
    // A signature that nobody made, and a gpg that talks about it.
    let gpg = write(tree.path(), "gpg", b"#!/bin/sh\nif [ \"$1\" = --verify ] || [ \"$3\" = --verify ]; then echo talk; echo talk >&2; exit 0; fi\ncat >/dev/null; echo '[GNUPG:] SIG_CREATED ' >&2; echo signature\n");
    fs::set_permissions(&gpg, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for dir in ["src", "other"] {
        git(dir, &["init", "-q"]);
        git(dir, &["config", "gpg.program", &gpg.display().to_string()]);
        git(dir, &["config", "log.showSignature", "true"]);
        git(dir, &["add", "."]);
        git(dir, &["commit", "-q", "-S", "-m", dir]);
    }
    let (src, other) = (git("src", &["rev-parse", "HEAD"]), tree.path().join("other/.git").display().to_string());
    let harness = Harness::files();
    for (number, name) in (1..).zip(["GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"]) {
        let run = harness.pack(&tree.path().join("src")).env(name, &other).run().succeeds();
        assert!(!run.stderr_str().contains("time of commit"), "{}", run.report());
        assert_eq!(harness.is_published(number, &run).get("GIT_COMMIT"), src, "{name}");
    }
}

#[test]
fn a_git_that_does_not_answer() {
    let tree = tree(&[("a", "a")]);
    let git = write(tree.path(), "bin/git", b"#!/bin/sh\nexec tail -f /dev/null\n");
    fs::set_permissions(&git, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", git.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let harness = Harness::s3();
    let run = harness.pack(tree.path()).args(["--timeout", "1s"]).env("PATH", path).run().fails_with(75);
    let run = run.stderr_is_one_line().stderr_contains("no answer in time");
    harness.is_as_before(&Default::default(), &run);
}

#[test]
fn two_artifacts_that_begin_together_in_one_store() {
    let tree = tree(&[("a", "a")]);
    let harness = Harness::s3();
    // The other build ends while this one uploads.
    let other = crate::harness::tool().args(["--artifact", "asterix", "--store", &harness.url, "-C"]).arg(tree.path());
    let other = other.arg(".").aws(harness.model().endpoint());
    let is_archive = |info: &testkit::RequestInfo| info.method == "PUT" && info.path.ends_with(".tar");
    let build = Box::new(move || drop(other.run().succeeds()));
    harness.proxy().on_match(Box::new(is_archive), testkit::KillPoint::AfterCommit, build);
    let run = harness.pack(tree.path()).run().fails_with(1);
    let _told = run.stderr_contains("keeps the releases of another artifact: its FILE \"asterix-1.tar\"");
    assert!(harness.text("latest.txt").starts_with("MODULE=asterix\n"));
}
