//! asg-hosts against moto's EC2 and Auto Scaling, and the AWS CLI's saved output of them.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::aws_cli::AWS_CLI;
use end_to_end::{stack_tool, tool};
use serde_json::Value;
use testkit::Tool;

/// moto, asked in its own words: its clients would need Python.
struct Moto {
    endpoint: String,
    region: &'static str,
    /// Part of every name, so that rounds on one server do not meet.
    round: String,
}

impl Moto {
    fn new(region: &'static str, round: &str) -> Self {
        let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("moto: run the tests by scripts/test");
        Self { endpoint, region, round: round.to_owned() }
    }

    /// Sends a request and returns what stands in every element of this name.
    fn ask(&self, service: &str, action: &str, fields: &[(&str, &str)], element: &str) -> Vec<String> {
        let version = if service == "ec2" { "2016-11-15" } else { "2011-01-01" };
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", version).extend_pairs(fields);
        let credential = format!("Credential=k/20260101/{}/{service}/aws4_request", self.region);
        let authorization = format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0");
        let headers = [("Authorization", &*authorization), ("Content-Type", "application/x-www-form-urlencoded")];
        let answer = testkit::request(&self.endpoint, "POST", "/", &headers, form.finish().as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{action}: {}", answer.text());
        let (text, element) = (answer.text(), format!("<{element}>"));
        let parts = text.split(&element).skip(1);
        parts.map(|part| part.split('<').next().unwrap_or_default().to_owned()).collect()
    }

    fn image(&self) -> String {
        self.ask("ec2", "DescribeImages", &[("Owner.1", "amazon")], "imageId").swap_remove(0)
    }

    fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.round)
    }

    fn configuration(&self) -> String {
        let (name, image) = (self.name("lc"), self.image());
        let fields = [("LaunchConfigurationName", &*name), ("ImageId", &*image), ("InstanceType", "m4.large")];
        self.ask("autoscaling", "CreateLaunchConfiguration", &fields, "RequestId");
        name
    }

    /// A group with this many instances on demand.
    fn group(&self, name: &str, configuration: &str, size: &str) {
        let (name, zone) = (self.name(name), format!("{}a", self.region));
        let fields = [
            ("AutoScalingGroupName", &*name),
            ("LaunchConfigurationName", configuration),
            ("MinSize", "0"),
            ("MaxSize", "9"),
            ("DesiredCapacity", size),
            ("AvailabilityZones.member.1", &*zone),
            ("Tags.member.1.Key", "service"),
            ("Tags.member.1.Value", "obelix \"spot\", ü\n{{ x }}"),
            ("Tags.member.1.PropagateAtLaunch", "true"),
        ];
        self.ask("autoscaling", "CreateAutoScalingGroup", &fields, "RequestId");
    }

    /// Instances in no group.
    fn run(&self, count: &str, market: &[(&str, &str)]) -> Vec<String> {
        let image = self.image();
        let mut fields =
            vec![("ImageId", &*image), ("MinCount", count), ("MaxCount", count), ("InstanceType", "t2.micro")];
        fields.extend(market);
        self.ask("ec2", "RunInstances", &fields, "instanceId")
    }

    fn attach(&self, group: &str, id: &str) {
        let fields = [("AutoScalingGroupName", &*self.name(group)), ("InstanceIds.member.1", id)];
        self.ask("autoscaling", "AttachInstances", &fields, "RequestId");
    }
}

/// The tool on the server that `scripts/stack start aws` started.
fn on_moto() -> Tool {
    let taken = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    taken.iter().fold(tool("asg-hosts"), |tool, name| tool.env(name, std::env::var_os(name).expect("moto's variables")))
}

fn ids(csv: &str) -> Vec<&str> {
    csv.lines().skip(1).collect()
}

#[test]
fn a_fleet_on_moto() {
    let round = uuid::Uuid::new_v4().to_string();
    let (here, there) = (Moto::new("eu-west-1", &round), Moto::new("ap-southeast-1", &round));
    let configuration = here.configuration();
    here.group("spot", &configuration, "2");
    here.group("ondemand", &configuration, "3");
    there.group("twilix", &there.configuration(), "2");
    // More groups than a page holds.
    (0..100).for_each(|number| here.group(&format!("empty{number}"), &configuration, "0"));
    let spot = here.run("2", &[("InstanceMarketOptions.MarketType", "spot")]);
    spot.iter().for_each(|id| here.attach("spot", id));
    let loners = here.run("3", &[]);
    here.ask("ec2", "StopInstances", &[("InstanceId.1", &loners[0])], "instanceId");
    here.attach("ondemand", &loners[1]);
    here.ask("ec2", "StopInstances", &[("InstanceId.1", &loners[1])], "instanceId");
    let alone = [&*loners[0], &*loners[2]];

    let list = |words: &[&str]| {
        let regions = ["--region", "eu-west-1,ap-southeast-1", "--columns", "instance_id", "-v"];
        let run = on_moto().args(regions).args(words).run().succeeds();
        let counts = run.stderr_str().lines().last().unwrap_or_default().to_owned();
        let ids: Vec<String> = ids(run.stdout_str()).into_iter().map(str::to_owned).collect();
        (ids, counts, run.stderr_str())
    };
    let glob = format!("*-{round}");
    let (found, counts, _) = list(&["--asg", &glob]);
    assert_eq!(found.len(), 10, "{counts}");
    assert!(counts.ends_with("10 instances described: 10 listed, 0 skipped, 0 unresolved"), "{counts}");
    // Without a selector: rounds before this one may have left groups of their own.
    let (all, counts, steps) = list(&[]);
    assert!(found.iter().all(|id| all.contains(id)) && !all.iter().any(|id| alone.contains(&id.as_str())));
    let numbers: Vec<usize> =
        counts.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers[0], numbers[1] + numbers[2] + numbers[numbers.len() - 1], "{counts}");
    assert!(numbers[1] == all.len() && numbers[2] >= 2, "{counts}");
    let groups = steps.lines().find(|line| line.contains("eu-west-1: ") && line.contains(" groups, ")).unwrap();
    let requests: usize = groups.rsplit(' ').nth(1).unwrap().parse().unwrap();
    assert!(requests >= 2, "{groups}");

    for (words, count) in [
        (&["--lifecycle", "spot"][..], 2),
        (&["--lifecycle", "on-demand"], 8),
        (&["--state", "stopped"], 1),
        (&["--state", "running"], 9),
        (&["--tag", "service=obelix \"spot\", ü\n{{ x }}"], 7),
        (&["--in-service", "--healthy"], 10),
    ] {
        assert_eq!(list(&[&["--asg", &glob], words].concat()).0.len(), count, "{words:?}");
    }
    let name = here.name("spot");
    assert_eq!(list(&["--asg", &name]).0.len(), 4);
    let run = on_moto().args(["--region", "ap-southeast-1", "--asg", &name]).run().fails_with(1).stdout_is("");
    let _run = run.stderr_contains("not found");

    let run = on_moto().args(["--region", "eu-west-1", "--list", "--asg", &glob]).run().succeeds().stderr_is_empty();
    let inventory: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(inventory["ec2"]["hosts"].as_array().map(Vec::len), Some(7), "those that run");
    let group = format!("tag_aws_autoscaling_groupName_{}", name.replace('-', "_"));
    assert_eq!(inventory[&group]["hosts"].as_array().map(Vec::len), Some(4));
}

#[test]
fn saved_output_of_moto_is_the_same_list() {
    let round = uuid::Uuid::new_v4().to_string();
    let moto = Moto::new("eu-central-1", &round);
    moto.group("saved", &moto.configuration(), "3");
    let aws = stack_tool(AWS_CLI).join("aws");
    let save = |words: &[&str]| {
        let names = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let aws = names.iter().fold(Tool::new(&aws), |tool, name| tool.env(name, std::env::var_os(name).unwrap()));
        aws.args(words).args(["--region", "eu-central-1", "--output", "json"]).run().succeeds().stdout
    };
    let mut saved = save(&["autoscaling", "describe-auto-scaling-groups"]);
    saved.extend(save(&["ec2", "describe-instances"]));
    let name = moto.name("saved");
    for format in [&["--format", "csv"][..], &["--format", "json"], &["--list"], &["--list", "--full-hostvars"]] {
        let live = on_moto().args(["--region", "eu-central-1", "--asg", &name]).args(format).run().succeeds();
        let from_file = tool("asg-hosts").args(["--input", "-", "--asg", &name]).args(format).stdin(saved.clone());
        assert_eq!(live.stdout_str(), from_file.run().succeeds().stdout_str(), "{format:?}");
    }
}
