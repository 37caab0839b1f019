//! LaunchInstances.

use std::time::Instant;

use super::books::{Books, Done};
use super::changes::number;
use super::{Refused, ScalingGroup, xml};
use crate::fleet::query::Query;

pub(crate) fn launch_instances(books: &mut Books, query: &Query, now: Instant) -> Result<Done, Refused> {
    let token = client_token(query)?;
    if let Some(result) = books.tokens.told(token, query)? {
        return Ok(Done { result, committed: false });
    }
    let count = number(query, "RequestedCapacity")?;
    if !(1..=100).contains(&count) {
        return Err(Refused::invalid("RequestedCapacity is not between 1 and 100"));
    }
    if !matches!(query.get("RetryStrategy"), None | Some("none" | "retry-with-group-configuration")) {
        return Err(Refused::invalid("RetryStrategy is neither none nor retry-with-group-configuration"));
    }
    let group = books.state.group(query)?;
    let (name, sizes) = (group.name.clone(), (group.min, group.desired + count, group.max));
    let zone = zone(group, query)?;
    if !group.launch_template {
        return Err(Refused::invalid(format!("AutoScalingGroup {name} does not use a launch template")));
    }
    if group.suspended.iter().any(|process| process == "Launch") {
        return Err(Refused::invalid(format!("The Launch process of AutoScalingGroup {name} is suspended")));
    }
    if sizes.1 > sizes.2 {
        let message =
            format!("Desired capacity {} is above max value {} for AutoScalingGroup {name}", sizes.1, sizes.2);
        return Err(Refused::invalid(message));
    }
    let ids = books.state.start(query, &zone, count.unsigned_abs())?;
    books.move_sizes(query, now, "launched instances", sizes)?;
    let result = xml::launched(&name, token, &zone, &ids);
    books.tokens.launched(token, query, &result);
    Ok(Done::now(result))
}

fn client_token(query: &Query) -> Result<&str, Refused> {
    let allowed = |sign: char| sign.is_ascii_alphanumeric() || "-_/".contains(sign);
    let token = query.get("ClientToken").unwrap_or_default();
    if !(1..=64).contains(&token.len()) || !token.chars().all(allowed) {
        return Err(Refused::invalid("ClientToken is not 1 to 64 of A-Z, a-z, 0-9, -, _ and /"));
    }
    Ok(token)
}

/// Where the instances go: a group with several zones has to be told.
fn zone(group: &ScalingGroup, query: &Query) -> Result<String, Refused> {
    if query.get("AvailabilityZoneIds.member.1").is_some() {
        return Err(Refused::invalid("AvailabilityZoneIds are not part of this model"));
    }
    let zones = query.list("AvailabilityZones.member").into_iter().map(str::to_owned);
    // A subnet and its zone are one place.
    let mut asked: Vec<String> = zones.map(|zone| xml::subnet(&zone)).collect();
    asked.extend(query.list("SubnetIds.member").into_iter().map(str::to_owned));
    asked.dedup();
    match (asked.as_slice(), group.zones.as_slice()) {
        ([], [only]) => Ok(only.clone()),
        ([subnet], zones) => {
            let known = zones.iter().find(|zone| xml::subnet(zone) == *subnet);
            known.cloned().ok_or_else(|| Refused::invalid("The zone or subnet is not one of the group's"))
        }
        _ => Err(Refused::invalid("Exactly one Availability Zone or subnet must be specified")),
    }
}
