//! The tables of `bench fleet`: listing instances, and Ansible's inventory of them. The server is the model of EC2 and Auto
//! Scaling, in a process of its own, so that this one stays small: see `measure`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::measure::{Env, Pipeline, run};
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

/// The rest of what ec2.py made groups of.
const PLUGIN_EVERY_GROUP: &str = "  - {prefix: \"\", separator: \"\", key: instance_id}
  - {prefix: \"\", separator: \"\", key: placement.region}
  - {prefix: \"\", separator: \"\", key: image_id}
  - {prefix: key, key: key_name}
  - {prefix: vpc_id, key: vpc_id}
  - {prefix: security_group, key: \"security_groups | map(attribute='group_name') | list\"}
";

/// A running model; dropping it ends it.
struct Model(Child);

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A model with a fleet, and the environment of its clients.
fn model(site: &Site, instances: usize) -> Result<(Model, Env)> {
    let mut command = Command::new(site.ours("fleet-model"));
    command.args(["--region", REGION, "--instances", &instances.to_string()]);
    command.args(["--groups", &instances.div_ceil(GROUP).to_string()]).stdout(Stdio::piped());
    let mut model = Model(command.spawn().context("unable to start fleet-model")?);
    let mut line = String::new();
    BufReader::new(model.0.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
    let endpoint = line.trim().strip_prefix("AWS_ENDPOINT_URL=").context("fleet-model names no endpoint")?;
    let env = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", &site.path("")),
        ("LC_ALL", "C.UTF-8"),
        ("AWS_ACCESS_KEY_ID", "bench"),
        ("AWS_SECRET_ACCESS_KEY", "bench"),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("ANSIBLE_DEPRECATION_WARNINGS", "false"),
        ("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "true"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Ok((model, env))
}

/// Fails unless the inventory that is to be measured has all its hosts: an inventory without them is fast. jq counts them,
/// for the list would make this process large.
fn check(site: &Site, env: &Env, command: &[String], hosts: usize) -> Result<()> {
    let counted = PathBuf::from(site.path("hosts-counted"));
    let count = stage(["jq", "._meta.hostvars | length"]);
    run(&[Pipeline { output: Some(counted.clone()), ..Pipeline::new(env, vec![command.to_vec(), count]) }])?;
    let found = fs::read_to_string(counted)?;
    ensure!(found.trim() == hosts.to_string(), "{} lists {} of {hosts} hosts", command.join(" "), found.trim());
    Ok(())
}

/// Instances as records. The CLI asks for instances alone; asg-hosts asks for the groups as well.
///
/// # Errors
/// When a run fails.
pub fn list(site: &Site, instances: usize, rounds: usize) -> Result<String> {
    let (_model, env) = model(site, instances)?;
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
    compare(&format!("A list of {instances} instances"), rounds, &contestants)
}

/// `ansible-inventory --list`.
///
/// # Errors
/// When a run fails.
pub fn inventory(site: &Site, instances: usize, rounds: usize) -> Result<String> {
    let (_model, env) = model(site, instances)?;
    let env = &env;
    let ansible = site.peer("ansible-inventory");
    let of = |inventory: String, hosts: usize| -> Result<_> {
        let command = stage([&ansible, "-i", &inventory, "--list"]);
        check(site, env, &command, hosts)?;
        Ok(move |_| vec![Pipeline::new(env, vec![command.clone()])])
    };
    let mut contestants = Vec::new();
    if !site.peers_only {
        contestants.push(Contestant::new("over asg-hosts", of(site.ours("asg-hosts"), instances)?));
        let full = site.path("full.sh");
        fs::write(&full, format!("#!/bin/sh\nexec {} --full-hostvars \"$@\"\n", site.ours("asg-hosts")))?;
        site.make_executable(&full)?;
        contestants.push(Contestant::new("over asg-hosts --full-hostvars", of(full, instances)?));
    }
    let (plain, grouped) = (site.path("plain.aws_ec2.yml"), site.path("grouped.aws_ec2.yml"));
    let every = site.path("every.aws_ec2.yml");
    fs::write(&every, format!("{PLUGIN}{PLUGIN_GROUPS}{PLUGIN_EVERY_GROUP}"))?;
    fs::write(&plain, PLUGIN)?;
    fs::write(&grouped, format!("{PLUGIN}{PLUGIN_GROUPS}"))?;
    contestants.push(Contestant::new("amazon.aws.aws_ec2, without groups", of(plain, instances)?));
    contestants.push(Contestant::new("amazon.aws.aws_ec2, groups by tag, type and zone", of(grouped, instances)?));
    contestants.push(Contestant::new("amazon.aws.aws_ec2, groups as ec2.py made them", of(every, instances)?));
    // What nobody can be faster than.
    let nothing = site.path("nothing.sh");
    fs::write(&nothing, "#!/bin/sh\necho '{\"_meta\":{\"hostvars\":{}}}'\n")?;
    site.make_executable(&nothing)?;
    contestants.push(Contestant::new("over a script without hosts", of(nothing, 0)?));
    compare(&format!("ansible-inventory --list, {instances} instances"), rounds, &contestants)
}
