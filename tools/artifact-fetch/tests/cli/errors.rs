//! What goes wrong, in one line and with the code that says whether to try again; and what the command line is.

use crate::harness::{Harness, fetch, five_lines, plain, sealed, snapshot};
use crate::s3::{BUCKET, Remote, large};
use archive::Format;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use testkit::tars::{Tar, gzip};
use testkit::{Fault, Plan, Tool};

/// The run fails with this code and these words on one line, and changes nothing in the harness.
fn fails(harness: &Harness, tool: Tool, code: i32, words: &str) {
    let before = snapshot(harness.root.path());
    let _run = tool.run().fails_with(code).stdout_is("").stderr_is_one_line().stderr_contains(words);
    assert!(snapshot(harness.root.path()) == before, "{words}: something changed");
}

#[test]
fn what_is_not_in_the_store() {
    let harness = Harness::with_first();
    let remote = Remote::new();
    remote.publish(1, plain(1));
    for tool in [harness.fetch(), remote.fetch(&harness.into)] {
        fails(&harness, tool.clone().args(["--release", "9"]), 1, "there is no release 9 of app");
        fails(&harness, tool.clone().args(["--release", "canary"]), 1, "there is no channel canary");
        let record = sealed(9, plain(9), Format::Tar).record.to_bytes();
        fails(&harness, tool.clone().args(["--release", "-"]).stdin(record), 1, "app-9.release does not exist");
        let five = tool.args(["--release", "-", "-q", "--unverified"]).stdin(five_lines(9));
        fails(&harness, five, 1, "app-9.tar does not exist");
    }
    let elsewhere = fetch("s3://wrong/p", &harness.into).aws(remote.proxy.endpoint());
    fails(&harness, elsewhere, 1, "NoSuchBucket");
    fails(
        &harness,
        fetch("file:///no/such/store", &harness.into),
        1,
        "/no/such/store/latest-stable.txt does not exist",
    );
}

#[test]
fn records_that_are_none() {
    let harness = Harness::with_first();
    let good = sealed(2, plain(2), Format::Tar);
    fs::write(harness.store.join(&good.file), &good.archive).unwrap();
    let text = String::from_utf8(good.record.to_bytes()).unwrap();
    let stranger = text.replace("app-2", "other-2");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"<html>\n".to_vec(), "not a release record"),
        (vec![0xff; 40], "not a release record"),
        (vec![b'\n'; 3], "VERSION is missing"),
        (b"VERSION=\n".to_vec(), "VERSION has a wrong value"),
        (b"VERSION=02\n".to_vec(), "VERSION has a wrong value"),
        (text.replace("VERSION=2", "VERSION=1").into_bytes(), "RECORD_SHA256 does not match"),
        (stranger.into_bytes(), "RECORD_SHA256 does not match"),
        (text.replace('\n', "\r\n").into_bytes(), "control character"),
        (
            text.lines()
                .filter(|line| !line.starts_with("RECORD_SHA256"))
                .fold(String::new(), |all, line| all + line + "\n")
                .into_bytes(),
            "RECORD_SHA256 is missing",
        ),
        (text[..text.len() / 2].to_owned().into_bytes(), "not a release record"),
        (vec![b'A'; 100_000], "not a release record"),
    ];
    for (bytes, words) in cases {
        fs::write(harness.store.join("latest-stable.txt"), &bytes).unwrap();
        fails(&harness, harness.fetch(), 1, words);
        fails(&harness, harness.fetch().args(["--release", "-"]).stdin(bytes), 1, "stdin");
    }
    // An old script empties it before it writes.
    fs::write(harness.store.join("latest-stable.txt"), "").unwrap();
    fails(&harness, harness.fetch(), 75, "is empty: it is being written");
    // A whole record, of another artifact or under another number.
    let layout: release::Layout = "other".parse().unwrap();
    let mut artifact = good.record.artifact().unwrap().clone();
    artifact.file = layout.archive(good.record.number(), Format::Tar);
    let other = good.record.sealed(artifact).unwrap().to_bytes();
    fs::write(harness.store.join("latest-stable.txt"), other).unwrap();
    fails(&harness, harness.fetch(), 1, "is not release 2 of app");
    fs::write(harness.store.join("app-3.release"), good.record.to_bytes()).unwrap();
    fails(&harness, harness.release(3), 1, "its VERSION is 2");
    fs::write(harness.store.join("app-4.release"), five_lines(4)).unwrap();
    fails(&harness, harness.release(4), 1, "not sealed");
}

#[test]
fn no_input_means_that_the_stage_before_failed() {
    let harness = Harness::with_first();
    fails(&harness, harness.fetch().args(["--release", "-"]), 75, "no release record on stdin");
}

#[test]
fn credentials_and_clocks() {
    let harness = Harness::with_first();
    let remote = Remote::new();
    remote.publish(2, plain(2));
    let answers = [
        (400, "ExpiredToken", 75),
        (403, "AccessDenied", 1),
        (403, "InvalidAccessKeyId", 1),
        (403, "SignatureDoesNotMatch", 1),
        (403, "RequestTimeTooSkewed", 1),
    ];
    for (status, name, code) in answers {
        remote.proxy.set_plan(Plan::Custom(Box::new(move |_| Some(Fault::status(status, name)))));
        fails(&harness, remote.fetch(&harness.into), code, name);
        remote
            .proxy
            .set_plan(Plan::Custom(Box::new(move |info| (info.method == "HEAD").then(|| Fault::status(status, name)))));
        // HEAD has no body, so there the status alone speaks.
        if status == 403 {
            fails(&harness, remote.fetch(&harness.into), code, "403");
        }
        harness.assert_tidy();
    }
    let tool = fetch("s3://b/p", &harness.into)
        .env("AWS_ENDPOINT_URL_S3", remote.proxy.endpoint())
        .env("AWS_REGION", "us-east-1");
    fails(&harness, tool.env("AWS_EC2_METADATA_DISABLED", "true"), 75, "credential");
}

#[test]
fn servers_that_fail_for_long() {
    let harness = Harness::with_first();
    let remote = Remote::new();
    remote.publish(2, large(2));
    for fault in [Fault::SlowDown, Fault::status(500, "InternalError"), Fault::status(503, "ServiceUnavailable")] {
        remote.proxy.set_plan(Plan::Custom(Box::new(move |_| Some(fault.clone()))));
        fails(&harness, remote.fetch(&harness.into).args(["--timeout", "3s"]), 75, "latest-stable.txt");
    }
    let stalls: [fn(&testkit::RequestInfo) -> bool; 3] = [
        |info| info.path.ends_with(".txt"),
        |info| info.method == "HEAD",
        |info| info.method == "GET" && info.path.ends_with(".tar"),
    ];
    for stalls in stalls {
        remote.proxy.set_plan(Plan::Custom(Box::new(move |info| stalls(info).then_some(Fault::Stall))));
        fails(&harness, remote.fetch(&harness.into).args(["--timeout", "1s"]), 75, "no answer in time");
    }
    // A port that nobody listens on: it was ours a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = fetch("s3://b/p", &harness.into).aws(format!("http://127.0.0.1:{port}"));
    fails(&harness, refused, 75, "latest-stable.txt");
    remote.proxy.set_plan(Plan::None);
    let _run = remote.fetch(&harness.into).run().succeeds().stderr_is_empty();
    harness.assert_current(2);
    assert!(remote.model.object(BUCKET, "p/app-2.tar").is_some());
}

/// Runs `script` with a small file system of its own mounted on the target, which ends with it.
fn on_small_disk(harness: &Harness, options: &str, script: &str) -> testkit::Finished {
    let fetch = format!(
        "{} --artifact app --store file://{} --into {}",
        env!("CARGO_BIN_EXE_artifact-fetch"),
        harness.store.display(),
        harness.into.display()
    );
    let prepare = format!(
        "set -e; mount -t tmpfs -o {options} tmpfs {}; cd {}; set +e",
        harness.into.display(),
        harness.into.display()
    );
    // A mount namespace of its own, in a user namespace of its own, where anybody may mount.
    Tool::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "/bin/sh",
            "-c",
            &format!("{prepare}\nfetch() {{ {fetch} \"$@\"; }}\n{script}"),
        ])
        .run()
}

#[test]
fn a_full_disk_is_temporary() {
    let harness = Harness::new();
    let unchanged =
        "find . | sort >$HOME/before; fetch --release 2; code=$?; find . | sort | diff $HOME/before - || exit 99; ";
    let then_more = "test $code = 75 && mount -o remount,size=64m,nr_inodes=1000 . && fetch --release 2 >&2 && ls";
    let first = "fetch --release 1 >$HOME/out || exit 98; ";
    let large = vec![b'x'; 4 << 20];
    let many =
        (0..200).fold(Tar::new().file("RELEASE", &five_lines(2)), |tar, index| tar.file(&format!("x{index}"), b"x"));
    harness.publish(1, plain(1));
    let cases = [
        ("size=1m", Format::Tar, Tar::new().file("big", &large).end(), "bytes are free"),
        ("size=1m", Format::TarGz, gzip(&Tar::new().file("big", &large).end()), "o space left"),
        ("size=16m,nr_inodes=60", Format::Tar, many.end(), "o space left"),
    ];
    for (options, format, archive, words) in cases {
        harness.publish_as(2, archive, format);
        let run = on_small_disk(&harness, options, &format!("{first}{unchanged}{then_more}"));
        let run = run.succeeds().stdout_is("app-1\napp-2\ncurrent\n");
        assert!(run.stderr_str().lines().next().unwrap().contains(words), "{}", run.report());
    }
}

#[test]
fn a_read_only_target_is_final() {
    let harness = Harness::new();
    harness.publish(1, plain(1));
    harness.publish(2, plain(2));
    let script = "fetch --release 1 >$HOME/out || exit 98; mount -o remount,ro . || exit 97; fetch";
    let run = on_small_disk(&harness, "size=1m", script).fails_with(1).stdout_is("").stderr_is_one_line();
    let _run = run.stderr_contains("ead-only file system");
    let _run = on_small_disk(&harness, "size=1m,ro", "fetch").fails_with(1).stdout_is("").stderr_is_one_line();
    // Nothing can be made here, whoever asks.
    let _run = fetch(&format!("file://{}", harness.store.display()), std::path::Path::new("/proc/none"))
        .run()
        .fails_with(1)
        .stderr_is_one_line();
    let file = harness.root.path().join("file");
    fs::write(&file, "x").unwrap();
    let _run = fetch(&format!("file://{}", harness.store.display()), &file).run().fails_with(1).stderr_is_one_line();
}

/// A run whose stdout is something that a test harness can't read from.
fn with_stdout(harness: &Harness, stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artifact-fetch"));
    command.env_clear().args(["--artifact", "app", "--into"]).arg(&harness.into);
    command.arg("--store").arg(format!("file://{}", harness.store.display())).stdin(Stdio::null()).stdout(stdout);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_record_that_nobody_reads() {
    let harness = Harness::with_first();
    harness.publish(2, plain(2));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(with_stdout(&harness, writer), (Some(0), String::new()));
    harness.assert_current(2);
    harness.publish(3, plain(3));
    let (code, words) = with_stdout(&harness, File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(code, Some(1));
    assert!(
        words.starts_with("artifact-fetch: release 3 is current, printing it failed: ") && words.lines().count() == 1,
        "{words}"
    );
    harness.assert_current(3);
}

#[test]
fn wrong_command_lines() {
    let harness = Harness::with_first();
    for args in [
        &["--release", "previous"][..],
        &["--release", "07"],
        &["--release", "../x"],
        &["--release", ""],
        &["--keep", "1"],
        &["--keep", "-1"],
        &["--max-size", "much"],
        &["--timeout", "soon"],
        &["--no-such-option"],
        &["-v", "-q"],
        &["operand"],
    ] {
        fails(&harness, harness.fetch().args(args), 2, "artifact-fetch: ");
    }
    let size = "for '--max-size <SIZE>': expected a size such as 500MB or 64GiB (see --help)";
    fails(&harness, harness.fetch().args(["--max-size", "5x"]), 2, size);
    // A word that would be refused in its turn is not offered.
    let words = ": expected a release number, latest, latest-stable, the name of a channel, or - (see --help)";
    fails(&harness, harness.fetch().args(["--release", "0"]), 2, words);
    fails(&harness, harness.fetch().args(["--release", "previous"]), 2, "which release-promote does");
    fails(
        &harness,
        harness.fetch().arg("--kep"),
        2,
        "'--kep' found; tip: a similar argument exists: '--keep' (see --help)",
    );
    let tool = || Tool::new(env!("CARGO_BIN_EXE_artifact-fetch"));
    fails(&harness, tool(), 2, "--store");
    fails(&harness, tool().args(["--store", "file:///tmp", "--into", "x"]), 2, "--artifact");
    for store in ["/plain/path", "http://x/y", "s3://", "file://host/x", "s3://b/../c", ""] {
        fails(&harness, fetch(store, &harness.into), 2, "--store");
    }
    fails(&harness, tool().args(["--artifact", "../x", "--store", "file:///tmp", "--into", "x"]), 2, "--artifact");
    // The environment's twin of --artifact.
    let store = format!("file://{}", harness.store.display());
    let _run = tool().env("ARTIFACT", "app").args(["--store", &store, "--into"]).arg(&harness.into).run().succeeds();
}

#[test]
fn help_and_version() {
    let tool = || Tool::new(env!("CARGO_BIN_EXE_artifact-fetch"));
    let help = tool().arg("--help").run().succeeds().stderr_is_empty();
    let words = "Fetch a release, verify it, unpack it and switch DIR/current to it\n\nExamples:\n";
    assert!(help.stdout_str().starts_with(words), "{}", help.report());
    let _help = help.stdout_contains("artifact-fetch --artifact obelix").stdout_contains("75  temporary failure");
    let version = tool().arg("--version").run().succeeds().stderr_is_empty();
    assert!(
        version.stdout_str().starts_with("artifact-fetch ") && version.stdout_str().contains('('),
        "{}",
        version.report()
    );
}
