//! The actions that change a group, LaunchInstances aside. Each checks everything before it changes anything.

use std::time::Instant;

use super::books::{Books, Done};
use super::{Refused, ScalingPolicy, xml};
use crate::fleet::query::Query;

pub(crate) fn execute_policy(books: &mut Books, query: &Query, now: Instant) -> Result<Done, Refused> {
    let name = required(query, "PolicyName")?;
    let group = books.state.group(query)?;
    let policy = group.policies.iter().find(|policy| policy.is_called(&group.name, name));
    let policy = policy.ok_or_else(|| Refused::invalid(format!("Policy {name} not found")))?;
    if policy.kind != "SimpleScaling" || policy.adjustment_type != "ChangeInCapacity" {
        return Err(Refused::invalid("Only ChangeInCapacity of SimpleScaling can be executed"));
    }
    // A policy never leaves the bounds, and says nothing about it.
    let desired = (group.desired + policy.adjustment).min(group.max).max(group.min);
    let sizes = (group.min, desired, group.max);
    let why = format!("executed policy {}", policy.name);
    cooled_down(books, query, now)?;
    books.resize(query, now, &why, sizes)?;
    Ok(Done::now(String::new()))
}

pub(crate) fn set_desired_capacity(books: &mut Books, query: &Query, now: Instant) -> Result<Done, Refused> {
    let desired = number(query, "DesiredCapacity")?;
    let group = books.state.group(query)?;
    let (min, max) = (group.min, group.max);
    for (bound, value, broken) in [("above max", max, desired > max), ("below min", min, desired < min)] {
        if broken {
            return Err(Refused::invalid(format!(
                "New SetDesiredCapacity value {desired} is {bound} value {value} for the AutoScalingGroup."
            )));
        }
    }
    cooled_down(books, query, now)?;
    books.resize(query, now, "explicitly set group desired capacity", (min, desired, max))?;
    Ok(Done::now(String::new()))
}

/// New bounds move the desired capacity unless the request says where it is to be.
pub(crate) fn update_group(books: &mut Books, query: &Query, now: Instant) -> Result<Done, Refused> {
    let group = books.state.group(query)?;
    let written = optional(query, "MaxSize")?;
    let (min, max) = (optional(query, "MinSize")?.unwrap_or(group.min), written.unwrap_or(group.max));
    if min > max || min < 0 {
        return Err(Refused::invalid(format!("Max bound, {max}, must be greater than or equal to min bound, {min}")));
    }
    let desired = match optional(query, "DesiredCapacity")? {
        Some(desired) if !(min..=max).contains(&desired) => {
            return Err(Refused::invalid(format!(
                "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
            )));
        }
        desired => desired.unwrap_or(group.desired).clamp(min, max),
    };
    if let Some(written) = written {
        group.lowest_max_written = Some(group.lowest_max_written.map_or(written, |lowest| lowest.min(written)));
    }
    let why = format!("update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {desired}");
    books.resize(query, now, &why, (min, desired, max))?;
    Ok(Done::now(String::new()))
}

/// A policy of the same name is replaced.
pub(crate) fn put_policy(books: &mut Books, query: &Query, _now: Instant) -> Result<Done, Refused> {
    let kind = query.get("PolicyType").unwrap_or("SimpleScaling");
    let (adjustment_type, adjustment) = if kind == "SimpleScaling" {
        (required(query, "AdjustmentType")?, number(query, "ScalingAdjustment")?)
    } else {
        (query.get("AdjustmentType").unwrap_or_default(), 0)
    };
    let policy = ScalingPolicy {
        name: required(query, "PolicyName")?.to_owned(),
        kind: kind.to_owned(),
        adjustment_type: adjustment_type.to_owned(),
        adjustment,
        cooldown: optional(query, "Cooldown")?,
    };
    let group = books.state.group(query)?;
    let mut result = String::new();
    xml::element(&mut result, "PolicyARN", policy.arn(&group.name));
    group.policies.retain(|known| known.name != policy.name);
    group.policies.push(policy);
    Ok(Done::now(result))
}

pub(crate) fn complete_lifecycle_action(books: &mut Books, query: &Query, _now: Instant) -> Result<Done, Refused> {
    let (hook, instance) = (required(query, "LifecycleHookName")?, required(query, "InstanceId")?);
    let outcome = required(query, "LifecycleActionResult")?;
    if !["CONTINUE", "ABANDON"].contains(&outcome) {
        return Err(Refused::invalid("LifecycleActionResult is neither CONTINUE nor ABANDON"));
    }
    let group = books.state.group(query)?;
    let known = group.hooks.iter().any(|(name, _)| name == hook) && group.members.iter().any(|(id, ..)| id == instance);
    // What is completed is no longer active: a second completion is refused like that of a stranger.
    let completed = group.completed.iter().any(|(name, id, _)| name == hook && id == instance);
    if !known || completed {
        return Err(Refused::invalid(format!("No active Lifecycle Action found with instance ID {instance}")));
    }
    group.completed.push((hook.to_owned(), instance.to_owned(), outcome.to_owned()));
    Ok(Done::now(String::new()))
}

fn cooled_down(books: &Books, query: &Query, now: Instant) -> Result<(), Refused> {
    if query.get("HonorCooldown") == Some("true") {
        books.limits.cooled_down(required(query, "AutoScalingGroupName")?, now)?;
    }
    Ok(())
}

fn required<'q>(query: &'q Query, name: &str) -> Result<&'q str, Refused> {
    query.get(name).ok_or_else(|| Refused::invalid(format!("{name} is missing")))
}

fn optional(query: &Query, name: &str) -> Result<Option<i64>, Refused> {
    let malformed = |_| Refused::invalid(format!("{name} is not a number"));
    query.get(name).map(|text| text.parse::<i32>().map(i64::from)).transpose().map_err(malformed)
}

/// A number that has to be there.
pub(crate) fn number(query: &Query, name: &str) -> Result<i64, Refused> {
    optional(query, name)?.ok_or_else(|| Refused::invalid(format!("{name} is missing")))
}
