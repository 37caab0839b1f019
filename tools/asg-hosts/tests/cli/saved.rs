//! Saved output of the AWS CLI.

use crate::harness::asg_hosts;
use std::fs;
use testkit::Tool;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ec2py/");

fn read(name: &str) -> String {
    fs::read_to_string(format!("{FIXTURES}{name}")).unwrap()
}

fn stdin(text: impl Into<Vec<u8>>) -> Tool {
    asg_hosts().args(["--input", "-"]).stdin(text)
}

#[test]
fn a_file_and_stdin_are_the_same() {
    let columns = ["--columns", "asg,instance_id,lifecycle_state"];
    let file = asg_hosts().args(["--input", &format!("{FIXTURES}describe-instances.json")]).args(columns);
    let file = file.run().succeeds().stderr_is_empty();
    assert_eq!(file.stdout_str().lines().count(), 11);
    assert!(file.stdout_str().contains("obelix_ondemand_asg,i-d0d2aedc74b6a40d3,\n"), "{}", file.report());
    let _piped = stdin(read("describe-instances.json")).args(columns).run().succeeds().stdout_is(file.stdout_str());
}

#[test]
fn groups_in_the_input_are_joined() {
    let both = read("describe-auto-scaling-groups.json") + &read("describe-instances.json");
    let run = stdin(both).args(["--columns", "asg,instance_id,lifecycle_state,health"]).run().succeeds();
    assert_eq!(run.stdout_str().lines().count(), 8);
    assert_eq!(run.stdout_str().matches(",InService,Healthy\n").count(), 7);
    let run = run.stderr_contains("10 instances described: 7 listed, 3 skipped (3 in no group), 0 unresolved");
    // Documents merged into one, as `jq -s add` does it.
    let parsed = |name| serde_json::from_str::<serde_json::Map<_, _>>(&read(name)).unwrap();
    let mut merged = parsed("describe-auto-scaling-groups.json");
    merged.extend(parsed("describe-instances.json"));
    let merged = stdin(serde_json::Value::Object(merged).to_string());
    let merged = merged.args(["--columns", "asg,instance_id,lifecycle_state,health"]);
    let _same = merged.run().succeeds().stdout_is(run.stdout_str());
    let groups = read("describe-auto-scaling-groups.json") + "{\"Reservations\": []}";
    let run = stdin(groups).args(["--asg", "*_spot_asg", "--format", "jsonl"]).run().succeeds();
    let _run = run.stderr_contains("5 instances described: 0 listed, 0 skipped, 5 unresolved");
}

#[test]
fn pages_in_any_number() {
    let page = |ids: &[&str], more: Option<&str>| {
        let tags = serde_json::json!([{ "Key": "Name", "Value": ids.join("+") }]);
        let instances: Vec<_> = ids.iter().map(|id| serde_json::json!({ "InstanceId": id, "Tags": tags })).collect();
        let mut page = serde_json::json!({ "Reservations": [{ "Instances": instances }] });
        if let Some(token) = more {
            page["NextToken"] = token.into();
        }
        page.to_string()
    };
    let pages = page(&["i-1", "i-2"], Some("x")) + "\n" + &page(&["i-2", "i-3"], Some("y")) + &page(&[], None);
    let run = stdin(pages).args(["--columns", "instance_id,name"]).run().succeeds().stderr_is_empty();
    let _run = run.stdout_is("instance_id,name\ni-1,i-1+i-2\ni-2,i-2+i-3\ni-3,i-2+i-3\n");
    // The last page says that it is not the last: this list would look like a smaller fleet.
    let cut = page(&["i-1"], None) + &page(&["i-2"], Some("x"));
    let _run = stdin(cut).run().fails_with(1).stdout_is("").stderr_is_one_line().stderr_contains("NextToken");
}

#[test]
fn a_command_that_failed_before_is_no_empty_fleet() {
    for nothing in ["", "\n"] {
        let run = stdin(nothing).run().fails_with(75).stdout_is("").stderr_is_one_line();
        let _run = run.stderr_contains("the command before this one failed");
    }
    let whole = read("describe-instances.json");
    for length in [1, 20, 1000, whole.len() / 2, whole.trim_end().len() - 1] {
        let run = stdin(&whole.as_bytes()[..length]).run().fails_with(75).stdout_is("").stderr_is_one_line();
        let _run = run.stderr_contains("unable to read stdin: it ends in the middle");
        let list = stdin(&whole.as_bytes()[..length]).arg("--list").run();
        let _run = list.fails_with(75).stdout_is("").stderr_is_one_line();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.json");
    fs::write(&path, &whole.as_bytes()[..1000]).unwrap();
    let _run = asg_hosts().arg("--input").arg(&path).run().fails_with(1).stdout_is("").stderr_is_one_line();
    // `{ aws autoscaling …; aws ec2 …; } |`, of which only the first worked: no list, and no list of nobody's address.
    for words in [&[][..], &["--format", "ips"], &["--list"]] {
        let run = stdin(read("describe-auto-scaling-groups.json")).args(words).run().fails_with(75).stdout_is("");
        let _told = run.stderr_is_one_line().stderr_contains("it has no output of aws ec2 describe-instances");
    }
    let _run = asg_hosts().args(["--input", "/nope"]).run().fails_with(1).stdout_is("").stderr_is_one_line();
    let _run = asg_hosts().args(["--input", "/"]).run().fails_with(1).stdout_is("").stderr_is_one_line();
}

#[test]
fn what_is_no_list_is_refused() {
    for wrong in [
        "<html>",
        "{}",
        "[]",
        "null",
        "{\"Reservations\": 1}",
        "{\"Reservations\": [{\"Instances\": [{\"InstanceId\": 7}]}]}",
        "{\"Reservations\": [{\"Instances\": [{}]}]}",
        "{\"Reservations\": [{\"InstanceId\": \"i-1\"}]}",
        "{\"Reservations\": [{}]}",
        "{\"Reservations\": [], \"AutoScalingGroups\": [{\"Instances\": [{}]}]}",
        "{\"Reservations\": []} trailing",
        "{\"Images\": []}",
        "{\"Reservations\": [{\"Instances\": [{\"InstanceId\": \"\\ud800\"}]}]}",
    ] {
        let _run = stdin(wrong).run().fails_with(1).stdout_is("").stderr_is_one_line();
    }
    let _run = stdin(&b"{\"Reservations\": [{\"Instances\": [{\"InstanceId\": \"\xff\"}]}]}"[..]).run().fails_with(1);
}

#[test]
fn names_are_known_by_the_tag_when_there_are_no_groups() {
    let run = stdin(read("describe-instances.json")).args(["--asg", "obelix_spot_asg", "--columns", "asg", "-0"]).run();
    let _run = run.succeeds().stdout_is(&"obelix_spot_asg\0".repeat(5));
    let run = stdin(read("describe-instances.json")).args(["--asg", "nope"]).run();
    let _run = run.fails_with(1).stdout_is("").stderr_contains("unable to list group nope: not found");
    for word in ["--in-service", "--healthy"] {
        let run = stdin(read("describe-instances.json")).arg(word).run();
        let _run = run.fails_with(1).stdout_is("").stderr_contains("describe-auto-scaling-groups");
    }
}

#[test]
fn the_original_pipeline_has_a_successor() {
    // Running instances with Name, address and id: what the generator of the original wrote objects from.
    let run = stdin(read("describe-instances.json")).args([
        "--state",
        "running",
        "--tag",
        "service=obelix-appengine",
        "--columns",
        "name,private_ip,instance_id",
        "-q",
    ]);
    let run = run.run().succeeds();
    assert_eq!(run.stdout_str().lines().count(), 8);
    assert!(run.stdout_str().contains("ob-appengine-spot,172.31.0.4,i-4c046f5e4ead0ec60\n"));
}
