//! Auto Scaling's groups, page by page.

use crate::fleet::{Group, GroupTag, Member};
use crate::selection::Selection;
use aws_sdk_autoscaling::{Client, types};
use cli::Console;
use failure::Failure;

/// Most groups on a page.
const PAGE: i32 = 100;
/// Most names in a request.
const NAMES: usize = 50;

/// The groups asked for.
///
/// # Errors
/// A request fails.
pub(super) async fn describe(
    client: &Client,
    region: &str,
    selection: &Selection,
    console: Console,
) -> Result<Vec<Group>, Failure> {
    let what = || format!("unable to list the groups of {region}");
    let names = selection.only_names().filter(|names| names.len() <= NAMES);
    let names: Option<Vec<String>> = names.map(|names| names.iter().cloned().collect());
    let (mut groups, mut all, mut pages, mut token) = (Vec::new(), 0, 0, None);
    loop {
        let request = client.describe_auto_scaling_groups().max_records(PAGE);
        let request = request.set_auto_scaling_group_names(names.clone()).set_next_token(token.clone());
        let answer = request.send().await.map_err(|error| aws::failure(what(), error))?;
        pages += 1;
        for group in answer.auto_scaling_groups.unwrap_or_default() {
            all += 1;
            let group = convert(group);
            if selection.has_group(&group.name) {
                groups.push(group);
            }
        }
        token = super::next(answer.next_token, token.as_deref(), what)?;
        if token.is_none() {
            break;
        }
    }
    console.step(format!("{region}: {} of {all} groups, {pages} requests", groups.len()));
    Ok(groups)
}

fn convert(group: types::AutoScalingGroup) -> Group {
    let members = group.instances.unwrap_or_default().into_iter().map(|one| Member {
        instance_id: one.instance_id.unwrap_or_default(),
        instance_type: one.instance_type.unwrap_or_default(),
        availability_zone: one.availability_zone.unwrap_or_default(),
        lifecycle_state: one.lifecycle_state.map_or_else(String::new, |state| state.as_str().to_owned()),
        health_status: one.health_status.unwrap_or_default(),
    });
    let tags = group.tags.unwrap_or_default().into_iter().map(|tag| GroupTag {
        key: tag.key.unwrap_or_default(),
        value: tag.value.unwrap_or_default(),
        propagate_at_launch: tag.propagate_at_launch.unwrap_or_default(),
    });
    Group { name: group.auto_scaling_group_name.unwrap_or_default(), members: members.collect(), tags: tags.collect() }
}
