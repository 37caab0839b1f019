//! Logs below a link that is switched at each deploy, as artifact-fetch does it: the old release's files are read to their
//! end, the new one's from their first byte, and nothing is sent twice.

use crate::harness::{Harness, account, append, end};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Makes the release with a folder for its logs.
fn release(harness: &Harness, number: u32) -> PathBuf {
    let log = harness.log(&format!("app-{number}")).join("log");
    fs::create_dir_all(&log).unwrap();
    log
}

/// `current` becomes another release in one step.
fn switch(harness: &Harness, number: u32) {
    let draft = harness.log(".current.new");
    symlink(format!("app-{number}"), &draft).unwrap();
    fs::rename(&draft, harness.log("current")).unwrap();
}

/// No line has two ids, none was sent twice.
fn nothing_twice(harness: &Harness) {
    let account = account(&[], &harness.shipped());
    assert_eq!((account.resent, account.doubled.len(), account.clashes), (0, 0, 0), "{account:?}");
}

#[test]
fn a_switch_is_followed() {
    for pattern in ["current/log/*.log", "cur*/../current/log/a.log", "*/../current/log/*.log"] {
        let harness = Harness::new();
        let (old, new) = (release(&harness, 41), release(&harness, 42));
        fs::create_dir(harness.log("curtain")).unwrap();
        append(&old.join("a.log"), "41: one\n");
        switch(&harness, 41);
        let run = harness.tool().args(["--stats", "1h"]).arg(harness.log(pattern)).start();
        harness.await_values(&["41: one"]);
        // Names are the same in both; what writes to the old one goes on for a while.
        append(&new.join("a.log"), "42: one\n");
        switch(&harness, 42);
        harness.await_values(&["41: one", "42: one"]);
        append(&old.join("a.log"), "41: two\n");
        append(&new.join("a.log"), "42: two\n");
        harness.await_values(&["41: one", "41: two", "42: one", "42: two"]);
        // Back, as after a deploy that went wrong.
        switch(&harness, 41);
        append(&old.join("a.log"), "41: three\n");
        harness.await_values(&["41: one", "41: two", "41: three", "42: one", "42: two"]);
        let stats = end(run);
        assert_eq!(
            (stats["destroyed_bytes"].as_u64(), stats["unread_bytes"].as_u64()),
            (Some(0), Some(0)),
            "{pattern}"
        );
        nothing_twice(&harness);
    }
}

/// The switch happens while log-ship is not there, and the old release has lines that it never saw.
#[test]
fn a_switch_between_two_runs() {
    let harness = Harness::new();
    let (old, new) = (release(&harness, 41), release(&harness, 42));
    append(&old.join("a.log"), "41: one\n");
    switch(&harness, 41);
    let path = harness.log("current/log/*.log");
    harness.once(&path);
    append(&old.join("a.log"), "41: two\n");
    append(&new.join("a.log"), "42: one\n");
    switch(&harness, 42);
    harness.once(&path);
    harness.await_values(&["41: one", "41: two", "42: one"]);
    // Renamed in its folder, and written to again.
    fs::rename(old.join("a.log"), old.join("a.log.1")).unwrap();
    append(&old.join("a.log.1"), "41: three\n");
    harness.once(&path);
    harness.await_values(&["41: one", "41: two", "41: three", "42: one"]);
    // It is there again, and goes on where it was.
    switch(&harness, 41);
    append(&old.join("a.log.1"), "41: four\n");
    append(&old.join("a.log"), "41: five\n");
    harness.once(&path);
    let all = ["41: one", "41: two", "41: three", "41: four", "41: five", "42: one", "42: two"];
    harness.await_values(&all[..6]);
    switch(&harness, 42);
    append(&new.join("a.log"), "42: two\n");
    harness.once(&path);
    harness.await_values(&all);
    nothing_twice(&harness);
}

/// Old releases are removed behind the switch, `current` is away for a while, and a folder is replaced under its name.
#[test]
fn folders_that_come_and_go() {
    let harness = Harness::new();
    let old = release(&harness, 41);
    append(&old.join("a.log"), "41\n");
    switch(&harness, 41);
    let run = harness.tool().args(["--stats", "1h"]).arg(harness.log("current/log/a.log")).start();
    harness.await_values(&["41"]);
    fs::remove_file(harness.log("current")).unwrap();
    append(&old.join("a.log"), "41 without a link\n");
    harness.await_values(&["41", "41 without a link"]);
    let new = release(&harness, 42);
    append(&new.join("a.log"), "42\n");
    switch(&harness, 42);
    append(&old.join("a.log"), "41 at last\n");
    fs::remove_dir_all(harness.log("app-41")).unwrap();
    let all = ["41", "41 without a link", "41 at last", "42"];
    harness.await_values(&all);
    fs::rename(harness.log("app-42"), harness.log("app-42.old")).unwrap();
    let again = release(&harness, 42);
    append(&again.join("a.log"), "42 again\n");
    append(&harness.log("app-42.old").join("log/a.log"), "42 moved\n");
    harness.await_values(&[&all[..], &["42 again", "42 moved"]].concat());
    let stats = end(run);
    assert_eq!(stats["destroyed_bytes"].as_u64(), Some(0), "{stats}");
    nothing_twice(&harness);
}

/// Links that lead to links, each of which may be switched.
#[test]
fn a_chain_of_links() {
    let harness = Harness::new();
    let (old, new) = (release(&harness, 41), release(&harness, 42));
    append(&old.join("a.log"), "41\n");
    append(&new.join("a.log"), "42\n");
    switch(&harness, 41);
    symlink("current", harness.log("live")).unwrap();
    symlink(harness.log("live/log"), harness.log("logs")).unwrap();
    let run = harness.tool().arg(harness.log("logs/*.log")).start();
    harness.await_values(&["41"]);
    switch(&harness, 42);
    harness.await_values(&["41", "42"]);
    fs::remove_file(harness.log("live")).unwrap();
    symlink("app-41", harness.log("live")).unwrap();
    append(&old.join("a.log"), "41 again\n");
    harness.await_values(&["41", "42", "41 again"]);
    run.terminate();
    run.wait().killed_by(15);
    nothing_twice(&harness);
}
