//! Failures on demand, limits, and the hooks where a test ends its client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;

use super::*;

/// Lets the executions of policies fail.
fn fail(model: &ScalingModel, fault: ScalingFault) {
    model.fail(Box::new(move |call| (call.action == "ExecutePolicy").then(|| fault.clone())));
}

fn try_execute(model: &ScalingModel) -> io::Result<Answer> {
    send(&model.endpoint(), "ExecutePolicy", &[("AutoScalingGroupName", "g"), ("PolicyName", "up")])
}

fn last_committed(model: &ScalingModel) -> bool {
    model.calls().last().unwrap().committed
}

#[test]
fn a_fault_says_whether_the_request_is_carried_out() {
    let model = model();
    fail(&model, ScalingFault::error(500, "InternalFailure"));
    assert_eq!(error(&execute(&model)), (500, "InternalFailure".to_owned()));
    assert_eq!((model.group("g").desired, last_committed(&model)), (1, false));
    for (fault, desired) in [(ScalingFault::CloseBefore, 1), (ScalingFault::CloseAfter, 2), (ScalingFault::Cut, 3)] {
        let carried_out = fault != ScalingFault::CloseBefore;
        fail(&model, fault);
        try_execute(&model).unwrap_err();
        assert_eq!((model.group("g").desired, last_committed(&model)), (desired, carried_out));
    }
    assert_eq!(ask(&model, "DescribeAutoScalingGroups", &[]).status, 200);
    model.recover();
    assert_eq!(execute(&model).status, 200);
}

#[test]
fn a_request_may_never_be_answered_and_yet_be_carried_out() {
    for (fault, desired) in [(ScalingFault::Hang, 1), (ScalingFault::HangAfter, 2)] {
        let model = model();
        let judged = fault.clone();
        model.fail(Box::new(move |_| Some(judged.clone())));
        let mut stream = TcpStream::connect(model.endpoint().trim_start_matches("http://")).unwrap();
        let form = "Action=ExecutePolicy&AutoScalingGroupName=g&PolicyName=up";
        write!(stream, "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{form}", form.len()).unwrap();
        // A client that gives up lets the model end the connection, and then there is nothing more to come.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!((model.group("g").desired, answer.len()), (desired, 0), "{fault:?}");
    }
}

#[test]
fn hooks_see_the_request_between_commit_and_reply_and_after_the_reply() {
    let model = model();
    let (tell, told) = mpsc::channel();
    let tell_after = tell.clone();
    model.after(Box::new(move |call| tell_after.send(("after", call.number, call.committed)).unwrap()));
    model.replied(Box::new(move |call| tell.send(("replied", call.number, call.committed)).unwrap()));
    ask(&model, "DescribeAutoScalingGroups", &[]);
    assert_eq!(told.recv().unwrap(), ("replied", 1, false));
    execute(&model);
    assert_eq!(told.recv().unwrap(), ("after", 2, true));
    assert_eq!(told.recv().unwrap(), ("replied", 2, true));
    fail(&model, ScalingFault::CloseAfter);
    try_execute(&model).unwrap_err();
    assert_eq!(told.recv().unwrap(), ("after", 3, true));
    drop(model);
    assert!(told.try_recv().is_err(), "no reply was sent to the last request");
}

#[test]
fn a_throttled_request_is_refused_before_anything_is_done() {
    let model = model();
    model.throttle(2.0, 0.0);
    fail(&model, ScalingFault::CloseBefore);
    try_execute(&model).unwrap_err();
    model.recover();
    let statuses: Vec<u16> = (0..3).map(|_| ask(&model, "DescribeAutoScalingGroups", &[]).status).collect();
    assert_eq!(statuses, [200, 200, 400]);
    assert_eq!(error(&execute(&model)), (400, "Throttling".to_owned()));
    assert_eq!(model.group("g").desired, 1);
    model.throttle(1.0, 0.0);
    assert_eq!(execute(&model).status, 200);
}

#[test]
fn contention_meets_changes_only() {
    let model = model();
    model.contention(1.0, 7);
    assert_eq!(error(&execute(&model)), (500, "ResourceContention".to_owned()));
    assert_eq!(error(&launch(&model, "t")), (500, "ResourceContention".to_owned()));
    assert_eq!(ask(&model, "DescribeAutoScalingGroups", &[]).status, 200);
    assert_eq!(model.group("g").desired, 1);
    model.contention(0.0, 7);
    assert_eq!(launch(&model, "t").status, 200);
}

#[test]
fn a_cooldown_holds_those_who_honour_it() {
    let model = model();
    let execute_politely = || {
        let fields = [("AutoScalingGroupName", "g"), ("PolicyName", "up"), ("HonorCooldown", "true")];
        error(&ask(&model, "ExecutePolicy", &fields))
    };
    model.cooldown("g", HOUR);
    assert_eq!(execute_politely().0, 200);
    assert_eq!(execute_politely(), (400, "ScalingActivityInProgress".to_owned()));
    assert_eq!(execute(&model).status, 200);
    assert_eq!(model.group("g").desired, 3);
}

#[test]
fn a_busy_group_refuses_every_change() {
    let model = model();
    model.add_group(ScalingGroup::new("h", 0, 1, 3));
    model.busy("g", HOUR);
    let in_progress = (400, "ScalingActivityInProgress".to_owned());
    assert_eq!(error(&execute(&model)), in_progress);
    assert_eq!(error(&launch(&model, "t")), in_progress);
    assert_eq!(error(&ask(&model, "UpdateAutoScalingGroup", &[("AutoScalingGroupName", "g")])), in_progress);
    assert_eq!(ask(&model, "DescribeAutoScalingGroups", &[]).status, 200);
    assert_eq!(ask(&model, "UpdateAutoScalingGroup", &[("AutoScalingGroupName", "h")]).status, 200);
    model.busy("g", Duration::ZERO);
    assert_eq!(execute(&model).status, 200);
}

#[test]
fn calls_tell_who_asked_for_what() {
    let model = model();
    execute(&model);
    let calls = model.calls();
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((call.number, call.action.as_str(), call.caller.as_str()), (1, "ExecutePolicy", "KEY"));
    assert_eq!(call.fields["PolicyName"], "up");
}
