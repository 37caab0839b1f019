//! The state directory: what a restart knows, who holds it, and what happens without it.

use crate::events::{events, kinds, of_kind, wait_for};
use crate::harness::{Harness, TARGET};
use std::fs;
use testkit::{ScalingFault, wait_until};

#[test]
fn a_restart_knows_what_was_done() {
    let harness = Harness::new();
    harness.notice("terminate", 120);
    for rung in ["launch", "policy"] {
        for _ in 0..3 {
            let _run = harness.raising().args(["--once", "--capacity", rung]).run().succeeds();
        }
    }
    assert_eq!((harness.risen(), harness.asked("LaunchInstances"), harness.asked("ExecutePolicy")), (1, 1, 0));
    let run = harness.raising().arg("--once").run().succeeds();
    assert_eq!(kinds(&events(&run.stdout)), ["ready"]);
}

/// The one that comes second waits for the end of the first, and then knows what it did.
#[test]
fn two_on_one_directory_take_turns() {
    let harness = Harness::new();
    let mut first = harness.raising().start();
    let _ready = wait_for(&first, "ready", 1);
    let second = harness.raising().start();
    wait_until("the second to wait", || {
        let said = String::from_utf8_lossy(&second.stderr_so_far()).into_owned();
        if said.contains("waiting for its end") { Ok(()) } else { Err(said) }
    });
    let _busy = harness.raising().arg("--once").run().fails_with(75).stderr_contains("another spot-watch holds");
    let short = harness.raising().args(["--for", "100ms"]).run().fails_with(75).stdout_is("");
    let _short = short.stderr_contains("another spot-watch holds");
    harness.notice("terminate", 120);
    harness.await_done_on_disk();
    first.kill();
    let _ready = wait_for(&second, "ready", 1);
    let calls = harness.imds.call_count();
    wait_until("polls by the second", || {
        let polls = harness.imds.call_count() - calls;
        if polls > 10 { Ok(()) } else { Err(polls.to_string()) }
    });
    assert_eq!(kinds(&events(&second.stdout_so_far())), ["ready"]);
    assert_eq!(harness.risen(), 1);
}

/// Two directories are two memories: only AWS's own can help.
#[test]
fn two_directories_are_one_launch() {
    let harness = Harness::new();
    harness.notice("terminate", 120);
    let mut runs = Vec::new();
    for number in 0..6 {
        runs.push(harness.raising_from(&harness.path(&number.to_string())).arg("--once").start());
    }
    for run in runs {
        let _run = run.wait().succeeds();
    }
    assert_eq!(harness.risen(), 1);
}

#[test]
fn a_directory_that_can_not_be_written_costs_no_instance() {
    let harness = Harness::new();
    harness.notice("terminate", 120);
    let file = harness.path("file");
    fs::write(&file, "").unwrap();
    let tool = || harness.raising_from(&file.join("state")).arg("--once");
    let run = tool().run().succeeds().stderr_contains("a restart will not know what was done before it");
    assert_eq!(harness.risen(), 1);
    let ready = of_kind(&events(&run.stdout), "ready").pop().unwrap();
    assert!(ready["warnings"][0].as_str().unwrap().contains("a restart will not know"), "{ready}");
    let _run = tool().run().succeeds();
    assert_eq!(harness.risen(), 1, "AWS knows the token");
    let run = tool().args(["--capacity", "policy"]).run().succeeds();
    assert_eq!(of_kind(&events(&run.stdout), "capacity")[0]["certain"], false, "who knows what ran before");
}

#[test]
fn a_state_that_can_not_be_read_costs_no_instance() {
    for garbage in ["", "{", "null", "{\"id\":\"x\"}", "{\"version\":2}", "\u{0}\u{0}\u{0}"] {
        let harness = Harness::new();
        fs::create_dir_all(harness.state()).unwrap();
        fs::write(harness.state().join("reclaim.json"), garbage).unwrap();
        harness.notice("terminate", 120);
        let run = harness
            .raising()
            .args(["--once", "--capacity", "policy"])
            .run()
            .succeeds()
            .stderr_contains("unable to read");
        assert_eq!(harness.risen(), 1, "{garbage:?}");
        assert_eq!(of_kind(&events(&run.stdout), "capacity")[0]["certain"], false, "who knows what stood there");
    }
}

/// What is written down is enough to go on, also while the notice can't be read any more.
#[test]
fn an_unfinished_rise_goes_on_without_its_notice() {
    let harness = Harness::new();
    harness.notice("terminate", 120);
    harness
        .scaling
        .fail(Box::new(|call| (call.action == "LaunchInstances").then(|| ScalingFault::error(400, "Throttling"))));
    let mut run = harness.raising().start();
    wait_until("a request", || match harness.asked("LaunchInstances") {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    run.kill();
    harness.imds.set("spot/instance-action", None);
    harness.scaling.recover();
    let run = harness.raising().arg("--once").run().succeeds();
    let notice = of_kind(&events(&run.stdout), "notice").pop().unwrap();
    assert_eq!((harness.risen(), &notice["resumed"]), (1, &true.into()));
}

/// The zone belongs to the token, so a restart asks for the one that was asked for first.
#[test]
fn a_restart_asks_with_the_same_words() {
    let harness = Harness::new();
    harness.notice("terminate", 120);
    harness.scaling.fail(Box::new(|call| (call.action == "LaunchInstances").then_some(ScalingFault::HangAfter)));
    let mut run = harness.raising().start();
    wait_until("a launch", || if harness.risen() == 1 { Ok(()) } else { Err("none".to_owned()) });
    run.kill();
    harness.scaling.recover();
    harness
        .change(|group| group.zones = vec!["us-east-1b".to_owned(), "us-east-1a".to_owned(), "us-east-1c".to_owned()]);
    let run = harness.raising().arg("--once").run().succeeds();
    let capacity = of_kind(&events(&run.stdout), "capacity").pop().unwrap();
    assert_eq!((harness.risen(), &capacity["certain"], capacity.get("note")), (1, &true.into(), None));
    assert_eq!(capacity["group"], TARGET);
}

#[test]
fn watching_for_a_while_ends_by_itself_and_not_in_the_middle() {
    let harness = Harness::new();
    let run = harness.raising().args(["--for", "2s"]).run().succeeds();
    assert_eq!(kinds(&events(&run.stdout)), ["ready"]);
    let script = harness.script("hook", "sleep 1");
    harness.notice("terminate", 120);
    let run = harness.raising().args(["--for", "1s", "--on-notice"]).arg(script).run().succeeds();
    assert_eq!(of_kind(&events(&run.stdout), "done")[0]["hook"]["outcome"], "ok");
}
