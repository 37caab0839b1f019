//! Disks that are full, that fail, or that take nothing: no crash, no loss from files, stdin's writer waits, and all goes
//! on by itself.

use crate::harness::{Harness, account, append, check_stats, end};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::{Link, LinkMode, Tool, wait_until};

/// A state directory on a file system that is full: known files go on, and what was not saved is said. With room again
/// positions are saved.
#[test]
fn a_full_disk_under_the_state() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\n");
    let small = SmallDisk::mount(&harness.state(), "512k");
    let run = harness.tool().args(["--stats", "50ms"]).arg(&path).start();
    harness.await_values(&["one"]);
    harness.await_saved(4);
    small.fill();
    // The slots' own blocks stay: only a state that grows needs more.
    for file in 0..500 {
        append(&harness.log(&format!("a.log.{file}")), &format!("rotated {file}\n"));
    }
    append(&path, "two\n");
    wait_until("the message about it", || {
        let said = String::from_utf8(run.stderr_so_far()).unwrap();
        if said.contains("unable to write ") && said.contains("No space left") { Ok(()) } else { Err(said) }
    });
    small.empty();
    wait_until("all lines", || {
        let count = harness.shipped().len();
        if count == 502 { Ok(()) } else { Err(format!("{count} of 502")) }
    });
    end(run);
    harness.once(&path);
    assert_eq!(harness.shipped().len(), 502, "all positions were saved");
}

#[test]
fn a_full_disk_at_the_start() {
    let harness = Harness::new();
    append(&harness.log("a.log"), "one\n");
    let small = SmallDisk::mount(&harness.state(), "512k");
    small.fill();
    let run = harness.tool().args(["--once", "--timeout", "1s"]).arg(harness.log("a.log")).run();
    run.fails_with(75).stderr_contains("No space left on device");
    small.empty();
    harness.once(harness.log("a.log"));
    assert_eq!(harness.values(), ["one"]);
}

/// A file system that can't be written needs a person: the code says so at once.
#[test]
fn a_read_only_disk_at_the_start() {
    let harness = Harness::new();
    append(&harness.log("a.log"), "one\n");
    let small = SmallDisk::mount(&harness.state(), "512k");
    small.remount("ro");
    for args in [&["--once", "a.log"][..], &[]] {
        let run = harness.tool().args(args).cwd(harness.logs()).run().fails_with(1).stderr_is_one_line();
        run.stderr_contains("Read-only file system");
    }
    small.remount("rw");
    harness.once(harness.log("a.log"));
    assert_eq!(harness.values(), ["one"]);
}

/// The broker is away and the spool fills its disk: stdin's writer waits. With the broker back, what the spool gives back
/// is room enough for the rest.
#[test]
fn a_full_disk_under_the_spool() {
    full_spool("4m");
}

/// The disk holds what was written in one go, and not the next.
#[test]
fn a_very_small_disk_under_the_spool() {
    full_spool("1500k");
}

fn full_spool(size: &str) {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let small = SmallDisk::mount(&harness.state(), size);
    let count: usize = 16 * 1024;
    let line = "x".repeat(999);
    let mut writer = Command::new("sh")
        .arg("-c")
        .arg(format!("i=0; while [ $i -lt {count} ]; do echo \"$i {line}\"; i=$((i+1)); done"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let log = harness.dir.path().join("stderr");
    let mut run = Command::new(env!("CARGO_BIN_EXE_log-ship"))
        .args(["--brokers", &link.address(), "--topic", &harness.topic, "--host", "web-1", "--state-dir"])
        .arg(harness.state())
        .stdin(writer.stdout.take().unwrap())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    wait_until("the message about it", || {
        let said = fs::read_to_string(&log).unwrap();
        if said.contains("unable to write the spool: No space left on device") { Ok(()) } else { Err(said) }
    });
    assert!(writer.try_wait().unwrap().is_none(), "16 MiB do not fit");
    assert!(run.try_wait().unwrap().is_none());
    link.set(LinkMode::Up);
    let ended =
        wait_until("log-ship's end", || run.try_wait().unwrap().ok_or_else(|| fs::read_to_string(&log).unwrap()));
    assert!(ended.success(), "{}", fs::read_to_string(&log).unwrap());
    assert!(writer.wait().unwrap().success());
    assert!(fs::read_to_string(&log).unwrap().contains("the spool takes lines again"));
    let shipped = harness.shipped();
    assert_eq!(shipped.len(), count, "each once");
    assert!(shipped.iter().enumerate().all(|(number, one)| one.value.starts_with(format!("{number} x").as_bytes())));
    drop(small);
}

/// The disk fails for a while, at each system call that writes: every line is shipped, each once.
#[test]
fn a_disk_that_fails_and_recovers() {
    let truth: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
    for (call, error) in [("pwrite64", "EIO"), ("fdatasync", "EIO"), ("pwrite64", "EROFS")] {
        for stdin in [false, true] {
            let harness = Harness::new();
            let path = harness.log("a.log");
            let text = truth.join("\n") + "\n";
            // A run that is known here already: its positions are where they belong.
            harness.once(&{
                append(&path, if stdin { "known\n" } else { "" });
                path.clone()
            });
            let failing = failing(&harness, call, error);
            let run = if stdin {
                failing.stdin(text).run()
            } else {
                append(&path, &text);
                failing.arg("--once").arg(&path).run()
            };
            let what = format!("{call} {error}, stdin: {stdin}");
            let run = run.succeeds();
            let said = if error == "EIO" { "Input/output error" } else { "Read-only file system" };
            assert!(run.stderr_str().contains(said), "{what}: {}", run.report());
            let found = account(&truth, &harness.shipped());
            assert!(found.lost.is_empty() && found.doubled.is_empty() && found.clashes == 0, "{what}: {found:?}");
            assert_eq!(found.resent, 0, "{what}");
            if !stdin {
                harness.once(&path);
                assert_eq!(harness.shipped().len(), truth.len(), "{what}: all positions were saved");
            }
        }
    }
}

/// A log that can't be read is said once, and read when it can be.
#[test]
fn a_log_that_can_not_be_read_for_a_while() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\ntwo\n");
    let run = Tool::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(&path);
    let run = run.args(["-e", "trace=pread64", "-e", "inject=pread64:error=EIO:when=1..5"]);
    let run = shipping(run, &harness).args(["--once", "--stats", "1h"]).arg(&path).run().succeeds();
    let run = run.stderr_is_one_line().stderr_contains("unable to read ").stderr_contains("Input/output error");
    assert_eq!(check_stats(&run.stdout)["acked"].as_u64(), Some(2));
    assert_eq!(harness.values(), ["one", "two"]);
}

/// log-ship whose `call` on a file of its state fails, some times after it has begun well.
fn failing(harness: &Harness, call: &str, error: &str) -> Tool {
    let mut tool = Tool::new("strace").args(["-f", "-qq", "-o", "/dev/null"]);
    let spool = harness.state().join("spool");
    assert!(spool.is_dir(), "a run before this one has made it");
    tool = tool.args(["-e", &format!("trace={call}")]);
    tool = tool.args(["-e", &format!("inject={call}:error={error}:when=3..8")]);
    shipping(tool, harness).args(["--timeout", "20s"])
}

fn shipping(tool: Tool, harness: &Harness) -> Tool {
    let tool =
        tool.arg(env!("CARGO_BIN_EXE_log-ship")).args(["--brokers", &harness.brokers, "--topic", &harness.topic]);
    tool.args(["--host", "web-1", "--state-dir"]).arg(harness.state())
}

/// A small file system of its own; gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(at).status();
        assert!(mount.is_ok_and(|status| status.success()), "this test mounts a small tmpfs, which needs root");
        Self(at.to_owned())
    }

    fn remount(&self, how: &str) {
        let mount = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status();
        assert!(mount.is_ok_and(|status| status.success()), "{} is remounted {how}", self.0.display());
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
