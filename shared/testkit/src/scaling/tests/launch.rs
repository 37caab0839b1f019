//! LaunchInstances and its client tokens.

use std::sync::Arc;
use std::thread;

use super::*;

#[test]
fn instances_become_members_and_the_desired_capacity_rises() {
    let model = model();
    let fields = [
        ("AutoScalingGroupName", "g"),
        ("RequestedCapacity", "2"),
        ("SubnetIds.member.1", "subnet-us-east-1b"),
        ("ClientToken", "sw/i-1"),
        ("RetryStrategy", "none"),
    ];
    let answer = ask(&model, "LaunchInstances", &fields);
    let ids = answer.element("InstanceIds").unwrap();
    let group = model.group("g");
    assert_eq!((answer.status, group.desired, group.members.len()), (200, 3, 2));
    assert_ne!(group.members[0].0, group.members[1].0);
    for (id, zone, state) in group.members {
        assert!(ids.contains(&format!("<member>{id}</member>")));
        assert_eq!((zone.as_str(), state.as_str()), ("us-east-1b", "Pending"));
    }
    assert_eq!(answer.element("ClientToken").as_deref(), Some("sw/i-1"));
    assert_eq!(answer.element("AutoScalingGroupName").as_deref(), Some("g"));
}

#[test]
fn a_token_launches_once() {
    let model = model();
    let first = launch(&model, "t");
    assert_eq!(launch(&model, "t").text(), first.text());
    let mut other = launching("t");
    other[2].1 = "us-east-1b";
    let mismatch = ask(&model, "LaunchInstances", &other);
    assert_eq!(error(&mismatch), (400, "IdempotentParameterMismatch".to_owned()));
    assert_eq!((model.group("g").desired, model.group("g").members.len()), (2, 1));
    assert_ne!(launch(&model, "u").text(), first.text());
    assert_eq!((model.group("g").desired, model.group("g").members.len()), (3, 2));
    assert_eq!(model.calls().iter().map(|call| call.committed).collect::<Vec<_>>(), [true, false, false, true]);
}

#[test]
fn a_token_is_told_again_even_at_the_maximum() {
    let model = model();
    model.change("g", |group| group.max = 2);
    let first = launch(&model, "t");
    assert_eq!(error(&launch(&model, "u")), invalid());
    assert_eq!(launch(&model, "t").text(), first.text());
}

#[test]
fn a_launch_that_still_runs_is_not_told_again() {
    let model = Arc::new(model());
    let (endpoint, met) = (model.endpoint(), Arc::new(Mutex::new(None)));
    let meeting = Arc::clone(&met);
    model.after(Box::new(move |_| {
        *held(&meeting) = Some(error(&send(&endpoint, "LaunchInstances", &launching("t")).unwrap()));
    }));
    let first = launch(&model, "t");
    assert_eq!(held(&met).take(), Some((500, "IdempotentCallInProgress".to_owned())));
    assert_eq!(launch(&model, "t").text(), first.text());
    assert_eq!(model.group("g").desired, 2);
}

#[test]
fn a_refused_launch_leaves_its_token_free() {
    let model = model();
    model.change("g", |group| group.suspended.push("Launch".to_owned()));
    assert_eq!(error(&launch(&model, "t")), invalid());
    model.change("g", |group| group.suspended.clear());
    assert_eq!(launch(&model, "t").status, 200);
    assert_eq!(model.group("g").desired, 2);
}

#[test]
fn a_server_that_lies_forgets_tokens() {
    let model = model();
    model.remember_tokens(false);
    let first = launch(&model, "t").text();
    assert_ne!(launch(&model, "t").text(), first);
    assert_eq!(model.group("g").desired, 3);
}

#[test]
fn tokens_are_well_formed() {
    let model = model();
    model.change("g", |group| group.max = 9);
    for (token, status) in
        [("", 400), ("a b", 400), ("a:b", 400), (&"x".repeat(65), 400), (&"x".repeat(64), 200), ("sw/i-0_A", 200)]
    {
        assert_eq!(launch(&model, token).status, status, "{token:?}");
    }
}

#[test]
fn only_a_group_that_can_launch_does() {
    let model = model();
    let refused = |group: ScalingGroup| {
        model.add_group(ScalingGroup { name: "g".to_owned(), ..group });
        let answer = launch(&model, "t");
        assert!(model.group("g").members.is_empty());
        error(&answer) == invalid()
    };
    assert!(refused(ScalingGroup { launch_template: false, ..ScalingGroup::new("g", 0, 1, 3) }));
    assert!(refused(ScalingGroup { suspended: vec!["Launch".to_owned()], ..ScalingGroup::new("g", 0, 1, 3) }));
    assert!(refused(ScalingGroup::new("g", 0, 3, 3)));
    assert!(refused(ScalingGroup { zones: vec!["us-east-1c".to_owned()], ..ScalingGroup::new("g", 0, 1, 3) }));
    assert!(!model.calls().iter().any(|call| call.committed));
}

#[test]
fn a_group_with_several_zones_is_told_which() {
    let model = model();
    model.change("g", |group| group.max = 9);
    let placed = |token: &str, places: &[(&str, &str)]| {
        let named = [("AutoScalingGroupName", "g"), ("RequestedCapacity", "1"), ("ClientToken", token)];
        ask(&model, "LaunchInstances", &[&named, places].concat()).status
    };
    let (zone_a, zone_b) = (("AvailabilityZones.member.1", "us-east-1a"), ("AvailabilityZones.member.2", "us-east-1b"));
    let (subnet_a, subnet_b) =
        (("SubnetIds.member.1", "subnet-us-east-1a"), ("SubnetIds.member.1", "subnet-us-east-1b"));
    assert_eq!(placed("none", &[]), 400);
    assert_eq!(placed("both", &[zone_a, zone_b]), 400);
    assert_eq!(placed("apart", &[zone_a, subnet_b]), 400);
    assert_eq!(placed("id", &[("AvailabilityZoneIds.member.1", "use1-az1")]), 400);
    assert_eq!(placed("foreign", &[("SubnetIds.member.1", "subnet-0")]), 400);
    assert_eq!(placed("together", &[zone_a, subnet_a]), 200);
    model.change("g", |group| group.zones = vec!["us-east-1b".to_owned()]);
    assert_eq!(placed("only", &[]), 200);
    assert_eq!(placed("wrong", &[zone_a]), 400);
    let zones: Vec<String> = model.group("g").members.into_iter().map(|(_, zone, _)| zone).collect();
    assert_eq!(zones, ["us-east-1a", "us-east-1b"]);
}

#[test]
fn many_at_once_lose_nothing() {
    let model = model();
    model.change("g", |group| group.max = 100);
    let endpoint = model.endpoint();
    thread::scope(|scope| {
        for client in 0..8 {
            let endpoint = &endpoint;
            scope.spawn(move || {
                for number in 0..5 {
                    let token = format!("{client}-{number}");
                    assert_eq!(send(endpoint, "LaunchInstances", &launching(&token)).unwrap().status, 200);
                }
            });
        }
    });
    let mut ids: Vec<String> = model.group("g").members.into_iter().map(|(id, ..)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((model.group("g").desired, ids.len()), (41, 40));
}
