//! A stdout that is closed, full, or read by nobody: the work is done all the same.

use crate::events::{events, kinds, of_kind};
use crate::harness::Harness;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use testkit::wait_until;

fn start(harness: &Harness, stdout: Stdio, args: &[&str]) -> Child {
    line(harness, args).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap()
}

fn line(harness: &Harness, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spot-watch"));
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", harness.imds.endpoint());
    command.env("AWS_ENDPOINT_URL_AUTO_SCALING", harness.scaling.endpoint());
    command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")]);
    command
        .args(["--raise", crate::harness::TARGET, "--interval", "20ms", "--state-dir"])
        .arg(harness.state())
        .args(args);
    command
}

/// A pipe in which there is no room.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    while rustix::io::write(&writer, b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).unwrap();
    (reader, writer)
}

#[test]
fn closed_or_full() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stdout in [Stdio::from(writer), Stdio::from(full)] {
        let harness = Harness::new();
        harness.notice("terminate", 120);
        let done = start(&harness, stdout, &["--once"]).wait_with_output().unwrap();
        assert_eq!((harness.risen(), done.status.code()), (1, Some(0)));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(said.matches("unable to write stdout").count(), 1, "{said}");
    }
}

/// A pipe that is full before the first event.
#[test]
fn read_by_nobody() {
    let (reader, writer) = full_pipe();
    let harness = Harness::new();
    let mut run = start(&harness, Stdio::from(writer), &[]);
    harness.notice("terminate", 120);
    wait_until("the rise", || if harness.risen() == 1 { Ok(()) } else { Err("none".to_owned()) });
    let ended = Command::new("kill").arg(run.id().to_string()).status().unwrap();
    assert!(ended.success());
    let status = run.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    drop(reader);
}

/// Killed with all of its events in the pipe's way.
#[test]
fn what_nobody_has_read_is_told_by_the_next_start() {
    for rung in ["launch", "policy"] {
        let (reader, writer) = full_pipe();
        let harness = Harness::new();
        let hook = harness.script("hook", "echo x >>\"$0.ran\"; echo drained").display().to_string();
        let args = ["--capacity", rung, "--on-notice", &hook];
        let mut run = start(&harness, Stdio::from(writer), &args);
        harness.notice("terminate", 120);
        wait_until("the rise and the program on disk", || {
            let state = std::fs::read(harness.state().join("reclaim.json")).unwrap_or_default();
            let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
            let kept = ["capacity", "program"].iter().all(|part| state[part].is_object());
            if kept { Ok(()) } else { Err(state.to_string()) }
        });
        run.kill().unwrap();
        run.wait().unwrap();
        drop(reader);
        let run = harness.raising().arg("--once").args(args).run().succeeds();
        let seen = events(&run.stdout);
        let one = |kind: &str| of_kind(&seen, kind).pop().unwrap();
        assert_eq!(
            (harness.risen(), &one("capacity")["certain"], &one("capacity")["rung"]),
            (1, &true.into(), &rung.into())
        );
        assert_eq!((&one("done")["capacity"]["certain"], &one("hook")["output"]), (&true.into(), &"drained\n".into()));
        assert_eq!(one("done")["hook"]["output"], "drained\n");
        assert_eq!(std::fs::read_to_string(harness.path("hook.ran")).unwrap(), "x\n", "it ran once");
        let again = harness.raising().arg("--once").args(args).run().succeeds();
        assert_eq!(kinds(&events(&again.stdout)), ["ready"], "it is told once");
    }
}

/// Also what people would read: every warning would wait for ever.
#[test]
fn messages_read_by_nobody() {
    let (reader, writer) = full_pipe();
    let harness = Harness::new();
    harness.imds.fail(Box::new(|_| Some(testkit::ImdsFault::Status(503))));
    let mut run = line(&harness, &["-v"]).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    wait_until("polls", || if harness.imds.call_count() > 10 { Ok(()) } else { Err("none".to_owned()) });
    harness.imds.recover();
    harness.notice("terminate", 120);
    wait_until("the rise", || if harness.risen() == 1 { Ok(()) } else { Err("none".to_owned()) });
    run.kill().unwrap();
    run.wait().unwrap();
    drop(reader);
}
