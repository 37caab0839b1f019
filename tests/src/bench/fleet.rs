//! The tables of `bench fleet`: listing instances, and Ansible's inventory of them. The server is the model of EC2 and Auto
//! Scaling, in this process: its CPU time is not a client's.

use std::fs;

use anyhow::Result;
use testkit::FleetModel;

use crate::measure::{Env, Pipeline};
use crate::site::{Site, stage};
use crate::table::{Contestant, compare};

const REGION: &str = "us-east-1";
/// Instances in a group, about.
const GROUP: usize = 20;

/// What the original made of the CLI's answer, line by line.
const ORIGINAL: &str = r#".Reservations[].Instances[] | select(.State.Name == "running")
  | ((.Tags // []) | map({(.Key): .Value}) | add) as $tags | [$tags.Name, .PrivateIpAddress, .InstanceId] | @tsv"#;

/// The plugin's groups that come closest to ec2.py's.
const PLUGIN: &str = "\
plugin: amazon.aws.aws_ec2
regions: [us-east-1]
hostnames: [private-ip-address]
";
const PLUGIN_GROUPS: &str = "\
keyed_groups:
  - {prefix: tag, key: tags}
  - {prefix: type, key: instance_type}
  - {prefix: \"\", separator: \"\", key: placement.availability_zone}
";

/// A model with a fleet, and the environment of its clients.
fn model(site: &Site, instances: usize) -> (FleetModel, Env) {
    let model = FleetModel::start();
    model.fill(REGION, instances, instances.div_ceil(GROUP));
    let env = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("HOME", site.path("")),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("AWS_ACCESS_KEY_ID", "bench".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "bench".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_ENDPOINT_URL", model.endpoint()),
        ("ANSIBLE_DEPRECATION_WARNINGS", "false".to_owned()),
    ];
    (model, env.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Instances as records. The CLI asks for instances alone; asg-hosts asks for the groups as well.
///
/// # Errors
/// When a run fails.
pub fn list(site: &Site, instances: usize, rounds: usize) -> Result<String> {
    let (model, env) = model(site, instances);
    let env = &env;
    let mut contestants = Vec::new();
    if !site.peers_only {
        let asg_hosts = site.ours("asg-hosts");
        for (label, words) in [
            ("asg-hosts", &[][..]),
            ("asg-hosts --format json", &["--format", "json"]),
            ("asg-hosts --list", &["--list"]),
        ] {
            let command: Vec<String> = [&*asg_hosts].iter().chain(words).map(|word| (*word).to_owned()).collect();
            contestants.push(Contestant::new(label, move |_| vec![Pipeline::new(env, vec![command.clone()])]));
        }
    }
    let aws = stage([&site.peer("aws"), "ec2", "describe-instances", "--output", "json"]);
    let piped = aws.clone();
    contestants
        .push(Contestant::new("aws ec2 describe-instances", move |_| vec![Pipeline::new(env, vec![aws.clone()])]));
    contestants.push(Contestant::new("aws ec2 describe-instances | jq, as in the original", move |_| {
        vec![Pipeline::new(env, vec![piped.clone(), stage(["jq", "-r", ORIGINAL])])]
    }));
    let table = compare(&format!("A list of {instances} instances"), rounds, &contestants);
    drop(model);
    table
}

/// `ansible-inventory --list`.
///
/// # Errors
/// When a run fails.
pub fn inventory(site: &Site, instances: usize, rounds: usize) -> Result<String> {
    let (model, env) = model(site, instances);
    let env = &env;
    let ansible = site.peer("ansible-inventory");
    let of = |inventory: String| {
        let command = stage([&ansible, "-i", &inventory, "--list"]);
        move |_| vec![Pipeline::new(env, vec![command.clone()])]
    };
    let mut contestants = Vec::new();
    if !site.peers_only {
        contestants.push(Contestant::new("over asg-hosts", of(site.ours("asg-hosts"))));
        let full = site.path("full.sh");
        fs::write(&full, format!("#!/bin/sh\nexec {} --full-hostvars \"$@\"\n", site.ours("asg-hosts")))?;
        site.make_executable(&full)?;
        contestants.push(Contestant::new("over asg-hosts --full-hostvars", of(full)));
    }
    let (plain, grouped) = (site.path("plain.aws_ec2.yml"), site.path("grouped.aws_ec2.yml"));
    fs::write(&plain, PLUGIN)?;
    fs::write(&grouped, format!("{PLUGIN}{PLUGIN_GROUPS}"))?;
    contestants.push(Contestant::new("amazon.aws.aws_ec2, without groups", of(plain)));
    contestants.push(Contestant::new("amazon.aws.aws_ec2, groups by tag, type and zone", of(grouped)));
    // What nobody can be faster than.
    let nothing = site.path("nothing.sh");
    fs::write(&nothing, "#!/bin/sh\necho '{\"_meta\":{\"hostvars\":{}}}'\n")?;
    site.make_executable(&nothing)?;
    contestants.push(Contestant::new("over a script without hosts", of(nothing)));
    let table = compare(&format!("ansible-inventory --list, {instances} instances"), rounds, &contestants);
    drop(model);
    table
}
