//! SIGTERM and SIGINT: the tool cleans up, then dies by the signal itself, whatever it was waiting for.

use crate::harness::{Harness, ONE_REQUEST, is_archive_complete, is_archive_part, sparse, tool, tree, until_noticed};
use std::fs;
use std::path::Path;
use testkit::{Fault, LIMIT, RequestInfo, Running, Tool, wait_until};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Waits until a request that meets `fault` for good has arrived.
fn until_stalled(harness: &Harness) {
    wait_until("a request without an answer", || {
        let log = harness.proxy().log();
        if log.iter().any(|seen| seen.fault.is_some()) { Ok(()) } else { Err(format!("{log:?}")) }
    });
}

fn send(run: &Running, signal: i32) {
    if signal == SIGINT { run.interrupt() } else { run.terminate() }
}

type Matches = fn(&RequestInfo) -> bool;

#[test]
fn whatever_it_waits_for() {
    let (large, small) = (tree(&[]), tree(&[("a", "a")]));
    sparse(large.path(), "f", 7 * ONE_REQUEST);
    let record = |info: &RequestInfo| info.is_put_object() && info.path.ends_with(".release");
    let moments: [(&str, Matches, &Path); 9] = [
        ("the claim", record, small.path()),
        (
            "the seal",
            |info| {
                let length = info.header("content-length").and_then(|length| length.parse::<u64>().ok());
                // No claim is as long.
                length.is_some_and(|length| length > 256) && info.is_put_object() && info.path.ends_with(".release")
            },
            small.path(),
        ),
        ("the listing", |info| info.query.contains("list-type=2"), small.path()),
        ("a part", is_archive_part, large.path()),
        ("the last part", |info| info.query.contains("partNumber=12"), large.path()),
        ("Complete", is_archive_complete, large.path()),
        ("the probe of Complete", |info| info.is_complete() && info.path.ends_with(".release"), large.path()),
        ("the whole archive", |info| info.is_put_object() && info.path.ends_with(".tar"), small.path()),
        ("the listing of uploads", |info| info.method == "GET" && info.has_field("uploads"), small.path()),
    ];
    for (what, matches, tree) in moments {
        for signal in [SIGTERM, SIGINT] {
            let harness = Harness::s3();
            // Only once, so that cleaning up finds the store well.
            let stalled = std::sync::atomic::AtomicBool::new(false);
            harness.proxy().set_plan(testkit::Plan::Custom(Box::new(move |info| {
                let now = matches(info) && !stalled.swap(true, std::sync::atomic::Ordering::SeqCst);
                now.then_some(Fault::Stall)
            })));
            // A timeout far beyond the test's own: nothing but the signal may end the wait.
            let run = harness.pack(tree).args(["--timeout", "1h"]).start();
            until_stalled(&harness);
            send(&run, signal);
            let run = run.wait().killed_by(signal);
            assert!(run.stdout.is_empty(), "{what}\n{}", run.report());
            harness.is_as_before(&Default::default(), &run);
        }
    }
}

#[test]
fn in_a_directory() {
    let large = tree(&[]);
    sparse(large.path(), "f", 200 * ONE_REQUEST);
    let harness = Harness::files();
    let run = harness.pack(large.path()).start();
    let _upload = crate::harness::wait_for_upload(&harness, ONE_REQUEST);
    run.terminate();
    let run = run.wait().killed_by(SIGTERM);
    harness.is_as_before(&Default::default(), &run);
}

#[test]
fn while_rehearsing() {
    let large = tree(&[]);
    // Far more zeros than can be read before the signal comes.
    sparse(large.path(), "f", 1 << 42);
    let harness = Harness::s3();
    let mut run = harness.pack(large.path()).args(["--dry-run", "-v"]).start();
    wait_until("the survey", || {
        if harness.proxy().log().iter().filter(|seen| seen.status.is_some()).count() >= 3 {
            Ok(())
        } else {
            Err("requests".to_owned())
        }
    });
    assert!(run.is_running());
    run.interrupt();
    let run = run.wait().killed_by(SIGINT);
    harness.is_as_before(&Default::default(), &run);
}

/// Nothing comes on stdin and nobody closes it: the first signal ends the wait.
#[test]
fn while_it_waits_for_a_list() {
    let small = tree(&[("a", "a")]);
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let _made = Tool::new("mkfifo").arg(&fifo).run().succeeds();
    let harness = Harness::s3();
    let binary = env!("CARGO_BIN_EXE_artifact-pack");
    let script = "exec \"$0\" \"$@\" 0<>\"$FIFO\"";
    let run = Tool::new("sh")
        .args(["-c", script, binary, "--artifact", "obelix", "--store", &harness.url])
        .arg("-C")
        .arg(small.path());
    let run = run.args(["--files-from", "-"]).env("FIFO", &fifo).aws(harness.proxy().endpoint()).start();
    // It is asleep as itself: past the shell, and in the read.
    wait_until("the wait for stdin", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap_or_default();
        let handles = fs::read_link(format!("/proc/{}/exe", run.pid())).unwrap_or_default();
        let itself = handles.file_name().is_some_and(|name| name == "artifact-pack");
        if itself && stat.contains(") S ") { Ok(()) } else { Err(stat) }
    });
    run.interrupt();
    let run = run.wait().killed_by(SIGINT);
    harness.is_as_before(&Default::default(), &run);
}

/// A signal after the record is sealed finds the release whole: it is finished and printed first.
#[test]
fn once_the_record_is_sealed() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let latest = |info: &RequestInfo| info.is_put_object() && info.path.ends_with("latest.txt");
    let (reached, seen) = std::sync::mpsc::channel::<()>();
    harness.proxy().on_match(
        Box::new(latest),
        testkit::KillPoint::Interleave,
        Box::new(move || {
            reached.send(()).unwrap();
            let _ = wait.recv();
        }),
    );
    let run = harness.pack(small.path()).start();
    seen.recv_timeout(LIMIT).expect("latest.txt is being moved");
    run.terminate();
    until_noticed(&run);
    go.send(()).unwrap();
    let run = run.wait().killed_by(SIGTERM);
    let _record = harness.is_published(1, &run);
}

/// Cleaning up is tried, said to have failed, and never in the way of the end.
#[test]
fn when_cleaning_up_fails_too() {
    let large = tree(&[]);
    sparse(large.path(), "f", ONE_REQUEST);
    let harness = Harness::s3();
    harness.fail(|info| info.is_upload_part(), Fault::Stall);
    let run = harness.pack(large.path()).start();
    until_stalled(&harness);
    harness.fail(|_| true, Fault::status(403, "AccessDenied"));
    run.terminate();
    let run = run.wait().killed_by(SIGTERM).stderr_contains("the next build cleans up after this one");
    assert!(run.stdout.is_empty());
    assert!(harness.sealed().is_empty());
    harness.proxy().set_plan(testkit::Plan::None);
    let run = harness.pack(large.path()).run().succeeds();
    let _record = harness.is_published(2, &run);
}

/// The closed end of a pipe is nobody's failure; the release is there.
#[test]
fn a_closed_stdout() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let script = "{ \"$@\"; echo \"code $?\" >&2; } | :";
    let run = Tool::new("sh").args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_artifact-pack"),
        "--artifact",
        "obelix",
        "--store",
        &harness.url,
    ]);
    let run = run.arg("-C").arg(small.path()).arg("a").aws(harness.proxy().endpoint()).run().succeeds();
    let _run = run.stderr_contains("code 0\n");
    assert_eq!(harness.sealed(), [1]);
    let _help = tool().arg("--help").run().succeeds().stdout_contains("Exit codes:");
}
