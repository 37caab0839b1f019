//! The state that the instance's own group wants it in.

use crate::events::{events, kinds, of_kind, wait_for};
use crate::harness::{Harness, ID, OWN, instance};
use testkit::{ImdsInstance, ScalingFault, wait_until};

#[test]
fn each_transition_is_told_once() {
    let harness = Harness::new();
    let run = harness.raising().start();
    assert_eq!(wait_for(&run, "ready", 1)["lifecycle_state"], "InService");
    for (count, state) in [(1, "Standby"), (2, "InService"), (3, "Terminated")] {
        harness.imds.lifecycle_state(Some(state));
        assert_eq!(wait_for(&run, "lifecycle", count)["to"], state);
    }
    run.terminate();
    let run = run.wait().killed_by(15);
    assert_eq!(kinds(&events(&run.stdout)), ["ready", "lifecycle", "lifecycle", "lifecycle"]);
    assert_eq!(of_kind(&events(&run.stdout), "lifecycle")[2]["from"], "InService");
    assert_eq!(harness.risen(), 0, "the group's own decision");
}

#[test]
fn an_on_demand_instance_is_watched_for_its_lifecycle() {
    let harness = Harness::new();
    harness.imds.set_instance(ImdsInstance { life_cycle: Some("on-demand".to_owned()), ..instance(ID) });
    harness.notice("terminate", 120);
    let run = harness.raising().start();
    let ready = wait_for(&run, "ready", 1);
    assert_eq!(ready["life_cycle"], "on-demand");
    assert_eq!(ready["watching"], serde_json::json!(["target-lifecycle-state"]));
    harness.imds.lifecycle_state(Some("Terminated"));
    let _lifecycle = wait_for(&run, "lifecycle", 1);
    assert_eq!(harness.risen(), 0);
}

#[test]
fn the_group_is_told_to_go_on_after_the_program() {
    let harness = Harness::new();
    harness.scaling.change(OWN, |group| {
        group.hooks = vec![
            ("drain".to_owned(), "autoscaling:EC2_INSTANCE_TERMINATING".to_owned()),
            ("boot".to_owned(), "autoscaling:EC2_INSTANCE_LAUNCHING".to_owned()),
        ];
    });
    harness.scaling.fail(Box::new(|call| {
        (call.action == "CompleteLifecycleAction" && call.number % 2 == 0)
            .then(|| ScalingFault::error(400, "Throttling"))
    }));
    let script = harness.script("hook", "cat >>\"$0.in\"");
    let watching = || harness.tool().args(["--complete-lifecycle", "--on-notice"]).arg(&script);
    let run = watching().start();
    let _ready = wait_for(&run, "ready", 1);
    harness.imds.lifecycle_state(Some("Terminated"));
    let told = wait_for(&run, "lifecycle", 2);
    assert_eq!(told["completed"], serde_json::json!(["drain"]));
    let completed = vec![("drain".to_owned(), ID.to_owned(), "CONTINUE".to_owned())];
    assert_eq!(harness.scaling.group(OWN).completed, completed);
    let read = || events(&std::fs::read(harness.path("hook.in")).unwrap());
    assert_eq!((read().len(), &read()[0]["to"]), (1, &"Terminated".into()));
    harness.await_departure_on_disk();
    drop(run);
    // A restart sees the same state and has nothing left to do.
    let run = watching().arg("--once").run().succeeds();
    assert_eq!((of_kind(&events(&run.stdout), "lifecycle").len(), read().len()), (1, 1));
    // One that can't know does not run into the ground.
    std::fs::remove_file(harness.state().join("departure.json")).unwrap();
    let run = watching().arg("--once").run().succeeds();
    assert_eq!(of_kind(&events(&run.stdout), "lifecycle")[1]["completed"], serde_json::json!(["drain"]));
}

/// A restart of the service in the middle of a drain: the instance must not go before the program has run to its end.
#[test]
fn a_program_that_a_signal_ended_completes_nothing() {
    let harness = Harness::new();
    harness.scaling.change(OWN, |group| {
        group.hooks = vec![("drain".to_owned(), "autoscaling:EC2_INSTANCE_TERMINATING".to_owned())];
    });
    let script = harness.script("hook", "echo x >>\"$0.ran\"; [ -e \"$0.go\" ] || exec sleep 1000");
    let watching = || harness.tool().args(["--complete-lifecycle", "--on-notice"]).arg(&script);
    harness.imds.lifecycle_state(Some("Terminated"));
    let run = watching().start();
    let ran = harness.path("hook.ran");
    wait_until("the program", || if ran.exists() { Ok(()) } else { Err("not yet".to_owned()) });
    run.terminate();
    let run = run.wait().killed_by(15);
    let seen = events(&run.stdout);
    assert_eq!(of_kind(&seen, "hook")[0]["outcome"], "interrupted");
    assert_eq!(of_kind(&seen, "lifecycle")[1]["completed"], serde_json::json!([]));
    assert!(harness.scaling.group(OWN).completed.is_empty(), "{}", run.report());
    std::fs::write(harness.path("hook.go"), "").unwrap();
    let run = watching().arg("--once").run().succeeds();
    assert_eq!(of_kind(&events(&run.stdout), "lifecycle")[1]["completed"], serde_json::json!(["drain"]));
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\nx\n");
}

#[test]
fn an_instance_without_a_group_has_nothing_to_complete() {
    let harness = Harness::new();
    harness.imds.set_instance(ImdsInstance::spot("i-0stray"));
    let run = harness.tool().arg("--complete-lifecycle").run().fails_with(1);
    let _told = run.stderr_contains("the instance is in no Auto Scaling group");
}
