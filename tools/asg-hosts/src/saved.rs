//! Saved output of the AWS CLI, as many documents one after the other as there are.

use crate::fleet::{Fleet, Group, Instance, each_once, time};
use failure::{Class, Failure};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// One document: a page of instances, or of groups.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    reservations: Option<Vec<Reservation>>,
    auto_scaling_groups: Option<Vec<Group>>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reservation {
    /// Required: a list of something else, of instances for instance, would be one of empty reservations.
    instances: Vec<Instance>,
}

/// Reads a file, or stdin for `-`.
///
/// # Errors
/// Nothing there, or something that is no whole list.
pub(crate) fn read(path: &Path) -> Result<Fleet, Failure> {
    if path == Path::new("-") {
        return parse(io::stdin().lock(), "stdin", Class::Temporary);
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::io(format!("unable to read {name}"), error))?;
    parse(file, &name, Class::Permanent)
}

/// `cut` is the class of input that ends in the middle, or between the documents: from a pipe it is a command before this one that failed.
fn parse(from: impl Read, name: &str, cut: Class) -> Result<Fleet, Failure> {
    let what = || format!("unable to read {name}");
    let wrong = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Io => Failure::io(what(), error.into()),
        serde_json::error::Category::Eof => Failure::new(cut, format!("{}: it ends in the middle", what())),
        _ => Failure::permanent(format!("{}: no output of aws ec2 describe-instances: {error}", what())),
    };
    let (mut fleet, mut documents, mut unfinished) = (Fleet::default(), 0, [false; 2]);
    let mut has_instances = false;
    for document in serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, from)).into_iter() {
        let Document { reservations, auto_scaling_groups, next_token } = document.map_err(wrong)?;
        documents += 1;
        if reservations.is_none() && auto_scaling_groups.is_none() {
            return Err(Failure::permanent(format!(
                "{}: document {documents} is no output of aws ec2 describe-instances",
                what()
            )));
        }
        // One document may hold both: what merges documents merges these.
        if let Some(reservations) = reservations {
            has_instances = true;
            unfinished[0] = next_token.is_some();
            fleet.instances.extend(reservations.into_iter().flat_map(|reservation| reservation.instances));
        }
        if let Some(groups) = auto_scaling_groups {
            unfinished[1] = next_token.is_some();
            fleet.groups.get_or_insert_default().extend(groups);
        }
    }
    if documents == 0 {
        return Err(Failure::temporary(format!("{}: it is empty: the command before this one failed", what())));
    }
    if !has_instances {
        return Err(Failure::new(cut, format!("{}: it has no output of aws ec2 describe-instances", what())));
    }
    if unfinished.contains(&true) {
        return Err(Failure::permanent(format!("{}: its last page says that there are more (NextToken)", what())));
    }
    if fleet.groups.iter().flatten().flat_map(|group| &group.members).any(|member| member.instance_id.is_empty()) {
        return Err(Failure::permanent(format!("{}: a group's instance has no InstanceId", what())));
    }
    for instance in &mut fleet.instances {
        if instance.instance_id.is_empty() {
            return Err(Failure::permanent(format!("{}: an instance has no InstanceId", what())));
        }
        instance.region = region(&instance.placement.availability_zone).to_owned();
        instance.launch_time = time(&instance.launch_time);
        instance.take_ipv6_address();
    }
    each_once(&mut fleet.instances);
    Ok(fleet)
}

/// The region that a zone is in: `eu-west-1` of `eu-west-1a`, `us-west-2` of the local zone `us-west-2-lax-1a`.
fn region(zone: &str) -> &str {
    let digits = zone.find(|c: char| c.is_ascii_digit()).map(|start| {
        let rest = &zone[start..];
        start + rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
    });
    digits.map_or("", |end| &zone[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_name_their_region() {
        assert_eq!(region("eu-west-1a"), "eu-west-1");
        assert_eq!(region("us-west-2-lax-1a"), "us-west-2");
        assert_eq!(region("us-gov-east-1b"), "us-gov-east-1");
        assert_eq!(region(""), "");
    }

    #[test]
    fn almost_a_saved_fleet() {
        let sample = br#"{"Reservations":[{"Instances":[{"InstanceId":"i-0123456789abcdef0","PrivateIpAddress":"10.0.0.1",
            "LaunchTime":"2026-01-23T11:20:02+00:00","State":{"Name":"running"},"Placement":{"AvailabilityZone":"eu-west-1a"},
            "NetworkInterfaces":[{"Ipv6Addresses":[{"Ipv6Address":"fd00::1"}]}],"Tags":[{"Key":"Name","Value":"a\"b"}]}]}],
            "AutoScalingGroups":[{"AutoScalingGroupName":"web","Instances":[{"InstanceId":"i-0123456789abcdef0",
            "LifecycleState":"InService","HealthStatus":"Healthy"}]}],"NextToken":null}"#;
        testkit::comes_to_an_end("almost_a_saved_fleet", &[sample], |bytes| drop(parse(bytes, "x", Class::Permanent)));
    }
}
