//! The pipelines around Nagios, on the daemon of `scripts/stack`: asg-hosts on our model of AWS, and stand-ins for it that
//! fail as no tool of ours does.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{bin_dir, root};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::{FleetFault, FleetGroup, FleetInstance, FleetMember, FleetModel, Tool, wait_until};

const SETTINGS: [&str; 4] = ["NAGIOS_CFG", "NAGIOS_FILE", "NAGIOS_RELOAD", "NAGIOS_COMMAND_FILE"];

fn setting(name: &str) -> String {
    std::env::var(name).expect("a Nagios to test on: eval \"$(scripts/stack start nagios)\"")
}

/// A script of this repository, with the stand-in before everything else on PATH.
fn script(name: &str, stand_in: &Path) -> Tool {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{}:{path}", stand_in.display(), bin_dir().display());
    let tool = Tool::new(root().join("scripts").join(name)).env("PATH", path);
    SETTINGS.iter().fold(tool, |tool, name| tool.env(name, setting(name)))
}

/// An `asg-hosts` that does this.
fn stand_in(dir: &Path, does: &str) {
    fs::write(dir.join("asg-hosts"), format!("#!/bin/sh\n{does}\n")).unwrap();
    fs::set_permissions(dir.join("asg-hosts"), Permissions::from_mode(0o755)).unwrap();
}

fn row(n: u32) -> String {
    format!("i-{n:08x},ob-appengine,running,10.0.0.{n},\"{{\"\"service\"\":\"\"obelix\"\"}}\"\n")
}

fn list(ids: std::ops::Range<u32>) -> String {
    format!("instance_id,name,instance_state,private_ip,tags\n{}", ids.map(row).collect::<String>())
}

fn status_file() -> PathBuf {
    let main = fs::read_to_string(setting("NAGIOS_CFG")).unwrap();
    let line = main.lines().find_map(|line| line.strip_prefix("status_file=")).unwrap();
    PathBuf::from(line)
}

/// Every host that the daemon watches, with the depth of its downtime.
fn watched() -> Vec<(String, String)> {
    let status = fs::read_to_string(status_file()).unwrap_or_default();
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let blocks = status.split("hoststatus {").skip(1);
    let mut hosts: Vec<_> =
        blocks.map(|block| (field(block, "host_name="), field(block, "scheduled_downtime_depth="))).collect();
    hosts.sort();
    hosts
}

fn expected(ids: std::ops::Range<u32>) -> Vec<(String, String)> {
    let hosts = ids.map(|n| format!("ob-appengine-i-{n:08x}"));
    std::iter::once("monitor".to_owned()).chain(hosts).map(|name| (name, "0".to_owned())).collect()
}

const REGION: &str = "us-east-1";

/// A running instance of the group `obelix_spot_asg`.
fn instance(n: u32) -> FleetInstance {
    let tags = [("Name", "ob-appengine"), ("service", "obelix"), ("aws:autoscaling:groupName", "obelix_spot_asg")];
    FleetInstance {
        id: format!("i-{n:08x}"),
        state: "running".to_owned(),
        spot: true,
        zone: format!("{REGION}a"),
        private_ip: format!("10.0.0.{n}"),
        public_ip: String::new(),
        tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

fn group(ids: std::ops::Range<u32>) -> FleetGroup {
    let members = ids.map(|n| FleetMember {
        id: format!("i-{n:08x}"),
        lifecycle_state: "InService".to_owned(),
        health: "Healthy".to_owned(),
        zone: format!("{REGION}a"),
    });
    FleetGroup { name: "obelix_spot_asg".to_owned(), members: members.collect(), tags: Vec::new() }
}

/// The tools themselves, from AWS's answers to what Nagios watches.
fn from_aws_to_nagios() {
    let model = FleetModel::start();
    (1..11).for_each(|n| model.add_instance(REGION, instance(n)));
    model.add_group(REGION, group(1..11));
    model.limit_pages(4);
    let refresh = || {
        let script = script("refresh-nagios", Path::new("/nonexistent")).aws(model.endpoint());
        script.args(["--asg", "obelix_*", "--timeout", "3s"])
    };
    let _first = refresh().args(["--", "--max-shrink", "100%"]).run().succeeds().stdout_is("").stderr_is_empty();
    assert_eq!(watched(), expected(1..11));
    let file = PathBuf::from(setting("NAGIOS_FILE"));
    let written = |path: &Path| (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap());
    let before = written(&file);
    // The last page of all fails: what came before it looks like a smaller fleet to whoever believes it.
    model.fail(Box::new(|call| {
        (call.action == "DescribeInstances" && call.skipped == 8)
            .then(|| FleetFault::error(503, "RequestLimitExceeded"))
    }));
    let _failed = refresh().run().fails_with(75).stdout_is("").stderr_contains("RequestLimitExceeded");
    assert_eq!(written(&file), before);
    model.recover();
    let _same = refresh().run().succeeds().stdout_is("").stderr_is_empty();
    assert_eq!(written(&file), before, "an unchanged fleet is not written again");
    // One more in service, which EC2 does not know, and then knows without an IPv4 address: Nagios would not miss it.
    model.add_group(REGION, FleetGroup { name: "obelix_ipv6_asg".to_owned(), ..group(11..12) });
    let _unknown = refresh().run().fails_with(75).stdout_is("").stderr_contains("not known to EC2: i-0000000b");
    model.add_instance(REGION, FleetInstance { private_ip: String::new(), ..instance(11) });
    let _nowhere = refresh().run().fails_with(1).stdout_is("").stderr_contains("no private IP address: i-0000000b");
    let skipped = refresh().args(["--", "--skip-unaddressed"]).run().succeeds().stdout_is("");
    let _named = skipped.stderr_contains("1 of 11 hosts left out: no private IP address: i-0000000b");
    assert_eq!(written(&file), before);
    assert_eq!(watched(), expected(1..11));
}

#[test]
fn monitoring_follows_the_fleet() {
    from_aws_to_nagios();
    let dir = tempfile::tempdir().unwrap();
    let refresh = || script("refresh-nagios", dir.path()).args(["--asg", "obelix_*"]);
    let file = PathBuf::from(setting("NAGIOS_FILE"));

    // The list of these groups, written and taken.
    fs::write(dir.path().join("list"), list(1..11)).unwrap();
    let good = format!("test \"$*\" = '--asg obelix_*' && cat {}", dir.path().join("list").display());
    stand_in(dir.path(), &good);
    let _first = refresh().args(["--", "--max-shrink", "100%"]).run().succeeds().stdout_is("").stderr_is_empty();
    assert_eq!(watched(), expected(1..11));
    let first = fs::read(&file).unwrap();

    // A failed first stage changes nothing, whatever it printed, and its own code is the script's.
    let header = "instance_id,name,instance_state,private_ip,tags";
    let half = format!("head -n 10 {}; exit 75", dir.path().join("list").display());
    let failing = ["exit 75", &format!("echo {header}; exit 75"), &half, "exit 1", "kill -KILL $$"];
    for (does, code) in failing.into_iter().zip([75, 75, 75, 1, 137]) {
        stand_in(dir.path(), does);
        let _failed = refresh().run().fails_with(code).stdout_is("");
        assert_eq!(fs::read(&file).unwrap(), first, "{does}");
    }
    // One that says it is done and printed nothing, or only a header, is not believed either.
    for (does, code) in [("exit 0", 75), (&*format!("echo {header}"), 1)] {
        stand_in(dir.path(), does);
        let _failed = refresh().run().fails_with(code).stdout_is("").stderr_is_one_line();
        assert_eq!(fs::read(&file).unwrap(), first, "{does}");
    }
    assert_eq!(watched(), expected(1..11));

    // One instance is reclaimed: a notice puts its host into downtime, and no other.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = Tool::new("date").args(["-u", "+%FT%TZ", "-d", &format!("@{now}")]).run().succeeds();
    let time = time.stdout_str().trim();
    let event = |kind: &str| {
        let id = "i-00000002";
        format!(
            "{{\"schema\":1,\"event\":\"{kind}\",\"instance_id\":\"{id}\",\"time\":\"{time}\",\"deadline_ms\":1}}\n"
        )
    };
    let events = event("ready") + &event("notice");
    let _told = script("downtime-reclaimed", dir.path()).stdin(events).run().succeeds().stdout_is("").stderr_is_empty();
    let mut in_downtime = expected(1..11);
    in_downtime[2].1 = "1".to_owned();
    wait_until("the host is in downtime", || {
        let watched = watched();
        if watched == in_downtime { Ok(()) } else { Err(format!("{watched:?}")) }
    });
    // Without a command file the command is printed.
    let printed = script("downtime-reclaimed", dir.path()).env("NAGIOS_COMMAND_FILE", "").stdin(event("notice")).run();
    assert!(printed.succeeds().stdout_str().contains("] SCHEDULE_HOST_DOWNTIME;ob-appengine-i-00000002;"));

    // It is gone, and another is there.
    stand_in(dir.path(), &good);
    fs::write(dir.path().join("list"), list(3..12)).unwrap();
    let _next = refresh().run().succeeds().stdout_is("").stderr_is_empty();
    assert_eq!(watched(), expected(3..12));
}
