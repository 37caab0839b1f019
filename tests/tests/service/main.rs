//! The service as code: the template is what the linter, the figures, the scripts, the tools and moto say it must be.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod boot;
mod cloud;
mod dashboard;
mod figures;
mod life;
mod policy;
mod reclaim;
mod template;

use end_to_end::{root, stack_tool, tool};
use figures::{Held, differing, figures, safeguards};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use template::{LINTER, Stack, Template};
use testkit::{Finished, Tool};

fn lint(template: &std::path::Path) -> Finished {
    let regions = ["--regions", "us-east-1", "eu-west-1", "ap-southeast-1"];
    Tool::new(stack_tool(LINTER).join("cfn-lint")).arg("--template").arg(template).args(regions).run()
}

#[test]
fn the_linter_has_nothing_to_say() {
    let _clean = lint(&Template::path()).succeeds().stdout_is("").stderr_is_empty();
    // It finds an error and a mere warning.
    let dir = tempfile::tempdir().unwrap();
    for (rule, at, value) in [
        ("E3002", "/Resources/SpotGroup/Properties/MinimumSize", json!(1)),
        ("W2001", "/Parameters/Unused", json!({ "Type": "String" })),
    ] {
        let mut copy = Template::read();
        let (parent, name) = at.rsplit_once('/').unwrap();
        copy.0.pointer_mut(parent).unwrap()[name] = value;
        let file = dir.path().join("copy.json");
        fs::write(&file, copy.0.to_string()).unwrap();
        let run = lint(&file);
        assert!(run.code != Some(0) && run.stdout_str().contains(rule), "{}", run.report());
    }
}

/// Each figure stands as written down; and the check of that finds each one that is changed, and no other.
#[test]
fn every_figure_is_held() {
    let template = Template::read();
    eprintln!("{} figures, {} safeguards", figures().len(), safeguards().len());
    for held in [figures(), safeguards()] {
        assert_eq!(differing(&template, &held), Vec::<String>::new());
        for one in &held {
            let mut copy = template.clone();
            copy.change(&one.at);
            let shared = |other: &&Held| template.source(&other.at) == template.source(&one.at);
            let expected: Vec<String> = held.iter().filter(shared).map(|held| held.what.clone()).collect();
            assert_eq!(differing(&copy, &held), expected, "after a change of {}", one.what);
        }
    }
}

/// No policy, alarm, group or health check has a figure that the table leaves out.
#[test]
fn no_figure_is_left_out() {
    let template = Template::read();
    let held: BTreeSet<String> = figures().into_iter().map(|held| held.at).collect();
    let mut seen = 0;
    for kind in [
        "AWS::AutoScaling::AutoScalingGroup",
        "AWS::AutoScaling::ScalingPolicy",
        "AWS::CloudWatch::Alarm",
        "AWS::ElasticLoadBalancingV2::Listener",
        "AWS::ElasticLoadBalancingV2::TargetGroup",
    ] {
        for (name, properties) in template.of_type(kind) {
            for at in numbers(&template, &format!("/Resources/{name}/Properties"), properties) {
                assert!(held.contains(&at), "{at} is not in the table");
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

/// Where numbers stand, also those of parameters.
fn numbers(template: &Template, at: &str, value: &Value) -> Vec<String> {
    let is_number = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
    if template.value(at).is_some_and(is_number) {
        return vec![at.to_owned()];
    }
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| numbers(template, &format!("{at}/{index}"), item))
            .collect(),
        Value::Object(map) => {
            map.iter().flat_map(|(key, item)| numbers(template, &format!("{at}/{key}"), item)).collect()
        }
        _ => Vec::new(),
    }
}

/// What must not be there has no figure.
#[test]
fn nothing_else_is_there() {
    let template = Template::read();
    for kind in ["AWS::EC2::LaunchTemplate", "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::IAM::Role"] {
        assert_eq!(template.of_type(kind).len(), 1, "{kind}");
    }
    assert_eq!(template.of_type("AWS::AutoScaling::AutoScalingGroup").len(), 2);
    assert_eq!(template.of_type("AWS::AutoScaling::ScalingPolicy").len(), 6);
    assert_eq!(template.of_type("AWS::CloudWatch::Alarm").len(), 9);
    for (name, group) in template.of_type("AWS::AutoScaling::AutoScalingGroup") {
        assert!(group.get("DesiredCapacity").is_none(), "an update would take back what the policies did: {name}");
    }
    // A mix is no group for LaunchInstances; a market in the template would make both groups spot.
    assert!(template.0.pointer("/Resources/OnDemandGroup/Properties/MixedInstancesPolicy").is_none());
    let data = template.at("/Resources/LaunchTemplate/Properties/LaunchTemplateData");
    assert!(data.get("InstanceMarketOptions").is_none() && data.get("SecurityGroupIds").is_none());

    // One way to an instance, two to the load balancer.
    assert_eq!(template.of_type("AWS::EC2::SecurityGroup").len(), 2);
    assert!(template.0.pointer("/Resources/InstanceSecurityGroup/Properties/SecurityGroupIngress").is_none());
    let ways: Vec<String> =
        template.of_type("AWS::EC2::SecurityGroupIngress").into_iter().map(|(name, _)| name).collect();
    assert_eq!(ways, ["FromLoadBalancer"]);
    let open = template.at("/Resources/LoadBalancerSecurityGroup/Properties/SecurityGroupIngress").as_array().unwrap();
    assert_eq!(open.len(), 2);

    let threshold = |parameter: &str| template.at(&format!("/Parameters/{parameter}/Default")).as_f64().unwrap();
    assert!(threshold("OnDemandCpuHigh") > threshold("SpotCpuHigh"), "the cheaper group grows first");
    assert!(threshold("CpuLow") < threshold("SpotCpuHigh"));
}

/// The user data is settings, and behind them `scripts/instance-boot` byte for byte.
#[test]
fn the_user_data_is_instance_boot() {
    let template = Template::read();
    let parts = template.at("/Resources/LaunchTemplate/Properties/LaunchTemplateData/UserData/Fn::Base64/Fn::Join/1");
    let parts = parts.as_array().unwrap();
    let boot = fs::read_to_string(root().join("scripts/instance-boot")).unwrap();
    assert!(parts.len() == 2 && parts[1] == json!(boot), "put scripts/instance-boot into service.yaml, indented");

    let settings = parts[0]["Fn::Sub"].as_str().unwrap();
    assert!(settings.starts_with("#!/usr/bin/env bash\n"));
    for line in settings.lines().skip(1) {
        assert!(line.starts_with("export ") && line.ends_with('\''), "{line}");
    }
    // Each variable that is set is one that the script, or the SDK, reads.
    for name in settings.split_ascii_whitespace().filter_map(|word| Some(word.split_once("='")?.0)) {
        assert!(
            name.starts_with("AWS_") || boot.contains(&format!("#   {name} ")) || boot.contains(&format!("  {name} ")),
            "{name}"
        );
    }
    // What stands between quotes can't hold one.
    for name in
        settings.split("${").skip(1).map(|part| part.split('}').next().unwrap()).filter(|name| !name.contains(':'))
    {
        let parameter = template.at(&format!("/Parameters/{name}"));
        let pattern = parameter["AllowedPattern"].as_str().unwrap_or_else(|| unreachable!("{name} has no pattern"));
        let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        // A quote alone, first, last, in the middle, in what looks like a path, a name or a command.
        for quoted in ["'", "'a", "a'", "a'a", "/'", "/a'a", "abc'", "abc'def", "a b'c d"] {
            assert!(!pattern.is_match(quoted), "{name} may be {quoted}");
        }
    }
    assert!(settings.len() + boot.len() < 14_000, "EC2 takes 16 KiB");
    assert!(
        fs::metadata(Template::path()).unwrap().len() <= 51_200,
        "CloudFormation takes 51,200 bytes without a bucket"
    );
}

/// An instance may fetch, read its set-up script, raise by the rung that was chosen, and nothing else.
#[test]
fn the_role_allows_what_the_tools_say_they_need() {
    let template = Template::read();
    let statements = |resource: &str, at: &str, capacity: &str| {
        let mut parameters: std::collections::BTreeMap<String, String> = [
            ("Service", "obelix"),
            ("ReleaseBucket", "build"),
            ("AnsibleArtifact", "ansible-code"),
            ("DeployScriptsBucket", "deploy-scripts"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        parameters.insert("SpotWatchCapacity".to_owned(), capacity.to_owned());
        // spot-watch leaves the account open: it does not ask for it.
        let ids = [("AWS::Partition", "aws"), ("AWS::Region", cloud::REGION), ("AWS::AccountId", "*")];
        let ids = ids.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let stack = Stack { template: &template, parameters, ids };
        stack.has(resource).then(|| stack.resolve(template.at(&format!("/Resources/{resource}/Properties/{at}"))))
    };
    let boot = statements("InstanceRole", "Policies", "launch").unwrap();
    assert_eq!(boot.as_array().unwrap().len(), 1);
    let expected = json!([
        { "Sid": "Missing", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::build" },
        { "Sid": "Fetch", "Effect": "Allow", "Action": "s3:GetObject",
          "Resource": ["arn:aws:s3:::build/obelix/prod/*", "arn:aws:s3:::build/ansible-code/prod/*"] },
        { "Sid": "SetUp", "Effect": "Allow", "Action": "s3:GetObject",
          "Resource": "arn:aws:s3:::deploy-scripts/prod/obelix.sh" },
    ]);
    assert_eq!(boot[0]["PolicyDocument"]["Statement"], expected);
    assert!(template.0.pointer("/Resources/InstanceRole/Properties/ManagedPolicyArns").is_none());
    assert_eq!(template.of_type("AWS::IAM::Policy").len(), 2);

    for (capacity, resource, other) in
        [("launch", "SpotWatchLaunches", "SpotWatchExecutes"), ("policy", "SpotWatchExecutes", "SpotWatchLaunches")]
    {
        assert!(statements(other, "PolicyDocument", capacity).is_none(), "{capacity}");
        let raise = ["--raise", "obelix_ondemand_asg", "--capacity", capacity, "--region", cloud::REGION];
        let printed = tool("spot-watch").args(raise).arg("--iam-policy").run().succeeds();
        let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
        assert_eq!(statements(resource, "PolicyDocument", capacity).unwrap(), printed, "{capacity}");
    }
}

/// The README's table has every parameter, and its example those that have no default, with values that are allowed.
#[test]
fn the_readme_has_every_parameter() {
    let template = Template::read();
    let parameters = template.at("/Parameters").as_object().unwrap();
    let readme = fs::read_to_string(root().join("scripts/service/README.md")).unwrap();
    let table = readme.split_once("\n## Parameters\n").unwrap().1.split("\n## ").next().unwrap();
    let first_column = table.lines().filter_map(|row| row.strip_prefix("| `")?.split(" |").next());
    let names: Vec<&str> =
        first_column.flat_map(|names| names.split(", ")).map(|name| name.trim_matches('`')).collect();
    let told: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!((told, names.len()), (parameters.keys().map(String::as_str).collect(), parameters.len()));

    let example: Vec<String> = serde_json::from_str(&cloud::block("Create and update", "json")).unwrap();
    let example: Vec<(&str, &str)> = example.iter().map(|pair| pair.split_once('=').unwrap()).collect();
    let required: BTreeSet<&str> =
        parameters.iter().filter(|(_, p)| p.get("Default").is_none()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(example.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), required);
    for (name, value) in example {
        let pattern = parameters[name]["AllowedPattern"].as_str().unwrap_or(".*");
        assert!(regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(value), "{name}={value}");
    }
}
