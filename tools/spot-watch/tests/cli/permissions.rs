//! The printed permissions.

use crate::harness::{Harness, TARGET};

fn actions(args: &[&str]) -> Vec<String> {
    let harness = Harness::new();
    let run = harness.raising().arg("--iam-policy").args(args).run().succeeds().stderr_is_empty();
    assert_eq!((harness.imds.call_count(), harness.scaling.calls().len()), (0, 0), "nobody is asked");
    let document: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(document["Version"], "2012-10-17");
    let mut actions = Vec::new();
    for statement in document["Statement"].as_array().unwrap() {
        for action in statement["Action"].as_array().unwrap() {
            let action = action.as_str().unwrap();
            actions.push(action.to_owned());
            let reads = action.contains(":Describe") || action == "ec2:CreateFleet";
            let resource = statement["Resource"].as_str().unwrap();
            let own = format!("arn:aws:autoscaling:us-east-1:*:autoScalingGroup:*:autoScalingGroupName/{TARGET}");
            let expected = match action {
                "autoscaling:CompleteLifecycleAction" => own.replace(TARGET, "*"),
                _ if reads => "*".to_owned(),
                _ => own,
            };
            assert_eq!(resource, expected, "{action}");
        }
    }
    actions.sort();
    actions
}

#[test]
fn the_least_for_each_way_of_raising() {
    let reads = ["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances"];
    let launch = ["autoscaling:LaunchInstances", "ec2:CreateFleet", "ec2:DescribeLaunchTemplateVersions"];
    assert_eq!(actions(&["--capacity", "launch"]), [&reads[..], &launch].concat());
    let policy = [&reads[..], &["autoscaling:DescribePolicies", "autoscaling:ExecutePolicy"]].concat();
    assert_eq!(actions(&["--capacity", "policy"]), policy);
    let all = actions(&["--ensure-policy", "--max-size-ceiling", "5", "--complete-lifecycle"]);
    for action in ["PutScalingPolicy", "UpdateAutoScalingGroup", "CompleteLifecycleAction", "DescribeLifecycleHooks"] {
        assert!(all.contains(&format!("autoscaling:{action}")), "{action}");
    }
}

/// What is printed is what is used, and no more is used.
#[test]
fn every_action_that_is_asked_for_is_allowed() {
    let args = ["--ensure-policy", "--policy", "new", "--max-size-ceiling", "5", "--complete-lifecycle"];
    let allowed = actions(&args);
    for rung in [&[][..], &["--capacity", "policy"]] {
        let harness = Harness::new();
        harness.change(|group| group.max = 2);
        harness.imds.lifecycle_state(Some("Terminated"));
        harness.notice("terminate", 120);
        let _run = harness.raising().arg("--once").args(args).args(rung).run().succeeds();
        assert_eq!(harness.risen(), 1);
        for call in harness.scaling.calls() {
            assert!(allowed.contains(&format!("autoscaling:{}", call.action)), "{}", call.action);
        }
    }
}
