//! The actions that only tell.

use super::state::{Activity, State};
use super::{Refused, ScalingGroup, ScalingPolicy, xml};
use crate::fleet::query::{self, Query};
use crate::fleet::xml::list;

/// The result of a Describe action; nothing for any other.
pub(crate) fn describe(state: &State, query: &Query) -> Option<Result<String, Refused>> {
    Some(match query.action() {
        "DescribeAutoScalingGroups" => groups(state, query),
        "DescribeAutoScalingInstances" => instances(state, query),
        "DescribePolicies" => policies(state, query),
        "DescribeLifecycleHooks" => hooks(state, query),
        "DescribeScalingActivities" => activities(state, query),
        _ => return None,
    })
}

fn groups(state: &State, query: &Query) -> Result<String, Refused> {
    if query.get("Filters.member.1.Name").is_some() {
        return Err(Refused::invalid("Filters are not part of this model"));
    }
    let names = names(query, "AutoScalingGroupNames.member", 100)?;
    let found: Vec<&ScalingGroup> = state.groups.values().filter(|group| wanted(&names, &group.name)).collect();
    let with_instances = query.get("IncludeInstances") != Some("false");
    page(query, 100, "AutoScalingGroups", &found, |xml, group| xml::group(xml, group, with_instances))
}

fn instances(state: &State, query: &Query) -> Result<String, Refused> {
    let ids = names(query, "InstanceIds.member", 50)?;
    let members = state.groups.values().flat_map(|group| group.members.iter().map(move |member| (group, member)));
    let found: Vec<_> = members.filter(|(_, (id, ..))| wanted(&ids, id)).collect();
    page(query, 50, "AutoScalingInstances", &found, |xml, (group, member)| xml::instance(xml, group, member))
}

fn policies(state: &State, query: &Query) -> Result<String, Refused> {
    let names = names(query, "PolicyNames.member", 50)?;
    let kinds = query.list("PolicyTypes.member");
    let found: Vec<(&ScalingGroup, &ScalingPolicy)> = in_question(state, query)
        .flat_map(|group| group.policies.iter().map(move |policy| (group, policy)))
        .filter(|(_, policy)| wanted(&kinds, &policy.kind))
        .filter(|(group, policy)| names.is_empty() || names.iter().any(|name| policy.is_called(&group.name, name)))
        .collect();
    page(query, 100, "ScalingPolicies", &found, |xml, (group, policy)| xml::policy(xml, &group.name, policy))
}

fn hooks(state: &State, query: &Query) -> Result<String, Refused> {
    let names = names(query, "LifecycleHookNames.member", 50)?;
    let group = query.get("AutoScalingGroupName").ok_or_else(|| Refused::invalid("AutoScalingGroupName is missing"))?;
    let hooks = state.groups.get(group).into_iter().flat_map(|group| &group.hooks);
    let found: Vec<_> = hooks.filter(|(name, _)| wanted(&names, name)).collect();
    // This action has no pages.
    Ok(list("LifecycleHooks", &found, None, |xml, (name, transition)| xml::hook(xml, group, name, transition)))
}

fn activities(state: &State, query: &Query) -> Result<String, Refused> {
    let group = query.get("AutoScalingGroupName");
    let ids = query.list("ActivityIds.member");
    let numbered = state.activities.iter().enumerate().rev();
    let found: Vec<(String, &Activity)> = numbered
        .map(|(number, activity)| (format!("activity-{}", number + 1), activity))
        .filter(|(id, activity)| wanted(&ids, id) && group.is_none_or(|name| name == activity.group))
        .collect();
    page(query, 100, "Activities", &found, |xml, (id, activity)| xml::activity(xml, id, activity))
}

/// The group that is asked about, or all of them.
fn in_question<'s>(state: &'s State, query: &'s Query) -> impl Iterator<Item = &'s ScalingGroup> {
    let name = query.get("AutoScalingGroupName");
    state.groups.values().filter(move |group| name.is_none_or(|name| name == group.name))
}

/// An empty list of names means all.
fn wanted(names: &[&str], name: &str) -> bool {
    names.is_empty() || names.contains(&name)
}

fn names<'q>(query: &'q Query, list: &str, most: usize) -> Result<Vec<&'q str>, Refused> {
    let names = query.list(list);
    if names.len() > most {
        return Err(Refused::invalid(format!("{list} holds more than {most}")));
    }
    Ok(names)
}

fn page<T>(
    query: &Query,
    most: usize,
    name: &str,
    found: &[T],
    show: impl Fn(&mut String, &T),
) -> Result<String, Refused> {
    let limit = query.limit();
    if !(1..=most).contains(&limit) {
        return Err(Refused::invalid(format!("MaxRecords is not between 1 and {most}")));
    }
    let unknown = || Refused::new(400, "InvalidNextToken", "The token is not one that was given");
    let (page, token) = query::page(found, query.skipped().ok_or_else(unknown)?, limit);
    Ok(list(name, page, token.as_deref(), show))
}
