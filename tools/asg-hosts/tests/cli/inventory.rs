//! Ansible's inventory where ec2.py has no example.

use crate::harness::{HERE, THERE, asg_hosts, at, fleet, group, instance, member};
use serde_json::{Value, json};
use testkit::{FleetInstance, FleetModel, Tool};

fn listed(tool: Tool) -> Value {
    serde_json::from_slice(&tool.arg("--list").run().succeeds().stderr_is_empty().stdout).unwrap()
}

fn saved(instances: &Value) -> Tool {
    asg_hosts().args(["--input", "-"]).stdin(json!({ "Reservations": [{ "Instances": instances }] }).to_string())
}

fn one(id: &str, more: &Value) -> Value {
    let mut one = json!({ "InstanceId": id, "State": { "Code": 16, "Name": "running" }, "SubnetId": "subnet-1" });
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one
}

#[test]
fn all_that_run_are_listed_and_selectors_narrow_it() {
    let list = listed(at(&fleet()));
    assert_eq!(list["ec2"]["hosts"], json!(["172.31.6.39", "172.31.7.66", "172.31.6.38"]), "{list}");
    assert_eq!(list["tag_none"]["hosts"], json!(["172.31.7.66"]));
    assert_eq!(list["tag_aws_autoscaling_groupName_obelix_spot"]["hosts"], json!(["172.31.6.39", "172.31.6.38"]));
    assert_eq!(list["eu-west-1"]["hosts"].as_array().unwrap().len(), 3);
    let narrow = listed(at(&fleet()).args(["--asg", "obelix_*", "--healthy", "-v"]));
    assert_eq!(narrow["ec2"]["hosts"], json!(["172.31.6.38"]));
    let stopped = listed(at(&fleet()).args(["--state", "stopped"]));
    assert_eq!(stopped["ec2"]["hosts"], json!(["172.31.6.69"]));
    let regions = format!("{THERE},{HERE}");
    let all = listed(at(&fleet()).args(["--region", &regions]));
    assert_eq!(all["ec2"]["hosts"].as_array().unwrap().len(), 4);
    assert_eq!(all["_meta"]["hostvars"]["172.31.6.100"]["ec2_region"]["__ansible_unsafe"], json!(THERE));
}

#[test]
fn no_host_is_an_inventory_too() {
    assert_eq!(listed(at(&FleetModel::start())), json!({ "_meta": { "hostvars": {} } }));
    let _run = at(&FleetModel::start()).args(["--host", "h"]).run().succeeds().stdout_is("{}\n").stderr_is_empty();
}

#[test]
fn fleets_that_would_be_one_are_refused() {
    let model = FleetModel::start();
    for (id, name) in [("i-1", "web-a"), ("i-2", "web.a")] {
        model.add_group(HERE, group(name, &[member(id, "InService", "Healthy")]));
        model.add_instance(HERE, instance(id, name));
    }
    for words in [&["--list"][..], &["--host", "172.31.6.1"]] {
        let run = at(&model).args(words).run().fails_with(1).stdout_is("").stderr_is_one_line();
        let _run = run.stderr_contains(
            "group tag_aws_autoscaling_groupName_web_a would be tag_aws:autoscaling:groupName=web-a and \
             tag_aws:autoscaling:groupName=web.a (--allow-merge accepts it)",
        );
    }
    let list = listed(at(&model).arg("--allow-merge"));
    assert_eq!(list["tag_aws_autoscaling_groupName_web_a"]["hosts"].as_array().unwrap().len(), 2);
    let _alone = listed(at(&model).args(["--asg", "web-a"]));
}

/// ec2.py's own names are ambiguous before any character is replaced: whoever may set a key joins a foreign group.
#[test]
fn a_key_does_not_pass_for_a_key_with_a_value() {
    let host = |id: &str, key: &str, value: &str| {
        let tags = json!([{ "Key": key, "Value": value }]);
        one(id, &json!({ "PrivateIpAddress": format!("10.0.0.{}", &id[2..]), "Tags": tags }))
    };
    let list = |key: &str, value: &str| {
        saved(&json!([host("i-1", "service", "obelix"), host("i-2", key, value)])).arg("--list").run()
    };
    let _same = list("service", "obelix").succeeds();
    let run = list("service=obelix", "").fails_with(1).stdout_is("").stderr_is_one_line();
    let _told = run.stderr_contains("group tag_service_obelix would be tag_\"service=obelix\" and tag_service=obelix");
    let nothing = one("i-3", &json!({ "PrivateIpAddress": "10.0.0.3" }));
    let run = saved(&json!([host("i-1", "none", ""), nothing])).arg("--list").run().fails_with(1);
    let _told = run.stderr_contains("group tag_none would be no tag and tag_none");
}

#[test]
fn two_instances_with_one_address_are_refused() {
    let model = FleetModel::start();
    let address = |id: &str| FleetInstance { private_ip: "10.0.0.1".to_owned(), ..instance(id, "g") };
    model.add_instance(HERE, address("i-1"));
    model.add_instance(THERE, address("i-2"));
    let regions = format!("{HERE},{THERE}");
    let run = at(&model).args(["--list", "--region", &regions]).run().fails_with(1).stdout_is("").stderr_is_one_line();
    let _run = run.stderr_contains("host 10.0.0.1 would be i-1 and i-2");
    let list = listed(at(&model).args(["--region", &regions, "--allow-merge"]));
    assert_eq!(
        list["_meta"]["hostvars"]["10.0.0.1"]["ec2_id"]["__ansible_unsafe"], "i-2",
        "the last one, as with ec2.py"
    );
}

#[test]
fn many_merges_are_told_in_one_line() {
    let instances: Vec<Value> = (0..10)
        .flat_map(|n| {
            let tags = |sign: char| json!([{ "Key": format!("k{sign}{n}"), "Value": "v" }]);
            let host = |sign: char, id: usize| {
                one(&format!("i-{id}"), &json!({ "PrivateIpAddress": format!("10.0.0.{id}"), "Tags": tags(sign) }))
            };
            [host('-', 2 * n), host('.', 2 * n + 1)]
        })
        .collect();
    let run = saved(&json!(instances)).arg("--list").run().fails_with(1).stderr_is_one_line();
    let _run =
        run.stderr_contains("group tag_k_0_v would be tag_k-0=v and tag_k.0=v; ").stderr_contains("; and 7 more (");
}

#[test]
fn what_ansible_would_take_for_something_else_is_refused() {
    for address in ["{{ lookup('pipe','id') }}", "-oProxyCommand=id", "a b", "a\nb", "ü"] {
        let run = saved(&json!([one("i-1", &json!({ "PrivateIpAddress": address }))])).arg("--list").run();
        let _run = run.fails_with(1).stdout_is("").stderr_is_one_line().stderr_contains("is neither an IP address nor");
    }
    for (field, name) in [("ImageId", "all"), ("ImageId", "_meta"), ("InstanceId", "ungrouped"), ("ImageId", "-meta")] {
        let fields = json!({ "PrivateIpAddress": "10.0.0.1", field: name });
        let run = saved(&json!([one("i-1", &fields)])).args(["--list", "--allow-merge"]).run();
        let _run = run.fails_with(1).stdout_is("").stderr_is_one_line().stderr_contains("it is in a group named ");
    }
}

#[test]
fn an_instance_without_an_address_is_no_host() {
    let outside = json!({ "SubnetId": "", "PrivateIpAddress": "10.0.0.1", "PublicDnsName": "ec2-1.example.com" });
    let instances = json!([one("i-1", &json!({})), one("i-2", &outside), one("i-3", &json!({ "SubnetId": "" }))]);
    let list = listed(saved(&instances));
    assert_eq!(
        list["ec2"]["hosts"],
        json!(["ec2-1.example.com"]),
        "outside of a VPC the public name counts, as with ec2.py"
    );
}
