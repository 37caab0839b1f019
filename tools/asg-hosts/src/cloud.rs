//! AWS, asked in all regions at once. Either every page of every region came, or nothing is known.

mod groups;
mod instances;
mod trim;

use crate::fleet::{Detail, Fleet, GROUP_TAG, Group, each_once};
use crate::selection::Selection;
use aws_config::{Region, SdkConfig};
use aws_sdk_ec2::types::Filter;
use cli::Console;
use failure::Failure;
use futures_util::future::{try_join, try_join_all};

/// Most values that a filter of EC2 takes.
const FILTER_VALUES: usize = 200;

/// Asks every region.
///
/// # Errors
/// A request that fails, whichever: part of an answer is never returned.
pub(crate) async fn describe(
    sdk: &SdkConfig,
    regions: &[String],
    selection: &Selection,
    detail: Detail,
    console: Console,
) -> Result<Fleet, Failure> {
    let asked = regions.iter().map(|region| describe_region(sdk, region, selection, detail, console));
    let answers = try_join_all(asked).await?;
    let (groups, instances): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    // Added to those of the first region, which is mostly the only one: a copy of a large fleet is much memory.
    let instances = instances.into_iter().reduce(|mut all, more| {
        all.extend(more);
        all
    });
    let groups = selection.needs_groups().then(|| groups.into_iter().flatten().collect());
    let mut fleet = Fleet { groups, instances: instances.unwrap_or_default() };
    each_once(&mut fleet.instances);
    Ok(fleet)
}

async fn describe_region(
    sdk: &SdkConfig,
    region: &str,
    selection: &Selection,
    detail: Detail,
    console: Console,
) -> Result<(Vec<Group>, Vec<crate::fleet::Instance>), Failure> {
    let region_name = Region::new(region.to_owned());
    let mut config = aws_sdk_ec2::config::Builder::from(sdk).region(region_name.clone());
    if let Some(http) = sdk.http_client() {
        config = config.http_client(trim::trimmed(http, detail));
    }
    let ec2 = aws_sdk_ec2::Client::from_conf(config.build());
    let config = aws_sdk_autoscaling::config::Builder::from(sdk).region(region_name).build();
    let auto_scaling = aws_sdk_autoscaling::Client::from_conf(config);
    let groups = groups::describe(&auto_scaling, region, selection, console);
    if !selection.needs_groups() {
        return Ok((Vec::new(), instances::describe(&ec2, region, None, detail, console).await?));
    }
    if !selection.names_groups() {
        return try_join(groups, instances::describe(&ec2, region, None, detail, console)).await;
    }
    let groups = groups.await?;
    let asked: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let instances = match asked.len() {
        0 => Vec::new(),
        1..=FILTER_VALUES => instances::describe(&ec2, region, Some(of_groups(&asked)), detail, console).await?,
        _ => instances::describe(&ec2, region, None, detail, console).await?,
    };
    Ok((groups, instances))
}

/// Lets EC2 leave out the instances of other groups. What it reads as a wildcard stands for one character of any kind: an
/// instance too many is left out here, one too few would be lost.
fn of_groups(names: &[&str]) -> Filter {
    let values = names.iter().map(|name| name.replace(['\\', '*', '?'], "?")).collect();
    Filter::builder().name(format!("tag:{GROUP_TAG}")).set_values(Some(values)).build()
}

/// The token of the next page, unless this was the last. A service that gives the same one again would be asked for ever.
fn next(token: Option<String>, asked_with: Option<&str>, what: impl Fn() -> String) -> Result<Option<String>, Failure> {
    match token.filter(|token| !token.is_empty()) {
        Some(token) if Some(token.as_str()) == asked_with => {
            Err(Failure::temporary(format!("{}: the same page came twice", what())))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_or_go_on_but_never_round_and_round() {
        let what = || "unable to list".to_owned();
        assert_eq!(next(None, Some("a"), what).unwrap(), None);
        assert_eq!(next(Some(String::new()), None, what).unwrap(), None);
        assert_eq!(next(Some("b".to_owned()), Some("a"), what).unwrap().as_deref(), Some("b"));
        assert!(next(Some("a".to_owned()), Some("a"), what).unwrap_err().is_temporary());
    }
}
