//! Many instances that get their notice in the same second, against an Auto Scaling that throttles and contends.

use crate::events::{events, of_kind, wait_for};
use crate::harness::{POLICY, TARGET, ahead, instance};
use std::time::Instant;
use testkit::{ImdsModel, ScalingGroup, ScalingModel, ScalingPolicy, Seed, Tool, figure, wait_until};

fn herd(name: &str, args: &[&str], max: i64) {
    let (count, burst, per_second) = figure((30, 10.0, 5.0), (100, 20.0, 10.0));
    let seed = Seed::from_env_or_random(name);
    let scaling = ScalingModel::start();
    let mut target = ScalingGroup::new(TARGET, 1, 2, max);
    target.policies = vec![ScalingPolicy::plus_one(POLICY)];
    scaling.add_group(target);
    scaling.add_group(ScalingGroup::new(crate::harness::OWN, 1, 3, 10));
    let dir = tempfile::tempdir().unwrap();
    let members: Vec<_> = (0..count)
        .map(|number| {
            let imds = ImdsModel::start();
            imds.set_instance(instance(&format!("i-{number:017x}")));
            let run = Tool::new(env!("CARGO_BIN_EXE_spot-watch"))
                .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint())
                .env("AWS_ENDPOINT_URL_AUTO_SCALING", scaling.endpoint())
                .env("AWS_ACCESS_KEY_ID", format!("test{number}"))
                .env("AWS_SECRET_ACCESS_KEY", "test")
                .env("AWS_REGION", "us-east-1")
                .args(["--raise", TARGET, "--interval", "500ms", "--state-dir"])
                .arg(dir.path().join(number.to_string()))
                .args(args)
                .start();
            (imds, run)
        })
        .collect();
    for (_, run) in &members {
        let _ready = wait_for(run, "ready", 1);
    }
    scaling.throttle(burst, per_second);
    scaling.contention(0.2, seed.0);
    let time = ahead(120);
    let started = Instant::now();
    members.iter().for_each(|(imds, _)| imds.notice("terminate", &time));
    let told = || {
        let calls = scaling.calls();
        let of = |action: &str| {
            let of = calls.iter().filter(|call| call.action == action);
            format!("{action} {} ({} carried out)", of.clone().count(), of.filter(|call| call.committed).count())
        };
        let actions = ["LaunchInstances", "ExecutePolicy", "UpdateAutoScalingGroup", "DescribeAutoScalingGroups"];
        format!("{:.1} s: {}", started.elapsed().as_secs_f64(), actions.map(of).join(", "))
    };
    wait_until("the last rise", || {
        let risen = scaling.group(TARGET).desired - 2;
        if risen >= count { Ok(()) } else { Err(format!("{risen} of {count} after {}", told())) }
    });
    println!("{name}: {count} instances in {}", told());
    for (_, run) in &members {
        let capacity = wait_for(run, "capacity", 1);
        assert_eq!((&capacity["outcome"], &capacity["certain"]), (&"raised".into(), &true.into()), "{capacity}");
    }
    let group = scaling.group(TARGET);
    assert_eq!(group.desired - 2, count);
    assert!(group.lowest_max_written.is_none_or(|lowest| lowest >= max), "{:?}", group.lowest_max_written);
    for (_, run) in members {
        let _done = wait_for(&run, "done", 1);
        assert_eq!(of_kind(&events(&run.stdout_so_far()), "capacity").len(), 1);
    }
}

#[test]
fn launches() {
    herd("herd-launch", &["--capacity", "launch"], 200);
}

#[test]
fn policies() {
    herd("herd-policy", &["--capacity", "policy"], 200);
}

#[test]
fn launches_under_a_maximum_that_may_rise() {
    herd("herd-launch-ceiling", &["--capacity", "launch", "--max-size-ceiling", "200"], 10);
}

#[test]
fn policies_under_a_maximum_that_may_rise() {
    herd("herd-policy-ceiling", &["--capacity", "policy", "--max-size-ceiling", "200"], 10);
}
