//! Copies of files that are truncated afterwards, found at any moment: of each what was not read, once, under the old id.

use crate::harness::{Harness, account, append, check_stats, end};
use std::fs;
use testkit::{Link, LinkMode, Running, wait_until};

/// More lines than the smallest window holds.
const MANY: usize = 300;

fn lines(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|line| format!("{what} line {line}")).collect()
}

fn text(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

fn await_stats(run: &Running, what: &str, is_there: impl Fn(&dyn Fn(&str) -> u64) -> bool) {
    wait_until(what, || {
        let stats = check_stats(&run.stdout_so_far());
        let there = is_there(&|name| stats[name].as_u64().unwrap_or(0));
        if there { Ok(()) } else { Err(stats.to_string()) }
    });
}

/// All of `truth`, each line once, under one id.
fn await_once(harness: &Harness, run: Running, truth: &[String]) {
    wait_until("all lines", || {
        let lost = account(truth, &harness.shipped()).lost;
        if lost.is_empty() { Ok(()) } else { Err(format!("{} are lost: {:?}", lost.len(), lost[0])) }
    });
    end(run);
    let account = account(truth, &harness.shipped());
    assert_eq!((account.doubled, account.clashes, account.resent), (vec![], 0, 0));
}

/// Known, but not a line of it read: the window is full. Then it is copied and truncated, and nothing more is written.
#[test]
fn a_file_that_was_truncated_before_its_first_line_was_read() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let (other, path) = (harness.log("other.log"), harness.log("a.log"));
    let mut truth = lines("other", MANY);
    append(&other, &text(&truth));
    let tool = harness.tool_via(&link.address()).args(["--stats", "20ms", "--max-in-flight", "64KiB"]);
    let run = tool.arg(&other).arg(&path).start();
    await_stats(&run, "a full window", |stats| stats("in_flight") > 0);
    let mine = lines("mine", 50);
    // At once under its name: its first bytes are there when it is met.
    fs::write(harness.dir.path().join("new"), text(&mine)).unwrap();
    fs::rename(harness.dir.path().join("new"), &path).unwrap();
    await_stats(&run, "the new file", |stats| stats("files") == 2);
    fs::copy(&path, harness.log("a.log.1")).unwrap();
    fs::write(&path, "").unwrap();
    link.set(LinkMode::Up);
    truth.extend(mine);
    await_once(&harness, run, &truth);
}

/// Read in part, nothing acknowledged, and the window is full. Then it is copied, truncated and written again, and the copy
/// is seen before the file is read again.
#[test]
fn a_copy_that_is_seen_while_the_window_is_full() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let (path, witness) = (harness.log("a.log"), harness.log("b.log"));
    let mut truth = lines("first", MANY);
    append(&path, &text(&truth));
    let tool = harness.tool_via(&link.address()).args(["--stats", "20ms", "--max-in-flight", "64KiB"]);
    let run = tool.arg(&path).arg(&witness).start();
    await_stats(&run, "a full window", |stats| stats("in_flight") > 0 && stats("unread_bytes") > 0);
    fs::copy(&path, harness.log("a.log.1")).unwrap();
    let second = lines("second", 2 * MANY);
    fs::write(&path, text(&second)).unwrap();
    // The folder has been looked at after that when this one is followed.
    append(&witness, "witness\n");
    await_stats(&run, "a look into the folder", |stats| stats("files") >= 2);
    link.set(LinkMode::Up);
    truth.extend(second);
    truth.push("witness".to_owned());
    await_once(&harness, run, &truth);
}

/// Lines that are read between the copy and the truncation stand in no copy: it is known all the same.
#[test]
fn a_copy_that_is_shorter_than_what_was_read() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    let (mut truth, more) = (lines("first", 50), lines("more", 50));
    append(&path, &text(&truth));
    harness.once(&path);
    fs::copy(&path, harness.log("a.log.1")).unwrap();
    append(&path, &text(&more));
    harness.once(&path);
    fs::write(&path, "").unwrap();
    append(&path, "last\n");
    harness.once(&path);
    // logrotate moves the copy on at the next turn.
    fs::rename(harness.log("a.log.1"), harness.log("a.log.2")).unwrap();
    harness.once(&path);
    truth.extend(more);
    truth.push("last".to_owned());
    assert_eq!(harness.values(), truth);
}

/// Shorter files that begin alike, but were made after all that was read: their lines are their own.
#[test]
fn later_files_that_begin_alike_are_no_copies() {
    for begin in ["begin".to_owned(), "=".repeat(100)] {
        let harness = Harness::new();
        let path = harness.log("a.log");
        append(&path, &format!("{begin}\n1\n2\n3\n"));
        harness.once(&path);
        for (round, text) in [format!("{begin}\n"), format!("{begin}\n4\n")].iter().enumerate() {
            fs::write(&path, text).unwrap();
            fs::copy(&path, harness.log(&format!("a.log.{round}"))).unwrap();
        }
        fs::write(&path, "5\n").unwrap();
        harness.once(&path);
        harness.once(&path);
        let mut values = harness.values();
        values.sort();
        assert_eq!(values, ["1", "2", "3", "4", "5", &begin, &begin, &begin]);
    }
}

/// Only the first line was read, and the file begins with it again: what stood behind it is in the copy.
#[test]
fn a_copy_of_a_file_that_begins_anew_as_it_did() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    let banner = "=".repeat(100);
    append(&path, &format!("{banner}\n"));
    harness.once(&path);
    append(&path, "1\n2\n");
    fs::copy(&path, harness.log("a.log.1")).unwrap();
    fs::write(&path, format!("{banner}\n")).unwrap();
    harness.once(&path);
    append(&path, "3\n");
    harness.once(&path);
    let mut values = harness.values();
    values.sort();
    assert_eq!(values, ["1", "2", "3", &banner, &banner]);
}

/// A file that is removed after it was copied goes on in its copy.
#[test]
fn copied_and_removed() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "1\n");
    harness.once(&path);
    append(&path, "2\n");
    fs::copy(&path, harness.log("a.log.1")).unwrap();
    fs::remove_file(&path).unwrap();
    append(&path, "3\n");
    harness.once(&path);
    harness.once(&path);
    let mut values = harness.values();
    values.sort();
    assert_eq!(values, ["1", "2", "3"]);
}
