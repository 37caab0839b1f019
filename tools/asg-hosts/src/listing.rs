//! Auto Scaling's members and EC2's instances, joined: one row for each instance that was asked for.

use crate::address::Kind;
use crate::fleet::{Fleet, GROUP_TAG, Group, Instance, Member};
use crate::selection::Selection;
use failure::Failure;
use records::Host;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// What is listed of a fleet, and what is not.
#[derive(Debug)]
pub(crate) struct Listing<'f> {
    /// In the order of EC2's answers, then those that EC2 does not know yet.
    pub(crate) rows: Vec<Row<'f>>,
    /// Asked for, but without the address by which hosts are printed. Sorted by group, then by instance.
    pub(crate) left_out: Vec<LeftOut<'f>>,
    pub(crate) counts: Counts,
}

/// One instance. At least one of the two knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'f> {
    pub(crate) asg: &'f str,
    pub(crate) member: Option<&'f Member>,
    pub(crate) instance: Option<&'f Instance>,
}

/// An instance that was asked for and can't be printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeftOut<'f> {
    row: Row<'f>,
    why: Why<'f>,
}

#[derive(Clone, Copy, Debug)]
enum Why<'f> {
    /// In service, and EC2 does not know it.
    Unknown,
    /// In service, and EC2 shows it in this state.
    Late(&'f str),
    /// It has no such address.
    Unaddressed { kind: Kind, in_service: bool },
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
        let mut listing = Self { rows: Vec::new(), left_out: Vec::new(), counts: Counts::default() };
        for instance in &fleet.instances {
            let member = members.get(instance.instance_id.as_str()).copied();
            let asg = match (&fleet.groups, member) {
                (Some(_), member) => member.map(|(group, _)| group.name.as_str()),
                (None, _) => instance.tag(GROUP_TAG).filter(|name| selection.has_group(name)),
            };
            let out_of_place = asg.is_none() && !selection.has_groupless(fleet);
            let why =
                out_of_place.then_some(if selection.names_groups() { "in no group asked for" } else { "in no group" });
            let late = member.is_some_and(|(group, one)| selection.awaits(Some(instance), one, group, false));
            let (group, member) = member.unzip();
            let row = Row { asg: asg.unwrap_or_default(), member, instance: Some(instance) };
            let why = why.or_else(|| selection.refuses(Some(instance), member, group));
            if late {
                listing.leave_out(row, Why::Late(&instance.state.name));
            }
            match (why, selection.addressing()) {
                (Some(why), _) => listing.counts.skip(why),
                (None, Some(addressing)) if addressing.of(instance).is_none() => {
                    let kind = addressing.kind();
                    let in_service = match member {
                        Some(member) => member.is_in_service(),
                        // Auto Scaling was not asked: what runs in a group is taken for in service.
                        None => !row.asg.is_empty() && instance.state.name == "running",
                    };
                    listing.counts.skip(kind.lacking());
                    listing.leave_out(row, Why::Unaddressed { kind, in_service });
                }
                (None, _) => {
                    listing.counts.list();
                    listing.rows.push(row);
                }
            }
        }
        let known: HashSet<&str> = fleet.instances.iter().map(|instance| instance.instance_id.as_str()).collect();
        let mut unknown: Vec<_> = members.into_iter().filter(|(id, _)| !known.contains(id)).collect();
        unknown.sort_by_key(|(id, _)| *id);
        let kin = if unknown.is_empty() { HashSet::new() } else { groups_with_tags(fleet, selection) };
        for (_, (group, member)) in unknown {
            let row = Row { asg: &group.name, member: Some(member), instance: None };
            let awaited = selection.awaits(None, member, group, kin.contains(&*group.name));
            if awaited {
                listing.leave_out(row, Why::Unknown);
            }
            match selection.refuses(None, Some(member), Some(group)) {
                Some(why) if !awaited => listing.counts.skip(why),
                _ => {
                    listing.counts.unresolved();
                    listing.rows.push(row);
                }
            }
        }
        listing.left_out.sort_by(|a, b| (a.row.asg, a.id()).cmp(&(b.row.asg, b.id())));
        listing
    }

    fn leave_out(&mut self, row: Row<'f>, why: Why<'f>) {
        self.left_out.push(LeftOut { row, why });
    }

    /// How many members in service EC2 does not know, or does not show running. Both services are eventually consistent:
    /// another question a moment later may get another answer.
    pub(crate) fn unresolved(&self) -> usize {
        self.left_out.iter().filter(|left| left.is_unresolved()).count()
    }

    /// # Errors
    /// A member in service was left out: the list would look like a smaller fleet.
    pub(crate) fn refuse_left_out(&self) -> Result<(), Failure> {
        let (unaddressed, unresolved): (Vec<_>, Vec<_>) =
            self.left_out.iter().filter(|left| left.is_in_service()).partition(|left| !left.is_unresolved());
        let hint = match (unaddressed.is_empty(), unresolved.is_empty()) {
            (true, true) => return Ok(()),
            (true, false) => "try again, or leave them out by --skip-unaddressed",
            (false, _) => "choose another address by --address, or leave them out by --skip-unaddressed",
        };
        let all = [unaddressed.as_slice(), unresolved.as_slice()].concat();
        let what = format!("unable to list all instances in service: {}: {hint}", told(&all));
        Err(if unaddressed.is_empty() { Failure::temporary(what) } else { Failure::permanent(what) })
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

/// The groups in which some instance has the tags that are asked for.
fn groups_with_tags<'f>(fleet: &'f Fleet, selection: &Selection) -> HashSet<&'f str> {
    let instances = fleet.instances.iter().filter(|instance| selection.has_tags(Some(instance), None));
    instances.filter_map(|instance| instance.tag(GROUP_TAG)).collect()
}

/// Some of them by name, and how many more there are.
pub(crate) fn told(left_out: &[&LeftOut<'_>]) -> String {
    const SHOWN: usize = 10;
    let mut words: Vec<String> = left_out.iter().take(SHOWN).map(ToString::to_string).collect();
    if left_out.len() > SHOWN {
        words.push(format!("and {} more", left_out.len() - SHOWN));
    }
    words.join(", ")
}

impl<'f> LeftOut<'f> {
    pub(crate) fn id(&self) -> &'f str {
        self.row.id()
    }

    pub(crate) fn is_unresolved(&self) -> bool {
        matches!(self.why, Why::Unknown | Why::Late(_))
    }

    pub(crate) fn is_in_service(&self) -> bool {
        !matches!(self.why, Why::Unaddressed { in_service: false, .. })
    }
}

impl fmt::Display for LeftOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} is ", self.id(), self.row.asg)?;
        match self.why {
            Why::Unknown => f.write_str("not known to EC2"),
            Why::Late(state) => write!(f, "{state} in EC2"),
            Why::Unaddressed { kind, .. } => f.write_str(kind.lacking()),
        }
    }
}

impl<'f> Row<'f> {
    fn id(&self) -> &'f str {
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
            host.ipv6.clone_from(&instance.ipv6_address);
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
