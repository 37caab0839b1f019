//! The program that runs at a notice.

use crate::events::{events, of_kind, wait_for};
use crate::harness::{Harness, ID, OWN, TARGET};
use std::path::Path;
use testkit::{Finished, wait_until};

fn once(harness: &Harness, hook: &Path, args: &[&str]) -> Finished {
    harness.notice("terminate", 120);
    harness.raising().args(["--once", "--on-notice"]).arg(hook).args(args).run()
}

fn hook(run: &Finished) -> serde_json::Value {
    of_kind(&events(&run.stdout), "hook").pop().unwrap()
}

#[test]
fn it_reads_the_event_and_finds_the_group() {
    let harness = Harness::new();
    let script =
        harness.script("hook", "cat >\"$0.in\"; echo \"$SPOT_WATCH_GROUP $SPOT_WATCH_TARGET $SPOT_WATCH_ACTION\"");
    let run = once(&harness, &script, &[]).succeeds();
    let done = of_kind(&events(&run.stdout), "done").pop().unwrap();
    assert_eq!(done["hook"]["output"], format!("{OWN} {TARGET} terminate\n"));
    assert_eq!((&done["hook"]["outcome"], &done["hook"]["exit_code"]), (&"ok".into(), &0.into()));
    let read = std::fs::read(harness.path("hook.in")).unwrap();
    let event = &events(&read)[0];
    assert_eq!((&event["event"], &event["instance_id"]), (&"notice".into(), &ID.into()));
}

#[test]
fn one_that_fails_is_told_in_the_event_and_the_exit_code() {
    let harness = Harness::new();
    let script = harness.script("hook", "echo on stdout; echo on stderr >&2; exit 7");
    let run = once(&harness, &script, &[]).fails_with(1).stderr_contains("the program for notices failed: exit code 7");
    assert_eq!((&hook(&run)["outcome"], &hook(&run)["exit_code"]), (&"failed".into(), &7.into()));
    let output = hook(&run)["output"].as_str().unwrap().to_owned();
    assert!(output.contains("on stdout\n") && output.contains("on stderr\n"), "{output}");
    assert_eq!(harness.risen(), 1);

    let run = once(&Harness::new(), Path::new("/nonexistent/hook"), &[]).fails_with(1);
    assert_eq!(hook(&run)["outcome"], "not_started");
    let killed = harness.script("killed", "kill -9 $$");
    let harness = Harness::new();
    let run = once(&harness, &killed, &[]).fails_with(1);
    assert_eq!((&hook(&run)["outcome"], &hook(&run)["signal"]), (&"failed".into(), &9.into()));
}

#[test]
fn one_that_hangs_is_ended_with_its_whole_group() {
    let harness = Harness::new();
    let script =
        harness.script("hook", "trap '' TERM\n(trap '' TERM; echo $$ >\"$0.ran\"; exec sleep 1000) &\nsleep 1000");
    harness.notice("terminate", 3);
    let tool = harness.raising().args(["--once", "--margin", "2s", "--on-notice"]).arg(&script);
    let run = tool.run().fails_with(1);
    assert_eq!((&hook(&run)["outcome"], &hook(&run)["signal"]), (&"timed_out".into(), &9.into()));
    assert_eq!(harness.risen(), 1);
    let group = std::fs::read_to_string(harness.path("hook.ran")).unwrap().trim().to_owned();
    wait_until("the end of the group", || {
        let left = std::process::Command::new("ps").args(["-o", "pid=,stat=", "-g", &group]).output().unwrap();
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        // A zombie waits for its parent only.
        let alive = left.lines().filter(|line| !line.contains('Z')).count();
        if alive == 0 { Ok(()) } else { Err(left) }
    });
}

#[test]
fn only_the_end_of_a_long_output_is_kept_and_it_holds_nothing_up() {
    let harness = Harness::new();
    let script = harness.script("hook", "head -c 3000000 /dev/zero | tr '\\0' x; echo end");
    let run = once(&harness, &script, &[]).succeeds();
    let output = hook(&run)["output"].as_str().unwrap().to_owned();
    assert_eq!(output.len(), 4096);
    assert!(output.ends_with("xxend\n"));
}

#[test]
fn what_it_leaves_behind_is_not_waited_for() {
    let harness = Harness::new();
    let script = harness.script("hook", "sleep 1000 & echo left; echo $! >\"$0.left\"");
    let run = once(&harness, &script, &[]).succeeds();
    assert_eq!((&hook(&run)["outcome"], &hook(&run)["output"]), (&"ok".into(), &"left\n".into()));
    let left = std::fs::read_to_string(harness.path("hook.left")).unwrap();
    let _ended = std::process::Command::new("kill").arg(left.trim()).status().unwrap();
}

#[test]
fn a_shell_reads_the_line_only_when_asked() {
    let harness = Harness::new();
    let line = format!("echo $((6*7)) >{}; touch $(pwd)/x", harness.path("out").display());
    let run = once(&harness, Path::new(&line), &[]).fails_with(1);
    assert_eq!(hook(&run)["outcome"], "not_started");
    assert!(!harness.path("out").exists());
    let harness = Harness::new();
    let line = format!("echo $((6*7)) >{}", harness.path("out").display());
    let _run = once(&harness, Path::new(&line), &["--shell"]).succeeds();
    assert_eq!(std::fs::read_to_string(harness.path("out")).unwrap(), "42\n");
}

#[test]
fn a_signal_ends_the_program_and_capacity_is_raised_all_the_same() {
    let harness = Harness::new();
    let script = harness.script("hook", "echo ready >\"$0.ran\"; sleep 1000");
    harness.notice("terminate", 120);
    let run = harness.raising().args(["--on-notice"]).arg(&script).start();
    let ran = harness.path("hook.ran");
    wait_until("the program", || if ran.exists() { Ok(()) } else { Err("not yet".to_owned()) });
    run.terminate();
    let run = run.wait().killed_by(15);
    assert_eq!(hook(&run)["outcome"], "interrupted");
    assert_eq!(harness.risen(), 1);
    assert_eq!(of_kind(&events(&run.stdout), "done").len(), 1);
}

/// A group that is not there must not cost the program as well.
#[test]
fn a_plan_that_can_not_work_lets_the_program_end() {
    let harness = Harness::new();
    let script = harness.script("hook", "until [ -e \"$0.go\" ]; do sleep 0.01; done; echo drained");
    harness.notice("terminate", 120);
    let run = harness.tool().args(["--raise", "nosuch", "--on-notice"]).arg(&script).start();
    assert_eq!(wait_for(&run, "ready", 1)["error"], "there is no Auto Scaling group nosuch");
    let _capacity = wait_for(&run, "capacity", 1);
    std::fs::write(harness.path("hook.go"), "").unwrap();
    let run = run.wait().fails_with(1).stderr_contains("there is no Auto Scaling group nosuch");
    assert_eq!((&hook(&run)["outcome"], &hook(&run)["output"]), (&"ok".into(), &"drained\n".into()));
    assert_eq!(of_kind(&events(&run.stdout), "done").len(), 1);
}

/// A program that was not run to its end is run again by the next start; one that was is not.
#[test]
fn a_run_that_dies_leaves_the_program_to_the_next() {
    let harness = Harness::new();
    let script = harness.script("hook", "echo x >>\"$0.ran\"; [ -e \"$0.go\" ] || sleep 1000");
    harness.notice("terminate", 120);
    let mut run = harness.raising().args(["--on-notice"]).arg(&script).start();
    let _capacity = wait_for(&run, "capacity", 1);
    let ran = harness.path("hook.ran");
    wait_until("the program", || if ran.exists() { Ok(()) } else { Err("not yet".to_owned()) });
    run.kill();
    std::fs::write(harness.path("hook.go"), "").unwrap();
    let run = once(&harness, &script, &[]).succeeds();
    assert_eq!(of_kind(&events(&run.stdout), "notice")[0]["resumed"], true);
    let _run = once(&harness, &script, &[]).succeeds();
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\nx\n");
    assert_eq!(harness.risen(), 1);
    let _ended = std::process::Command::new("pkill").args(["-f", &script.display().to_string()]).status().unwrap();
}

/// The plan is impossible, but the instance is drained all the same; the rise is tried by the next start.
#[test]
fn a_group_that_is_not_there_does_not_cost_the_program() {
    let harness = Harness::new();
    let script = harness.script("hook", "sleep 1; echo drained >\"$0.ran\"");
    harness.notice("terminate", 120);
    let run = harness.tool().args(["--raise", "nobody", "--on-notice"]).arg(&script).run().fails_with(1);
    assert_eq!(hook(&run)["outcome"], "ok", "{}", run.report());
    let again = once(&harness, &script, &[]).succeeds();
    assert_eq!((harness.risen(), of_kind(&events(&again.stdout), "hook").len()), (1, 0));
}

/// The plan is known to be impossible before a poll has shown the notice.
#[test]
fn a_plan_that_can_not_work_waits_for_a_good_poll() {
    let harness = Harness::new();
    let script = harness.script("hook", "echo drained");
    harness.notice("terminate", 120);
    harness
        .imds
        .fail(Box::new(|call| call.path.ends_with("instance-action").then_some(testkit::ImdsFault::Status(503))));
    let run = harness.tool().args(["--raise", "nobody", "--on-notice"]).arg(&script).start();
    let _ready = wait_for(&run, "ready", 1);
    let _degraded = wait_for(&run, "degraded", 1);
    harness.imds.recover();
    let run = run.wait().fails_with(1).stderr_contains("there is no Auto Scaling group nobody");
    assert_eq!(hook(&run)["output"], "drained\n");
}

/// A restart of the service in the middle of a drain.
#[test]
fn a_program_that_was_ended_by_a_signal_is_run_again() {
    let harness = Harness::new();
    let script = harness.script("hook", "echo x >>\"$0.ran\"; [ -e \"$0.go\" ] || sleep 1000");
    harness.notice("terminate", 120);
    let run = harness.raising().args(["--on-notice"]).arg(&script).start();
    let _capacity = wait_for(&run, "capacity", 1);
    let ran = harness.path("hook.ran");
    wait_until("the program", || if ran.exists() { Ok(()) } else { Err("not yet".to_owned()) });
    run.terminate();
    let _run = run.wait().killed_by(15);
    std::fs::write(harness.path("hook.go"), "").unwrap();
    let _run = once(&harness, &script, &[]).succeeds();
    assert_eq!((std::fs::read_to_string(&ran).unwrap().as_str(), harness.risen()), ("x\nx\n", 1));
}

#[test]
fn the_webhook_is_not_told_to_the_program() {
    let harness = Harness::new();
    let script = harness.script("hook", "env; echo \"${SPOT_WATCH_NOTIFY-unset}\"");
    harness.notice("terminate", 2);
    let tool =
        harness.raising().env("SPOT_WATCH_NOTIFY", "http://127.0.0.1:1/PATH-OF-IT").args(["--once", "--on-notice"]);
    let run = tool.arg(&script).run().succeeds();
    assert!(!String::from_utf8_lossy(&run.stdout).contains("PATH-OF-IT"), "{}", run.report());
    let wrong = harness
        .raising()
        .env("SPOT_WATCH_NOTIFY", "hooks.example.com/PATH-OF-IT")
        .run()
        .fails_with(2)
        .stderr_is_one_line();
    assert!(!wrong.stderr_str().contains("PATH-OF-IT"));
}
