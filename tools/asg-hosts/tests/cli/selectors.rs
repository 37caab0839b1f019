//! Which instances are listed, and that the rest is counted.

use crate::harness::{HERE, THERE, at, fleet, group, instance, member};
use testkit::{FleetModel, Tool};

/// The ids listed, and what stderr counts.
fn ids(tool: Tool) -> (Vec<String>, String) {
    let run = tool.args(["--columns", "instance_id", "-v"]).run().succeeds();
    let ids = run.stdout_str().lines().skip(1).map(str::to_owned).collect();
    let counts = run.stderr_str().lines().last().unwrap_or_default().to_owned();
    let numbers: Vec<usize> =
        counts.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers[0], numbers[1] + numbers[2] + numbers[numbers.len() - 1], "{counts}");
    let counts = counts.strip_prefix("asg-hosts: ").unwrap();
    (ids, counts.strip_prefix("warning: ").unwrap_or(counts).to_owned())
}

#[test]
fn every_selector() {
    let both = format!("{HERE},{THERE}");
    for (words, wanted, counts) in [
        (
            &["--region", &both][..],
            "i-11 i-01 i-02 i-03 i-21",
            "6 instances described: 4 listed, 1 skipped (1 in no group), 1 unresolved",
        ),
        (&["--asg", "obelix_spot"], "i-01 i-02 i-03", "3 instances described: 2 listed, 0 skipped, 1 unresolved"),
        (&["--asg", "*_ondemand"], "i-11", "1 instances described: 1 listed, 0 skipped, 0 unresolved"),
        (
            &["--asg", "obelix_?po[st]", "--asg", "obelix_ondemand"],
            "i-11 i-01 i-02 i-03",
            "4 instances described: 3 listed, 0 skipped, 1 unresolved",
        ),
        (&["--asg", "nope*"], "", "0 instances described: 0 listed, 0 skipped, 0 unresolved"),
        (
            &["--asg", "twilix_spot", "--region", &both],
            "i-21",
            "1 instances described: 1 listed, 0 skipped, 0 unresolved",
        ),
        (
            &["--state", "stopped,stopping"],
            "i-11",
            "5 instances described: 1 listed, 4 skipped (3 in another state, 1 in no group), 0 unresolved",
        ),
        (
            &["--state", "stopped,all"],
            "i-11 i-01 i-02 i-03",
            "5 instances described: 3 listed, 1 skipped (1 in no group), 1 unresolved",
        ),
        (
            &["--lifecycle", "on-demand"],
            "i-11",
            "5 instances described: 1 listed, 4 skipped (1 in no group, 3 of another lifecycle), 0 unresolved",
        ),
        (
            &["--lifecycle", "spot"],
            "i-01 i-02",
            "5 instances described: 2 listed, 3 skipped (1 in no group, 2 of another lifecycle), 0 unresolved",
        ),
        (
            &["--in-service"],
            "i-01 i-02",
            "5 instances described: 2 listed, 3 skipped (1 in no group, 2 not in service), 0 unresolved",
        ),
        (
            &["--healthy"],
            "i-11 i-01 i-03",
            "5 instances described: 2 listed, 2 skipped (1 in no group, 1 not healthy), 1 unresolved",
        ),
        (
            &["--healthy", "--in-service"],
            "i-01",
            "5 instances described: 1 listed, 4 skipped (1 in no group, 1 not healthy, 2 not in service), 0 unresolved",
        ),
        // The member that EC2 does not know yet will have the tag: its group hands it down.
        (
            &["--tag", "service=obelix"],
            "i-11 i-01 i-02 i-03",
            "5 instances described: 3 listed, 1 skipped (1 in no group), 1 unresolved",
        ),
        (
            &["--tag", "Name=ob-appengine"],
            "i-11 i-01 i-02",
            "5 instances described: 3 listed, 2 skipped (1 in no group, 1 without the tag), 0 unresolved",
        ),
        (
            &["--tag", "service=obelix", "--tag", "service=x", "--tag", "Name=x"],
            "",
            "5 instances described: 0 listed, 5 skipped (1 in no group, 4 without the tag), 0 unresolved",
        ),
    ] {
        let (found, counted) = ids(at(&fleet()).args(words));
        assert_eq!((found.join(" ").as_str(), counted.as_str()), (wanted, counts), "{words:?}");
    }
}

#[test]
fn a_name_that_no_region_knows_is_an_error() {
    let both = format!("{HERE},{THERE}");
    let run = at(&fleet()).args(["--asg", "nope", "--asg", "obelix_spot", "--asg", "me"]).run();
    let run = run.fails_with(1).stdout_is("").stderr_is_one_line();
    assert_eq!(run.stderr_str(), "asg-hosts: unable to list groups me, nope: not found\n");
    let run = at(&fleet()).args(["--asg", "twilix_spot"]).run().fails_with(1).stdout_is("");
    assert_eq!(run.stderr_str(), "asg-hosts: unable to list group twilix_spot: not found\n");
    let _run = at(&fleet()).args(["--asg", "twilix_spot", "--region", &both]).run().succeeds();
    let _run = at(&fleet()).args(["--asg", "nope", "--list"]).run().fails_with(1).stdout_is("").stderr_is_one_line();
}

#[test]
fn names_that_hold_wildcards_of_ec2_lose_no_instance() {
    let model = FleetModel::start();
    for (number, name) in ["back\\slash", "a\\*b", "comma, \"quote\"", "new\nline", "tab\tü"].iter().enumerate() {
        let id = format!("i-{number}");
        model.add_group(HERE, group(name, &[member(&id, "InService", "Healthy")]));
        model.add_instance(HERE, instance(&id, name));
        if !name.contains('*') {
            let run = at(&model).args(["--asg", name, "--columns", "private_dns", "-0"]).run().succeeds();
            assert!(run.stderr_is_empty().stdout_str().starts_with("ip-172-"), "{name}");
        }
    }
    let (found, _) = ids(at(&model).args(["--asg", "a[\\]?b"]));
    assert_eq!(found, ["i-1"], "globs too");
}

#[test]
fn instances_of_a_group_that_it_no_longer_counts_are_skipped() {
    let model = FleetModel::start();
    model.add_group(HERE, group("g", &[member("i-1", "InService", "Healthy")]));
    model.add_instance(HERE, instance("i-1", "g"));
    model.add_instance(HERE, testkit::FleetInstance { state: "terminated".to_owned(), ..instance("i-2", "g") });
    let (found, counts) = ids(at(&model).args(["--asg", "g"]));
    assert_eq!(found, ["i-1"]);
    assert_eq!(counts, "2 instances described: 1 listed, 1 skipped (1 in no group asked for), 0 unresolved");
}

#[test]
fn patterns_are_over_characters_and_know_no_others() {
    let model = FleetModel::start();
    for (id, name) in [("i-1", "käse/a\nb"), ("i-2", "a{b,c}d"), ("i-3", "a*d"), ("i-4", "a\\d")] {
        model.add_group(HERE, group(name, &[member(id, "InService", "Healthy")]));
        model.add_instance(HERE, instance(id, name));
    }
    for (pattern, wanted) in [
        ("k?se*", "i-1"),
        ("*/?\n?", "i-1"),
        ("a{b*", "i-2"),
        ("*{b,c}*", "i-2"),
        ("a[*]d", "i-3"),
        ("a?d", "i-3 i-4"),
        ("a\\*", "i-4"),
        ("[!k]*d", "i-3 i-4 i-2"),
    ] {
        let run = at(&model).args(["--columns", "instance_id", "--asg", pattern, "-q"]).run().succeeds();
        assert_eq!(run.stdout_str().lines().skip(1).collect::<Vec<_>>().join(" "), wanted, "{pattern:?}");
    }
}
