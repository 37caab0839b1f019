//! A stack on moto: made, changed and deleted by the commands of the README, and asked with the AWS CLI.

use crate::template::{Stack, Template};
use end_to_end::aws_cli::{AWS_CLI, AwsCli};
use end_to_end::{root, stack_tool};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use tempfile::TempDir;
use testkit::Tool;

/// A region that no other test is in.
pub const REGION: &str = "eu-north-1";

/// The account of moto's.
const ACCOUNT: &str = "123456789012";

/// A service's place in the cloud.
pub struct Cloud {
    endpoint: String,
    cli: AwsCli,
    pub service: String,
    pub dir: TempDir,
    pub parameters: BTreeMap<String, String>,
}

impl Cloud {
    /// On the moto that `scripts/stack start aws` started.
    pub fn on_the_stack(template: &Template) -> Self {
        Self::new(std::env::var("AWS_ENDPOINT_URL").expect("moto: run the tests by scripts/test"), template)
    }

    /// With a network, a certificate and the bucket of the set-up scripts, which the template has as parameters.
    pub fn new(endpoint: String, template: &Template) -> Self {
        let service = format!("obelix-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root().join("scripts"), dir.path().join("scripts")).unwrap();
        let cli = AwsCli::of(&endpoint, REGION);
        let mut cloud = Self { endpoint, cli, service, dir, parameters: BTreeMap::new() };
        let vpc = cloud.aws(&["ec2", "create-vpc", "--cidr-block", "10.0.0.0/16"]);
        let vpc = vpc["Vpc"]["VpcId"].as_str().unwrap().to_owned();
        let subnets: Vec<String> = (1..=4).map(|number| cloud.subnet(&vpc, number)).collect();
        let domain = format!("{}.example.com", cloud.service);
        let certificate = cloud.aws(&["acm", "request-certificate", "--domain-name", &domain]);
        let scripts = format!("{}-deploy-scripts", cloud.service);
        cloud.aws(&["s3", "mb", &format!("s3://{scripts}")]);

        // moto forgets parameters that are left to their former values, so all of them are always given.
        let all = template.at("/Parameters").as_object().unwrap();
        for (name, parameter) in all {
            let text = parameter["Default"].as_str().map(str::to_owned);
            cloud.set(name, &text.unwrap_or_else(|| parameter["Default"].to_string()));
        }
        let service = cloud.service.clone();
        for (name, value) in [
            ("Service", &*service),
            ("ImageId", "ami-12c6146b"),
            ("VpcId", &vpc),
            ("PublicSubnets", &subnets[..2].join(",")),
            ("PrivateSubnets", &subnets[2..].join(",")),
            ("CertificateArn", certificate["CertificateArn"].as_str().unwrap()),
            ("ReleaseBucket", &format!("{service}-releases")),
            ("DeployScriptsBucket", &scripts),
            ("AlarmEmail", "ops@example.com"),
            ("HealthFile", cloud.dir.path().join("healthy").to_str().unwrap()),
        ] {
            cloud.set(name, value);
        }
        cloud
    }

    fn subnet(&self, vpc: &str, number: u32) -> String {
        let (range, zone) =
            (format!("10.0.{number}.0/24"), format!("{REGION}{}", if number % 2 == 1 { "a" } else { "b" }));
        let create = ["ec2", "create-subnet", "--vpc-id", vpc, "--cidr-block", &range, "--availability-zone", &zone];
        self.aws(&create)["Subnet"]["SubnetId"].as_str().unwrap().to_owned()
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.parameters.insert(name.to_owned(), value.to_owned());
    }

    /// The environment that leads to moto, with the AWS CLI on `PATH` as on an instance.
    pub fn reach(&self, tool: Tool) -> Tool {
        let bins = [end_to_end::bin_dir(), stack_tool(AWS_CLI), std::env::var("PATH").unwrap().into()];
        let path = std::env::join_paths(bins.iter().flat_map(std::env::split_paths)).unwrap();
        tool.aws(&self.endpoint).env("AWS_REGION", REGION).env("AWS_DEFAULT_REGION", REGION).env("PATH", path)
    }

    /// Runs the AWS CLI, and returns what it prints as JSON.
    pub fn aws(&self, args: &[&str]) -> Value {
        self.cli.run(args)
    }

    /// Runs the block of commands under this heading of the README, as it is but for the service's name.
    pub fn readme(&self, heading: &str) {
        let list: Vec<String> = self.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        fs::write(self.dir.path().join(format!("{}.json", self.service)), json!(list).to_string()).unwrap();
        let commands = block(heading, "sh").replace("obelix", &self.service);
        let shell = self.reach(Tool::new("bash")).args(["-euo", "pipefail", "-c", &commands]);
        shell.cwd(self.dir.path()).run().succeeds();
    }

    /// Puts this in place of the template of the checkout.
    pub fn replace(&self, template: &Template) {
        let scripts = self.dir.path().join("scripts");
        fs::remove_file(&scripts).unwrap();
        fs::create_dir_all(scripts.join("service")).unwrap();
        fs::write(scripts.join("service/service.yaml"), template.0.to_string()).unwrap();
    }

    fn resources(&self) -> Vec<Value> {
        let described = self.aws(&["cloudformation", "describe-stack-resources", "--stack-name", &self.service]);
        described["StackResources"].as_array().unwrap().clone()
    }

    /// The resources that moto made, by their names in the template.
    pub fn made(&self) -> BTreeMap<String, String> {
        let text = |resource: &Value, key: &str| resource[key].as_str().map(str::to_owned);
        let pair =
            |resource: &Value| Some((text(resource, "LogicalResourceId")?, text(resource, "PhysicalResourceId")?));
        // moto lists what it left out as "None".
        self.resources().iter().filter_map(pair).filter(|(name, _)| name != "None").collect()
    }

    /// Their types.
    pub fn kinds(&self) -> BTreeSet<String> {
        self.resources().iter().filter_map(|resource| Some(resource["ResourceType"].as_str()?.to_owned())).collect()
    }

    pub fn stack<'a>(&self, template: &'a Template) -> Stack<'a> {
        let mut ids = self.made();
        for (name, value) in [("AWS::Region", REGION), ("AWS::AccountId", ACCOUNT), ("AWS::Partition", "aws")] {
            ids.insert(name.to_owned(), value.to_owned());
        }
        Stack { template, parameters: self.parameters.clone(), ids }
    }

    pub fn group(&self, of: &str) -> Value {
        let name = format!("{}_{of}_asg", self.service);
        let described = self.aws(&["autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", &name]);
        described["AutoScalingGroups"][0].clone()
    }
}

/// The first block of this language below a heading of the README.
pub fn block(heading: &str, language: &str) -> String {
    let text = fs::read_to_string(root().join("scripts/service/README.md")).unwrap();
    let below = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| unreachable!("no heading {heading}")).1;
    let below = below.split("\n## ").next().unwrap();
    let opened = below.split_once(&format!("```{language}\n"));
    let closed = opened.and_then(|(_, rest)| rest.split_once("```"));
    closed.unwrap_or_else(|| unreachable!("no {language} below {heading}")).0.to_owned()
}
