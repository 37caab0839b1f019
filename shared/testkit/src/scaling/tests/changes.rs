//! The actions that change a group.

use super::*;

#[test]
fn a_policy_adds_one_and_stops_at_the_bounds() {
    let model = model();
    for desired in [2, 3, 3] {
        assert_eq!(execute(&model).status, 200);
        assert_eq!(model.group("g").desired, desired);
    }
    assert_eq!(model.group("g").members.len(), 2, "each rise starts an instance");
    model.change("g", |group| group.policies[0].adjustment = -9);
    assert_eq!(execute(&model).status, 200);
    assert_eq!((model.group("g").desired, model.group("g").members.len()), (0, 2), "a fall ends none");
    model.change("g", |group| (group.policies[0].adjustment, group.suspended) = (1, vec!["Launch".to_owned()]));
    assert_eq!(execute(&model).status, 200);
    assert_eq!((model.group("g").desired, model.group("g").members.len()), (1, 2), "none while Launch is suspended");
}

#[test]
fn only_a_known_simple_policy_is_executed() {
    let model = model();
    let by = |group: &str, policy: &str| {
        error(&ask(&model, "ExecutePolicy", &[("AutoScalingGroupName", group), ("PolicyName", policy)]))
    };
    assert_eq!(by("g", "other"), invalid());
    assert_eq!(by("other", "up"), invalid());
    assert_eq!(by("g", &ScalingPolicy::plus_one("up").arn("g")).0, 200);
    model.change("g", |group| group.policies[0].kind = "StepScaling".to_owned());
    assert_eq!(by("g", "up"), invalid());
    assert_eq!(model.group("g").desired, 2);
}

#[test]
fn the_desired_capacity_is_set_within_the_bounds_only() {
    let model = model();
    model.change("g", |group| group.min = 1);
    let set = |desired: &str| {
        ask(&model, "SetDesiredCapacity", &[("AutoScalingGroupName", "g"), ("DesiredCapacity", desired)])
    };
    let refused = set("4");
    assert_eq!(error(&refused), invalid());
    assert!(refused.element("Message").unwrap().contains("New SetDesiredCapacity value 4 is above max value 3"));
    assert_eq!(error(&set("0")), invalid());
    assert_eq!(error(&set("many")), invalid());
    assert_eq!(model.group("g").desired, 1);
    assert_eq!(set("3").status, 200);
    assert_eq!(model.group("g").desired, 3);
}

#[test]
fn bounds_move_the_desired_capacity_with_them() {
    let model = model();
    model.change("g", |group| group.desired = 3);
    let update = |fields: &[(&str, &str)]| {
        let answer = ask(&model, "UpdateAutoScalingGroup", &[&[("AutoScalingGroupName", "g")], fields].concat());
        let group = model.group("g");
        (answer.status, group.min, group.desired, group.max)
    };
    assert_eq!(model.group("g").lowest_max_written, None);
    assert_eq!(update(&[("MaxSize", "9"), ("DesiredCapacity", "5")]), (200, 0, 5, 9));
    assert_eq!(update(&[("MaxSize", "2")]), (200, 0, 2, 2));
    assert_eq!(update(&[("MaxSize", "7"), ("MinSize", "4")]), (200, 4, 4, 7));
    assert_eq!(update(&[("MaxSize", "3")]), (400, 4, 4, 7));
    assert_eq!(update(&[("DesiredCapacity", "8")]), (400, 4, 4, 7));
    assert_eq!(model.group("g").lowest_max_written, Some(2));
}

#[test]
fn a_policy_is_put_and_replaced() {
    let model = model();
    let put = |adjustment: &str| {
        let fields = [
            ("AutoScalingGroupName", "g"),
            ("PolicyName", "spot-watch"),
            ("PolicyType", "SimpleScaling"),
            ("AdjustmentType", "ChangeInCapacity"),
            ("ScalingAdjustment", adjustment),
            ("Cooldown", "60"),
        ];
        ask(&model, "PutScalingPolicy", &fields)
    };
    assert!(put("1").element("PolicyARN").unwrap().ends_with("autoScalingGroupName/g:policyName/spot-watch"));
    assert_eq!(put("2").status, 200);
    let put_last = ScalingPolicy { adjustment: 2, cooldown: Some(60), ..ScalingPolicy::plus_one("spot-watch") };
    assert_eq!(model.group("g").policies, [ScalingPolicy::plus_one("up"), put_last]);
    let bare = [("AutoScalingGroupName", "g"), ("PolicyName", "p")];
    assert_eq!(error(&ask(&model, "PutScalingPolicy", &bare)), invalid());
}

#[test]
fn a_lifecycle_action_is_completed_once() {
    let model = model();
    model.change("g", |group| {
        group.hooks.push(("drain".to_owned(), "autoscaling:EC2_INSTANCE_TERMINATING".to_owned()));
        group.members.push(("i-1".to_owned(), "us-east-1a".to_owned(), "Terminating:Wait".to_owned()));
    });
    let complete = |hook: &str, instance: &str, result: &str| {
        let fields = [
            ("AutoScalingGroupName", "g"),
            ("LifecycleHookName", hook),
            ("InstanceId", instance),
            ("LifecycleActionResult", result),
        ];
        error(&ask(&model, "CompleteLifecycleAction", &fields))
    };
    assert_eq!(complete("other", "i-1", "CONTINUE"), invalid());
    assert_eq!(complete("drain", "i-2", "CONTINUE"), invalid());
    assert_eq!(complete("drain", "i-1", "MAYBE"), invalid());
    assert_eq!(complete("drain", "i-1", "CONTINUE").0, 200);
    assert_eq!(complete("drain", "i-1", "ABANDON"), invalid());
    assert_eq!(model.group("g").completed, [("drain".to_owned(), "i-1".to_owned(), "CONTINUE".to_owned())]);
}

#[test]
fn no_action_changes_a_group_that_is_not_there() {
    let model = model();
    for action in ["UpdateAutoScalingGroup", "SetDesiredCapacity", "ExecutePolicy", "LaunchInstances"] {
        let mut fields = launching("t").to_vec();
        fields[0].1 = "other";
        fields.extend([("DesiredCapacity", "1"), ("PolicyName", "up")]);
        let answer = ask(&model, action, &fields);
        assert_eq!(error(&answer), invalid(), "{action}");
        assert!(answer.element("Message").unwrap().ends_with("not found"), "{action}");
    }
    assert_eq!(error(&ask(&model, "DeleteAutoScalingGroup", &[])), (400, "InvalidAction".to_owned()));
    assert!(model.calls().iter().all(|call| !call.committed));
}
