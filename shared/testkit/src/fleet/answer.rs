//! Pages of groups and instances.

use super::query::{self, Query};
use super::{FleetCall, FleetFault, FleetInstance, Region, xml};
use crate::s3::reply::Reply;

pub(crate) fn answer(
    region: &Region,
    query: &Query,
    call: &FleetCall,
    largest: usize,
    fault: Option<&FleetFault>,
) -> Reply {
    let Some(skipped) = query.skipped() else {
        return xml::error(400, "InvalidParameterValue", "The token is not one that was given");
    };
    match call.action.as_str() {
        "DescribeInstances" => {
            // 5 to 1000, and none at all together with instance ids.
            if call.limit != usize::MAX && !(5..=1000).contains(&call.limit) {
                return xml::error(400, "InvalidParameterValue", "MaxResults is not between 5 and 1000");
            }
            let found: Vec<_> = match filtered(region, query) {
                Ok(found) => found,
                Err(name) => {
                    return xml::error(400, "InvalidParameterValue", &format!("The filter '{name}' is invalid"));
                }
            };
            let (page, token) = page(&found, skipped, call.limit.min(largest), query, fault);
            xml::instances(page, &region.ipv6, token.as_deref())
        }
        "DescribeAutoScalingGroups" => {
            if call.limit > 100 {
                return xml::error(400, "ValidationError", "MaxRecords is larger than 100");
            }
            let names = query.list("AutoScalingGroupNames.member");
            let found = region.groups.iter().filter(|group| names.is_empty() || names.contains(&group.name.as_str()));
            let found: Vec<_> = found.collect();
            let (page, token) = page(&found, skipped, call.limit.min(largest), query, fault);
            xml::groups(page, token.as_deref())
        }
        action => xml::error(400, "InvalidAction", &format!("The action {action} is not valid")),
    }
}

fn page<'f, T>(
    found: &'f [T],
    skipped: usize,
    limit: usize,
    query: &Query,
    fault: Option<&FleetFault>,
) -> (&'f [T], Option<String>) {
    match fault {
        Some(FleetFault::SameToken) => {
            let token = query.get("NextToken").unwrap_or("after-0");
            return (&[], Some(token.to_owned()));
        }
        // Another token for the same place.
        Some(FleetFault::EmptyPage) => return (&[], Some(format!("after-{skipped}-again"))),
        _ => {}
    }
    query::page(found, skipped, limit)
}

/// The instances that pass every filter, or the name of a filter that this model does not know.
fn filtered<'r>(region: &'r Region, query: &Query) -> Result<Vec<&'r FleetInstance>, String> {
    let mut found: Vec<&FleetInstance> = region.instances.iter().collect();
    for number in 1.. {
        let Some(name) = query.get(&format!("Filter.{number}.Name")) else { break };
        let values = query.list(&format!("Filter.{number}.Value"));
        let tag = name.strip_prefix("tag:");
        if tag.is_none() && name != "instance-state-name" {
            return Err(name.to_owned());
        }
        found.retain(|instance| {
            let text = match tag {
                Some(key) => instance.tags.iter().find(|(known, _)| known == key).map(|(_, text)| text),
                None => Some(&instance.state),
            };
            text.is_some_and(|text| values.iter().any(|value| matches(value, text)))
        });
    }
    Ok(found)
}

/// EC2's wildcards: `*` for any text, `?` for one character, `\` before a sign that stands for itself.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    fits(&pattern, &text)
}

fn fits(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=text.len()).any(|count| fits(rest, &text[count..])),
        (['\\', sign, rest @ ..], [c, others @ ..]) => sign == c && fits(rest, others),
        (['?', rest @ ..], [_, others @ ..]) => fits(rest, others),
        ([sign, rest @ ..], [c, others @ ..]) => sign == c && fits(rest, others),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards() {
        assert!(matches("a*c?", "abbbcd"));
        assert!(matches("a\\*", "a*"));
        assert!(!matches("a\\*", "ab"));
        assert!(!matches("a", "ab"));
    }
}
