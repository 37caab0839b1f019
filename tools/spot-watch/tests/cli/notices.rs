//! A notice, from the metadata to the group that rises.

use crate::events::{events, kinds, of_kind, wait_for};
use crate::harness::{Harness, ID, OWN, POLICY, TARGET, instance};
use testkit::{ImdsInstance, wait_until};

#[test]
fn a_launch_from_ready_to_done() {
    let harness = Harness::new();
    let run = harness.raising().start();
    let ready = wait_for(&run, "ready", 1);
    assert_eq!(ready["instance_id"], ID);
    assert_eq!((&ready["group"], &ready["target"]), (&OWN.into(), &TARGET.into()));
    assert_eq!(ready["rungs"], serde_json::json!(["launch", "policy"]));
    assert_eq!(ready["size"], serde_json::json!({"desired": 2, "min": 1, "max": 10}));
    assert_eq!((&ready["life_cycle"], &ready["warnings"]), (&"spot".into(), &serde_json::json!([])));

    harness.notice("terminate", 120);
    let done = wait_for(&run, "done", 1);
    assert_eq!(harness.risen(), 1);
    assert_eq!(done["action"], "terminate");
    assert_eq!(done["capacity"]["rung"], "launch");
    assert_eq!((&done["capacity"]["certain"], &done["capacity"]["at_most"]), (&true.into(), &1.into()));
    assert_eq!(done["capacity"]["before"]["desired"], 2);
    assert_eq!(done["after"], serde_json::json!({"desired": 3, "min": 1, "max": 10}));
    let left = done["deadline_ms"].as_u64().unwrap();
    assert!(left > 60_000 && left <= 120_000, "{left}");

    let call = harness.scaling.calls().into_iter().find(|call| call.action == "LaunchInstances").unwrap();
    assert_eq!(call.fields["ClientToken"], format!("spot-watch/{ID}/20261124T080000Z"));
    assert_eq!(call.fields["AvailabilityZones.member.1"], "us-east-1a");
    run.terminate();
    let run = run.wait().killed_by(15).stderr_is_empty();
    let seen = events(&run.stdout);
    assert_eq!(kinds(&seen), ["ready", "notice", "capacity", "done"]);
    assert!(seen[1..].iter().all(|event| event["notice_id"] == format!("{ID}/20261124T080000Z")));
}

#[test]
fn the_policy_where_the_group_has_no_launch_template() {
    let harness = Harness::new();
    harness.change(|group| group.launch_template = false);
    let run = harness.raising().start();
    assert_eq!(wait_for(&run, "ready", 1)["rungs"], serde_json::json!(["policy"]));
    harness.notice("terminate", 120);
    let done = wait_for(&run, "done", 1);
    assert_eq!((harness.risen(), harness.asked("ExecutePolicy")), (1, 1));
    assert_eq!((&done["capacity"]["rung"], &done["capacity"]["certain"]), (&"policy".into(), &true.into()));
    let call = harness.scaling.calls().into_iter().find(|call| call.action == "ExecutePolicy").unwrap();
    assert_eq!((call.fields["PolicyName"].as_str(), call.fields["HonorCooldown"].as_str()), (POLICY, "false"));
}

#[test]
fn ten_thousand_polls_of_one_notice_are_one_event() {
    let harness = Harness { interval: "1ms", ..Harness::new() };
    let run = harness.raising().start();
    let _ready = wait_for(&run, "ready", 1);
    harness.imds.moving_notice("terminate");
    harness.imds.lifecycle_state(Some("Terminated"));
    let _done = wait_for(&run, "done", 1);
    let before = harness.imds.call_count();
    // Two items a poll.
    wait_until("10,000 polls", || {
        let polls = (harness.imds.call_count() - before) / 2;
        if polls >= 10_000 { Ok(()) } else { Err(format!("{polls} polls")) }
    });
    let seen = events(&run.stdout_so_far());
    assert_eq!(kinds(&seen).len(), 5, "{:?}", kinds(&seen));
    assert_eq!((harness.risen(), of_kind(&seen, "lifecycle").len()), (1, 1));
}

#[test]
fn stop_and_hibernate_raise_too_unless_only_others_are_asked_for() {
    for (actions, action, risen) in [
        (None, "stop", 1),
        (None, "hibernate", 1),
        (None, "evaporate", 1),
        (Some("terminate"), "stop", 0),
        (Some("terminate"), "terminate", 1),
        (Some("terminate,hibernate"), "hibernate", 1),
    ] {
        let harness = Harness::new();
        harness.notice(action, 100);
        let tool = harness.raising().arg("--once");
        let tool = if let Some(actions) = actions { tool.args(["--actions", actions]) } else { tool };
        let run = tool.run().succeeds();
        assert_eq!(harness.risen(), risen, "{actions:?} {action}");
        let done = &of_kind(&events(&run.stdout), "done")[0];
        assert_eq!(done["capacity"].is_null(), risen == 0, "{done}");
    }
}

#[test]
fn a_time_that_is_past_or_can_not_be_read_is_acted_upon_at_once() {
    for time in ["2020-01-01T00:00:00Z", "tomorrow", ""] {
        let harness = Harness::new();
        harness.imds.notice("terminate", time);
        let _run = harness.raising().arg("--once").run().succeeds();
        assert_eq!(harness.risen(), 1, "{time:?}");
    }
}

#[test]
fn a_stopped_instance_that_is_reclaimed_again_counts_again() {
    let harness = Harness::new();
    harness.notice("stop", 100);
    let _run = harness.raising().arg("--once").run().succeeds();
    let _run = harness.raising().arg("--once").run().succeeds();
    assert_eq!(harness.risen(), 1, "the same start, the same reclaim");
    harness.imds.set_instance(ImdsInstance { pending_time: Some("2026-11-24T09:30:00Z".to_owned()), ..instance(ID) });
    harness.notice("stop", 100);
    let _run = harness.raising().arg("--once").run().succeeds();
    assert_eq!(harness.risen(), 2);
}

/// A hibernated instance goes on with the same process, and is another start.
#[test]
fn a_resumed_process_knows_that_the_instance_was_started_again() {
    let harness = Harness::new();
    let run = harness.raising().start();
    harness.notice("hibernate", 100);
    let _done = wait_for(&run, "done", 1);
    harness.imds.set_instance(ImdsInstance { pending_time: Some("2026-11-24T09:30:00Z".to_owned()), ..instance(ID) });
    harness.imds.set("spot/instance-action", None);
    let calls = harness.imds.call_count();
    wait_until("polls without a notice", || {
        let polls = harness.imds.call_count() - calls;
        if polls > 6 { Ok(()) } else { Err(polls.to_string()) }
    });
    harness.notice("hibernate", 100);
    let _done = wait_for(&run, "done", 2);
    assert_eq!(harness.risen(), 2);
}

#[test]
fn nothing_to_raise_is_watching_only() {
    let harness = Harness::new();
    let run = harness.tool().arg("--once").run().succeeds().stderr_is_empty();
    assert_eq!(kinds(&events(&run.stdout)), ["ready"]);
    harness.notice("terminate", 100);
    let run = harness.tool().arg("--once").run().succeeds();
    assert_eq!(kinds(&events(&run.stdout)), ["ready", "notice", "done"]);
    assert!(harness.scaling.calls().is_empty(), "AWS is asked nothing");
}

#[test]
fn a_rehearsal_reads_and_changes_nothing() {
    let harness = Harness::new();
    harness.notice("terminate", 100);
    let hook = harness.script("hook", "touch \"$0.ran\"");
    let run = harness.raising().args(["--once", "--dry-run", "--on-notice"]).arg(hook).run().succeeds();
    let seen = events(&run.stdout);
    let capacity = &of_kind(&seen, "capacity")[0];
    assert_eq!(
        (&capacity["outcome"], &capacity["rung"], &capacity["group"]),
        (&"dry_run".into(), &"launch".into(), &TARGET.into())
    );
    assert_eq!(of_kind(&seen, "hook")[0]["outcome"], "dry_run");
    assert_eq!((harness.risen(), harness.asked("LaunchInstances")), (0, 0));
    assert!(!harness.state().exists() && !harness.path("hook.ran").exists());
    let _run = harness.raising().arg("--once").run().succeeds();
    assert_eq!(harness.risen(), 1, "a rehearsal is not remembered");
}

#[test]
fn a_recommendation_is_told_when_asked_for_and_raises_nothing() {
    let harness = Harness::new();
    harness.imds.set("events/recommendations/rebalance", Some("{\"noticeTime\":\"2026-11-24T09:00:00Z\"}"));
    let run = harness.raising().arg("--once").run().succeeds();
    assert_eq!(kinds(&events(&run.stdout)), ["ready"]);
    let run = harness.raising().arg("--rebalance").start();
    assert_eq!(wait_for(&run, "rebalance", 1)["notice_time"], "2026-11-24T09:00:00Z");
    // The next one within ten minutes is not told.
    harness.imds.set("events/recommendations/rebalance", Some("{\"noticeTime\":\"2026-11-24T09:00:05Z\"}"));
    harness.notice("terminate", 100);
    let _done = wait_for(&run, "done", 1);
    assert_eq!(of_kind(&events(&run.stdout_so_far()), "rebalance").len(), 1);
    assert_eq!(harness.risen(), 1);
}

#[test]
fn a_stop_that_becomes_a_termination_raises() {
    let harness = Harness::new();
    harness.notice("stop", 100);
    let run = harness.raising().args(["--actions", "terminate"]).start();
    let _done = wait_for(&run, "done", 1);
    assert_eq!(harness.risen(), 0);
    harness.notice("terminate", 100);
    let _done = wait_for(&run, "done", 2);
    assert_eq!(harness.risen(), 1);
}

/// The second reclaim after a hibernation, seen while the identity can't be read.
#[test]
fn a_notice_is_looked_at_again_until_its_start_is_known() {
    let harness = Harness::new();
    let run = harness.raising().start();
    harness.notice("hibernate", 100);
    let _done = wait_for(&run, "done", 1);
    harness.imds.set("spot/instance-action", None);
    let polls = |more: u64| {
        let calls = harness.imds.call_count();
        wait_until("polls", || {
            let seen = harness.imds.call_count() - calls;
            if seen > more { Ok(()) } else { Err(seen.to_string()) }
        });
    };
    polls(6);
    harness.imds.set_instance(ImdsInstance { pending_time: Some("2026-11-24T09:30:00Z".to_owned()), ..instance(ID) });
    harness.imds.fail(Box::new(|call| call.path.contains("identity").then_some(testkit::ImdsFault::Status(503))));
    harness.notice("hibernate", 100);
    polls(12);
    harness.imds.recover();
    let _done = wait_for(&run, "done", 2);
    assert_eq!(harness.risen(), 2);
}
