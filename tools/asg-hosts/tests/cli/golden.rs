//! Ansible's inventory, compared with what ec2.py itself gave for the same answers of AWS (fixtures/ec2py/README.md).

use crate::harness::asg_hosts;
use serde_json::{Map, Value};
use std::fs;
use std::path::PathBuf;

/// What every host has without `--full-hostvars`, besides its tags.
const LEAN: [&str; 10] = [
    "ansible_ssh_host",
    "ec2_id",
    "ec2_instance_type",
    "ec2_ip_address",
    "ec2_placement",
    "ec2_private_dns_name",
    "ec2_private_ip_address",
    "ec2_public_dns_name",
    "ec2_region",
    "ec2_state",
];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ec2py").join(name)
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

/// What the tool prints. The fleet has two groups that are one for Ansible.
fn printed(words: &[&str]) -> Value {
    let tool = asg_hosts().arg("--input").arg(fixture("describe-instances.json")).arg("--allow-merge").args(words);
    serde_json::from_slice(&tool.run().succeeds().stderr_is_empty().stdout).unwrap()
}

/// The variables as Ansible gets them: every text is marked, and the mark is taken off.
fn unmarked(vars: &Value) -> Value {
    let mut plain = Map::new();
    for (name, value) in vars.as_object().unwrap() {
        let marked = value.get("__ansible_unsafe");
        assert!(marked.is_some() || value.is_boolean() || value.is_number(), "{name}={value} is not marked");
        let value = marked.unwrap_or(value).clone();
        plain.insert(name.clone(), value);
    }
    Value::Object(plain)
}

fn same_groups(printed: &Value, golden: &Value) {
    let (printed, golden) = (printed.as_object().unwrap(), golden.as_object().unwrap());
    assert_eq!(printed.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
    for (name, members) in golden.iter().filter(|(name, _)| *name != "_meta") {
        assert_eq!(printed[name], serde_json::json!({ "hosts": members }), "{name}");
    }
}

#[test]
fn groups_hosts_and_all_variables_are_those_of_ec2_py() {
    for (words, name) in [(&["--list"][..], "list.json"), (&["--list", "--state", "all"], "list-all-states.json")] {
        let (golden, full) = (golden(name), printed(&[words, &["--full-hostvars"]].concat()));
        same_groups(&full, &golden);
        let hosts = golden["_meta"]["hostvars"].as_object().unwrap();
        assert_eq!(full["_meta"]["hostvars"].as_object().unwrap().len(), hosts.len());
        for (host, vars) in hosts {
            assert_eq!(&unmarked(&full["_meta"]["hostvars"][host]), vars, "{name}: {host}");
        }
    }
}

#[test]
fn lean_variables_are_some_of_the_same() {
    let (golden, lean) = (golden("list.json"), printed(&["--list"]));
    same_groups(&lean, &golden);
    for (host, vars) in golden["_meta"]["hostvars"].as_object().unwrap() {
        let mut wanted = vars.as_object().unwrap().clone();
        wanted.retain(|name, _| LEAN.contains(&name.as_str()) || name.starts_with("ec2_tag_"));
        assert_eq!(unmarked(&lean["_meta"]["hostvars"][host]), Value::Object(wanted), "{host}");
    }
}

#[test]
fn one_host_has_its_variables() {
    for host in ["172.31.0.4", "172.31.32.6"] {
        let golden = golden(&format!("host-{host}.json"));
        assert_eq!(unmarked(&printed(&["--host", host, "--full-hostvars"])), golden);
        let mut lean = unmarked(&printed(&["--host", host]));
        for (name, value) in lean.as_object_mut().unwrap() {
            assert_eq!(*value, golden[name], "{host}: {name}");
        }
        assert!(lean.get("ansible_ssh_host").is_none(), "as with ec2.py");
    }
    assert_eq!(printed(&["--host", "172.31.0.9"]), serde_json::json!({}), "a host that is not running");
}

#[test]
fn the_merge_in_the_recorded_fleet_is_refused() {
    let run = asg_hosts().arg("--input").arg(fixture("describe-instances.json")).arg("--list").run();
    let run = run.fails_with(1).stdout_is("").stderr_is_one_line();
    assert_eq!(
        run.stderr_str(),
        "asg-hosts: unable to list: group tag_team_name_voice_ops would be tag_team-name=voice.ops and \
         tag_team.name=voice.ops (--allow-merge accepts it)\n"
    );
}
