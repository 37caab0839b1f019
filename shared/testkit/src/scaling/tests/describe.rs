//! The actions that only tell.

use super::*;

#[test]
fn a_group_is_told_whole() {
    let model = model();
    let tags = vec![("spot-watch:raise".to_owned(), "a<b\r".to_owned())];
    model.change("g", |group| {
        group.tags = tags;
        group.suspended.push("AZRebalance".to_owned());
        group.members.push(("i-1".to_owned(), "us-east-1b".to_owned(), "InService".to_owned()));
    });
    let answer = ask(&model, "DescribeAutoScalingGroups", &[("AutoScalingGroupNames.member.1", "g")]);
    let one = |name: &str| answer.element(name).unwrap();
    let sizes = ["MinSize", "DesiredCapacity", "MaxSize", "CapacityRebalance"].map(one);
    assert_eq!(sizes, ["0", "1", "3", "false"]);
    assert_eq!(one("AvailabilityZones"), "<member>us-east-1a</member><member>us-east-1b</member>");
    assert_eq!(one("VPCZoneIdentifier"), "subnet-us-east-1a,subnet-us-east-1b");
    assert!(one("SuspendedProcesses").contains("<ProcessName>AZRebalance</ProcessName>"));
    assert!(one("Tags").contains("<Key>spot-watch:raise</Key><Value>a&lt;b&#13;</Value>"));
    assert!(one("Instances").contains("<InstanceId>i-1</InstanceId>"));
    assert!(one("Instances").contains("<LifecycleState>InService</LifecycleState>"));
    assert_eq!(elements(&answer, "LaunchTemplate").len(), 2);
    model.change("g", |group| (group.launch_template, group.capacity_rebalance) = (false, true));
    let answer = ask(&model, "DescribeAutoScalingGroups", &[("IncludeInstances", "false")]);
    assert_eq!(answer.element("LaunchConfigurationName").as_deref(), Some("g-configuration"));
    assert_eq!(answer.element("LaunchTemplate"), None);
    assert_eq!(answer.element("CapacityRebalance").as_deref(), Some("true"));
    assert_eq!(answer.element("Instances"), None);
}

#[test]
fn a_group_tells_its_weights() {
    let model = model();
    let plain = ask(&model, "DescribeAutoScalingGroups", &[]);
    assert_eq!((plain.element("MixedInstancesPolicy"), plain.element("DesiredCapacityType")), (None, None));
    model.change("g", |group| {
        (group.desired, group.max) = (4, 9);
        group.weights = vec![("m4.large".to_owned(), 2), ("m4.4xlarge".to_owned(), 16)];
        group.members.push(("i-1".to_owned(), "us-east-1a".to_owned(), "InService".to_owned()));
        group.capacity_type = Some("units".to_owned());
    });
    let answer = ask(&model, "DescribeAutoScalingGroups", &[]);
    let policy = answer.element("MixedInstancesPolicy").unwrap();
    let second = "<InstanceType>m4.4xlarge</InstanceType><WeightedCapacity>16</WeightedCapacity>";
    assert!(policy.contains(second), "{policy}");
    assert!(answer.element("Instances").unwrap().contains("<WeightedCapacity>2</WeightedCapacity>"));
    assert_eq!(answer.element("DesiredCapacityType").as_deref(), Some("units"));
    let instances = ask(&model, "DescribeAutoScalingInstances", &[]);
    assert_eq!(instances.element("WeightedCapacity").as_deref(), Some("2"));
    // Units 5 and 6 are one instance more.
    execute(&model);
    execute(&model);
    assert_eq!((model.group("g").desired, model.group("g").members.len()), (6, 2));
}

#[test]
fn groups_come_in_pages_and_strangers_are_left_out() {
    let model = ScalingModel::start();
    (0..120).for_each(|number| model.add_group(ScalingGroup::new(&format!("g{number:03}"), 0, 0, 1)));
    let (mut names, mut sizes, mut token) = (Vec::new(), Vec::new(), None);
    loop {
        let fields: Vec<(&str, &str)> = token.iter().map(|token: &String| ("NextToken", token.as_str())).collect();
        let answer = ask(&model, "DescribeAutoScalingGroups", &fields);
        let page = elements(&answer, "AutoScalingGroupName");
        sizes.push(page.len());
        names.extend(page);
        token = answer.element("NextToken");
        if token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [50, 50, 20]);
    assert_eq!(names, (0..120).map(|number| format!("g{number:03}")).collect::<Vec<_>>());
    let named = |count: usize| -> Vec<(String, String)> {
        (1..=count)
            .map(|number| (format!("AutoScalingGroupNames.member.{number}"), format!("g{:03}", number + 99)))
            .collect()
    };
    let ask_named = |count: usize, more: &[(&str, &str)]| {
        let named = named(count);
        let fields: Vec<(&str, &str)> = named.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        ask(&model, "DescribeAutoScalingGroups", &[&fields, more].concat())
    };
    assert_eq!(elements(&ask_named(100, &[("MaxRecords", "100")]), "AutoScalingGroupName").len(), 20);
    assert_eq!(error(&ask_named(101, &[])), invalid());
    for (fields, code) in [
        (("MaxRecords", "101"), "ValidationError"),
        (("MaxRecords", "0"), "ValidationError"),
        (("NextToken", "made-up"), "InvalidNextToken"),
        (("Filters.member.1.Name", "tag:a"), "ValidationError"),
    ] {
        assert_eq!(error(&ask(&model, "DescribeAutoScalingGroups", &[fields])), (400, code.to_owned()), "{fields:?}");
    }
}

#[test]
fn an_instance_tells_its_group() {
    let model = model();
    launch(&model, "t");
    let id = model.group("g").members[0].0.clone();
    let fields = [("InstanceIds.member.1", "i-unknown"), ("InstanceIds.member.2", &id)];
    let answer = ask(&model, "DescribeAutoScalingInstances", &fields);
    assert_eq!(elements(&answer, "InstanceId"), [id.as_str()]);
    assert_eq!(answer.element("AutoScalingGroupName").as_deref(), Some("g"));
    assert_eq!(answer.element("LifecycleState").as_deref(), Some("Pending"));
    let none = ask(&model, "DescribeAutoScalingInstances", &fields[..1]);
    assert_eq!((none.status, elements(&none, "InstanceId").len()), (200, 0));
    assert_eq!(error(&ask(&model, "DescribeAutoScalingInstances", &[("MaxRecords", "51")])), invalid());
}

#[test]
fn policies_are_found_by_group_name_and_kind() {
    let model = model();
    model.change("g", |group| group.policies.push(ScalingPolicy::plus_one("more")));
    model.add_group(ScalingGroup { policies: vec![ScalingPolicy::plus_one("up")], ..ScalingGroup::new("h", 0, 1, 3) });
    let found = |fields: &[(&str, &str)]| elements(&ask(&model, "DescribePolicies", fields), "PolicyName");
    let (of_g, up) = (("AutoScalingGroupName", "g"), ("PolicyNames.member.1", "up"));
    assert_eq!(found(&[]), ["up", "more", "up"]);
    assert_eq!(found(&[of_g]), ["up", "more"]);
    assert_eq!(found(&[of_g, up]), ["up"]);
    assert_eq!(found(&[of_g, ("PolicyNames.member.1", &ScalingPolicy::plus_one("up").arn("g"))]), ["up"]);
    assert!(found(&[("AutoScalingGroupName", "other")]).is_empty());
    assert!(found(&[of_g, ("PolicyTypes.member.1", "StepScaling")]).is_empty());
    let answer = ask(&model, "DescribePolicies", &[of_g, up]);
    let told = ["PolicyType", "AdjustmentType", "ScalingAdjustment"].map(|name| answer.element(name).unwrap());
    assert_eq!(told, ["SimpleScaling", "ChangeInCapacity", "1"]);
}

#[test]
fn hooks_are_told() {
    let model = model();
    let hook = |name: &str| (name.to_owned(), "autoscaling:EC2_INSTANCE_TERMINATING".to_owned());
    model.change("g", |group| group.hooks = vec![hook("drain"), hook("save")]);
    let found = |fields: &[(&str, &str)]| elements(&ask(&model, "DescribeLifecycleHooks", fields), "LifecycleHookName");
    assert_eq!(found(&[("AutoScalingGroupName", "g")]), ["drain", "save"]);
    assert_eq!(found(&[("AutoScalingGroupName", "g"), ("LifecycleHookNames.member.1", "save")]), ["save"]);
    assert!(found(&[("AutoScalingGroupName", "other")]).is_empty());
    assert_eq!(error(&ask(&model, "DescribeLifecycleHooks", &[])), invalid());
    let answer = ask(&model, "DescribeLifecycleHooks", &[("AutoScalingGroupName", "g")]);
    assert_eq!(answer.element("LifecycleTransition").as_deref(), Some("autoscaling:EC2_INSTANCE_TERMINATING"));
}

#[test]
fn every_rise_is_one_activity() {
    let model = model();
    execute(&model);
    launch(&model, "t");
    launch(&model, "t");
    // No rises: clamped, and down.
    execute(&model);
    ask(&model, "SetDesiredCapacity", &[("AutoScalingGroupName", "g"), ("DesiredCapacity", "1")]);
    ask(&model, "UpdateAutoScalingGroup", &[("AutoScalingGroupName", "g"), ("DesiredCapacity", "2")]);
    let answer = ask(&model, "DescribeScalingActivities", &[("AutoScalingGroupName", "g")]);
    let causes = elements(&answer, "Cause");
    for (cause, (action, from, to)) in
        causes.iter().zip([("UpdateAutoScalingGroup", 1, 2), ("LaunchInstances", 2, 3), ("ExecutePolicy", 1, 2)])
    {
        assert!(cause.contains(action), "{cause}");
        assert!(cause.contains(&format!("changing the desired capacity from {from} to {to}")), "{cause}");
    }
    assert_eq!(causes.len(), 3);
    assert!(causes[2].contains("executed policy up"), "{}", causes[2]);
    let first = ask(&model, "DescribeScalingActivities", &[("ActivityIds.member.1", "activity-1")]);
    assert_eq!(elements(&first, "Cause"), causes[2..]);
    let others = ask(&model, "DescribeScalingActivities", &[("AutoScalingGroupName", "other")]);
    assert_eq!((others.status, elements(&others, "Cause").len()), (200, 0));
}

#[test]
fn a_lag_tells_the_past_and_the_truth_is_kept() {
    let model = model();
    model.lag(HOUR);
    execute(&model);
    launch(&model, "t");
    let told = |model: &ScalingModel| {
        let groups = ask(model, "DescribeAutoScalingGroups", &[]).element("DesiredCapacity").unwrap();
        let instances = elements(&ask(model, "DescribeAutoScalingInstances", &[]), "InstanceId").len();
        (groups, instances, elements(&ask(model, "DescribeScalingActivities", &[]), "Cause").len())
    };
    assert_eq!(told(&model), ("1".to_owned(), 0, 0));
    assert_eq!(model.group("g").desired, 3);
    model.lag(Duration::ZERO);
    assert_eq!(told(&model), ("3".to_owned(), 2, 2));
}
