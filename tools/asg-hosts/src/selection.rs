//! Which groups and instances were asked for.

use crate::address::Addressing;
use crate::args::{Args, Lifecycle, State};
use crate::fleet::{Fleet, GROUP_TAG, Group, Instance, Member};
use clap::ValueEnum;
use failure::Failure;
use glob::Pattern;
use std::collections::{BTreeMap, BTreeSet};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Names of groups that must exist.
    names: BTreeSet<String>,
    globs: Vec<Pattern>,
    /// Accepted values of each key.
    tags: BTreeMap<String, BTreeSet<String>>,
    /// Accepted states; `None`: all.
    states: Option<Vec<String>>,
    lifecycle: Option<&'static str>,
    in_service: bool,
    healthy: bool,
    inventory: bool,
    /// In service means running too, unless other states were asked for.
    expects_running: bool,
    addressing: Option<Addressing>,
}

impl Selection {
    /// # Errors
    /// A pattern that is none.
    pub(crate) fn new(args: &Args) -> Result<Self, Failure> {
        let asked = &args.selectors;
        let (globs, names): (Vec<_>, Vec<_>) = asked.asg.iter().partition(|name| name.contains(['*', '?', '[']));
        let globs = globs
            .into_iter()
            .map(|glob| Pattern::new(glob).map_err(|error| Failure::usage(format!("--asg {glob}: {}", error.msg))));
        let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (key, value) in &asked.tag {
            tags.entry(key.clone()).or_default().insert(value.clone());
        }
        Ok(Self {
            names: names.into_iter().cloned().collect(),
            globs: globs.collect::<Result<_, _>>()?,
            tags,
            states: states(&asked.state, args.is_inventory()),
            lifecycle: asked.lifecycle.map(|lifecycle| match lifecycle {
                Lifecycle::Spot => "spot",
                Lifecycle::OnDemand => "on-demand",
            }),
            in_service: asked.in_service,
            healthy: asked.healthy,
            inventory: args.is_inventory(),
            expects_running: asked.in_service && args.is_inventory() && asked.state.is_empty(),
            addressing: args.addressing(),
        })
    }

    /// Whether Auto Scaling has to be asked. ec2.py never did: without a group or a member's state in question its
    /// inventory needs EC2 alone.
    pub(crate) fn needs_groups(&self) -> bool {
        !self.inventory || self.names_groups() || self.in_service || self.healthy
    }

    /// Whether only some groups are asked for.
    pub(crate) fn names_groups(&self) -> bool {
        !self.names.is_empty() || !self.globs.is_empty()
    }

    /// The names asked for, if no pattern is: then Auto Scaling needs not show all its groups.
    pub(crate) fn only_names(&self) -> Option<&BTreeSet<String>> {
        (self.globs.is_empty() && !self.names.is_empty()).then_some(&self.names)
    }

    /// Whether this group is asked for.
    pub(crate) fn has_group(&self, name: &str) -> bool {
        !self.names_groups() || self.names.contains(name) || self.globs.iter().any(|glob| glob.matches(name))
    }

    /// Whether instances in no group are listed: in ec2.py's inventory they are, and in saved output of EC2 alone nothing
    /// but a tag tells the group.
    pub(crate) fn has_groupless(&self, fleet: &Fleet) -> bool {
        !self.names_groups() && (self.inventory || fleet.groups.is_none())
    }

    /// # Errors
    /// A name that no group has, or a question that only Auto Scaling could answer.
    pub(crate) fn check(&self, fleet: &Fleet) -> Result<(), Failure> {
        if fleet.groups.is_none() && (self.in_service || self.healthy) {
            return Err(Failure::permanent(
                "unable to tell who is in service or healthy: the input has no output of \
                 aws autoscaling describe-auto-scaling-groups",
            ));
        }
        let known: BTreeSet<&str> = match &fleet.groups {
            Some(groups) => groups.iter().map(|group| group.name.as_str()).collect(),
            None => fleet.instances.iter().filter_map(|instance| instance.tag(GROUP_TAG)).collect(),
        };
        let unknown: Vec<&str> = self.names.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let s = if unknown.len() == 1 { "" } else { "s" };
        Err(Failure::permanent(format!("unable to list group{s} {}: not found", unknown.join(", "))))
    }

    /// How hosts are reached, if they are printed by their addresses.
    pub(crate) fn addressing(&self) -> Option<Addressing> {
        self.addressing
    }

    /// Why an instance is not listed, if it is not.
    pub(crate) fn refuses(
        &self,
        instance: Option<&Instance>,
        member: Option<&Member>,
        group: Option<&Group>,
    ) -> Option<&'static str> {
        if !self.has_tags(instance, group) {
            return Some("without the tag");
        }
        if self.states.as_ref().is_some_and(|states| !instance.is_some_and(|one| states.contains(&one.state.name))) {
            return Some("in another state");
        }
        self.refuses_lifecycle(instance).or_else(|| self.refuses_member(member))
    }

    /// Whether a member in service is asked for as far as can be known, but can't be reached because EC2 does not know it
    /// yet, or does not show it running: the two services do not agree yet. `kin` says that other instances of its group
    /// have the tags that were asked for.
    pub(crate) fn awaits(&self, instance: Option<&Instance>, member: &Member, group: &Group, kin: bool) -> bool {
        if self.addressing.is_none() || !member.is_in_service() || self.refuses_member(Some(member)).is_some() {
            return false;
        }
        match instance {
            Some(one) => {
                let runs = one.state.name == "running";
                self.expects_running
                    && !runs
                    && self.has_tags(instance, None)
                    && self.refuses_lifecycle(instance).is_none()
            }
            // A tag may come from the launch template, which Auto Scaling does not show.
            None => kin || self.has_tags(None, Some(group)),
        }
    }

    /// Whether an instance, or one of this group that EC2 does not know yet, has the tags.
    pub(crate) fn has_tags(&self, instance: Option<&Instance>, group: Option<&Group>) -> bool {
        self.tags.iter().all(|(key, values)| has_tag(key, values, instance, group))
    }

    fn refuses_lifecycle(&self, instance: Option<&Instance>) -> Option<&'static str> {
        let another = self.lifecycle.is_some_and(|wanted| instance.is_none_or(|one| one.lifecycle() != wanted));
        another.then_some("of another lifecycle")
    }

    fn refuses_member(&self, member: Option<&Member>) -> Option<&'static str> {
        if self.in_service && !member.is_some_and(Member::is_in_service) {
            return Some("not in service");
        }
        if self.healthy && member.is_none_or(|member| member.health_status != "Healthy") {
            return Some("not healthy");
        }
        None
    }
}

/// An instance that EC2 does not know yet has no tags there, but its group knows those that it will have.
fn has_tag(key: &str, values: &BTreeSet<String>, instance: Option<&Instance>, group: Option<&Group>) -> bool {
    match instance {
        Some(instance) => instance.tag(key).is_some_and(|value| values.contains(value)),
        None => group.is_some_and(|group| {
            group.tags.iter().any(|tag| tag.propagate_at_launch && tag.key == key && values.contains(&tag.value))
        }),
    }
}

fn states(asked: &[State], inventory: bool) -> Option<Vec<String>> {
    let asked = if asked.is_empty() && inventory { &[State::Running] } else { asked };
    if asked.is_empty() || asked.contains(&State::All) {
        return None;
    }
    let names = asked.iter().filter_map(ValueEnum::to_possible_value);
    Some(names.map(|name| name.get_name().to_owned()).collect())
}
