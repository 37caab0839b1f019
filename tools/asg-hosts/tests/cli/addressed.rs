//! Addresses of everybody in service: a list that leaves somebody out is none, unless that was asked for.

use crate::harness::{HERE, asg_hosts, at, fleet, group, instance, loner, member};
use serde_json::{Value, json};
use testkit::{FleetFault, FleetGroup, FleetInstance, FleetModel, Tool, wait_until};

/// Four members in service: two with a private address, one with an IPv6 address only, one that EC2 does not know.
fn four() -> Tool {
    let case = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/four-of-which-two.json");
    asg_hosts().args(["--input", case, "--in-service", "--tag", "service=obelix"])
}

fn inventory(tool: Tool) -> Value {
    serde_json::from_slice(&tool.arg("--list").run().succeeds().stderr_is_empty().stdout).unwrap()
}

/// A group whose members are all in service.
fn in_service(name: &str, ids: &[&str]) -> FleetGroup {
    let members: Vec<_> = ids.iter().map(|id| member(id, "InService", "Healthy")).collect();
    group(name, &members)
}

#[test]
fn who_is_in_service_is_listed_or_the_list_is_refused() {
    for words in [&["--list"][..], &["--host", "127.0.0.1"], &["--format", "ips"]] {
        let run = four().args(words).run().fails_with(1).stdout_is("").stderr_is_one_line();
        let run = run.stderr_contains(
            "i-0bb of obelix_spot_asg is without a private address, i-0dd of obelix_spot_asg is not known to EC2",
        );
        let _hint = run.stderr_contains("--address").stderr_contains("--skip-unaddressed");
    }
    // Records have a place for what is not known.
    let run = four().args(["--columns", "instance_id,private_ip,ipv6", "-q"]).run().succeeds();
    let _run = run
        .stdout_is("instance_id,private_ip,ipv6\ni-0aa,127.0.0.1,\ni-0bb,,2a05:d018::b\ni-0cc,127.0.0.3,\ni-0dd,,\n");
}

#[test]
fn left_out_on_purpose_they_are_named() {
    let list = inventory(four().arg("--skip-unaddressed"));
    assert_eq!(list["_meta"]["unaddressed"], json!(["i-0bb", "i-0dd"]));
    assert_eq!(list["_meta"]["unresolved"], json!(["i-0dd"]));
    assert_eq!(list["ec2"]["hosts"], json!(["127.0.0.1", "127.0.0.3"]));
    let ips = four().args(["--skip-unaddressed", "--format", "ips"]).run().succeeds();
    let _named =
        ips.stdout_is("127.0.0.1\n127.0.0.3\n").stderr_contains("left out: i-0bb of obelix_spot_asg is without");
    let other = inventory(four().args(["--skip-unaddressed", "--address", "ipv6"]));
    assert_eq!(other["ec2"]["hosts"], json!(["2a05:d018::b"]));
    assert_eq!(other["_meta"]["unaddressed"], json!(["i-0aa", "i-0cc", "i-0dd"]));
    // A list without a gap says nothing of one.
    let whole = inventory(at(&fleet()).args(["--asg", "obelix_spot", "--in-service", "--skip-unaddressed"]));
    assert!(whole["_meta"].as_object().unwrap().keys().eq(["hostvars"]), "{whole}");
}

#[test]
fn every_kind_of_address() {
    let model = FleetModel::start();
    model.add_group(HERE, in_service("g", &["i-1"]));
    model.add_instance(HERE, FleetInstance { public_ip: "54.214.22.1".to_owned(), ..instance("i-1", "g") });
    model.add_ipv6(HERE, "i-1", "2a05:d018::1");
    for (kind, address) in [
        ("private", "172.31.0.50"),
        ("public", "54.214.22.1"),
        ("ipv6", "2a05:d018::1"),
        ("private-dns", "ip-172-31-0-50.ec2.internal"),
    ] {
        let run = at(&model).args(["--format", "ips", "--address", kind]).run().succeeds().stderr_is_empty();
        let _run = run.stdout_is(&format!("{address}\n"));
        let list = inventory(at(&model).args(["--address", kind]));
        assert_eq!(list["g"], Value::Null);
        assert_eq!(list["ec2"]["hosts"], json!([address]));
        let run = at(&model).args(["--address", kind, "--host", address]).run().succeeds();
        assert!(run.stdout_str().contains("i-1"), "{}", run.report());
    }
    for words in [&["--address", "ipv6"][..], &["--skip-unaddressed"], &["--list", "--address", "home"]] {
        let _run = at(&model).args(words).run().fails_with(2).stdout_is("").stderr_is_one_line();
    }
}

/// Auto Scaling knows a new instance before EC2 shows it.
#[test]
fn who_is_not_known_yet_is_asked_for_again() {
    for words in [&["--list"][..], &["--format", "ips"]] {
        let model = FleetModel::start();
        model.add_group(HERE, in_service("g", &["i-1", "i-2"]));
        model.add_instance(HERE, instance("i-1", "g"));
        let run = at(&model).args(["--asg", "g", "--in-service"]).args(words).start();
        wait_until("the first answer", || {
            let asked = model.calls().iter().filter(|call| call.action == "DescribeInstances").count();
            if asked > 1 { Ok(()) } else { Err(format!("{asked} questions")) }
        });
        model.add_instance(HERE, instance("i-2", "g"));
        let run = run.wait().succeeds().stderr_is_empty();
        assert!(
            run.stdout_str().contains("172.31.0.50") && run.stdout_str().contains("172.31.0.51"),
            "{}",
            run.report()
        );
    }
}

#[test]
fn who_stays_unknown_is_a_temporary_failure() {
    let model = FleetModel::start();
    model.add_group(HERE, in_service("g", &["i-1", "i-2"]));
    model.add_instance(HERE, instance("i-1", "g"));
    let g = |words: &[&str]| at(&model).args(["--asg", "g", "--timeout", "1s"]).args(words);
    for words in [&["--list"][..], &["--list", "--in-service"], &["--format", "ips"]] {
        let run = g(words).run().fails_with(75).stdout_is("").stderr_is_one_line();
        let _named = run.stderr_contains("i-2 of g is not known to EC2: try again");
    }
    let list = inventory(g(&["--in-service", "--skip-unaddressed"]));
    assert_eq!(list["_meta"]["unaddressed"], json!(["i-2"]));
    // What can't be known of it does not take it out: how it was bought, and tags that its launch template gives.
    let _run = g(&["--format", "ips", "--lifecycle", "on-demand"]).run().fails_with(75);
    let _run = g(&["--format", "ips", "--tag", "service=obelix"]).run().fails_with(75).stdout_is("");
    let _run = g(&["--list", "--tag", "service=twilix"]).run().succeeds();
    // Who is not in service is nobody to wait for.
    let model = FleetModel::start();
    model.add_group(HERE, group("g", &[member("i-1", "Pending", "Healthy"), member("i-2", "Terminating", "Healthy")]));
    let run = at(&model).args(["--asg", "g", "--list"]).run().succeeds().stderr_is_empty();
    assert_eq!(model.calls().len(), 2, "{}", run.report());
}

/// EC2 has ended it, or has not started it yet, and Auto Scaling has not noticed.
#[test]
fn who_is_in_service_and_not_running_is_not_passed_over() {
    let model = FleetModel::start();
    model.add_group(HERE, in_service("g", &["i-1", "i-2"]));
    model.add_instance(HERE, instance("i-1", "g"));
    model.add_instance(HERE, FleetInstance { state: "shutting-down".to_owned(), ..instance("i-2", "g") });
    let g = |words: &[&str]| at(&model).args(["--asg", "g", "--timeout", "1s", "--list"]).args(words);
    let run = g(&["--in-service"]).run().fails_with(75).stdout_is("").stderr_is_one_line();
    let _named = run.stderr_contains("i-2 of g is shutting-down in EC2");
    // Running instances alone were asked for.
    for words in [&[][..], &["--in-service", "--state", "running"]] {
        let list: Value = serde_json::from_slice(&g(words).run().succeeds().stdout).unwrap();
        assert_eq!(list["ec2"]["hosts"], json!(["172.31.0.50"]));
    }
}

/// Without a question that needs Auto Scaling, what runs in a group is taken for in service; what is in no group is not.
#[test]
fn an_inventory_of_ec2_alone() {
    let model = FleetModel::start();
    model.add_instance(HERE, FleetInstance { private_ip: String::new(), ..loner("i-1") });
    model.add_instance(HERE, instance("i-2", "g"));
    let list = inventory(at(&model));
    assert_eq!(list["_meta"]["unaddressed"], json!(["i-1"]));
    assert_eq!(list["ec2"]["hosts"], json!(["172.31.0.51"]));
    model.add_instance(HERE, FleetInstance { private_ip: String::new(), ..instance("i-3", "g") });
    let run = at(&model).arg("--list").run().fails_with(1).stdout_is("").stderr_is_one_line();
    let run = run.stderr_contains("i-3 of g is without a private address");
    assert!(!run.stderr_str().contains("i-1"), "{}", run.report());
}

#[test]
fn kept_answers_that_lack_somebody_are_asked_for_again() {
    let (model, dir) = (FleetModel::start(), tempfile::tempdir().unwrap());
    model.add_group(HERE, in_service("g", &["i-1"]));
    let cached = || {
        let tool = at(&model).env("HOME", dir.path()).arg("--cache").arg(dir.path()).args(["--timeout", "1s"]);
        tool.args(["--asg", "g", "--in-service"])
    };
    let _run = cached().run().succeeds().stderr_contains("1 unresolved");
    // Older answers do not know it either.
    model.fail(Box::new(|_| Some(FleetFault::error(400, "ExpiredToken"))));
    let run = cached().args(["--stale-ok", "--list"]).run().fails_with(75).stdout_is("").stderr_is_one_line();
    let _named = run.stderr_contains("i-1 of g is not known to EC2");
    model.recover();
    model.add_instance(HERE, instance("i-1", "g"));
    let list = inventory(cached());
    assert_eq!(list["ec2"]["hosts"], json!(["172.31.0.50"]), "not the fresh answers, in which it is unknown");
    let before = model.calls().len();
    let _run = cached().arg("--list").run().succeeds();
    assert_eq!(model.calls().len(), before, "these are whole");
}
