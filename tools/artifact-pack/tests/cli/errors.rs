//! Every way to fail has its code, its one line, and leaves nothing behind.

use crate::harness::{BUCKET, Harness, ONE_REQUEST, is_root, last_line, sparse, tool, tree};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use testkit::{Fault, Finished, RequestInfo, Rules, S3Model, Tool};

/// The failure's own line: one, from this tool, whatever notes came before.
#[track_caller]
fn says(run: Finished, code: i32, words: &[&str]) -> Finished {
    let run = run.fails_with(code);
    let line = last_line(&run);
    assert!(
        line.starts_with("artifact-pack: ") && words.iter().all(|word| line.contains(word)),
        "{words:?}\n{}",
        run.report()
    );
    assert!(run.stdout.is_empty(), "{}", run.report());
    run
}

#[test]
fn what_the_store_answers() {
    let small = tree(&[("a", "a")]);
    let cases = [
        (403, "AccessDenied", 1),
        (403, "InvalidAccessKeyId", 1),
        (403, "SignatureDoesNotMatch", 1),
        (403, "RequestTimeTooSkewed", 1),
        (400, "ExpiredToken", 75),
        (503, "SlowDown", 75),
        (500, "InternalError", 75),
        (503, "ServiceUnavailable", 75),
        (400, "RequestTimeout", 75),
    ];
    for (status, s3_code, code) in cases {
        // From the first request on, and from the upload on.
        let everything: fn(&RequestInfo) -> bool = |_| true;
        let the_archive: fn(&RequestInfo) -> bool = |info| info.is_put_object() && info.path.ends_with(".tar");
        for matches in [everything, the_archive] {
            let harness = Harness::s3();
            harness.fail(matches, Fault::status(status, s3_code));
            let run = says(harness.pack(small.path()).run(), code, &["unable to ", "s3://build/obelix/prod", s3_code]);
            harness.is_as_before(&Default::default(), &run);
        }
    }
}

#[test]
fn a_wrong_bucket() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    for mode in [&["--dry-run", "a"][..], &["a"], &["--audit"]] {
        let run = harness.tool().arg("-C").arg(small.path()).args(["--store", "s3://other/x"]).args(mode);
        // The last --store does not win: it is an error to give two.
        let _twice = run.run().fails_with(2);
        let run = tool().args(["--artifact", "obelix", "--store", "s3://other/x", "-C"]).arg(small.path()).args(mode);
        says(run.aws(harness.proxy().endpoint()).run(), 1, &["s3://other/x", "NoSuchBucket"]);
    }
    for wrong in ["other/x", "http://x/y", "s3://", "file://host/x", "file://", "file:/tmp/x", "file:x"] {
        let run = tool().args(["--artifact", "obelix", "--store", wrong, "a"]).run();
        let _run = says(run, 2, &["--store", "write s3://bucket/prefix or file:///"]).stderr_is_one_line();
    }
}

#[test]
fn no_credentials() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let run = tool().args(["--artifact", "obelix", "--store", &harness.url, "-C"]).arg(small.path()).arg("a");
    let run = run
        .env("AWS_ENDPOINT_URL_S3", harness.proxy().endpoint())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let run = says(run.run(), 75, &["credential"]);
    harness.is_as_before(&Default::default(), &run);
    assert_eq!(harness.proxy().count(), 0);
}

#[test]
fn nobody_listens() {
    let small = tree(&[("a", "a")]);
    let gone = S3Model::start_with(Rules::default()).endpoint();
    let run =
        tool().args(["--artifact", "obelix", "--store", "s3://build/x", "-C"]).arg(small.path()).arg("a").aws(gone);
    says(run.run(), 75, &["s3://build/x"]);
}

#[test]
fn a_store_that_never_answers() {
    let small = tree(&[("a", "a")]);
    let matches: [fn(&RequestInfo) -> bool; 2] =
        [|_| true, |info| info.is_put_object() && info.path.ends_with(".release")];
    for matches in matches {
        let harness = Harness::s3();
        harness.fail(matches, Fault::Stall);
        let run = says(harness.pack(small.path()).args(["--timeout", "1s"]).run(), 75, &["no answer in time"]);
        harness.is_as_before(&Default::default(), &run);
    }
}

#[test]
fn a_damaged_pointer() {
    let small = tree(&[("a", "a")]);
    let whole = "MODULE=obelix\nVERSION=3\nBUILD=\nGIT_COMMIT=\nTIMESTAMP=\n";
    let broken = [
        "VERSION",
        "VERSION=x\n",
        "VERSION=03\n",
        "MODULE=obelix\n",
        "\u{0}\u{1}",
        "VERSION=3\nVERSION=4\n",
        &format!("{whole}FILE=obelix-3.tar\nSIZE=1\nSHA256=00\nFORMAT=tar\n"),
        &format!("{whole}RECORD_SHA256={}\n", "0".repeat(64)),
    ];
    for harness in Harness::both() {
        // An old script that is writing it.
        harness.put("latest.txt", b"");
        let _run = says(harness.pack(small.path()).run(), 75, &["latest.txt is empty"]);
        for text in broken {
            harness.put("latest.txt", text.as_bytes());
            let before = harness.objects();
            for mode in [&["--dry-run"][..], &[]] {
                let run =
                    says(harness.pack(small.path()).args(mode).run(), 1, &["latest.txt", "is not a release record"]);
                assert_eq!(harness.objects(), before, "no number is taken\n{}", run.report());
            }
        }
    }
}

/// The same tool as a user without rights, where the tests run as root.
fn as_nobody() -> Tool {
    match is_root() {
        true => Tool::new("setpriv").args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            env!("CARGO_BIN_EXE_artifact-pack"),
        ]),
        false => tool(),
    }
}

#[test]
fn a_directory_that_may_not_be_written() {
    let small = tree(&[("a", "a")]);
    fs::set_permissions(small.path(), Permissions::from_mode(0o755)).unwrap();
    let harness = Harness::files();
    fs::set_permissions(harness.dir.path(), Permissions::from_mode(0o555)).unwrap();
    let run =
        as_nobody().args(["--artifact", "obelix", "--store", &harness.url, "-C"]).arg(small.path()).arg("a").run();
    let run = says(run, 1, &["unable to ", "Permission denied"]);
    harness.is_as_before(&Default::default(), &run);
    // A file where the directory should be.
    let file = small.path().join("a");
    let run = tool()
        .args(["--artifact", "obelix", "--store", &format!("file://{}", file.display()), "-C"])
        .arg(small.path())
        .arg("a");
    says(run.run(), 1, &["unable to "]);
}

/// Runs the tool with a tmpfs of its own on `at`, mounted with these options, and lists what is left there.
fn on_tmpfs(at: &Path, options: &str, prepare: &str, args: &[&str]) -> Tool {
    let script = "mount -t tmpfs -o size=6m none \"$0\" && cd / && eval \"$PREPARE\" && \
                  { [ \"$OPTIONS\" = rw ] || mount -o \"remount,$OPTIONS\" \"$0\"; } || exit 99; \
                  \"$@\"; code=$?; find \"$0\" -type f ! -name .lock -printf 'left %f\\n' >&2; \
                  head -qn 1 \"$0\"/*.release >&2; exit $code";
    let unshare = Tool::new("unshare").arg(if is_root() { "-m" } else { "-rm" });
    let unshare =
        unshare.args(["sh", "-c", script]).arg(at).args([env!("CARGO_BIN_EXE_artifact-pack"), "--artifact", "obelix"]);
    unshare
        .arg("--store")
        .arg(format!("file://{}", at.display()))
        .args(args)
        .env("OPTIONS", options)
        .env("PREPARE", prepare)
}

#[test]
fn a_full_disk() {
    let large = tree(&[]);
    sparse(large.path(), "f", 3 * ONE_REQUEST);
    let at = tempfile::tempdir().unwrap();
    let dir = large.path().display().to_string();
    let run = on_tmpfs(at.path(), "rw", ":", &["-C", &dir, "."])
        .run()
        .fails_with(75)
        .stderr_contains("No space left on device");
    let left: Vec<String> =
        run.stderr_str().lines().filter(|line| line.starts_with("left ")).map(str::to_owned).collect();
    assert_eq!(left, ["left obelix-1.release"], "{}", run.report());
    assert!(run.stderr_str().contains("\nSTATE=abandoned\n"), "{}", run.report());
    // Not even room for the claim.
    let fill = "head -c 6m /dev/zero >\"$0/fill\" 2>/dev/null; true";
    let run = on_tmpfs(at.path(), "rw", fill, &["-C", &dir, "."])
        .run()
        .fails_with(75)
        .stderr_contains("No space left on device");
    assert!(!run.stderr_str().contains("left obelix"), "{}", run.report());
}

#[test]
fn a_read_only_disk() {
    let small = tree(&[("a", "a")]);
    let at = tempfile::tempdir().unwrap();
    let dir = small.path().display().to_string();
    let run =
        on_tmpfs(at.path(), "ro", ":", &["-C", &dir, "."]).run().fails_with(1).stderr_contains("Read-only file system");
    assert!(!run.stderr_str().contains("left obelix"), "{}", run.report());
    // Looking is possible.
    let _dry =
        on_tmpfs(at.path(), "ro", ":", &["-C", &dir, "--dry-run", "."]).run().succeeds().stdout_contains("VERSION=1\n");
}

/// Runs the tool with stdout on this device.
fn printing_to(device: &str, args: &[&str]) -> Tool {
    Tool::new("sh")
        .args(["-c", "exec \"$0\" \"$@\" >\"$DEVICE\"", env!("CARGO_BIN_EXE_artifact-pack")])
        .args(args)
        .env("DEVICE", device)
}

#[test]
fn a_full_device_under_stdout() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let dir = small.path().display().to_string();
    let place = ["--artifact", "obelix", "--store", &harness.url];
    let with =
        |more: &[&str]| printing_to("/dev/full", &[&place[..], more].concat()).aws(harness.proxy().endpoint()).run();
    let _audit = says(with(&["--audit"]), 75, &["unable to write stdout: No space left on device"]);
    let _dry = says(with(&["-C", &dir, "--dry-run", "a"]), 75, &["unable to write stdout: No space left on device"]);
    assert!(harness.objects().is_empty());
    let run = with(&["-C", &dir, "a"]);
    let _run =
        says(run, 1, &["release 1 is published, printing it failed: unable to write stdout: No space left on device"]);
    assert_eq!(harness.sealed(), [1]);
    assert_eq!(harness.text("latest.txt"), harness.text("obelix-1.release"));
    for show in ["--help", "--version"] {
        let _run =
            says(printing_to("/dev/full", &[show]).run(), 75, &["unable to write stdout: No space left on device"]);
    }
    // A file that can't grow is an ordinary one.
    let _fine = printing_to("/dev/null", &["--help"]).run().succeeds();
}

#[test]
fn a_rehearsal_changes_nothing_and_tells_the_truth() {
    let mixed = tree(&[("a", "a"), ("code/b", "b")]);
    sparse(mixed.path(), "f", ONE_REQUEST);
    for format in ["none", "zstd", "gzip"] {
        for harness in Harness::both() {
            let _first = harness.pack(mixed.path()).args(["--timestamp", "t"]).run().succeeds();
            let before = harness.objects();
            let pack = || harness.pack(mixed.path()).args(["--compress", format, "--timestamp", "t", "--build", "5"]);
            let rehearsed = pack().arg("--dry-run").run().succeeds().stderr_contains("dry run: nothing was published");
            assert_eq!(harness.objects(), before);
            assert!(harness.uploads().is_empty());
            let run = pack().run().succeeds().stdout_is(rehearsed.stdout_str());
            let _record = harness.is_published(2, &run);
        }
    }
    // A place that does not exist yet stays so.
    let none = mixed.path().join("not-yet");
    let run =
        tool().args(["--artifact", "obelix", "--dry-run", "--store", &format!("file://{}", none.display()), "-C"]);
    let _run = run.arg(mixed.path()).arg("a").run().succeeds();
    assert!(!none.exists());
}

/// Sealed and then cut off from `latest.txt`: the message says what stands, and the next build goes on from there.
#[test]
fn when_latest_can_not_be_moved() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    harness.fail(|info| info.is_put_object() && info.path.ends_with("latest.txt"), Fault::status(403, "AccessDenied"));
    let run = harness.pack(small.path()).run();
    let _run = says(run, 1, &["release 1 is sealed and can be promoted, but latest.txt was not moved", "AccessDenied"]);
    assert_eq!(harness.sealed(), [1]);
    harness.proxy().set_plan(testkit::Plan::None);
    let run = harness.pack(small.path()).run().succeeds();
    let _record = harness.is_published(2, &run);
}

/// Two builds in one directory take turns; a lock held for good is a temporary failure, said with its name.
#[test]
fn a_lock_that_is_never_given_back() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::files();
    let lock = OpenOptions::new().create(true).append(true).open(harness.dir.path().join(".lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let run = says(harness.pack(small.path()).args(["--timeout", "100ms"]).run(), 75, &["unable to lock ", ".lock"]);
    harness.is_as_before(&Default::default(), &run);
}

#[test]
fn words_about_the_command_line() {
    let _version = tool().arg("--version").run().succeeds().stdout_contains("artifact-pack 0.").stderr_is_empty();
    let help = tool().arg("--help").run().succeeds().stderr_is_empty();
    assert!(
        help.stdout_str()
            .starts_with("Pack files into the next numbered release of an artifact and print its record\n")
    );
    for wrong in [
        &["--no-such"][..],
        &[],
        &["--audit", "x"],
        &["--audit", "--dry-run"],
        &["-v", "-q", "x"],
        &["--compress", "xz", "x"],
    ] {
        let run = tool().args(["--artifact", "obelix", "--store", "s3://b/x"]).args(wrong).run();
        let _run = says(run, 2, &["(see --help)"]).stderr_is_one_line();
    }
    // Quiet is quiet, and names from outside never move a cursor.
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let _run = harness.pack(small.path()).arg("-q").run().succeeds().stderr_is_empty();
    let run = harness.tool().arg("-C").arg(small.path()).arg("no\u{1b}[31m\nsuch").run();
    let _run = says(run, 1, &["no\\u{1b}[31m\\nsuch"]);
    assert!(harness.model().objects(BUCKET).len() == 3);
}
