//! A spot instance of the stack is taken back.

use crate::cloud::{Cloud, REGION, block};
use crate::template::Template;
use end_to_end::tool;
use serde_json::{Value, json};
use std::fs;
use testkit::{ImdsInstance, ImdsModel, Tool};

/// spot-watch finds the on-demand group by the spot group's tag, and raises it by the template's own policy.
#[test]
fn spot_watch_raises_by_the_policy_of_the_template() {
    let mut template = Template::read();
    let tags = "/Resources/SpotGroup/Properties/Tags";
    let names = |tag: &Value| tag["Key"] == "spot-watch:policy";
    let at = template.at(tags).as_array().unwrap().iter().position(names).unwrap();
    let mut cloud = Cloud::on_the_stack(&template);
    // moto has no policy whose name the tag could hold: the name that the policy gets below.
    let policy = format!("{}-OneMore", cloud.service);
    template.0.pointer_mut(&format!("{tags}/{at}")).unwrap()["Value"] = json!(policy);
    cloud.replace(&template);
    cloud.set("SpotWatchCapacity", "policy");
    cloud.readme("Create and update");
    cloud.put_policies(&mut cloud.stack(&template));

    let group = cloud.group("spot");
    let tags: Vec<(String, String)> = [("aws:autoscaling:groupName", &group["AutoScalingGroupName"])]
        .into_iter()
        .chain(group["Tags"].as_array().unwrap().iter().map(|tag| (tag["Key"].as_str().unwrap(), &tag["Value"])))
        .map(|(key, value)| (key.to_owned(), value.as_str().unwrap().to_owned()))
        .collect();
    let imds = ImdsModel::start();
    let instance = ImdsInstance::spot("i-0123456789abcdef0");
    let zone = format!("{REGION}a");
    imds.set_instance(ImdsInstance { tags: Some(tags), region: REGION.to_owned(), zone, ..instance });
    imds.moving_notice("terminate");
    // The set-up script's lines of the README, on this instance.
    let file = cloud.dir.path().join("spot-watch.default");
    let lines = block("spot-watch on the instances", "sh").replace("http://169.254.169.254", &imds.endpoint());
    let lines = lines.replace("/etc/default/spot-watch", file.to_str().unwrap());
    cloud.reach(Tool::new("bash")).args(["-euo", "pipefail", "-c", &lines]).run().succeeds();
    let options = fs::read_to_string(file).unwrap();
    let options = options.trim().strip_prefix("SPOT_WATCH_OPTIONS=").unwrap();
    assert!(options.ends_with(&format!(" --policy {policy}")), "{options}");
    let watch = cloud
        .reach(tool("spot-watch"))
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint())
        .args(options.split_ascii_whitespace())
        .args(["--once", "--state-dir"])
        .arg(cloud.dir.path().join("state"));
    let run = watch.run().succeeds();
    assert_eq!(cloud.group("ondemand")["DesiredCapacity"], 2, "{}", run.report());
    cloud.readme("Delete");
}
