//! The state that the instance's own group wants it in.

use crate::events::{LIMIT, events, kinds, of_kind, wait_for};
use crate::post::{ID, OWN, Post, instance};
use testkit::{ImdsInstance, ScalingFault, wait_until};

#[test]
fn each_transition_is_told_once() {
    let post = Post::new();
    let run = post.raising().start();
    assert_eq!(wait_for(&run, "ready", 1)["lifecycle_state"], "InService");
    for (count, state) in [(1, "Standby"), (2, "InService"), (3, "Terminated")] {
        post.imds.lifecycle_state(Some(state));
        assert_eq!(wait_for(&run, "lifecycle", count)["to"], state);
    }
    run.terminate();
    let run = run.wait().killed_by(15);
    assert_eq!(kinds(&events(&run.stdout)), ["ready", "lifecycle", "lifecycle", "lifecycle"]);
    assert_eq!(of_kind(&events(&run.stdout), "lifecycle")[2]["from"], "InService");
    assert_eq!(post.risen(), 0, "the group's own decision");
}

#[test]
fn an_on_demand_instance_is_watched_for_its_lifecycle() {
    let post = Post::new();
    post.imds.set_instance(ImdsInstance { life_cycle: Some("on-demand".to_owned()), ..instance(ID) });
    post.notice("terminate", 120);
    let run = post.raising().start();
    let ready = wait_for(&run, "ready", 1);
    assert_eq!(ready["life_cycle"], "on-demand");
    assert_eq!(ready["watching"], serde_json::json!(["target-lifecycle-state"]));
    post.imds.lifecycle_state(Some("Terminated"));
    let _lifecycle = wait_for(&run, "lifecycle", 1);
    assert_eq!(post.risen(), 0);
}

#[test]
fn the_group_is_told_to_go_on_after_the_program() {
    let post = Post::new();
    post.scaling.change(OWN, |group| {
        group.hooks = vec![
            ("drain".to_owned(), "autoscaling:EC2_INSTANCE_TERMINATING".to_owned()),
            ("boot".to_owned(), "autoscaling:EC2_INSTANCE_LAUNCHING".to_owned()),
        ];
    });
    post.scaling.fail(Box::new(|call| {
        (call.action == "CompleteLifecycleAction" && call.number % 2 == 0)
            .then(|| ScalingFault::error(400, "Throttling"))
    }));
    let script = post.script("hook", "cat >>\"$0.in\"");
    let watching = || post.tool().args(["--complete-lifecycle", "--on-notice"]).arg(&script);
    let run = watching().start();
    let _ready = wait_for(&run, "ready", 1);
    post.imds.lifecycle_state(Some("Terminated"));
    let told = wait_for(&run, "lifecycle", 2);
    assert_eq!(told["completed"], serde_json::json!(["drain"]));
    let completed = vec![("drain".to_owned(), ID.to_owned(), "CONTINUE".to_owned())];
    assert_eq!(post.scaling.group(OWN).completed, completed);
    let read = || events(&std::fs::read(post.path("hook.in")).unwrap());
    assert_eq!((read().len(), &read()[0]["to"]), (1, &"Terminated".into()));
    post.await_departure_on_disk();
    drop(run);
    // A restart sees the same state and has nothing left to do.
    let run = watching().arg("--once").run().succeeds();
    assert_eq!((of_kind(&events(&run.stdout), "lifecycle").len(), read().len()), (1, 1));
    // One that can't know does not run into the ground.
    std::fs::remove_file(post.state().join("departure.json")).unwrap();
    let run = watching().arg("--once").run().succeeds();
    assert_eq!(of_kind(&events(&run.stdout), "lifecycle")[1]["completed"], serde_json::json!(["drain"]));
}

/// A restart of the service in the middle of a drain: the instance must not go before the program has run to its end.
#[test]
fn a_program_that_a_signal_ended_completes_nothing() {
    let post = Post::new();
    post.scaling.change(OWN, |group| {
        group.hooks = vec![("drain".to_owned(), "autoscaling:EC2_INSTANCE_TERMINATING".to_owned())];
    });
    let script = post.script("hook", "echo x >>\"$0.ran\"; [ -e \"$0.go\" ] || exec sleep 1000");
    let watching = || post.tool().args(["--complete-lifecycle", "--on-notice"]).arg(&script);
    post.imds.lifecycle_state(Some("Terminated"));
    let run = watching().start();
    let ran = post.path("hook.ran");
    wait_until("the program", LIMIT, || if ran.exists() { Ok(()) } else { Err("not yet".to_owned()) });
    run.terminate();
    let run = run.wait().killed_by(15);
    let seen = events(&run.stdout);
    assert_eq!(of_kind(&seen, "hook")[0]["outcome"], "interrupted");
    assert_eq!(of_kind(&seen, "lifecycle")[1]["completed"], serde_json::json!([]));
    assert!(post.scaling.group(OWN).completed.is_empty(), "{}", run.report());
    std::fs::write(post.path("hook.go"), "").unwrap();
    let run = watching().arg("--once").run().succeeds();
    assert_eq!(of_kind(&events(&run.stdout), "lifecycle")[1]["completed"], serde_json::json!(["drain"]));
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\nx\n");
}

#[test]
fn an_instance_without_a_group_has_nothing_to_complete() {
    let post = Post::new();
    post.imds.set_instance(ImdsInstance::spot("i-0stray"));
    let run = post.tool().arg("--complete-lifecycle").run().fails_with(1);
    let _told = run.stderr_contains("the instance is in no Auto Scaling group");
}
