//! Lines on stdin: on disk before they are sent, and there until the broker has them.

use crate::harness::{Harness, account, check_stats};
use crate::spool;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use testkit::{Link, LinkMode, wait_until};

#[test]
fn to_the_end_of_stdin() {
    let harness = Harness::new();
    let run = harness.tool().args(["--stats", "1h"]).stdin("one\n\ntwo").run().succeeds().stderr_is_empty();
    assert_eq!(check_stats(&run.stdout)["acked"].as_u64(), Some(3));
    let shipped = harness.shipped();
    assert_eq!(harness.values(), ["one", "", "two"]);
    assert_eq!(shipped.iter().map(|one| one.id.offset).collect::<Vec<_>>(), [0, 4, 5]);
    assert_eq!(shipped[0].headers["path"], "-");
    assert_eq!(fs::read_dir(harness.state().join("spool")).unwrap().count(), 0, "nothing stays in the spool");
    harness.tool().stdin("one\n").run().succeeds();
    assert_ne!(harness.shipped()[3].id, shipped[0].id, "a line that is sent again is a new line");
}

/// The broker is away, log-ship is killed once its spool holds the lines: the next run sends them, once.
#[test]
fn what_the_spool_holds_outlives_the_process() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let truth: Vec<String> = (0..5000).map(|line| format!("line {line}")).collect();
    let input = truth.join("\n") + "\n";
    let mut run = harness.tool_via(&link.address()).stdin(input.clone()).start();
    let dir = harness.state().join("spool");
    wait_until("the spool's checksums", || {
        let files = fs::read_dir(&dir).into_iter().flatten().flatten();
        let sums: Vec<_> = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "sums")).collect();
        let held: u64 = sums.iter().map(|file| groups(&file.path())).sum();
        if held == input.len() as u64 { Ok(()) } else { Err(format!("{held} of {}", input.len())) }
    });
    run.kill();
    assert_eq!(harness.values(), Vec::<String>::new());
    harness.tool().stdin("and one more\n").run().succeeds().stderr_is_empty();
    let shipped = harness.shipped();
    let account = account(&truth, &shipped);
    assert_eq!((account.lost.len(), account.resent, account.doubled.len()), (0, 0, 0));
    assert_eq!(shipped.len(), truth.len() + 1);
}

/// A damaged end of the spool, as a crash of the machine leaves it, is cut off; what stands before it is sent.
#[test]
fn a_torn_end_of_the_spool_is_cut_off() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let mut run = harness.tool_via(&link.address()).stdin("one\ntwo\n").start();
    let dir = harness.state().join("spool");
    let data = wait_until("the spool", || {
        let files = fs::read_dir(&dir).into_iter().flatten().flatten().map(|file| file.path());
        let sums = files.filter(|path| path.extension().is_some()).find(|path| groups(path) == 8);
        sums.map(|path| path.with_extension("")).ok_or_else(|| "none".to_owned())
    });
    run.kill();
    let mut file = fs::File::options().append(true).open(&data).unwrap();
    file.write_all(b"torn, never sync").unwrap();
    harness.tool().run().succeeds();
    assert_eq!(harness.values(), ["one", "two"]);
}

/// With no room left the writer waits, and goes on by itself.
#[test]
fn a_full_spool_holds_the_writer_up() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let line = "x".repeat(999);
    let lines = 8 * 1024;
    let mut writer = Command::new("sh")
        .arg("-c")
        .arg(format!("i=0; while [ $i -lt {lines} ]; do echo \"$i {line}\"; i=$((i+1)); done; echo done >&2"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_log-ship"))
        .args(["--brokers", &link.address(), "--topic", &harness.topic, "--spool-size", "3MiB", "-q", "--state-dir"])
        .arg(harness.state())
        .stdin(writer.stdout.take().unwrap())
        .spawn()
        .unwrap();
    let dir = harness.state().join("spool");
    let held = || {
        let files = fs::read_dir(&dir).into_iter().flatten().flatten().map(|file| file.path());
        files.filter(|path| path.extension().is_some()).map(|path| groups(&path)).sum::<u64>()
    };
    wait_until("a spool that is full", || if held() > 2 << 20 { Ok(()) } else { Err(format!("{}", held())) });
    assert!(writer.try_wait().unwrap().is_none(), "8 MiB do not fit");
    link.set(LinkMode::Up);
    assert!(run.wait().unwrap().success());
    assert!(writer.wait().unwrap().success());
    assert!(held() == 0);
    let shipped = harness.shipped();
    assert_eq!(shipped.len(), lines);
    assert!(shipped.iter().enumerate().all(|(number, one)| one.value.starts_with(format!("{number} x").as_bytes())));
}

/// What can't be read is no end: the exit code says that there was more, or may have been.
#[test]
fn a_stdin_that_can_not_be_read() {
    let harness = Harness::new();
    let mut run = Command::new(env!("CARGO_BIN_EXE_log-ship"));
    run.args(["--brokers", &harness.brokers, "--topic", &harness.topic, "--state-dir"]).arg(harness.state());
    let ended = run.stdin(fs::File::open(harness.logs()).unwrap()).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.starts_with("log-ship: unable to read stdin: "), "{said}");
}

/// Bytes in the groups that a file of checksums lists.
fn groups(path: &std::path::Path) -> u64 {
    spool::groups(path).iter().map(|group| group.end - group.start).sum()
}
