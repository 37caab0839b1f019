//! Auto Scaling's members and EC2's instances, joined: one row for each instance that was asked for.

use crate::fleet::{Fleet, GROUP_TAG, Group, Instance, Member};
use crate::selection::Selection;
use records::Host;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// What is listed of a fleet, and what is not.
#[derive(Debug)]
pub(crate) struct Listing<'f> {
    /// In the order of EC2's answers, then those that EC2 does not know yet.
    pub(crate) rows: Vec<Row<'f>>,
    pub(crate) counts: Counts,
}

/// One instance. At least one of the two knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'f> {
    pub(crate) asg: &'f str,
    pub(crate) member: Option<&'f Member>,
    pub(crate) instance: Option<&'f Instance>,
}

/// Every instance that AWS told of is in exactly one of the three: described = listed + skipped + unresolved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    described: usize,
    listed: usize,
    /// By what they are.
    skipped: BTreeMap<&'static str, usize>,
    /// Listed, but EC2 does not know them yet.
    unresolved: usize,
}

impl<'f> Listing<'f> {
    pub(crate) fn new(fleet: &'f Fleet, selection: &Selection) -> Self {
        let members = members(fleet, selection);
        let mut counts = Counts::default();
        let mut rows = Vec::new();
        for instance in &fleet.instances {
            let member = members.get(instance.instance_id.as_str()).copied();
            let asg = match (&fleet.groups, member) {
                (Some(_), member) => member.map(|(group, _)| group.name.as_str()),
                (None, _) => instance.tag(GROUP_TAG).filter(|name| selection.has_group(name)),
            };
            let out_of_place = asg.is_none() && !selection.has_groupless(fleet);
            let why =
                out_of_place.then_some(if selection.names_groups() { "in no group asked for" } else { "in no group" });
            let (group, member) = member.unzip();
            match why.or_else(|| selection.refuses(Some(instance), member, group)) {
                Some(why) => counts.skip(why),
                None => {
                    counts.list();
                    rows.push(Row { asg: asg.unwrap_or_default(), member, instance: Some(instance) });
                }
            }
        }
        let known: HashSet<&str> = fleet.instances.iter().map(|instance| instance.instance_id.as_str()).collect();
        let mut unknown: Vec<_> = members.into_iter().filter(|(id, _)| !known.contains(id)).collect();
        unknown.sort_by_key(|(id, _)| *id);
        for (_, (group, member)) in unknown {
            match selection.refuses(None, Some(member), Some(group)) {
                Some(why) => counts.skip(why),
                None => {
                    counts.unresolved();
                    rows.push(Row { asg: &group.name, member: Some(member), instance: None });
                }
            }
        }
        Self { rows, counts }
    }

    /// In the order of a printed list: by group, then by instance.
    pub(crate) fn sort(&mut self) {
        self.rows.sort_by(|a, b| (a.asg, a.id()).cmp(&(b.asg, b.id())));
    }
}

/// The members of the groups asked for, by instance.
fn members<'f>(fleet: &'f Fleet, selection: &Selection) -> HashMap<&'f str, (&'f Group, &'f Member)> {
    let groups = fleet.groups.iter().flatten().filter(|group| selection.has_group(&group.name));
    groups.flat_map(|group| group.members.iter().map(move |one| (one.instance_id.as_str(), (group, one)))).collect()
}

impl Row<'_> {
    fn id(&self) -> &str {
        match (self.instance, self.member) {
            (Some(instance), _) => &instance.instance_id,
            (None, Some(member)) => &member.instance_id,
            (None, None) => "",
        }
    }

    /// The row as a record: what neither knows is empty.
    pub(crate) fn host(&self) -> Host {
        let mut host = Host { instance_id: self.id().to_owned(), asg: self.asg.to_owned(), ..Host::default() };
        if let Some(member) = self.member {
            host.lifecycle_state.clone_from(&member.lifecycle_state);
            host.health.clone_from(&member.health_status);
            host.instance_type.clone_from(&member.instance_type);
            host.az.clone_from(&member.availability_zone);
        }
        if let Some(instance) = self.instance {
            instance.tag("Name").unwrap_or_default().clone_into(&mut host.name);
            host.instance_state.clone_from(&instance.state.name);
            instance.lifecycle().clone_into(&mut host.lifecycle);
            host.instance_type.clone_from(&instance.instance_type);
            host.az.clone_from(&instance.placement.availability_zone);
            host.private_ip.clone_from(&instance.private_ip_address);
            host.public_ip.clone_from(&instance.public_ip_address);
            host.private_dns.clone_from(&instance.private_dns_name);
            host.launch_time.clone_from(&instance.launch_time);
            host.image_id.clone_from(&instance.image_id);
            host.tags = instance.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
        }
        host
    }
}

impl Counts {
    fn list(&mut self) {
        self.described += 1;
        self.listed += 1;
    }

    fn skip(&mut self, why: &'static str) {
        self.described += 1;
        *self.skipped.entry(why).or_default() += 1;
    }

    fn unresolved(&mut self) {
        self.described += 1;
        self.unresolved += 1;
    }

    /// Whether everything AWS told of is listed, and known to EC2.
    pub(crate) fn is_complete(&self) -> bool {
        self.described == self.listed
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped: usize = self.skipped.values().sum();
        write!(f, "{} instances described: {} listed, {skipped} skipped", self.described, self.listed)?;
        let reasons: Vec<String> = self.skipped.iter().map(|(why, count)| format!("{count} {why}")).collect();
        if !reasons.is_empty() {
            write!(f, " ({})", reasons.join(", "))?;
        }
        write!(f, ", {} unresolved", self.unresolved)
    }
}
