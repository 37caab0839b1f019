//! How capacity will be raised, found out at the start by reading only: credentials, names and connections are then warm, and
//! what can't work is told while there is time to mend it.

use crate::args::{Args, Raise, Rung};
use crate::metadata::aws_clock::AwsClock;
use crate::metadata::identity::Identity;
use aws_config::Region;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::types::AutoScalingGroup;
use failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One request must leave time for others.
const LONGEST_REQUEST: Duration = Duration::from_secs(5);
const ADJUSTMENT: &str = "ChangeInCapacity";
const STRAY: &str = "unable to complete a lifecycle action: the instance is in no Auto Scaling group";
const SIMPLE: &str = "SimpleScaling";

/// What is known before the first notice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// `None`: nothing is to be asked of AWS.
    pub(crate) client: Option<Client>,
    /// The group that gets the capacity.
    pub(crate) target: Option<Target>,
    /// The instance's own group.
    pub(crate) own: Option<String>,
    /// What a person should mend.
    pub(crate) warnings: Vec<String>,
}

/// A group and the ways to raise it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) group: String,
    /// In the order in which they are tried; never empty.
    pub(crate) rungs: Vec<Rung>,
    /// Where a launch is asked for; groups of one zone need none.
    pub(crate) zone: Option<String>,
    /// When the plan was made.
    pub(crate) now: Snapshot,
}

/// A group's figures, as read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) desired: i32,
    pub(crate) min: i32,
    pub(crate) max: i32,
}

/// A group's figures, and the instances that it has or is starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) size: Size,
    pub(crate) instances: i32,
}

/// What one look at a group shows.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) now: Snapshot,
    /// What its capacity counts, if not instances.
    pub(crate) units: Option<String>,
    /// It starts no instances.
    pub(crate) suspended: bool,
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum Planless {
    /// AWS can't be asked now.
    Unasked(Failure),
    /// Something is denied, gone or missing. It may concern one way only, so a plan that was good is kept.
    Refused(Failure),
    /// One more of the group's capacity is not one more instance: no earlier plan holds.
    InUnits(Failure),
}

impl From<Failure> for Planless {
    fn from(failure: Failure) -> Self {
        if failure.is_temporary() { Self::Unasked(failure) } else { Self::Refused(failure) }
    }
}

impl Plan {
    /// Asks AWS for what the arguments need; nothing where they need nothing.
    ///
    /// # Errors
    /// AWS can't be asked now, or capacity can't be raised this way.
    pub(crate) async fn make(args: &Args, identity: &Identity, clock: &AwsClock) -> Result<Self, Planless> {
        let raise = &args.raise;
        let raises = raise.is_asked_for();
        if !raises && !args.telling.complete_lifecycle {
            return Ok(Self { own: identity.group.clone(), ..Self::default() });
        }
        let client = client(args, identity, clock).await?;
        let own = match &identity.group {
            Some(name) => Some(name.clone()),
            None => own_group(&client, identity).await?,
        };
        let stray = args.telling.complete_lifecycle && own.is_none();
        if stray && !raises {
            return Err(Failure::permanent(STRAY).into());
        }
        let (target, mut warnings) = match raises {
            true => {
                let (target, warnings) =
                    target(&client, raise, args.watching.dry_run, identity, own.as_deref()).await?;
                (Some(target), warnings)
            }
            false => (None, Vec::new()),
        };
        if stray {
            warnings.push(STRAY.to_owned());
        }
        Ok(Self { client: Some(client), target, own, warnings })
    }
}

/// Requests are tried again by whoever knows what a lost answer means, so the client itself tries once.
async fn client(args: &Args, identity: &Identity, clock: &AwsClock) -> Result<Client, Failure> {
    let sdk = args.aws.access().await?.sdk;
    let region = sdk.region().cloned().or_else(|| identity.document.region.clone().map(Region::new));
    let region = region.ok_or_else(|| aws::without_region("unable to ask AWS"))?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(LONGEST_REQUEST / 2)
        .operation_timeout(LONGEST_REQUEST.min(args.aws.access.timeout))
        .build();
    let config = aws_sdk_autoscaling::config::Builder::from(&sdk)
        .region(region)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .time_source(clock.clone());
    Ok(Client::from_conf(config.build()))
}

async fn own_group(client: &Client, identity: &Identity) -> Result<Option<String>, Failure> {
    let id = &identity.document.instance_id;
    let asked = client.describe_auto_scaling_instances().instance_ids(id).send().await;
    let answer = asked.map_err(|error| aws::failure(format!("unable to find the group of {id}"), error))?;
    Ok(answer.auto_scaling_instances().iter().find_map(|one| one.auto_scaling_group_name()).map(str::to_owned))
}

/// The groups of these names that there are.
pub(crate) async fn groups(client: &Client, names: &[&str]) -> Result<Vec<AutoScalingGroup>, Failure> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let asked = client.describe_auto_scaling_groups().set_auto_scaling_group_names(Some(names)).send().await;
    let answer = asked.map_err(|error| aws::failure("unable to read the Auto Scaling groups", error))?;
    Ok(answer.auto_scaling_groups.unwrap_or_default())
}

/// The figures of one group.
///
/// # Errors
/// It can't be read, or is gone.
pub(crate) async fn size(client: &Client, group: &str) -> Result<Size, Failure> {
    Ok(read(client, group).await?.now.size)
}

/// The group as it is now.
///
/// # Errors
/// It can't be read, or is gone.
pub(crate) async fn read(client: &Client, group: &str) -> Result<Reading, Failure> {
    let found = groups(client, &[group]).await?;
    found.first().map(Reading::of).ok_or_else(|| no_group(group))
}

impl Reading {
    fn of(group: &AutoScalingGroup) -> Self {
        // Those that leave, or wait outside the group's capacity, are none that a rise adds.
        let counts = |state: &str| state == "InService" || state.starts_with("Pending");
        let instances = group.instances().iter().filter_map(|one| one.lifecycle_state());
        let instances = instances.filter(|state| counts(state.as_str())).count();
        let instances = i32::try_from(instances).unwrap_or(i32::MAX);
        let suspended = group.suspended_processes().iter().any(|process| process.process_name() == Some("Launch"));
        Self { now: Snapshot { size: Size::of(group), instances }, units: units(group), suspended }
    }
}

impl Snapshot {
    /// Whether the group has risen since, by as many instances at least as its desired capacity: the rises of a herd are all
    /// in the group then, and one's own among them.
    pub(crate) fn has_grown_since(&self, before: &Self) -> bool {
        let risen = self.size.desired - before.size.desired;
        risen > 0 && self.instances - before.instances >= risen
    }
}

/// What the group's capacity counts, if not instances.
///
/// Source: Amazon EC2 Auto Scaling API reference, `LaunchTemplateOverrides` and `DesiredCapacityType`.
fn units(group: &AutoScalingGroup) -> Option<String> {
    if let Some(kind) = group.desired_capacity_type().filter(|kind| !kind.is_empty() && *kind != "units") {
        let what = match kind {
            "vcpu" => "vCPUs",
            "memory-mib" => "MiB of memory",
            other => other,
        };
        return Some(format!("{what} (its DesiredCapacityType is {kind})"));
    }
    // A weight of 1 is an instance.
    let weighs = |weight: Option<&str>| weight.filter(|weight| *weight != "1").map(str::to_owned);
    let template = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    let overrides = template.map(|template| template.overrides()).unwrap_or_default();
    let of_types = overrides.iter().find_map(|one| {
        let weight = weighs(one.weighted_capacity())?;
        Some(format!("units ({} weighs {weight})", one.instance_type().unwrap_or("an instance type")))
    });
    of_types.or_else(|| {
        group.instances().iter().find_map(|one| {
            let weight = weighs(one.weighted_capacity())?;
            Some(format!("units ({} weighs {weight})", one.instance_id().unwrap_or("an instance")))
        })
    })
}

/// Why such a group is not raised.
pub(crate) fn in_units(group: &str, units: &str) -> Failure {
    Failure::permanent(format!(
        "unable to raise {group}: its capacity counts {units}, so one more is not one more instance; name a group that \
         counts instances"
    ))
}

impl Size {
    fn of(group: &AutoScalingGroup) -> Self {
        let figure = |figure: Option<i32>| figure.unwrap_or_default();
        Self { desired: figure(group.desired_capacity), min: figure(group.min_size), max: figure(group.max_size) }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.desired >= self.max
    }
}

async fn target(
    client: &Client,
    raise: &Raise,
    dry_run: bool,
    identity: &Identity,
    own: Option<&str>,
) -> Result<(Target, Vec<String>), Planless> {
    let own_group = match own {
        Some(name) => groups(client, &[name]).await?.into_iter().next(),
        None => None,
    };
    let name = match (&raise.group, &raise.from_tag) {
        (Some(name), _) => name.clone(),
        (None, Some(key)) => tagged(own_group.as_ref(), key)?,
        (None, None) => return Err(Failure::usage("no group to raise is named").into()),
    };
    if own == Some(name.as_str()) {
        return Err(Failure::permanent(format!("unable to raise {name}: it is the instance's own group")).into());
    }
    let group = groups(client, &[&name]).await?.into_iter().next().ok_or_else(|| no_group(&name))?;
    let Reading { now, units, suspended } = Reading::of(&group);
    if let Some(units) = units {
        return Err(Planless::InUnits(in_units(&name, &units)));
    }
    let size = now.size;

    let launch = can_launch(&group, suspended);
    let policy = match (raise.capacity, &launch) {
        (Some(Rung::Launch), _) => Err("not looked at".to_owned()),
        _ => can_execute(client, raise, dry_run, &name).await?,
    };
    let possible = |rung: Rung| match rung {
        Rung::Launch => launch.as_ref().err(),
        Rung::Policy => policy.as_ref().err(),
    };
    let wanted = raise.capacity.map_or(vec![Rung::Launch, Rung::Policy], |rung| vec![rung]);
    let rungs: Vec<Rung> = wanted.iter().copied().filter(|rung| possible(*rung).is_none()).collect();
    if rungs.is_empty() {
        let why: Vec<&str> = wanted.iter().filter_map(|rung| possible(*rung)).map(String::as_str).collect();
        return Err(Failure::permanent(format!("unable to raise {name}: {}", why.join("; "))).into());
    }

    let mut warnings = Vec::new();
    if suspended {
        warnings.push(format!("{name} has its Launch process suspended: its capacity rises, but no instance starts"));
    }
    if size.is_full() && raise.max_size_ceiling.is_none_or(|ceiling| ceiling <= size.max) {
        warnings.push(format!("{name} is at its maximum of {}: it can't rise", size.max));
    }
    if own_group.as_ref().and_then(AutoScalingGroup::capacity_rebalance).unwrap_or_default() {
        let own = own.unwrap_or_default();
        warnings
            .push(format!("{own} has capacity rebalancing: it replaces this instance too, which doubles the capacity"));
    }
    let zones = group.availability_zones();
    let zone = match zones {
        [_, _, ..] => Some(zone(zones, identity)),
        _ => None,
    };
    Ok((Target { group: name, rungs, zone, now }, warnings))
}

fn no_group(name: &str) -> Failure {
    Failure::permanent(format!("there is no Auto Scaling group {name}"))
}

fn tagged(own: Option<&AutoScalingGroup>, key: &str) -> Result<String, Failure> {
    let Some(own) = own else {
        return Err(Failure::permanent(format!(
            "unable to read the tag {key}: the instance is in no Auto Scaling group"
        )));
    };
    let value = own.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
    value.filter(|value| !value.is_empty()).map(str::to_owned).ok_or_else(|| {
        let own = own.auto_scaling_group_name().unwrap_or_default();
        Failure::permanent(format!("the Auto Scaling group {own} has no tag {key}"))
    })
}

/// Source: Amazon EC2 Auto Scaling user guide, "Launch instances synchronously".
fn can_launch(group: &AutoScalingGroup, suspended: bool) -> Result<(), String> {
    let mixed = group.mixed_instances_policy();
    if group.launch_template().is_none() && mixed.is_none() {
        return Err("LaunchInstances needs a launch template".to_owned());
    }
    if suspended {
        return Err("LaunchInstances needs the Launch process, which is suspended".to_owned());
    }
    let shares = mixed.and_then(|policy| policy.instances_distribution());
    let on_demand = shares.and_then(|shares| shares.on_demand_percentage_above_base_capacity()).unwrap_or(100);
    let base = shares.and_then(|shares| shares.on_demand_base_capacity()).unwrap_or(0);
    if (on_demand != 0 && on_demand != 100) || (on_demand == 0 && base != 0) {
        return Err("LaunchInstances takes no group that mixes spot and on-demand instances".to_owned());
    }
    Ok(())
}

/// Whether the policy is there and adds one instance; put, where that was asked for.
async fn can_execute(
    client: &Client,
    raise: &Raise,
    dry_run: bool,
    group: &str,
) -> Result<Result<(), String>, Failure> {
    let name = &raise.policy;
    let asked = client.describe_policies().auto_scaling_group_name(group).policy_names(name).send().await;
    let answer = match asked.map_err(|error| aws::failure(format!("unable to read the policies of {group}"), error)) {
        Ok(answer) => answer,
        // The other way may be open all the same.
        Err(failure) if !failure.is_temporary() => return Ok(Err(failure.to_string())),
        Err(failure) => return Err(failure),
    };
    if let Some(policy) = answer.scaling_policies().first() {
        let kind = policy.policy_type().unwrap_or(SIMPLE);
        let adds_one = policy.adjustment_type() == Some(ADJUSTMENT) && policy.scaling_adjustment() == Some(1);
        return Ok(match kind == SIMPLE && adds_one {
            true => Ok(()),
            false => Err(format!("its policy {name} is not a simple scaling policy that adds one instance")),
        });
    }
    if !raise.ensure_policy {
        return Ok(Err(format!("it has no policy {name} (--ensure-policy puts it)")));
    }
    if dry_run {
        return Ok(Ok(()));
    }
    let put = client.put_scaling_policy().auto_scaling_group_name(group).policy_name(name).policy_type(SIMPLE);
    let put = put.adjustment_type(ADJUSTMENT).scaling_adjustment(1).cooldown(0).send().await;
    put.map_err(|error| aws::failure(format!("unable to put the policy {name} of {group}"), error))?;
    Ok(Ok(()))
}

/// The instance's own zone, where the group has it; else one that differs from instance to instance.
fn zone(zones: &[String], identity: &Identity) -> String {
    let own = identity.document.availability_zone.as_ref();
    let spread = identity.document.instance_id.bytes().map(usize::from).sum::<usize>() % zones.len();
    own.filter(|own| zones.contains(own)).cloned().unwrap_or_else(|| zones[spread].clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_autoscaling::types::{
        Instance, InstancesDistribution, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification,
        MixedInstancesPolicy,
    };

    #[test]
    fn groups_that_can_launch() {
        let group = AutoScalingGroup::builder;
        let template = LaunchTemplateSpecification::builder().launch_template_name("t").build();
        assert!(can_launch(&group().launch_template(template.clone()).build(), false).is_ok());
        assert!(can_launch(&group().launch_template(template).build(), true).is_err());
        assert!(can_launch(&group().launch_configuration_name("c").build(), false).is_err());
        let mixed = |base: i32, above: i32| {
            let shares = InstancesDistribution::builder().on_demand_base_capacity(base);
            let shares = shares.on_demand_percentage_above_base_capacity(above).build();
            group()
                .mixed_instances_policy(MixedInstancesPolicy::builder().instances_distribution(shares).build())
                .build()
        };
        assert!(can_launch(&mixed(0, 100), false).is_ok());
        assert!(can_launch(&mixed(0, 0), false).is_ok());
        assert!(can_launch(&mixed(1, 0), false).is_err());
        assert!(can_launch(&mixed(0, 30), false).is_err());
    }

    #[test]
    fn groups_that_count_something_else_than_instances() {
        let group = AutoScalingGroup::builder;
        let weighted = |weights: &[&str]| {
            let overrides = weights.iter().map(|weight| {
                LaunchTemplateOverrides::builder().instance_type("m4.large").weighted_capacity(*weight).build()
            });
            let template = LaunchTemplate::builder().set_overrides(Some(overrides.collect())).build();
            group().mixed_instances_policy(MixedInstancesPolicy::builder().launch_template(template).build())
        };
        assert_eq!(units(&group().desired_capacity_type("units").build()), None);
        assert_eq!(units(&weighted(&["1", "1"]).build()), None);
        assert_eq!(units(&weighted(&["1", "16"]).build()).unwrap(), "units (m4.large weighs 16)");
        assert!(units(&group().desired_capacity_type("vcpu").build()).unwrap().starts_with("vCPUs"));
        assert!(units(&group().desired_capacity_type("memory-mib").build()).unwrap().starts_with("MiB"));
        let member = Instance::builder().instance_id("i-1").weighted_capacity("2").build();
        assert_eq!(units(&group().instances(member).build()).unwrap(), "units (i-1 weighs 2)");
    }

    #[test]
    fn a_group_has_grown_when_every_rise_has_its_instance() {
        let at = |desired, instances| Snapshot { size: Size { desired, min: 0, max: 99 }, instances };
        assert!(at(3, 3).has_grown_since(&at(2, 2)));
        assert!(at(3, 1).has_grown_since(&at(2, 0)), "instances that were missing before are not waited for");
        assert!(!at(3, 2).has_grown_since(&at(2, 2)), "no instance yet");
        assert!(!at(5, 3).has_grown_since(&at(2, 2)), "of a herd's three one is there, and may be another's");
        assert!(!at(2, 3).has_grown_since(&at(2, 2)), "no rise");
    }
}
