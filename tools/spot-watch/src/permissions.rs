//! The least that the instance's role must allow, for the way of raising that is asked for.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon EC2 Auto Scaling".

use crate::args::{Args, Rung};
use cli::Output;
use failure::Failure;
use serde_json::{Value, json};

/// Prints the policy document.
///
/// # Errors
/// stdout can't be written.
pub(crate) fn print(args: &Args) -> Result<(), Failure> {
    let region = cli::block_on(1, region(args))?;
    let document = document(args, &region);
    let mut text = serde_json::to_string_pretty(&document).map_err(|error| Failure::permanent(error.to_string()))?;
    text.push('\n');
    Output::default().write_and_close(text.as_bytes())
}

fn document(args: &Args, region: &str) -> Value {
    let raise = &args.raise;
    let groups = |name: &str| {
        format!("arn:{}:autoscaling:{region}:*:autoScalingGroup:*:autoScalingGroupName/{name}", partition(region))
    };
    let group = literal(raise.group.as_deref().unwrap_or_default());
    let rungs = raise.capacity.map_or(vec![Rung::Launch, Rung::Policy], |rung| vec![rung]);
    let mut reads = vec!["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances"];
    let mut changes = Vec::new();
    let mut elsewhere = Vec::new();
    for rung in rungs {
        match rung {
            Rung::Launch => {
                changes.push("autoscaling:LaunchInstances");
                elsewhere.extend(["ec2:CreateFleet", "ec2:DescribeLaunchTemplateVersions"]);
            }
            Rung::Policy => {
                reads.push("autoscaling:DescribePolicies");
                changes.push("autoscaling:ExecutePolicy");
            }
        }
    }
    if raise.ensure_policy {
        changes.push("autoscaling:PutScalingPolicy");
    }
    if raise.max_size_ceiling.is_some() {
        changes.push("autoscaling:UpdateAutoScalingGroup");
    }
    let mut statements =
        vec![json!({"Sid": "Raise", "Effect": "Allow", "Action": changes, "Resource": groups(&group)})];
    if args.telling.complete_lifecycle {
        reads.push("autoscaling:DescribeLifecycleHooks");
        statements.push(json!({
            "Sid": "GoOn", "Effect": "Allow", "Action": ["autoscaling:CompleteLifecycleAction"],
            "Resource": groups("*"),
        }));
    }
    // AWS knows no resources for these.
    statements.push(json!({"Sid": "Read", "Effect": "Allow", "Action": reads, "Resource": "*"}));
    if !elsewhere.is_empty() {
        statements.push(json!({"Sid": "Launch", "Effect": "Allow", "Action": elsewhere, "Resource": "*"}));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A name in which nothing is a wildcard or a variable of IAM.
fn literal(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if "*?$".contains(c) { text.extend(["${", &c.to_string(), "}"]) } else { text.push(c) }
    }
    text
}

/// The partition of AWS that a region is in; where none is known, the policy holds in each.
fn partition(region: &str) -> &'static str {
    const BESIDES: [(&str, &str); 8] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("eusc-", "aws-eusc"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("*", "*"),
    ];
    BESIDES.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

/// As every tool finds it; `*` where nothing says.
async fn region(args: &Args) -> Result<String, Failure> {
    let known = args.aws.access().await?.sdk.region().map(ToString::to_string);
    Ok(known.unwrap_or_else(|| "*".to_owned()))
}
