//! Files that are renamed, copied and truncated, deleted and rewritten: every line once, under one id.

use crate::harness::{Harness, account, append, end};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use testkit::{Tool, wait_until};

#[test]
fn rename_and_make_anew() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    let run = harness.tool().arg(&path).start();
    append(&path, "1\n");
    harness.await_values(&["1"]);
    fs::rename(&path, harness.log("a.log.1")).unwrap();
    append(&harness.log("a.log.1"), "2\n");
    append(&path, "3\n");
    harness.await_values(&["1", "2", "3"]);
    end(run);
    let mut shipped = harness.shipped();
    shipped.sort_by(|a, b| a.value.cmp(&b.value));
    assert_eq!(shipped[0].id.file, shipped[1].id.file);
    assert_ne!(shipped[1].id.file, shipped[2].id.file);
}

/// Rotations while log-ship is not running: the followed file is found under its new name, and those between were made later.
#[test]
fn renames_while_nobody_looked() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&harness.log("a.log.7"), "older than log-ship\n");
    // The kernel's stamps of files come in ticks of a few milliseconds: log-ship starts in a later one.
    let made = fs::metadata(harness.log("a.log.7")).unwrap().modified().unwrap();
    wait_until("the kernel's next tick", || {
        let tick = tempfile::tempfile().unwrap().metadata().unwrap().modified().unwrap();
        if tick > made { Ok(()) } else { Err(format!("{tick:?}")) }
    });
    append(&path, "1\n");
    harness.once(&path);
    append(&path, "2\n");
    fs::rename(&path, harness.log("a.log.2")).unwrap();
    append(&path, "3\n");
    fs::rename(&path, harness.log("a.log.1")).unwrap();
    fs::write(harness.log("a.log.3.gz"), "packed").unwrap();
    append(&path, "4\n");
    harness.once(&path);
    harness.once(&path);
    let mut values = harness.values();
    values.sort();
    assert_eq!(values, ["1", "2", "3", "4"]);
}

/// A first start that is killed at once is the first one all the same: what is rotated from then on is shipped.
#[test]
fn a_start_that_is_killed_does_not_begin_again() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    let mut run = harness.tool().args(["--stats", "10ms"]).arg(&path).start();
    wait_until("its first counters", || if run.stdout_so_far().is_empty() { Err("none".to_owned()) } else { Ok(()) });
    run.kill();
    drop(run);
    append(&path, "1\n");
    fs::rename(&path, harness.log("a.log.1")).unwrap();
    append(&path, "2\n");
    harness.once(&path);
    let mut values = harness.values();
    values.sort();
    assert_eq!(values, ["1", "2"]);
}

#[test]
fn copied_and_truncated_the_rest_comes_from_the_copy() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "1\n");
    harness.once(&path);
    append(&path, "2\n");
    fs::copy(&path, harness.log("a.log.1")).unwrap();
    fs::write(&path, "").unwrap();
    append(&path, "3\n");
    harness.once(&path);
    // logrotate moves the copy on at the next turn.
    fs::rename(harness.log("a.log.1"), harness.log("a.log.2")).unwrap();
    harness.once(&path);
    let mut shipped = harness.shipped();
    // In order for each file; among files there is none.
    shipped.sort_by(|a, b| a.value.cmp(&b.value));
    assert_eq!(shipped.iter().map(|one| &one.value[..]).collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    assert_eq!((shipped[1].id.file, shipped[1].id.offset), (shipped[0].id.file, 2), "under the old id");
    assert_ne!(shipped[2].id.file, shipped[0].id.file);
}

#[test]
fn copied_and_truncated_under_a_running_log_ship() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "the first\n");
    let run = harness.tool().arg(&path).start();
    harness.await_values(&["the first"]);
    let mut truth = vec!["the first".to_owned()];
    for round in 0..20 {
        for line in 0..50 {
            truth.push(format!("round {round} line {line}"));
            append(&path, &format!("round {round} line {line}\n"));
        }
        fs::copy(&path, harness.log(&format!("a.log.{round}"))).unwrap();
        fs::write(&path, "").unwrap();
    }
    wait_until("all lines", || {
        let account = account(&truth, &harness.shipped());
        if account.lost.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are lost: {:?}", account.lost.len(), account.lost[0]))
        }
    });
    end(run);
    let account = account(&truth, &harness.shipped());
    assert_eq!((account.doubled, account.clashes, account.resent), (vec![], 0, 0));
}

/// Copies that the pattern names as well are files of their own: their lines are shipped again, under other ids.
#[test]
fn copies_that_are_asked_for_are_files_of_their_own() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "1\n");
    harness.once(harness.log("a.log*"));
    fs::copy(&path, harness.log("a.log.1")).unwrap();
    fs::write(&path, "").unwrap();
    harness.once(harness.log("a.log*"));
    assert_eq!(harness.values(), ["1", "1"]);
}

#[test]
fn truncated_and_rewritten_is_a_new_file_and_what_was_destroyed_is_said() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "1\n2\n");
    harness.once(&path);
    fs::write(&path, "3\n4\n5\n").unwrap();
    harness.once(&path);
    assert_eq!(harness.values(), ["1", "2", "3", "4", "5"]);
    let shipped = harness.shipped();
    assert_eq!(shipped[2].id.offset, 0);
    assert_ne!(shipped[2].id.file, shipped[0].id.file);
    // Seen, not read: a last line without a newline.
    append(&path, "never");
    harness.tool().arg("--once").arg(&path).run().succeeds();
    fs::write(&path, "6\n").unwrap();
    let run = harness.tool().arg("--once").arg(&path).run().succeeds().stderr_is_one_line();
    run.stderr_contains("unable to ship bytes 6 to 11 of ");
    assert_eq!(harness.values().last().unwrap(), "6");
}

/// In place, to the very size that it had: nothing but its bytes tells.
#[test]
fn rewritten_to_the_same_size() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "1\n2\n");
    let run = harness.tool().arg(&path).start();
    harness.await_values(&["1", "2"]);
    fs::File::options().write(true).open(&path).unwrap().write_all_at(b"3\n4\n", 0).unwrap();
    harness.await_values(&["1", "2", "3", "4"]);
    end(run);
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "1\n");
    let run = harness.tool().arg(&path).start();
    harness.await_values(&["1"]);
    let mut open = fs::File::options().append(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    std::io::Write::write_all(&mut open, b"2\n").unwrap();
    harness.await_values(&["1", "2"]);
    end(run);
}

/// A folder that is away, or can't be read, and a file that can't: what is known of it is kept until it is seen again.
#[test]
fn what_can_not_be_looked_at_is_not_gone() {
    let harness = Harness::new();
    let (folder, away, other) = (harness.log("d"), harness.log("away"), harness.log("b.log"));
    let path = folder.join("a.log");
    fs::create_dir(&folder).unwrap();
    append(&path, "1\n");
    append(&other, "2\n");
    // Without root's right to read everything; whoever is not root has none.
    let limited = || {
        let program = env!("CARGO_BIN_EXE_log-ship");
        let tool = if rustix::process::geteuid().is_root() {
            Tool::new("setpriv").args(["--bounding-set=-dac_override,-dac_read_search", program])
        } else {
            Tool::new(program)
        };
        let tool =
            tool.args(["--brokers", &harness.brokers, "--topic", &harness.topic, "--host", "web-1", "--state-dir"]);
        tool.arg(harness.state()).arg(folder.join("*.log")).arg(&other)
    };
    let once = || limited().args(["--once", "--timeout", "120s"]).run().succeeds();
    once().stderr_is_empty();
    append(&path, "3\n");
    fs::rename(&folder, &away).unwrap();
    once().stderr_is_one_line().stderr_contains("No such file or directory");
    fs::rename(&away, &folder).unwrap();
    for (what, mode) in [(&path, 0o644), (&folder, 0o755)] {
        fs::set_permissions(what, fs::Permissions::from_mode(0o0)).unwrap();
        once().stderr_is_one_line().stderr_contains("Permission denied");
        fs::set_permissions(what, fs::Permissions::from_mode(mode)).unwrap();
    }
    once().stderr_is_empty();
    let run = limited().start();
    fs::rename(&folder, &away).unwrap();
    append(&other, "4\n");
    harness.await_values(&["1", "2", "3", "4"]);
    append(&away.join("a.log"), "5\n");
    fs::rename(&away, &folder).unwrap();
    append(&path, "6\n");
    harness.await_values(&["1", "2", "3", "4", "5", "6"]);
    end(run);
    assert!(account(&[], &harness.shipped()).doubled.is_empty());
}

/// The inode of a deleted file is given to the next one, while nobody looks.
#[test]
fn a_reused_inode_is_another_file() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    let mut lines = Vec::new();
    let mut reused = 0;
    for round in 0..20 {
        let line = format!("line of round {round}");
        append(&path, &format!("{line}\n"));
        lines.push(line);
        harness.once(&path);
        let inode = fs::metadata(&path).unwrap().ino();
        fs::remove_file(&path).unwrap();
        append(&path, "");
        reused += usize::from(fs::metadata(&path).unwrap().ino() == inode);
    }
    assert_eq!(harness.values(), lines);
    assert!(account(&lines, &harness.shipped()).doubled.is_empty());
    assert!(
        reused > 0 || cfg!(not(target_os = "linux")),
        "this file system gave no inode twice: the test shows nothing"
    );
}

/// Identity of files shorter than what is looked at, all beginning alike.
#[test]
fn short_files_that_begin_alike() {
    let harness = Harness::new();
    for name in ["a", "b", "c"] {
        append(&harness.log(&format!("{name}.log")), "same\n");
    }
    append(&harness.log("empty.log"), "");
    harness.once(harness.log("*.log"));
    harness.once(harness.log("*.log"));
    assert_eq!(harness.values(), ["same", "same", "same"]);
    append(&harness.log("empty.log"), "same\n");
    harness.once(harness.log("*.log"));
    let shipped = harness.shipped();
    let files: std::collections::BTreeSet<_> = shipped.iter().map(|one| one.id.file).collect();
    assert_eq!((shipped.len(), files.len()), (4, 4));
}
