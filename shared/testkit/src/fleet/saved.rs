//! A fleet as the AWS CLI saves it, with whatever text wherever AWS takes free text.

use serde_json::{Value, json};

/// Output of `aws ec2 describe-instances` with a running instance for each of `values`, number N being `i-00N` at
/// 127.0.1.N: the value is its tag `Name`, the key and value of another, its group, its key, its zone and so on.
///
/// # Panics
/// There are more values than addresses.
pub fn saved_fleet(values: &[String]) -> String {
    assert!(values.len() <= 256, "one address for each value");
    let instances: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(number, value)| {
            json!({
                "InstanceId": format!("i-{number:03}"),
                "SubnetId": "subnet-1",
                "VpcId": value,
                "KeyName": value,
                "InstanceType": value,
                "ImageId": format!("ami-{value}"),
                "PrivateDnsName": value,
                "Placement": { "AvailabilityZone": format!("eu-west-1{value}") },
                "PrivateIpAddress": format!("127.0.1.{number}"),
                "State": { "Code": 16, "Name": "running" },
                "SecurityGroups": [{ "GroupId": value, "GroupName": value }],
                "Tags": [
                    { "Key": "Name", "Value": value },
                    { "Key": format!("key {value}"), "Value": value },
                    { "Key": "aws:autoscaling:groupName", "Value": value },
                ],
            })
        })
        .collect();
    json!({ "Reservations": [{ "Instances": instances }] }).to_string()
}
