//! What stands in the topic for what stood in the files, and what a second run adds.

use crate::harness::{Harness, account, append, check_stats, end};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use testkit::{Tool, wait_until};

#[test]
fn a_message_is_the_line_and_where_it_stood() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\n\n two\r\nrest");
    let before = now();
    let run = harness.tool().args(["--once", "--stats", "1h", "--field", "unit=x=y"]).arg(&path).run().succeeds();
    let run = run.stderr_contains("the last 4 bytes of ");
    let stats = check_stats(&run.stdout);
    assert_eq!((stats["read"].as_u64(), stats["acked"].as_u64()), (Some(3), Some(3)), "{stats}");
    let shipped = harness.shipped();
    let values: Vec<&[u8]> = shipped.iter().map(|one| &one.value[..]).collect();
    assert_eq!(values, [&b"one"[..], b"", b" two\r"]);
    assert_eq!(shipped.iter().map(|one| one.id.offset).collect::<Vec<_>>(), [0, 4, 5]);
    let file = shipped[0].id.file;
    for one in &shipped {
        assert_eq!((one.key.as_str(), one.id.host.as_str(), one.id.file), ("web-1", "web-1", file));
        assert_eq!(one.headers["path"], path.to_str().unwrap());
        assert_eq!(one.headers["unit"], "x=y");
        assert!((before..=now()).contains(&one.timestamp));
    }
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\ntw");
    harness.tool().arg("--once").arg(&path).run().succeeds();
    append(&path, "o\nthree\n");
    harness.once(&path);
    harness.once(&path);
    assert_eq!(harness.values(), ["one", "two", "three"]);
    let account = account(&[], &harness.shipped());
    assert_eq!(account.resent, 0);
    assert_eq!(harness.shipped()[1].id.offset, 4);
}

#[test]
fn lines_are_shipped_as_they_are_written() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    let run = harness.tool().args(["--stats", "50ms"]).arg(harness.log("*.log")).start();
    append(&path, "one\n");
    harness.await_values(&["one"]);
    append(&path, "two\n");
    append(&harness.log("other"), "not asked for\n");
    append(&harness.log("b.log"), "of a new file\n");
    harness.await_values(&["one", "two", "of a new file"]);
    let stats = end(run);
    assert_eq!((stats["acked"].as_u64(), stats["in_flight"].as_u64()), (Some(3), Some(0)), "{stats}");
}

/// 1,000 files, through patterns over several folders.
#[test]
fn many_files() {
    let harness = Harness::new();
    let mut truth = Vec::new();
    for folder in 0..10 {
        let dir = harness.log(&format!("d{folder}"));
        fs::create_dir(&dir).unwrap();
        for file in 0..100 {
            let lines: Vec<String> = (0..3).map(|line| format!("{folder} {file} {line}")).collect();
            append(&dir.join(format!("{file}.log")), &(lines.join("\n") + "\n"));
            truth.extend(lines);
        }
    }
    let run = harness.tool().args(["--stats", "50ms"]).arg(harness.log("*/*.log")).start();
    append(&harness.log("d5/50.log"), "later\n");
    truth.push("later".to_owned());
    wait_until("all lines", || {
        let count = harness.shipped().len();
        if count >= truth.len() { Ok(()) } else { Err(format!("{count} of {}", truth.len())) }
    });
    let rss = peak_kib(run.pid());
    end(run);
    let account = account(&truth, &harness.shipped());
    assert_eq!(
        (account.lost.len(), account.resent, account.doubled.len(), account.clashes),
        (0, 0, 0, 0),
        "{account:?}"
    );
    assert!(rss <= 24 * 1024, "{rss} KiB at most with 1,000 files");
}

#[test]
fn from_the_end() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "old\n");
    let from_end = || harness.tool().args(["--once", "--from", "end"]).arg(harness.log("*.log"));
    from_end().run().succeeds();
    append(&path, "new\n");
    append(&harness.log("b.log"), "of a file that is new\n");
    from_end().run().succeeds();
    let mut values = harness.values();
    values.sort();
    assert_eq!(values, ["new", "of a file that is new"]);
}

#[test]
fn what_is_not_there_and_what_can_not_be_read() {
    let harness = Harness::new();
    let none = harness.log("none.log");
    harness.tool().arg("--once").arg(&none).run().fails_with(1).stderr_is_one_line().stderr_contains("no such file");
    let (locked, open) = (harness.log("locked.log"), harness.log("open.log"));
    append(&open, "one\n");
    append(&locked, "secret\n");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o0)).unwrap();
    harness.tool().arg("--once").arg(harness.log("*.log")).run().succeeds();
    assert!(harness.values().contains(&"one".to_owned()));
}

/// What can't be read is not counted as read: whoever watches the counters sees that it is left.
#[test]
fn what_can_not_be_read_is_unread() {
    let harness = Harness::new();
    append(&harness.log("open.log"), "one\n");
    append(&harness.log("locked.log"), "secret\n");
    fs::set_permissions(harness.log("locked.log"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::set_permissions(harness.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // Root can read everything.
    let tool = Tool::new("setpriv").args(["--reuid", "1000", "--clear-groups", env!("CARGO_BIN_EXE_log-ship")]);
    let tool = tool.args(["--brokers", &harness.brokers, "--topic", &harness.topic, "--once", "--stats", "1h"]);
    let run =
        tool.arg("--state-dir").arg(harness.state()).arg(harness.log("*.log")).run().succeeds().stderr_is_one_line();
    let stats = check_stats(&run.stdout);
    assert_eq!((stats["acked"].as_u64(), stats["unread_bytes"].as_u64()), (Some(1), Some(7)), "{stats}");
}

/// What is named and is no file is told, whatever else is shipped.
#[test]
fn what_is_no_file_is_told() {
    let harness = Harness::new();
    let (folder, open, none) = (harness.log("folder"), harness.log("open.log"), harness.log("none.log"));
    fs::create_dir(&folder).unwrap();
    append(&open, "one\n");
    let once = || harness.tool().arg("--once");
    once().arg(&folder).run().fails_with(1).stderr_is_one_line().stderr_contains("a directory: name the files in it");
    once().arg("/dev/null").run().fails_with(1).stderr_is_one_line().stderr_contains("not a regular file");
    let run = once().arg(&none).arg(&folder).arg(&open).run().succeeds();
    let run = run.stderr_contains(&format!("unable to follow {}: no such file\n", none.display()));
    run.stderr_contains(&format!("unable to follow {}: a directory", folder.display()));
    let odd = harness.logs().join(std::ffi::OsStr::from_bytes(b"odd\xff.log"));
    append(&odd, "two\n");
    let run = once().arg(harness.log("*.log")).run().succeeds().stderr_is_one_line();
    run.stderr_contains("its name is not UTF-8");
    assert_eq!(harness.values(), ["one"]);
    let run = harness.tool().arg(&none).start();
    wait_until("its words", || {
        let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
        if said.ends_with("no such file yet\n") { Ok(()) } else { Err(said) }
    });
    append(&none, "three\n");
    harness.await_values(&["one", "three"]);
    end(run);
}

#[test]
fn one_at_a_time_in_a_state_directory() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\n");
    let run = harness.tool().arg(&path).start();
    harness.await_values(&["one"]);
    let second = harness.tool().arg(&path).run().fails_with(75).stderr_is_one_line();
    second.stderr_contains("another log-ship holds ");
    end(run);
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Peak of the resident memory.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// With nothing to do it waits, whether counters are asked for or not: its waits are seen, and none of them ends at once.
#[test]
fn idle_is_idle() {
    for options in [&[][..], &["--stats", "10s"]] {
        let harness = Harness::new();
        let (path, trace) = (harness.log("a.log"), harness.dir.path().join("trace"));
        append(&path, "1\n");
        let tool = Tool::new("strace").args(["-D", "-qq", "-e", "trace=ppoll", "-e", "signal=none", "-o"]).arg(&trace);
        let tool =
            tool.arg(env!("CARGO_BIN_EXE_log-ship")).args(["--brokers", &harness.brokers, "--topic", &harness.topic]);
        let run = tool.arg("--state-dir").arg(harness.state()).args(options).arg(&path).start();
        harness.await_values(&["1"]);
        let waits = |what: &str| {
            let text = fs::read_to_string(&trace).unwrap_or_default();
            text.lines().filter(|line| line.contains(what) && line.contains("(Timeout)")).count()
        };
        wait_until("twelve whole waits", || {
            let whole = waits("tv_nsec=250000000");
            if whole >= 12 { Ok(()) } else { Err(format!("{whole}, and {} of no time", waits("tv_sec=0, tv_nsec=0}"))) }
        });
        end(run);
    }
}
