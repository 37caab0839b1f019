//! Nagios objects of a list of hosts.

use crate::args::Args;
use crate::safe;
use cli::{Console, Failure};
use records::Host;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One host object.
struct Object {
    host_name: String,
    alias: String,
    address: IpAddr,
    hostgroup: Option<String>,
}

/// The objects of all running `hosts`, sorted by group and instance.
///
/// # Errors
/// An instance that stands twice in the list: Nagios would refuse the whole configuration.
pub(crate) fn render(mut hosts: Vec<Host>, args: &Args, console: Console) -> Result<String, Failure> {
    hosts.sort_by(|a, b| (&a.asg, &a.instance_id).cmp(&(&b.asg, &b.instance_id)));
    let mut seen = BTreeSet::new();
    let mut left_out: BTreeMap<&str, u64> = BTreeMap::new();
    let mut groups = BTreeSet::new();
    let mut text = String::new();
    let mut written = 0;
    for host in &hosts {
        if !seen.insert(&host.instance_id) {
            return Err(Failure::permanent(format!(
                "unable to write hosts: {} stands twice in the list",
                host.instance_id
            )));
        }
        match object(host) {
            Ok(object) => {
                push(&mut text, "host", &lines(&object, &args.template));
                groups.extend(object.hostgroup);
                written += 1;
            }
            Err(why) => *left_out.entry(why).or_default() += 1,
        }
    }
    if !args.no_hostgroups {
        for group in &groups {
            push(&mut text, "hostgroup", &[("hostgroup_name", group.clone()), ("alias", group.clone())]);
        }
    }
    console.step(format!("{written} of {} hosts written", hosts.len()));
    for (why, count) in left_out {
        console.warn(format!("{count} of {} hosts left out: {why}", hosts.len()));
    }
    Ok(text)
}

fn object(host: &Host) -> Result<Object, &'static str> {
    if host.instance_state != "running" {
        return Err("not running");
    }
    let address = host.private_ip.parse().map_err(|_| "no private IP address")?;
    // Members of a group share one Name tag; the instance id behind it tells them apart, and leads back from a host
    // to its instance.
    let shown = if host.name.trim().is_empty() { &host.asg } else { &host.name };
    let id = safe::name(&host.instance_id);
    let host_name = if shown.is_empty() { id } else { format!("{}-{id}", safe::name(shown)) };
    let alias = format!("{},{address},{}", safe::words(shown), safe::words(&host.instance_id));
    Ok(Object { host_name, alias, address, hostgroup: hostgroup(host) })
}

/// `<service>-servers`, or `<service>-<scope>-servers`, from the tags `service` and `scope`.
fn hostgroup(host: &Host) -> Option<String> {
    let tag = |key: &str| host.tags.get(key).filter(|value| !value.is_empty()).map(|value| safe::name(value));
    let service = tag("service")?;
    Some(tag("scope").map_or_else(|| format!("{service}-servers"), |scope| format!("{service}-{scope}-servers")))
}

fn lines(object: &Object, template: &str) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("use", template.to_owned()),
        ("host_name", object.host_name.clone()),
        ("alias", object.alias.clone()),
        ("address", object.address.to_string()),
    ];
    lines.extend(object.hostgroup.clone().map(|group| ("hostgroups", group)));
    lines
}

fn push(text: &mut String, kind: &str, lines: &[(&str, String)]) {
    text.push_str("define ");
    text.push_str(kind);
    text.push_str(" {\n");
    for (directive, value) in lines {
        text.push('\t');
        text.push_str(directive);
        text.push('\t');
        text.push_str(value);
        text.push('\n');
    }
    text.push_str("}\n");
}
