//! What is printed, to the byte.

use crate::harness::{HERE, THERE, at, fleet};
use testkit::FleetModel;

const COUNTED: &str = "asg-hosts: warning: 5 instances described: 3 listed, 1 skipped (1 in no group), 1 unresolved\n";

#[test]
fn csv() {
    let run = at(&fleet()).run().succeeds();
    assert_eq!(
        run.stdout_str(),
        "instance_id,name,asg,lifecycle_state,health,instance_state,lifecycle,instance_type,az,private_ip,public_ip,\
         private_dns,launch_time,image_id,tags,ipv6\n\
         i-11,ob-appengine,obelix_ondemand,Standby,Healthy,stopped,on-demand,m4.large,eu-west-1a,172.31.6.69,,\
         ip-172-31-6-69.ec2.internal,2026-11-22T20:35:14.000Z,ami-0009ed347ddbe2509,\
         \"{\"\"Name\"\":\"\"ob-appengine\"\",\"\"aws:autoscaling:groupName\"\":\"\"obelix_ondemand\"\",\
         \"\"service\"\":\"\"obelix\"\"}\",\n\
         i-01,ob-appengine,obelix_spot,InService,Healthy,running,spot,m4.large,eu-west-1a,172.31.6.38,54.214.22.1,\
         ip-172-31-6-38.ec2.internal,2026-11-22T20:35:14.000Z,ami-0009ed347ddbe2509,\
         \"{\"\"Name\"\":\"\"ob-appengine\"\",\"\"aws:autoscaling:groupName\"\":\"\"obelix_spot\"\",\
         \"\"service\"\":\"\"obelix\"\"}\",\n\
         i-02,ob-appengine,obelix_spot,InService,Unhealthy,running,spot,m4.large,eu-west-1a,172.31.6.39,,\
         ip-172-31-6-39.ec2.internal,2026-11-22T20:35:14.000Z,ami-0009ed347ddbe2509,\
         \"{\"\"Name\"\":\"\"ob-appengine\"\",\"\"aws:autoscaling:groupName\"\":\"\"obelix_spot\"\",\
         \"\"service\"\":\"\"obelix\"\"}\",\n\
         i-03,,obelix_spot,Pending,Healthy,,,m4.large,eu-west-1a,,,,,,{},\n"
    );
    assert_eq!(run.stderr_str(), COUNTED);
}

#[test]
fn no_group_at_all_is_a_header() {
    let run = at(&FleetModel::start()).args(["--columns", "instance_id,asg"]).run().succeeds().stderr_is_empty();
    let _run = run.stdout_is("instance_id,asg\n");
    for (format, empty) in [("json", "[]\n"), ("jsonl", ""), ("ips", "")] {
        let run = at(&FleetModel::start()).args(["--format", format]).run().succeeds();
        let _run = run.stdout_is(empty).stderr_is_empty();
    }
}

#[test]
fn columns_in_the_order_asked_for() {
    let run = at(&fleet()).args(["--columns", "asg,tag:service,instance_id,tag:nope", "-q"]).run().succeeds();
    let _run = run.stderr_is_empty().stdout_is(
        "asg,tag:service,instance_id,tag:nope\nobelix_ondemand,obelix,i-11,\nobelix_spot,obelix,i-01,\n\
         obelix_spot,obelix,i-02,\nobelix_spot,,i-03,\n",
    );
}

#[test]
fn json_is_one_array_or_one_object_a_line() {
    let columns = ["--columns", "tags,instance_id", "-q", "--asg", "obelix_ondemand"];
    let object = "{\"tags\":{\"Name\":\"ob-appengine\",\"aws:autoscaling:groupName\":\"obelix_ondemand\",\
                  \"service\":\"obelix\"},\"instance_id\":\"i-11\"}";
    let run = at(&fleet()).args(columns).args(["--format", "json"]).run().succeeds();
    let _run = run.stdout_is(&format!("[\n{object}\n]\n"));
    let run = at(&fleet()).args(columns).args(["--format", "jsonl"]).run().succeeds();
    let _run = run.stdout_is(&format!("{object}\n"));
    let run = at(&fleet()).args(["--format", "jsonl", "-q"]).run().succeeds();
    let lines: Vec<serde_json::Value> =
        run.stdout_str().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.as_object().unwrap().len() == 16), "every column, always");
}

#[test]
fn addresses() {
    let run = at(&fleet()).args(["--format", "ips"]).run().succeeds().stderr_contains("1 unresolved");
    let _run = run.stdout_is("172.31.6.69\n172.31.6.38\n172.31.6.39\n");
    let run = at(&fleet()).args(["--format", "ips", "-0", "-q"]).run().succeeds();
    let _run = run.stdout_is("172.31.6.69\x00172.31.6.38\x00172.31.6.39\x00");
}

#[test]
fn one_column_ended_by_nul_has_neither_header_nor_quotes() {
    let run = at(&fleet()).args(["--columns", "tags", "-0", "-q", "--asg", "obelix_ondemand"]).run().succeeds();
    let _run = run.stdout_is(
        "{\"Name\":\"ob-appengine\",\"aws:autoscaling:groupName\":\"obelix_ondemand\",\"service\":\"obelix\"}\0",
    );
}

#[test]
fn a_table_for_people() {
    let regions = format!("{HERE},{THERE}");
    let run = at(&fleet()).args(["--format", "table", "-q", "--region", &regions]).run().succeeds().stderr_is_empty();
    assert_eq!(
        run.stdout_str(),
        " ASG              INSTANCE_ID  NAME          LIFECYCLE_STATE  HEALTH     INSTANCE_STATE  LIFECYCLE  AZ          PRIVATE_IP\n \
         obelix_ondemand  i-11         ob-appengine  Standby          Healthy    stopped         on-demand  eu-west-1a  172.31.6.69\n \
         obelix_spot      i-01         ob-appengine  InService        Healthy    running         spot       eu-west-1a  172.31.6.38\n \
         obelix_spot      i-02         ob-appengine  InService        Unhealthy  running         spot       eu-west-1a  172.31.6.39\n \
         obelix_spot      i-03         -             Pending          Healthy    -               -          eu-west-1a  -\n \
         twilix_spot      i-21         ob-appengine  InService        Healthy    running         spot       us-east-1b  172.31.6.100\n\
         \n5 instances: 3 in service, 3 spot, 1 on demand; eu-west-1a 4, us-east-1b 1\n"
    );
}

/// The table is made in pieces: the widest value of one column stands in the first, that of another in the last.
#[test]
fn a_long_table_is_one_table() {
    let instances: Vec<_> = (0..1_000)
        .map(|number| {
            let name = if number == 999 { "主".repeat(40) } else { "n".to_owned() };
            let key = "k".repeat(if number == 0 { 50 } else { 1 });
            let tags = serde_json::json!([{ "Key": "Name", "Value": name }, { "Key": "key", "Value": key }]);
            serde_json::json!({ "InstanceId": format!("i-{number:03}"), "Tags": tags, "InstanceLifecycle": "spot" })
        })
        .collect();
    let saved = serde_json::json!({ "Reservations": [{ "Instances": instances }] }).to_string();
    let words = ["--input", "-", "--format", "table", "--columns", "name,instance_id,tag:key,lifecycle"];
    let run = crate::harness::asg_hosts().args(words).stdin(saved).run().succeeds();
    let lines: Vec<&str> = run.stdout_str().lines().collect();
    assert_eq!(lines.len(), 1_003);
    assert_eq!(lines[0], format!(" NAME{}INSTANCE_ID  TAG:KEY{}LIFECYCLE", " ".repeat(78), " ".repeat(45)));
    assert_eq!(lines[1], format!(" n{}i-000        {}  spot", " ".repeat(81), "k".repeat(50)));
    assert_eq!(lines[500], format!(" n{}i-499        k{}spot", " ".repeat(81), " ".repeat(51)));
    assert_eq!(lines[1_000], format!(" {}  i-999        k{}spot", "主".repeat(40), " ".repeat(51)));
    assert_eq!(lines[1_002], "1000 instances: 0 in service, 1000 spot, 0 on demand; no zone 1000");
}

#[test]
fn what_means_nothing_is_wrong_usage() {
    for words in [
        &["-0"][..],
        &["-0", "--format", "json", "--columns", "asg"],
        &["-0", "--columns", "asg,tags"],
        &["--format", "ips", "--columns", "asg"],
        &["--columns", "nope"],
        &["--columns", "tag:"],
        &["--list", "--format", "json"],
        &["--list", "--host", "h"],
        &["--full-hostvars"],
        &["--allow-merge"],
        &["--stale-ok"],
        &["--max-age", "1m"],
        &["--input", "f", "--region", "eu-west-1"],
        &["--input", "f", "--cache", "d"],
        &["--region", "evil.example.com/"],
        &["--asg", "a[", "--input", "f"],
        &["--tag", "service"],
        &["--state", "sleeping"],
        &["file"],
    ] {
        let run = crate::harness::asg_hosts().args(words).run().fails_with(2).stdout_is("").stderr_is_one_line();
        assert!(run.stderr_str().starts_with("asg-hosts: "), "{}", run.report());
    }
}
