//! The rise itself: what the rungs need, what AWS refuses, and what is lost on the way.

use crate::events::{events, of_kind, wait_for};
use crate::harness::{Harness, OWN, POLICY, TARGET};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::{Finished, ScalingFault, ScalingModel, ScalingPolicy, wait_until};

const CHANGES: [&str; 2] = ["LaunchInstances", "ExecutePolicy"];

fn once(harness: &Harness, args: &[&str]) -> Finished {
    harness.notice("terminate", 120);
    harness.raising().args(["--once", "--timeout", "2s"]).args(args).run()
}

fn capacity(run: &Finished) -> serde_json::Value {
    of_kind(&events(&run.stdout), "capacity").pop().unwrap()
}

/// Lets the first so many requests for a rise fail.
fn fail_first(scaling: &ScalingModel, count: usize, fault: ScalingFault) {
    let failed = std::sync::atomic::AtomicUsize::new(0);
    scaling.fail(Box::new(move |call| {
        let is_change = CHANGES.contains(&call.action.as_str());
        let first = is_change && failed.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < count;
        first.then(|| fault.clone())
    }));
}

#[test]
fn refusals_are_asked_again_and_stay_certain() {
    for rung in ["launch", "policy"] {
        for (status, code) in [
            (400, "Throttling"),
            (503, "RequestLimitExceeded"),
            (400, "ScalingActivityInProgress"),
            (500, "ResourceContention"),
            (403, "ExpiredToken"),
        ] {
            let harness = Harness::new();
            fail_first(&harness.scaling, 3, ScalingFault::error(status, code));
            let run = once(&harness, &["--capacity", rung]).succeeds();
            let capacity = capacity(&run);
            assert_eq!(harness.risen(), 1, "{rung} {code}");
            assert_eq!((&capacity["certain"], &capacity["attempts"]), (&true.into(), &4.into()), "{rung} {code}");
        }
    }
}

#[test]
fn lost_answers_are_one_launch() {
    for fault in [ScalingFault::CloseAfter, ScalingFault::HangAfter, ScalingFault::Cut, ScalingFault::CloseBefore] {
        let harness = Harness::new();
        fail_first(&harness.scaling, 3, fault.clone());
        let run = once(&harness, &[]).succeeds();
        assert_eq!(harness.risen(), 1, "{fault:?}");
        assert_eq!(capacity(&run)["certain"], true, "{fault:?}");
    }
}

#[test]
fn a_lost_answer_of_a_policy_is_told() {
    for (fault, risen) in [
        (ScalingFault::CloseAfter, 2),
        (ScalingFault::HangAfter, 2),
        (ScalingFault::Cut, 2),
        (ScalingFault::CloseBefore, 1),
    ] {
        let harness = Harness::new();
        fail_first(&harness.scaling, 1, fault.clone());
        let run = once(&harness, &["--capacity", "policy"]).succeeds();
        assert_eq!(harness.risen(), risen, "{fault:?}");
        let capacity = capacity(&run);
        assert_eq!((&capacity["certain"], &capacity["at_most"]), (&false.into(), &2.into()), "{fault:?}");
    }
}

#[test]
fn a_server_that_forgets_tokens_is_found_out_by_its_group() {
    let harness = Harness::new();
    harness.scaling.remember_tokens(false);
    fail_first(&harness.scaling, 1, ScalingFault::CloseAfter);
    let _run = once(&harness, &[]).succeeds();
    assert_eq!(harness.risen(), 2, "the tool can't know; the checks of these tests must");
}

#[test]
fn a_full_group_is_a_failure_unless_its_maximum_may_rise() {
    for rung in ["launch", "policy"] {
        let harness = Harness::new();
        harness.change(|group| group.max = 2);
        let run = once(&harness, &["--capacity", rung]).fails_with(1);
        assert_eq!(harness.risen(), 0);
        assert!(capacity(&run)["error"].as_str().unwrap().contains("at its maximum of 2"), "{}", run.report());
        let ready = &of_kind(&events(&run.stdout), "ready")[0];
        assert!(ready["warnings"][0].as_str().unwrap().contains("it can't rise"), "{ready}");

        let harness = Harness::new();
        harness.change(|group| group.max = 2);
        let run = once(&harness, &["--capacity", rung, "--max-size-ceiling", "6"]).succeeds();
        assert_eq!((harness.risen(), harness.scaling.group(TARGET).max), (1, 6), "{rung}");
        assert_eq!(capacity(&run)["certain"], true);

        // A person makes room while the instance is there still.
        let harness = Harness::new();
        harness.change(|group| group.max = 2);
        let _run = once(&harness, &["--capacity", rung]).fails_with(1);
        let _run = once(&harness, &["--capacity", rung, "--max-size-ceiling", "6"]).succeeds();
        assert_eq!(harness.risen(), 1, "{rung}: by the next start");

        let harness = Harness::new();
        let _run = once(&harness, &["--capacity", rung, "--max-size-ceiling", "6"]).succeeds();
        assert_eq!((harness.risen(), harness.scaling.group(TARGET).max), (1, 10), "{rung}: never lowered");
    }
}

#[test]
fn what_a_rung_needs() {
    let none = |harness: &Harness, group: &str, args: &[&str], why: &str| {
        harness.notice("terminate", 120);
        let run = harness.tool().args(["--raise", group]).args(args).run().fails_with(1);
        let ready = of_kind(&events(&run.stdout), "ready").pop().unwrap();
        assert!(ready["error"].as_str().unwrap().contains(why), "{ready}");
        assert_eq!(harness.risen(), 0);
        let _told = run.stderr_contains(why);
    };
    let harness = Harness::new();
    harness.change(|group| {
        group.launch_template = false;
        group.policies.clear();
    });
    none(&harness, TARGET, &[], "needs a launch template; it has no policy spot-watch (--ensure-policy puts it)");
    none(&harness, TARGET, &["--capacity", "launch"], "needs a launch template");
    harness.change(|group| group.policies = vec![ScalingPolicy { adjustment: 2, ..ScalingPolicy::plus_one(POLICY) }]);
    none(&harness, TARGET, &[], "is not a simple scaling policy that adds one instance");
    none(&harness, TARGET, &["--ensure-policy"], "is not a simple scaling policy that adds one instance");
    none(&harness, OWN, &[], "it is the instance's own group");
    none(&harness, "nobody", &[], "there is no Auto Scaling group nobody");
}

#[test]
fn the_policy_is_put_where_asked_for() {
    let harness = Harness::new();
    harness.change(|group| {
        group.launch_template = false;
        group.policies.clear();
    });
    let run = once(&harness, &["--ensure-policy", "--policy", "one-more"]).succeeds();
    assert_eq!((harness.risen(), capacity(&run)["rung"].as_str()), (1, Some("policy")));
    let policy = &harness.scaling.group(TARGET).policies[0];
    assert_eq!((policy.name.as_str(), policy.adjustment), ("one-more", 1));
    let _run = once(&harness, &["--ensure-policy", "--policy", "one-more"]).succeeds();
    assert_eq!(harness.asked("PutScalingPolicy"), 1);
}

#[test]
fn what_a_person_should_mend_is_told_at_the_start() {
    let harness = Harness::new();
    harness.change(|group| group.suspended = vec!["Launch".to_owned()]);
    harness.scaling.change(OWN, |group| group.capacity_rebalance = true);
    let run = once(&harness, &[]).succeeds();
    let ready = of_kind(&events(&run.stdout), "ready").pop().unwrap();
    assert_eq!(ready["rungs"], serde_json::json!(["policy"]));
    let warnings = ready["warnings"].to_string();
    assert!(warnings.contains("Launch process suspended") && warnings.contains("doubles the capacity"), "{warnings}");
    assert_eq!(harness.risen(), 1, "the capacity is there when the process is resumed");
}

/// What can't be seen by reading: the role may execute the policy and not launch.
#[test]
fn a_rung_that_is_denied_is_left_for_the_next() {
    let harness = Harness::new();
    harness
        .scaling
        .fail(Box::new(|call| (call.action == "LaunchInstances").then(|| ScalingFault::error(403, "AccessDenied"))));
    let run = once(&harness, &[]).succeeds();
    let capacity = capacity(&run);
    assert_eq!((harness.risen(), &capacity["rung"], &capacity["certain"]), (1, &"policy".into(), &true.into()));

    let harness = Harness::new();
    harness.scaling.fail(Box::new(|call| {
        CHANGES.contains(&call.action.as_str()).then(|| ScalingFault::error(403, "AccessDenied"))
    }));
    let run = once(&harness, &[]).fails_with(1);
    assert_eq!(capacity_error(&run).matches("AccessDenied").count(), 2, "{}", run.report());
}

fn capacity_error(run: &Finished) -> String {
    capacity(run)["error"].as_str().unwrap().to_owned()
}

#[test]
fn aws_that_is_away_at_the_start_is_waited_for_and_the_notice_is_not_missed() {
    let harness = Harness::new();
    harness.scaling.fail(Box::new(|_| Some(ScalingFault::error(503, "ServiceUnavailable"))));
    let run = harness.raising().start();
    harness.notice("terminate", 120);
    let _notice = wait_for(&run, "notice", 1);
    assert_eq!(of_kind(&events(&run.stdout_so_far()), "ready").len(), 0);
    harness.scaling.recover();
    let done = wait_for(&run, "done", 1);
    assert_eq!((harness.risen(), &done["capacity"]["certain"]), (1, &true.into()));
    assert_eq!(String::from_utf8_lossy(&run.stderr_so_far()).matches("the watch goes on").count(), 1);

    // A run that asks once has nothing to wait for.
    let harness = Harness::new();
    harness.scaling.fail(Box::new(|_| Some(ScalingFault::error(503, "ServiceUnavailable"))));
    let run = harness.raising().args(["--once", "--timeout", "3s"]).run().fails_with(75);
    let _told = run.stderr_contains("unable to make ready: unable to read the Auto Scaling groups: ServiceUnavailable");
}

#[test]
fn aws_that_stays_away_is_temporary() {
    let harness = Harness::new();
    harness
        .scaling
        .fail(Box::new(|call| CHANGES.contains(&call.action.as_str()).then(|| ScalingFault::error(400, "Throttling"))));
    harness.notice("terminate", 3);
    let run = harness.raising().arg("--once").run().fails_with(75);
    assert_eq!((harness.risen(), capacity(&run)["outcome"].as_str()), (0, Some("failed")));
    assert!(capacity_error(&run).contains("Throttling"), "{}", run.report());
    let _told = run.stderr_contains("capacity was not raised");
}

/// Each answer is lost, so nobody is told of a rise, and there are many.
#[test]
fn a_rise_that_failed_tells_how_many_there_may_be() {
    let harness = Harness::new();
    // Nor do the group's figures show it yet.
    harness.scaling.lag(Duration::from_secs(60));
    fail_first(&harness.scaling, usize::MAX, ScalingFault::CloseAfter);
    harness.notice("terminate", 3);
    let run = harness.raising().args(["--once", "--capacity", "policy"]).run().fails_with(75);
    let capacity = capacity(&run);
    assert_eq!((&capacity["outcome"], &capacity["certain"]), (&"failed".into(), &false.into()), "{capacity}");
    let (risen, at_most) = (harness.risen(), capacity["at_most"].as_i64().unwrap());
    assert!((1..=at_most).contains(&risen), "{risen} of {at_most}");
}

#[test]
fn answers_of_a_while_ago() {
    for rung in ["launch", "policy"] {
        let harness = Harness::new();
        harness.scaling.lag(Duration::from_secs(60));
        let _run = once(&harness, &["--capacity", rung]).succeeds();
        assert_eq!(harness.risen(), 1, "{rung}");
    }
}

/// A zone that the group does not have is never asked for, and a group of one zone needs none.
#[test]
fn zones() {
    for (zones, asked) in [(vec!["us-east-1a", "us-east-1b"], Some("us-east-1a")), (vec!["us-east-1c"], None)] {
        let harness = Harness::new();
        harness.change(|group| group.zones = zones.iter().map(|zone| (*zone).to_owned()).collect());
        let _run = once(&harness, &["--capacity", "launch"]).succeeds();
        let call = harness.scaling.calls().into_iter().find(|call| call.action == "LaunchInstances").unwrap();
        assert_eq!(call.fields.get("AvailabilityZones.member.1").map(String::as_str), asked);
        assert_eq!(harness.risen(), 1);
    }
    let harness = Harness::new();
    harness.change(|group| group.zones = ["us-east-1c", "us-east-1d"].map(str::to_owned).into());
    let _run = once(&harness, &["--capacity", "launch"]).succeeds();
    assert_eq!(harness.risen(), 1);
}

/// Not one more for each: after two lost answers the group is looked at.
#[test]
fn a_policy_whose_every_answer_is_lost_is_two_at_most() {
    for lag in [0, 400] {
        let harness = Harness::new();
        harness.scaling.lag(Duration::from_millis(lag));
        fail_first(&harness.scaling, usize::MAX, ScalingFault::CloseAfter);
        let run = once(&harness, &["--capacity", "policy"]).succeeds();
        assert_eq!(harness.risen(), 2, "lag {lag}");
        let capacity = capacity(&run);
        assert_eq!((&capacity["outcome"], &capacity["certain"]), (&"raised".into(), &false.into()), "{capacity}");
        assert!(capacity["note"].as_str().unwrap().contains("has risen"), "{capacity}");
    }
}

/// The group can't be looked at, so nobody can know whether the policy was cut off.
#[test]
fn a_policy_that_may_have_been_cut_off_is_not_certain() {
    let harness = Harness::new();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    // The plan is made of the first looks; it is a policy of a group that was full all the time.
    harness.change(|group| group.max = 2);
    harness.scaling.fail(Box::new(move |call| {
        let describes = call.action == "DescribeAutoScalingGroups";
        let late = describes && asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= 2;
        late.then(|| ScalingFault::error(400, "Throttling"))
    }));
    harness.notice("terminate", 6);
    let run = harness.raising().args(["--once", "--capacity", "policy"]).run().succeeds();
    let capacity = capacity(&run);
    assert_eq!((harness.risen(), &capacity["certain"]), (0, &false.into()), "{capacity}");
    assert!(capacity["note"].as_str().unwrap().contains("before the group could be read"), "{capacity}");
}

/// What the disk has of the rise: whether it is certain in the state, and in the event that was told.
fn on_disk(harness: &Harness) -> serde_json::Value {
    let state = std::fs::read(harness.state().join("reclaim.json")).unwrap_or_default();
    serde_json::from_slice(&state).unwrap_or_default()
}

/// Another of the herd takes the last place just before the policy is executed.
fn fill_before_the_policy(harness: &Harness) {
    harness.change(|group| group.max = 3);
    let scaling = Arc::downgrade(&harness.scaling);
    harness.scaling.fail(Box::new(move |call| {
        if let Some(scaling) = scaling.upgrade().filter(|_| call.action == "ExecutePolicy") {
            Harness::fill(&scaling);
        }
        None
    }));
}

#[test]
fn a_policy_that_others_cut_off_is_told_as_the_disk_has_it() {
    let harness = Harness::new();
    fill_before_the_policy(&harness);
    let run = once(&harness, &["--capacity", "policy"]).succeeds();
    let (capacity, disk) = (capacity(&run), on_disk(&harness));
    assert_eq!((&capacity["outcome"], &capacity["certain"]), (&"raised".into(), &false.into()), "{capacity}");
    assert!(capacity["note"].as_str().unwrap().contains("at its maximum of 3 now"), "{capacity}");
    assert_eq!(disk["raise"]["certain"], false, "{disk}");
    let (kept, told) = (&disk["capacity"]["outcome"], &disk["capacity"]["told"]);
    assert_eq!((&kept["certain"], &kept["note"], told), (&false.into(), &capacity["note"], &true.into()), "{disk}");
}

/// Granted, and killed while the group is looked at.
#[test]
fn a_rise_that_a_killed_run_did_not_tell_is_told_by_the_next() {
    for filled in [true, false] {
        let harness = Harness::new();
        harness.change(|group| group.max = if filled { 3 } else { 9 });
        harness.notice("terminate", 120);
        // Looks after the policy are not answered for longer than the run lives.
        let executed = AtomicBool::new(false);
        let filling = Arc::downgrade(&harness.scaling);
        harness.scaling.fail(Box::new(move |call| {
            let executes = call.action == "ExecutePolicy";
            if let Some(scaling) = filling.upgrade().filter(|_| filled && executes) {
                Harness::fill(&scaling);
            }
            let late = executed.fetch_or(executes, Ordering::SeqCst) && call.action.starts_with("Describe");
            late.then_some(ScalingFault::Hang)
        }));
        let mut run = harness.raising().args(["--capacity", "policy"]).start();
        wait_until("the grant on disk", || {
            let disk = on_disk(&harness);
            if disk["raise"]["state"] == "raised" { Ok(()) } else { Err(disk.to_string()) }
        });
        run.kill();
        let killed = run.wait();
        assert!(of_kind(&events(&killed.stdout), "capacity").is_empty(), "{}", killed.report());
        harness.scaling.recover();
        let run = harness.raising().args(["--once", "--capacity", "policy"]).run().succeeds();
        let (capacity, disk) = (capacity(&run), on_disk(&harness));
        assert_eq!((&capacity["outcome"], &capacity["certain"]), (&"raised".into(), &(!filled).into()), "{capacity}");
        assert_eq!(disk["raise"]["certain"], capacity["certain"], "{disk}");
        let done = of_kind(&events(&run.stdout), "done").pop().unwrap();
        assert_eq!((&done["capacity"]["certain"], &done["capacity"]["group"]), (&capacity["certain"], &TARGET.into()));
        assert_eq!(harness.asked("ExecutePolicy"), 1);
    }
}

/// The policy is granted, and Auto Scaling has no such instance to start.
#[test]
fn a_rise_without_an_instance_is_not_certain() {
    let harness = Harness::new();
    harness.change(|group| group.suspended = vec!["Launch".to_owned()]);
    let run = once(&harness, &["--capacity", "policy"]).succeeds();
    let capacity = capacity(&run);
    assert_eq!((harness.risen(), &capacity["outcome"], &capacity["certain"]), (1, &"raised".into(), &false.into()));
    assert!(capacity["note"].as_str().unwrap().contains("no instance starts"), "{capacity}");
}

/// One more of such a group is not one more instance.
fn weigh(group: &mut testkit::ScalingGroup) {
    group.weights = vec![("m4.large".to_owned(), 2), ("m4.4xlarge".to_owned(), 16)];
}

#[test]
fn a_group_that_does_not_count_instances_is_refused_at_the_start() {
    let by_weight: fn(&mut testkit::ScalingGroup) = weigh;
    let by_type: fn(&mut testkit::ScalingGroup) = |group| group.capacity_type = Some("vcpu".to_owned());
    for (change, why) in [(by_weight, "counts units (m4.large weighs 2)"), (by_type, "counts vCPUs")] {
        for args in [
            &["--raise", TARGET][..],
            &["--raise", TARGET, "--capacity", "launch"],
            &["--raise", TARGET, "--capacity", "policy"],
            &["--raise", TARGET, "--once", "--dry-run"],
            &["--raise-from-tag", "spot-watch:ondemand-asg"],
        ] {
            let harness = Harness::new();
            harness.change(change);
            harness.notice("terminate", 120);
            let run = harness.tool().args(args).run().fails_with(1).stderr_contains(why);
            let seen = events(&run.stdout);
            let ready = of_kind(&seen, "ready").pop().unwrap();
            let error = ready["error"].as_str().unwrap();
            assert!(error.contains(TARGET) && error.contains(why), "{ready}");
            assert!(of_kind(&seen, "capacity").iter().all(|one| one["outcome"] == "failed"), "{seen:?}");
            assert_eq!((harness.risen(), harness.asked("LaunchInstances"), harness.asked("ExecutePolicy")), (0, 0, 0));
        }
    }
}

/// The plan is some minutes old at a notice.
#[test]
fn a_group_that_comes_to_count_units_is_not_raised() {
    for args in [&["--capacity", "launch"][..], &["--capacity", "policy"], &[]] {
        let harness = Harness::new();
        let run = harness.raising().args(args).start();
        let _ready = wait_for(&run, "ready", 1);
        harness.change(weigh);
        harness.notice("terminate", 120);
        let capacity = wait_for(&run, "capacity", 1);
        assert_eq!((&capacity["outcome"], harness.risen()), (&"failed".into(), 0), "{capacity}");
        assert!(capacity["error"].as_str().unwrap().contains("m4.large weighs 2"), "{capacity}");
    }
}

#[test]
fn a_plan_that_was_good_is_not_lost_by_what_one_way_is_denied() {
    let harness = Harness::new();
    harness
        .scaling
        .fail(Box::new(|call| (call.action == "DescribePolicies").then(|| ScalingFault::error(403, "AccessDenied"))));
    let run = once(&harness, &[]).succeeds();
    assert_eq!((harness.risen(), capacity(&run)["rung"].as_str()), (1, Some("launch")));
}
