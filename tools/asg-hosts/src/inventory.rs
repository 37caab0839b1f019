//! Ansible's dynamic inventory, with the groups that ec2.py made.

use crate::address::{Addressing, is_address};
use crate::fleet::{Instance, Tag};
use crate::hostvars::{self, HostVars, Value, safe};
use crate::listing::{LeftOut, Listing};
use crate::terminal::Screen;
use failure::Failure;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Names that mean something to Ansible itself.
const RESERVED: [&str; 3] = ["all", "ungrouped", "_meta"];
/// Merges that a message shows.
const SHOWN: usize = 3;

/// Hosts and groups, by name.
#[derive(Debug, Default)]
pub(crate) struct Inventory<'f> {
    /// The last one of a name counts, as with ec2.py.
    hosts: BTreeMap<&'f str, &'f Instance>,
    groups: BTreeMap<String, Members<'f>>,
    /// Hosts that are several instances.
    shared: BTreeMap<&'f str, BTreeSet<&'f str>>,
    /// Instances that were asked for and are no hosts.
    unaddressed: Vec<&'f str>,
    /// Those of them that EC2 does not know, or does not show running.
    unresolved: Vec<&'f str>,
}

#[derive(Debug, Default)]
struct Members<'f> {
    hosts: Vec<&'f str>,
    /// What the group is called on AWS.
    name: String,
    /// What else it is called there: a merge.
    others: BTreeSet<String>,
}

#[derive(Serialize)]
struct Hosts<'a> {
    hosts: &'a [&'a str],
}

impl<'f> Inventory<'f> {
    /// # Errors
    /// An address or a group name that Ansible would take for something else.
    pub(crate) fn new(listing: &Listing<'f>, addressing: Addressing) -> Result<Self, Failure> {
        let unresolved = listing.left_out.iter().filter(|left| left.is_unresolved());
        let mut inventory = Self {
            unaddressed: listing.left_out.iter().map(LeftOut::id).collect(),
            unresolved: unresolved.map(LeftOut::id).collect(),
            ..Self::default()
        };
        for instance in listing.rows.iter().filter_map(|row| row.instance) {
            let Some(host) = addressing.of(instance) else { continue };
            // Ansible takes a host's name for a template, and gives it to ssh: it can't be marked unsafe.
            if !is_address(host) {
                let id = &instance.instance_id;
                let wrong = format!("unable to list {id}: {host} is neither an IP address nor a host name");
                return Err(Failure::permanent(wrong));
            }
            if let Some(other) = inventory.hosts.insert(host, instance) {
                inventory.shared.entry(host).or_default().extend([&*other.instance_id, &*instance.instance_id]);
            }
            for (group, name) in groups(instance) {
                if RESERVED.contains(&group.as_str()) {
                    let id = &instance.instance_id;
                    return Err(Failure::permanent(format!("unable to list {id}: it is in a group named {group}")));
                }
                let members = inventory.groups.entry(group).or_default();
                members.hosts.push(host);
                if members.name.is_empty() {
                    members.name = name;
                } else if members.name != name {
                    members.others.insert(name);
                }
            }
        }
        Ok(inventory)
    }

    /// # Errors
    /// Groups or hosts that are different on AWS and one for Ansible.
    pub(crate) fn refuse_merges(&self) -> Result<(), Failure> {
        let groups = self.groups.iter().filter(|(_, members)| !members.others.is_empty());
        let groups = groups.map(|(group, members)| {
            let names: BTreeSet<&str> = members.others.iter().chain([&members.name]).map(String::as_str).collect();
            format!("group {group} would be {}", both(&names))
        });
        let hosts = self.shared.iter().map(|(host, ids)| format!("host {host} would be {}", both(ids)));
        let merges: Vec<String> = groups.chain(hosts).collect();
        if merges.is_empty() {
            return Ok(());
        }
        let more = merges.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let merges = merges[..merges.len().min(SHOWN)].join("; ");
        Err(Failure::permanent(format!("unable to list: {merges}{more} (--allow-merge accepts it)")))
    }

    /// Prints everything; `age` is that of answers that are no longer fresh.
    ///
    /// # Errors
    /// stdout can't take it.
    pub(crate) fn print(&self, full: bool, age: Option<Duration>, screen: &mut Screen) -> Result<(), Failure> {
        screen.write("{\"_meta\":{")?;
        if let Some(age) = age {
            screen.write(&format!("\"age_seconds\":{},", age.as_secs()))?;
        }
        for (name, ids) in [("unaddressed", &self.unaddressed), ("unresolved", &self.unresolved)] {
            if !ids.is_empty() {
                screen.write(&format!("\"{name}\":{},", json(ids)))?;
            }
        }
        screen.write("\"hostvars\":{")?;
        for (number, (host, instance)) in self.hosts.iter().enumerate() {
            let mut vars = variables(instance, full);
            vars.insert("ansible_ssh_host".to_owned(), Value::Text((*host).to_owned()));
            entry(number, host, &vars, screen)?;
        }
        screen.write("}}")?;
        for (group, members) in &self.groups {
            entry(1, group, &Hosts { hosts: &members.hosts }, screen)?;
        }
        screen.write("}\n")
    }

    /// Prints the variables of one host; none of a host that is not there, as ec2.py.
    ///
    /// # Errors
    /// stdout can't take it.
    pub(crate) fn print_host(&self, host: &str, full: bool, screen: &mut Screen) -> Result<(), Failure> {
        let vars = self.hosts.get(host).map_or_else(HostVars::new, |instance| variables(instance, full));
        screen.write(&format!("{}\n", json(&vars)))
    }
}

fn variables(instance: &Instance, full: bool) -> HostVars {
    if full { hostvars::full(instance) } else { hostvars::lean(instance) }
}

fn entry(number: usize, key: &str, value: &impl Serialize, screen: &mut Screen) -> Result<(), Failure> {
    let comma = if number == 0 { "" } else { ",\n" };
    screen.write(&format!("{comma}{}:{}", json(&key), json(value)))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and maps of them are JSON")
}

fn both(names: &BTreeSet<impl AsRef<str>>) -> String {
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" and ")
}

/// The groups of an instance: Ansible's name of each, and AWS's.
fn groups(one: &Instance) -> Vec<(String, String)> {
    // ec2.py leaves the dashes of these three as they are.
    let dashed = |text: &str| {
        let name: String = text.split('-').map(safe).collect::<Vec<_>>().join("-");
        (name, text.to_owned())
    };
    let safely = |name: String| (safe(&name), name);
    let mut groups = vec![("ec2".to_owned(), "ec2".to_owned())];
    let plain = [&one.instance_id, &one.region, &one.placement.availability_zone];
    groups.extend(plain.into_iter().filter(|name| !name.is_empty()).map(|name| dashed(name)));
    let kinds = [("", &one.image_id), ("type_", &one.instance_type), ("key_", &one.key_name), ("vpc_id_", &one.vpc_id)];
    let kinds = kinds.into_iter().filter(|(_, name)| !name.is_empty());
    groups.extend(kinds.map(|(kind, name)| safely(format!("{kind}{name}"))));
    groups.extend(one.security_groups.iter().map(|group| safely(format!("security_group_{}", group.group_name))));
    groups.extend(one.tags.iter().map(|Tag { key, value }| {
        let sign = if value.is_empty() { "" } else { "=" };
        let group = safe(&format!("tag_{key}{sign}{value}"));
        // A key may hold the sign too: it must not pass for another key with a value.
        let key = if key.contains('=') { Cow::Owned(format!("{key:?}")) } else { Cow::Borrowed(key.as_str()) };
        (group, format!("tag_{key}{sign}{value}"))
    }));
    if one.tags.is_empty() {
        groups.push(("tag_none".to_owned(), "no tag".to_owned()));
    }
    groups
}
