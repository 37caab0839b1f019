//! Every rule of the service, over its own wire.

mod changes;
mod describe;
mod faults;
mod launch;

use std::time::Duration;

use super::*;
use crate::s3::uri::encode;
use crate::{Answer, request};

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// A model with the group `g`: min 0, desired 1, max 3.
fn model() -> ScalingModel {
    let model = ScalingModel::start();
    model.add_group(ScalingGroup { policies: vec![ScalingPolicy::plus_one("up")], ..ScalingGroup::new("g", 0, 1, 3) });
    model
}

fn send(endpoint: &str, action: &str, fields: &[(&str, &str)]) -> io::Result<Answer> {
    let mut form = format!("Action={action}&Version=2011-01-01");
    for (name, value) in fields {
        form.push_str(&format!("&{name}={}", encode(value)));
    }
    let signature = "AWS4-HMAC-SHA256 Credential=KEY/20261124/us-east-1/autoscaling/aws4_request, Signature=0";
    request(endpoint, "POST", "/", &[("Authorization", signature)], form.as_bytes())
}

fn ask(model: &ScalingModel, action: &str, fields: &[(&str, &str)]) -> Answer {
    send(&model.endpoint(), action, fields).unwrap()
}

/// The status and the error's name, which is empty if there is none.
fn error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code().unwrap_or_default())
}

fn invalid() -> (u16, String) {
    (400, "ValidationError".to_owned())
}

fn execute(model: &ScalingModel) -> Answer {
    ask(model, "ExecutePolicy", &[("AutoScalingGroupName", "g"), ("PolicyName", "up")])
}

fn launch(model: &ScalingModel, token: &str) -> Answer {
    ask(model, "LaunchInstances", &launching(token))
}

/// One instance more in us-east-1a.
fn launching(token: &str) -> [(&str, &str); 4] {
    [
        ("AutoScalingGroupName", "g"),
        ("RequestedCapacity", "1"),
        ("AvailabilityZones.member.1", "us-east-1a"),
        ("ClientToken", token),
    ]
}

/// What stands in every element of this name.
fn elements(answer: &Answer, name: &str) -> Vec<String> {
    let (text, open, close) = (answer.text(), format!("<{name}>"), format!("</{name}>"));
    text.split(&open).skip(1).map(|rest| rest.split_once(&close).unwrap().0.to_owned()).collect()
}
