//! Logs below a link that is switched at each deploy, as artifact-fetch does it: the old release's files are read to their
//! end, the new one's from their first byte, and nothing is sent twice.

use crate::stage::{Stage, account, append, end};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Makes the release with a folder for its logs.
fn release(stage: &Stage, number: u32) -> PathBuf {
    let log = stage.log(&format!("app-{number}")).join("log");
    fs::create_dir_all(&log).unwrap();
    log
}

/// `current` becomes another release in one step.
fn switch(stage: &Stage, number: u32) {
    let draft = stage.log(".current.new");
    symlink(format!("app-{number}"), &draft).unwrap();
    fs::rename(&draft, stage.log("current")).unwrap();
}

/// No line has two ids, none was sent twice.
fn nothing_twice(stage: &Stage) {
    let account = account(&[], &stage.shipped());
    assert_eq!((account.resent, account.doubled.len(), account.clashes), (0, 0, 0), "{account:?}");
}

#[test]
fn a_switch_is_followed() {
    for pattern in ["current/log/*.log", "cur*/../current/log/a.log", "*/../current/log/*.log"] {
        let stage = Stage::new();
        let (old, new) = (release(&stage, 41), release(&stage, 42));
        fs::create_dir(stage.log("curtain")).unwrap();
        append(&old.join("a.log"), "41: one\n");
        switch(&stage, 41);
        let run = stage.tool().args(["--stats", "1h"]).arg(stage.log(pattern)).start();
        stage.await_values(&["41: one"]);
        // Names are the same in both; what writes to the old one goes on for a while.
        append(&new.join("a.log"), "42: one\n");
        switch(&stage, 42);
        stage.await_values(&["41: one", "42: one"]);
        append(&old.join("a.log"), "41: two\n");
        append(&new.join("a.log"), "42: two\n");
        stage.await_values(&["41: one", "41: two", "42: one", "42: two"]);
        // Back, as after a deploy that went wrong.
        switch(&stage, 41);
        append(&old.join("a.log"), "41: three\n");
        stage.await_values(&["41: one", "41: two", "41: three", "42: one", "42: two"]);
        let stats = end(run);
        assert_eq!(
            (stats["destroyed_bytes"].as_u64(), stats["unread_bytes"].as_u64()),
            (Some(0), Some(0)),
            "{pattern}"
        );
        nothing_twice(&stage);
    }
}

/// The switch happens while log-ship is not there, and the old release has lines that it never saw.
#[test]
fn a_switch_between_two_runs() {
    let stage = Stage::new();
    let (old, new) = (release(&stage, 41), release(&stage, 42));
    append(&old.join("a.log"), "41: one\n");
    switch(&stage, 41);
    let path = stage.log("current/log/*.log");
    stage.once(&path);
    append(&old.join("a.log"), "41: two\n");
    append(&new.join("a.log"), "42: one\n");
    switch(&stage, 42);
    stage.once(&path);
    stage.await_values(&["41: one", "41: two", "42: one"]);
    // Renamed in its folder, and written to again.
    fs::rename(old.join("a.log"), old.join("a.log.1")).unwrap();
    append(&old.join("a.log.1"), "41: three\n");
    stage.once(&path);
    stage.await_values(&["41: one", "41: two", "41: three", "42: one"]);
    // It is there again, and goes on where it was.
    switch(&stage, 41);
    append(&old.join("a.log.1"), "41: four\n");
    append(&old.join("a.log"), "41: five\n");
    stage.once(&path);
    let all = ["41: one", "41: two", "41: three", "41: four", "41: five", "42: one", "42: two"];
    stage.await_values(&all[..6]);
    switch(&stage, 42);
    append(&new.join("a.log"), "42: two\n");
    stage.once(&path);
    stage.await_values(&all);
    nothing_twice(&stage);
}

/// Old releases are removed behind the switch, `current` is away for a while, and a folder is replaced under its name.
#[test]
fn folders_that_come_and_go() {
    let stage = Stage::new();
    let old = release(&stage, 41);
    append(&old.join("a.log"), "41\n");
    switch(&stage, 41);
    let run = stage.tool().args(["--stats", "1h"]).arg(stage.log("current/log/a.log")).start();
    stage.await_values(&["41"]);
    fs::remove_file(stage.log("current")).unwrap();
    append(&old.join("a.log"), "41 without a link\n");
    stage.await_values(&["41", "41 without a link"]);
    let new = release(&stage, 42);
    append(&new.join("a.log"), "42\n");
    switch(&stage, 42);
    append(&old.join("a.log"), "41 at last\n");
    fs::remove_dir_all(stage.log("app-41")).unwrap();
    let all = ["41", "41 without a link", "41 at last", "42"];
    stage.await_values(&all);
    fs::rename(stage.log("app-42"), stage.log("app-42.old")).unwrap();
    let again = release(&stage, 42);
    append(&again.join("a.log"), "42 again\n");
    append(&stage.log("app-42.old").join("log/a.log"), "42 moved\n");
    stage.await_values(&[&all[..], &["42 again", "42 moved"]].concat());
    let stats = end(run);
    assert_eq!(stats["destroyed_bytes"].as_u64(), Some(0), "{stats}");
    nothing_twice(&stage);
}

/// Links that lead to links, each of which may be switched.
#[test]
fn a_chain_of_links() {
    let stage = Stage::new();
    let (old, new) = (release(&stage, 41), release(&stage, 42));
    append(&old.join("a.log"), "41\n");
    append(&new.join("a.log"), "42\n");
    switch(&stage, 41);
    symlink("current", stage.log("live")).unwrap();
    symlink(stage.log("live/log"), stage.log("logs")).unwrap();
    let run = stage.tool().arg(stage.log("logs/*.log")).start();
    stage.await_values(&["41"]);
    switch(&stage, 42);
    stage.await_values(&["41", "42"]);
    fs::remove_file(stage.log("live")).unwrap();
    symlink("app-41", stage.log("live")).unwrap();
    append(&old.join("a.log"), "41 again\n");
    stage.await_values(&["41", "42", "41 again"]);
    run.terminate();
    run.wait().killed_by(15);
    nothing_twice(&stage);
}
