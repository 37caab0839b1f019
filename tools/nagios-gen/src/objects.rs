//! Nagios objects of a list of hosts.

use crate::args::{ObjectArgs, Service};
use crate::{safe, template};
use cli::{Console, Failure};
use records::{Host, HostReader, ReadError};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

/// Without these columns no host could be watched: such a list is a mistake, and no fleet without hosts.
const NEEDED: [&str; 3] = ["instance_id", "instance_state", "private_ip"];

/// One host object.
pub(crate) struct Object {
    pub(crate) host_name: String,
    pub(crate) alias: String,
    pub(crate) address: IpAddr,
    pub(crate) hostgroup: Option<String>,
    asg: String,
    instance_id: String,
    /// All that is known of the host; kept only for a template, since it is most of the memory.
    pub(crate) host: Option<Box<Host>>,
}

/// The objects of all running hosts on stdin, sorted by group and instance.
///
/// # Errors
/// stdin holds no list of hosts, or names an instance twice: Nagios would refuse the whole configuration.
pub(crate) fn render(args: &ObjectArgs, console: Console) -> Result<String, Failure> {
    // Read first: a wrong template must not end the stage before by a closed pipe.
    let objects = read(args.template.is_some(), console)?;
    let groups: BTreeSet<&str> = objects.iter().filter_map(|object| object.hostgroup.as_deref()).collect();
    match &args.template {
        Some(file) => template::render(file, args, &objects, &groups),
        None => Ok(built_in(args, &objects, &groups)),
    }
}

fn read(whole: bool, console: Console) -> Result<Vec<Object>, Failure> {
    let hosts = HostReader::new(std::io::stdin().lock(), &NEEDED).map_err(unreadable)?;
    let mut objects = Vec::new();
    let mut seen = HashSet::new();
    let mut left_out: BTreeMap<&str, u64> = BTreeMap::new();
    for host in hosts {
        let host = host.map_err(unreadable)?;
        let id = &host.instance_id;
        if !is_instance_id(id) {
            return Err(Failure::permanent(format!("unable to read hosts from stdin: {id:?} is no instance id")));
        }
        if !seen.insert(id.clone()) {
            return Err(Failure::permanent(format!("unable to write hosts: {id} stands twice in the list")));
        }
        match object(host, whole) {
            Ok(object) => objects.push(object),
            Err(why) => *left_out.entry(why).or_default() += 1,
        }
    }
    objects.sort_unstable_by(|a, b| (&a.asg, &a.instance_id).cmp(&(&b.asg, &b.instance_id)));
    console.step(format!("{} of {} hosts taken", objects.len(), seen.len()));
    for (why, count) in left_out {
        console.warn(format!("{count} of {} hosts left out: {why}", seen.len()));
    }
    Ok(objects)
}

fn unreadable(error: ReadError) -> Failure {
    let what = format!("unable to read hosts from stdin: {error}");
    match error {
        // The stage before failed: this is not a fleet without hosts.
        ReadError::Empty | ReadError::Cut => {
            Failure::temporary(format!("{what}: the command before this one failed, nothing is changed"))
        }
        ReadError::Io(_) => Failure::temporary(what),
        _ => Failure::permanent(what),
    }
}

/// `i-` and letters and digits: no dash in it, so that the end of a host's name is one instance id and no other.
pub(crate) fn is_instance_id(text: &str) -> bool {
    let rest = text.strip_prefix("i-").unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn object(host: Host, whole: bool) -> Result<Object, &'static str> {
    if host.instance_state != "running" {
        return Err("not running");
    }
    let address = host.private_ip.parse().map_err(|_| "no private IP address")?;
    // Members of a group share one Name tag; the instance id behind it tells them apart, and leads back from a host
    // to its instance.
    let shown = if host.name.trim().is_empty() { &host.asg } else { &host.name };
    let id = &host.instance_id;
    Ok(Object {
        host_name: if shown.is_empty() { id.clone() } else { format!("{}-{id}", safe::name(shown)) },
        alias: format!("{},{address},{id}", safe::words(shown)),
        address,
        hostgroup: hostgroup(&host),
        asg: host.asg.clone(),
        instance_id: id.clone(),
        host: whole.then(|| Box::new(host)),
    })
}

/// `<service>-servers`, or `<service>-<scope>-servers`, from the tags `service` and `scope`.
fn hostgroup(host: &Host) -> Option<String> {
    let tag = |key: &str| host.tags.get(key).filter(|value| !value.is_empty()).map(|value| safe::name(value));
    let service = tag("service")?;
    Some(tag("scope").map_or_else(|| format!("{service}-servers"), |scope| format!("{service}-{scope}-servers")))
}

fn built_in(args: &ObjectArgs, objects: &[Object], groups: &BTreeSet<&str>) -> String {
    let mut text = String::new();
    for object in objects {
        let address = object.address.to_string();
        let group = object.hostgroup.as_deref().map(|group| ("hostgroups", group));
        let lines = [
            ("use", args.host_template.as_str()),
            ("host_name", &object.host_name),
            ("alias", &object.alias),
            ("address", &address),
        ];
        push(&mut text, "host", lines.into_iter().chain(group));
        for Service { description, template } in &args.service {
            let host_name = object.host_name.as_str();
            let lines = [("use", template.as_str()), ("host_name", host_name), ("service_description", description)];
            push(&mut text, "service", lines);
        }
    }
    if !args.no_hostgroups {
        for group in groups {
            push(&mut text, "hostgroup", [("hostgroup_name", *group), ("alias", group)]);
        }
    }
    text
}

fn push<'a>(text: &mut String, kind: &str, lines: impl IntoIterator<Item = (&'a str, &'a str)>) {
    text.push_str("define ");
    text.push_str(kind);
    text.push_str(" {\n");
    for (directive, value) in lines {
        for part in ["\t", directive, "\t", value, "\n"] {
            text.push_str(part);
        }
    }
    text.push_str("}\n");
}
