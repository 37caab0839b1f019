//! Saved output of the AWS CLI, as many documents one after the other as there are.

use crate::fleet::{Fleet, Group, Instance, each_once, time};
use cli::{Class, Failure};
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
    #[serde(default)]
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

/// `cut` is the class of input that ends in the middle: from a pipe it is a command before this one that failed.
fn parse(from: impl Read, name: &str, cut: Class) -> Result<Fleet, Failure> {
    let what = || format!("unable to read {name}");
    let wrong = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Io => Failure::io(what(), error.into()),
        serde_json::error::Category::Eof => Failure::new(cut, format!("{}: it ends in the middle", what())),
        _ => Failure::permanent(format!("{}: no output of aws ec2 describe-instances: {error}", what())),
    };
    let (mut fleet, mut documents, mut unfinished) = (Fleet::default(), 0, [false; 2]);
    for document in serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, from)).into_iter() {
        let document: Document = document.map_err(wrong)?;
        documents += 1;
        let more = document.next_token.is_some();
        match (document.reservations, document.auto_scaling_groups) {
            (Some(reservations), _) => {
                unfinished[0] = more;
                fleet.instances.extend(reservations.into_iter().flat_map(|reservation| reservation.instances));
            }
            (None, Some(groups)) => {
                unfinished[1] = more;
                fleet.groups.get_or_insert_default().extend(groups);
            }
            (None, None) => {
                return Err(Failure::permanent(format!(
                    "{}: document {documents} is no output of aws ec2 describe-instances",
                    what()
                )));
            }
        }
    }
    if documents == 0 {
        return Err(Failure::temporary(format!("{}: it is empty: the command before this one failed", what())));
    }
    if unfinished.contains(&true) {
        return Err(Failure::permanent(format!("{}: its last page says that there are more (NextToken)", what())));
    }
    for instance in &mut fleet.instances {
        if instance.instance_id.is_empty() {
            return Err(Failure::permanent(format!("{}: an instance has no InstanceId", what())));
        }
        instance.region = region(&instance.placement.availability_zone).to_owned();
        instance.launch_time = time(&instance.launch_time);
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
}
