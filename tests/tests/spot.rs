//! spot-watch beside others' servers and the tools behind it in a pipe.

use end_to_end::{bin_dir, root, tool};
use std::fs;
use testkit::{ImdsInstance, ImdsModel, Tool};

const OWN: &str = "reclaimed_spot_asg";
const TARGET: &str = "reclaimed_ondemand_asg";

fn moto() -> String {
    std::env::var("AWS_ENDPOINT_URL").expect("scripts/stack start aws gives an AWS_ENDPOINT_URL")
}

/// One call of the query protocol.
fn aws(action: &str, fields: &[(&str, &str)]) -> String {
    let mut line = Tool::new("curl").args(["-fsS", "--aws-sigv4", "aws:amz:us-east-1:autoscaling", "-u", "test:test"]);
    let fixed = [("Action", action), ("Version", "2011-01-01")];
    for (name, value) in fixed.iter().chain(fields) {
        line = line.arg("--data-urlencode").arg(format!("{name}={value}"));
    }
    line.arg(moto()).run().succeeds().stdout_str().to_owned()
}

fn desired() -> i32 {
    desired_of(TARGET)
}

fn desired_of(group: &str) -> i32 {
    let answer = aws("DescribeAutoScalingGroups", &[("AutoScalingGroupNames.member.1", group)]);
    let figure = answer.split("<DesiredCapacity>").nth(1).and_then(|rest| rest.split('<').next());
    figure.expect("the group is there").parse().expect("a capacity is a number")
}

/// moto keeps the weights of instance types: one unit more would be no instance more.
#[test]
fn a_weighted_group_on_moto_is_refused() {
    let weighted = format!("weighted-{}", uuid::Uuid::new_v4());
    let images = Tool::new("curl").args(["-fsS", "--aws-sigv4", "aws:amz:us-east-1:ec2", "-u", "test:test"]);
    let template = images
        .args(["--data-urlencode", "Action=CreateLaunchTemplate", "--data-urlencode", "Version=2016-11-15"])
        .args(["--data-urlencode", &format!("LaunchTemplateName={weighted}")])
        .args(["--data-urlencode", "LaunchTemplateData.ImageId=ami-12c6146b"])
        .args(["--data-urlencode", "LaunchTemplateData.InstanceType=m4.large"])
        .arg(moto());
    template.run().succeeds();
    let mixed = "MixedInstancesPolicy.LaunchTemplate";
    let specification = format!("{mixed}.LaunchTemplateSpecification.LaunchTemplateName");
    let of = |number: u32, field: &str| format!("{mixed}.Overrides.member.{number}.{field}");
    aws(
        "CreateAutoScalingGroup",
        &[
            ("AutoScalingGroupName", &weighted),
            ("MinSize", "0"),
            ("MaxSize", "40"),
            ("DesiredCapacity", "4"),
            ("AvailabilityZones.member.1", "us-east-1a"),
            (&specification, &weighted),
            (&of(1, "InstanceType"), "m4.large"),
            (&of(1, "WeightedCapacity"), "2"),
            (&of(2, "InstanceType"), "m4.4xlarge"),
            (&of(2, "WeightedCapacity"), "16"),
        ],
    );
    let imds = ImdsModel::start();
    imds.set_instance(ImdsInstance::spot("i-0123456789abcdef1"));
    imds.moving_notice("terminate");
    let dir = tempfile::tempdir().unwrap();
    for capacity in [&[][..], &["--capacity", "launch"], &["--capacity", "policy"]] {
        let run = tool("spot-watch")
            .aws(moto())
            .env("AWS_EC2_METADATA_DISABLED", "false")
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint())
            .args(["--raise", &weighted, "--ensure-policy", "--state-dir"])
            .arg(dir.path().join("state"))
            .args(capacity)
            .run()
            .fails_with(1)
            .stderr_contains(&format!("unable to raise {weighted}: its capacity counts units (m4.large weighs 2)"));
        let failed = r#""event":"capacity","#;
        let told = run.stdout_str().lines().filter(|line| line.contains(failed));
        assert!(told.clone().all(|line| line.contains(r#""outcome":"failed""#)), "{}", run.report());
        assert_eq!(desired_of(&weighted), 4, "{}", run.report());
    }
}

/// moto checks no maximum and knows no LaunchInstances, so it is asked for the wire format alone: a policy is put, found,
/// and executed once; the event takes the instance's host into downtime.
#[test]
fn a_policy_on_moto_and_a_downtime() {
    aws(
        "CreateLaunchConfiguration",
        &[("LaunchConfigurationName", "reclaimed"), ("ImageId", "ami-12c6146b"), ("InstanceType", "t2.micro")],
    );
    for group in [OWN, TARGET] {
        aws(
            "CreateAutoScalingGroup",
            &[
                ("AutoScalingGroupName", group),
                ("LaunchConfigurationName", "reclaimed"),
                ("MinSize", "0"),
                ("MaxSize", "5"),
                ("DesiredCapacity", "1"),
                ("AvailabilityZones.member.1", "us-east-1a"),
            ],
        );
    }
    let id = "i-0123456789abcdef0";
    let imds = ImdsModel::start();
    let tags = Some(vec![("aws:autoscaling:groupName".to_owned(), OWN.to_owned())]);
    imds.set_instance(ImdsInstance { tags, ..ImdsInstance::spot(id) });
    imds.moving_notice("terminate");
    let dir = tempfile::tempdir().unwrap();
    let watch = || {
        tool("spot-watch")
            .aws(moto())
            .env("AWS_EC2_METADATA_DISABLED", "false")
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint())
            .args(["--raise", TARGET, "--ensure-policy", "--once", "--state-dir"])
            .arg(dir.path().join("state"))
            .run()
            .succeeds()
    };
    let events = watch().stdout;
    assert_eq!(desired(), 2, "{}", String::from_utf8_lossy(&events));
    let again = watch();
    assert_eq!((desired(), again.stdout_str().lines().count()), (2, 1), "only ready");

    let hosts = format!("instance_id,name,asg,instance_state,private_ip,tags\n{id},app,{OWN},running,10.0.0.1,{{}}\n");
    let fleet = dir.path().join("fleet.cfg");
    let _written = tool("nagios-gen").arg("--output").arg(&fleet).stdin(hosts).run().succeeds();
    assert!(fs::read_to_string(&fleet).unwrap().contains(id));
    let path = format!("{}:{}", bin_dir().display(), std::env::var("PATH").unwrap());
    let told = Tool::new(root().join("scripts/downtime-reclaimed")).env("PATH", path).env("NAGIOS_FILE", &fleet);
    let told = told.stdin(events).run().succeeds();
    assert_eq!(told.stdout_str().matches(&format!("SCHEDULE_HOST_DOWNTIME;app-{id};")).count(), 1, "{}", told.report());
}
