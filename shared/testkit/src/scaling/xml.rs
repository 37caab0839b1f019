//! The results' XML, by the names of the service's model (2011-01-01).

use std::fmt::Write;

use super::state::Activity;
use super::{ScalingGroup, ScalingPolicy};
use crate::fleet::xml::{group_instance, group_tags, text};
use crate::s3::reply::{Reply, iso_date};

/// Why an error was sent that nothing but a test is the cause of.
pub(crate) const ASKED_FOR: &str = "This answer was asked for by a test.";

/// An error, under the root that the service's own have.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    let blame = if status < 500 { "Sender" } else { "Receiver" };
    Reply::new(status).xml(&format!(
        "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error><Type>{blame}</Type>\
         <Code>{}</Code><Message>{}</Message></Error><RequestId>testkit</RequestId></ErrorResponse>",
        text(code),
        text(message)
    ))
}

/// One element with its text escaped.
pub(crate) fn element(xml: &mut String, name: &str, value: impl ToString) {
    write!(xml, "<{name}>{}</{name}>", text(&value.to_string())).expect("writing to a String cannot fail");
}

/// One element around others.
fn nested(xml: &mut String, name: &str, content: impl FnOnce(&mut String)) {
    write!(xml, "<{name}>").expect("writing to a String cannot fail");
    content(xml);
    write!(xml, "</{name}>").expect("writing to a String cannot fail");
}

pub(crate) fn group(xml: &mut String, group: &ScalingGroup, with_instances: bool) {
    nested(xml, "member", |xml| {
        element(xml, "AutoScalingGroupName", &group.name);
        element(
            xml,
            "AutoScalingGroupARN",
            format!(
                "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:\
                 00000000-0000-0000-0000-000000000000:autoScalingGroupName/{}",
                group.name
            ),
        );
        group_source(xml, group);
        element(xml, "MinSize", group.min);
        element(xml, "MaxSize", group.max);
        element(xml, "DesiredCapacity", group.desired);
        element(xml, "DefaultCooldown", 300);
        nested(xml, "AvailabilityZones", |xml| group.zones.iter().for_each(|zone| element(xml, "member", zone)));
        element(xml, "HealthCheckType", "EC2");
        element(xml, "CreatedTime", "2026-11-22T20:35:14.000Z");
        if with_instances {
            let members = |xml: &mut String| group.members.iter().for_each(|one| member(xml, group, one));
            nested(xml, "Instances", members);
        }
        nested(xml, "SuspendedProcesses", |xml| {
            for process in &group.suspended {
                nested(xml, "member", |xml| {
                    element(xml, "ProcessName", process);
                    element(xml, "SuspensionReason", "User suspended at 2026-11-22T20:35:14Z");
                });
            }
        });
        element(xml, "VPCZoneIdentifier", group.zones.iter().map(|zone| subnet(zone)).collect::<Vec<_>>().join(","));
        group_tags(xml, &group.name, &group.tags);
        element(xml, "CapacityRebalance", group.capacity_rebalance);
        if let Some(kind) = &group.capacity_type {
            element(xml, "DesiredCapacityType", kind);
        }
    });
}

/// A zone has one subnet.
pub(crate) fn subnet(zone: &str) -> String {
    format!("subnet-{zone}")
}

fn member(xml: &mut String, group: &ScalingGroup, (id, zone, state): &(String, String, String)) {
    nested(xml, "member", |xml| {
        group_instance(xml, id, zone, state, "Healthy");
        launch_source(xml, group);
        weight(xml, group);
    });
}

/// A group of weighted instance types launches from its mixed instances policy.
fn group_source(xml: &mut String, group: &ScalingGroup) {
    if group.weights.is_empty() {
        return launch_source(xml, group);
    }
    nested(xml, "MixedInstancesPolicy", |xml| {
        nested(xml, "LaunchTemplate", |xml| {
            nested(xml, "LaunchTemplateSpecification", |xml| {
                element(xml, "LaunchTemplateName", format!("{}-template", group.name));
                element(xml, "Version", "1");
            });
            nested(xml, "Overrides", |xml| {
                for (kind, weight) in &group.weights {
                    nested(xml, "member", |xml| {
                        element(xml, "InstanceType", kind);
                        element(xml, "WeightedCapacity", weight);
                    });
                }
            });
        });
        nested(xml, "InstancesDistribution", |xml| {
            element(xml, "OnDemandBaseCapacity", 0);
            element(xml, "OnDemandPercentageAboveBaseCapacity", 100);
        });
    });
}

fn weight(xml: &mut String, group: &ScalingGroup) {
    if !group.weights.is_empty() {
        element(xml, "WeightedCapacity", group.weight());
    }
}

fn launch_source(xml: &mut String, group: &ScalingGroup) {
    if !group.launch_template {
        return element(xml, "LaunchConfigurationName", format!("{}-configuration", group.name));
    }
    nested(xml, "LaunchTemplate", |xml| {
        element(xml, "LaunchTemplateId", "lt-56d927fec34c37f49");
        element(xml, "LaunchTemplateName", format!("{}-template", group.name));
        element(xml, "Version", "1");
    });
}

/// This action says `HEALTHY` where the group says `Healthy`.
pub(crate) fn instance(xml: &mut String, group: &ScalingGroup, (id, zone, state): &(String, String, String)) {
    nested(xml, "member", |xml| {
        element(xml, "AutoScalingGroupName", &group.name);
        group_instance(xml, id, zone, state, "HEALTHY");
        launch_source(xml, group);
        weight(xml, group);
    });
}

pub(crate) fn policy(xml: &mut String, group: &str, policy: &ScalingPolicy) {
    nested(xml, "member", |xml| {
        element(xml, "AutoScalingGroupName", group);
        element(xml, "PolicyName", &policy.name);
        element(xml, "PolicyARN", policy.arn(group));
        element(xml, "PolicyType", &policy.kind);
        element(xml, "AdjustmentType", &policy.adjustment_type);
        element(xml, "ScalingAdjustment", policy.adjustment);
        if let Some(cooldown) = policy.cooldown {
            element(xml, "Cooldown", cooldown);
        }
        element(xml, "Enabled", true);
    });
}

pub(crate) fn hook(xml: &mut String, group: &str, name: &str, transition: &str) {
    nested(xml, "member", |xml| {
        element(xml, "LifecycleHookName", name);
        element(xml, "AutoScalingGroupName", group);
        element(xml, "LifecycleTransition", transition);
        element(xml, "HeartbeatTimeout", 3600);
        element(xml, "GlobalTimeout", 172_800);
        element(xml, "DefaultResult", "ABANDON");
    });
}

pub(crate) fn activity(xml: &mut String, id: &str, activity: &Activity) {
    nested(xml, "member", |xml| {
        element(xml, "ActivityId", id);
        element(xml, "AutoScalingGroupName", &activity.group);
        element(xml, "Description", &activity.description);
        element(xml, "Cause", &activity.cause);
        element(xml, "StartTime", iso_date(activity.at));
        element(xml, "EndTime", iso_date(activity.at));
        element(xml, "StatusCode", "Successful");
        element(xml, "Progress", 100);
    });
}

/// What LaunchInstances answers.
pub(crate) fn launched(group: &str, token: &str, zone: &str, ids: &[String]) -> String {
    let mut xml = String::new();
    element(&mut xml, "AutoScalingGroupName", group);
    element(&mut xml, "ClientToken", token);
    nested(&mut xml, "Instances", |xml| {
        nested(xml, "member", |xml| {
            element(xml, "InstanceType", "m4.large");
            element(xml, "MarketType", "OnDemand");
            element(xml, "SubnetId", subnet(zone));
            element(xml, "AvailabilityZone", zone);
            nested(xml, "InstanceIds", |xml| ids.iter().for_each(|id| element(xml, "member", id)));
        });
    });
    nested(&mut xml, "Errors", |_| {});
    xml
}
