//! Pages: all of them or nothing, and no more of them than needed.

use crate::harness::{HERE, THERE, asg_hosts, at, fleet, group, instance, loner, member};
use std::sync::Barrier;
use std::time::Duration;
use testkit::{FleetFault, FleetModel};

/// Two regions with seven pages each.
fn large() -> FleetModel {
    let model = FleetModel::start();
    for region in [HERE, THERE] {
        for number in 0..5 {
            let members: Vec<_> =
                (0..3).map(|n| member(&format!("i-{region}{number}{n}"), "InService", "Healthy")).collect();
            members.iter().for_each(|one| model.add_instance(region, instance(&one.id, &format!("g{number}"))));
            model.add_group(region, group(&format!("g{number}"), &members));
        }
        model.add_instance(region, loner(&format!("i-{region}")));
    }
    model.limit_pages(4);
    model
}

#[test]
fn all_pages_of_all_regions_are_read() {
    let model = large();
    let both = format!("{HERE},{THERE},{HERE}");
    let run = at(&model).args(["--region", &both, "--columns", "instance_id"]).run().succeeds();
    assert_eq!(run.stdout_str().lines().count(), 31);
    assert_eq!(model.calls().len(), 12, "two pages of groups and four of instances in each region");
    let run = run.stderr_contains("32 instances described: 30 listed, 2 skipped (2 in no group), 0 unresolved");
    let _run = run.stderr_is_one_line();
}

#[test]
fn a_page_that_fails_for_good_leaves_no_output() {
    let faults = [
        (FleetFault::error(400, "Throttling"), "Throttling"),
        (FleetFault::error(503, "RequestLimitExceeded"), "RequestLimitExceeded"),
        (FleetFault::error(500, "InternalFailure"), "InternalFailure"),
        (FleetFault::Cut, "unable to list the"),
        (FleetFault::Close, "unable to list the"),
        (FleetFault::Hang, "no answer in time"),
        (FleetFault::SameToken, "the same page came twice"),
    ];
    let pages = [
        ("DescribeAutoScalingGroups", 0),
        ("DescribeAutoScalingGroups", 4),
        ("DescribeInstances", 0),
        ("DescribeInstances", 4),
        ("DescribeInstances", 12),
    ];
    // At once: each run waits long between its tries.
    std::thread::scope(|scope| {
        for (action, skipped) in pages {
            for (fault, words) in &faults {
                scope.spawn(move || fails(action, skipped, fault, words));
            }
        }
    });
}

/// Lets one page of the second region fail, and expects no output of any kind.
fn fails(action: &'static str, skipped: usize, fault: &FleetFault, words: &str) {
    let (model, both) = (large(), format!("{HERE},{THERE}"));
    let given = fault.clone();
    model.fail(Box::new(move |call| {
        let hit = call.region == THERE && call.action == action && call.skipped == skipped;
        hit.then(|| given.clone())
    }));
    let patience = if *fault == FleetFault::Hang { "1s" } else { "30s" };
    for format in [&["--format", "csv"][..], &["--list", "--in-service"]] {
        let run = at(&model).args(["--region", &both, "--timeout", patience]).args(format).run();
        let run = run.fails_with(75).stdout_is("").stderr_is_one_line().stderr_contains(words);
        let _run = run.stderr_contains(&format!("of {THERE}"));
    }
}

#[test]
fn refusals_that_stay_are_permanent() {
    for (status, code) in [(403, "UnauthorizedOperation"), (403, "AccessDenied"), (401, "AuthFailure")] {
        let model = fleet();
        model.fail(Box::new(move |_| Some(FleetFault::error(status, code))));
        let run = at(&model).run().fails_with(1).stdout_is("").stderr_is_one_line();
        let _run = run.stderr_contains(code);
    }
    let model = fleet();
    model.fail(Box::new(|_| Some(FleetFault::error(400, "ExpiredToken"))));
    let _run = at(&model).run().fails_with(75).stdout_is("").stderr_is_one_line();
}

#[test]
fn a_passing_failure_is_ridden_out() {
    let model = large();
    model.fail(Box::new(|call| match call.number {
        1 | 4 => Some(FleetFault::error(503, "RequestLimitExceeded")),
        2 => Some(FleetFault::error(400, "Throttling")),
        6 => Some(FleetFault::Close),
        8 => Some(FleetFault::Cut),
        9 => Some(FleetFault::EmptyPage),
        _ => None,
    }));
    let run = at(&model).args(["--columns", "instance_id", "-q"]).run().succeeds();
    assert_eq!(run.stdout_str().lines().count(), 16);
    assert!(model.calls().len() > 9);
}

#[test]
fn no_server_no_credentials_no_region() {
    let run = asg_hosts().aws("http://127.0.0.1:1").run().fails_with(75).stdout_is("").stderr_is_one_line();
    let _run = run.stderr_contains("unable to list the");
    let no_one = asg_hosts().env("AWS_REGION", HERE).env("AWS_EC2_METADATA_DISABLED", "true");
    let _run = no_one.run().fails_with(75).stdout_is("").stderr_is_one_line().stderr_contains("credential");
    for nowhere in [asg_hosts(), asg_hosts().env("AWS_REGION", "")] {
        let run = nowhere.env("AWS_EC2_METADATA_DISABLED", "true").run().fails_with(1).stdout_is("");
        let _told = run.stderr_is_one_line().stderr_contains("no region");
    }
}

#[test]
fn one_request_for_a_hundred_groups_and_for_a_thousand_instances() {
    let model = FleetModel::start();
    for number in 0..101 {
        let id = format!("i-{number}");
        let name = format!("g{number}");
        model.add_group(HERE, group(&name, &[member(&id, "InService", "Healthy")]));
        model.add_instance(HERE, instance(&id, &name));
    }
    for number in 0..1900 {
        model.add_instance(HERE, loner(&format!("i-x{number}")));
    }
    let calls = |words: &[&str]| {
        let before = model.calls().len();
        let _run = at(&model).args(words).args(["-q"]).run().succeeds();
        let calls = model.calls();
        let of = |action: &str| calls[before..].iter().filter(|call| call.action == action).count();
        (of("DescribeAutoScalingGroups"), of("DescribeInstances"))
    };
    assert_eq!(calls(&[]), (2, 3), "101 groups, 2001 instances");
    assert_eq!(calls(&["--asg", "g1", "--asg", "g2"]), (1, 1), "Auto Scaling and EC2 leave the others out");
    assert_eq!(calls(&["--asg", "g1*"]), (2, 1), "a pattern is matched here, its groups' instances are EC2's to find");
    assert_eq!(calls(&["--asg", "nope*"]), (2, 0));
    assert_eq!(calls(&["--list"]), (0, 3), "as with ec2.py, Auto Scaling is not asked");
    assert_eq!(calls(&["--list", "--asg", "g7"]), (1, 1));
    let limits: Vec<usize> = model.calls().iter().map(|call| call.limit).collect();
    assert!(limits.iter().all(|limit| [100, 1000].contains(limit)), "{limits:?}");
}

#[test]
fn more_groups_than_a_filter_takes_are_found_too() {
    let model = FleetModel::start();
    for number in 0..201 {
        let id = format!("i-{number}");
        let name = format!("g{number}");
        model.add_group(HERE, group(&name, &[member(&id, "InService", "Healthy")]));
        model.add_instance(HERE, instance(&id, &name));
    }
    model.add_instance(HERE, loner("i-x"));
    let named: Vec<String> = (0..51).flat_map(|number| ["--asg".to_owned(), format!("g{number}")]).collect();
    let run = at(&model).args(named).args(["--columns", "instance_id"]).run().succeeds().stderr_is_empty();
    assert_eq!(run.stdout_str().lines().count(), 52);
    let run = at(&model).args(["--asg", "g*", "--columns", "instance_id"]).run().succeeds();
    assert_eq!(run.stdout_str().lines().count(), 202);
    let _run = run.stderr_contains("202 instances described: 201 listed, 1 skipped (1 in no group asked for)");
}

#[test]
fn regions_are_asked_at_once() {
    let model = large();
    let first = Barrier::new(2);
    model.fail(Box::new(move |call| {
        // The first answer of each region waits for the first question of the other.
        if call.skipped == 0 && call.action == "DescribeInstances" {
            first.wait();
        }
        None
    }));
    let both = format!("{HERE},{THERE}");
    let run = at(&model).args(["--region", &both, "--columns", "instance_id", "-q"]).deadline(Duration::from_secs(20));
    assert_eq!(run.run().succeeds().stdout_str().lines().count(), 31);
}

#[test]
fn an_instance_on_two_pages_is_one() {
    let model = FleetModel::start();
    model.add_group(HERE, group("g", &[member("i-1", "InService", "Healthy")]));
    model.add_instance(HERE, testkit::FleetInstance { state: "pending".to_owned(), ..instance("i-1", "g") });
    model.add_instance(HERE, instance("i-1", "g"));
    model.limit_pages(1);
    let run = at(&model).args(["--columns", "instance_id,instance_state", "-v"]).run().succeeds();
    let _run = run.stdout_is("instance_id,instance_state\ni-1,running\n").stderr_contains("1 instances described");
}
