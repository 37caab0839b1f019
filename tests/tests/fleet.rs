//! asg-hosts against moto's EC2 and Auto Scaling, and against two releases of Ansible itself.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{bin_dir, root, tool};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use testkit::{FleetInstance, FleetModel, Tool};

/// The current release of Ansible for Python 3.11, and the one before.
const ANSIBLE: [&str; 2] = ["2.19.14", "2.18.19"];

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
    let aws = PathBuf::from(stack_tool("awscli==1.46.3")).join("aws");
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

/// Installs a Python package, and returns its bin directory.
fn stack_tool(requirement: &str) -> String {
    let output = std::process::Command::new(root().join("scripts/stack")).args(["tool", requirement]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Ansible, with nothing of the machine's in it.
fn ansible(version: &str, command: &str) -> Tool {
    Tool::new(Path::new(&stack_tool(&format!("ansible-core=={version}"))).join(command))
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_LOCALHOST_WARNING", "false")
        .env("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FATAL", "true")
}

/// Values that would leave `marker` if anything took them for a template or a command.
fn corpus(marker: &Path) -> Vec<String> {
    let touch = format!("touch {}", marker.display());
    let mut corpus: Vec<String> = [
        "{{ lookup('pipe', 'TOUCH') }}",
        "{{ lookup(\"pipe\", \"TOUCH\") }}",
        "{%- set x = lookup('pipe', 'TOUCH') -%}{{ x }}",
        "{# {{ #}{{ lookup('pipe', 'TOUCH') }}",
        "a\n{{ lookup('pipe', 'TOUCH') }}",
        "{\"__ansible_unsafe\": \"{{ lookup('pipe', 'TOUCH') }}\"}",
        "!unsafe {{ lookup('pipe', 'TOUCH') }}",
        "{{ {{ lookup('pipe', 'TOUCH') }} }}",
        "#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ lookup('pipe', 'TOUCH') ]]",
        "$(TOUCH)",
        "`TOUCH`",
        "; TOUCH #",
        "| TOUCH",
        "a\nTOUCH\n",
        "}\ndefine command{\n\tcommand_line\tTOUCH\n}",
        "=cmd|' /C TOUCH'!A0",
        "trailing\\",
        "\"",
        "'",
        ",",
        "a,b",
        "}",
        "{{",
        "{% raw %}",
        "tab\t, return\r, newline\n, bell\u{7}, escape \u{1b}[31m, nothing \u{0}",
        "\u{202e}turned",
        "ünïcödé 🚀",
        " padded ",
        "",
        "yes",
        "null",
        "1e3",
        "[1, 2]",
    ]
    .map(|value| value.replace("TOUCH", &touch))
    .to_vec();
    corpus.push("x".repeat(256));
    corpus
}

/// A saved fleet with those values in tags, keys of tags, names of groups and everywhere else that is free text.
fn saved(corpus: &[String]) -> String {
    let instances: Vec<Value> = corpus
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

/// A directory with an inventory script over a saved fleet, and a playbook that uses every variable of every host.
struct Stage {
    dir: TempDir,
    corpus: Vec<String>,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(&dir.path().join("marker"));
        fs::write(dir.path().join("saved.json"), saved(&corpus)).unwrap();
        fs::write(
            dir.path().join("play.yml"),
            format!(
                "- hosts: ec2\n  gather_facts: false\n  connection: local\n  vars: {{ ansible_python_interpreter: '{{{{ ansible_playbook_python }}}}' }}\n  tasks:\n\
                 \x20   - debug: {{ var: 'hostvars[inventory_hostname]' }}\n\
                 \x20   - debug: {{ msg: '{{{{ ec2_tag_Name }}}} {{{{ ec2_tag_Name | quote }}}}' }}\n\
                 \x20   - debug: {{ msg: '{{{{ group_names | join }}}} {{{{ ansible_ssh_host }}}}' }}\n\
                 \x20   - copy:\n\
                 \x20       dest: '{}/names.json'\n\
                 \x20       content: \"{{{{ groups.ec2 | map('extract', hostvars, 'ec2_tag_Name') | list | to_json }}}}\"\n\
                 \x20     run_once: true\n",
                dir.path().display()
            ),
        )
        .unwrap();
        let stage = Self { dir, corpus };
        let tool = bin_dir().join("asg-hosts");
        stage.script("inventory", &format!("exec {} --input saved.json --allow-merge \"$@\"", tool.display()));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, line: &str) {
        let text = format!("#!/bin/sh\ncd '{}'\n{line}\n", self.dir.path().display());
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn was_run(&self) -> bool {
        self.path("marker").exists()
    }
}

#[test]
fn ansible_runs_nothing_of_what_tags_hold() {
    for version in ANSIBLE {
        let stage = Stage::new();
        for words in [&["--list"][..], &["--list", "--full-hostvars"]] {
            let more = words[1..].join(" ");
            let tool = bin_dir().join("asg-hosts");
            stage.script(
                "inventory",
                &format!("exec {} --input saved.json --allow-merge {more} \"$@\"", tool.display()),
            );
            let list = ansible(version, "ansible-inventory").arg("-i").arg(stage.path("inventory")).arg("--list");
            let list = list.run().succeeds();
            assert!(!stage.was_run(), "{version}: ansible-inventory ran a tag: {}", list.report());
            assert!(!list.stderr_str().contains("DEPRECAT"), "{version}: {}", list.report());
            let list: Value = serde_json::from_slice(&list.stdout).unwrap();
            for (number, value) in stage.corpus.iter().enumerate() {
                let name = &list["_meta"]["hostvars"][format!("127.0.1.{number}")]["ec2_tag_Name"];
                // 2.18 shows the mark, 2.19 has taken it off.
                let name = name.get("__ansible_unsafe").unwrap_or(name);
                assert_eq!(name, &json!(value), "{version}");
            }
            let play = ansible(version, "ansible-playbook").arg("-i").arg(stage.path("inventory"));
            let play = play.arg(stage.path("play.yml")).run().succeeds();
            assert!(!stage.was_run(), "{version}: ansible-playbook ran a tag: {}", play.report());
            assert!(!play.stderr_str().contains("DEPRECAT"), "{version}: {}", play.report());
            let names: Vec<String> = serde_json::from_slice(&fs::read(stage.path("names.json")).unwrap()).unwrap();
            assert_eq!(names, stage.corpus, "{version}");
        }
    }
}

#[test]
fn the_same_values_without_marks_are_run() {
    // What the test above would look like if it could not fail: the marks taken off, Ansible runs the tags.
    for version in ANSIBLE {
        let stage = Stage::new();
        let unmark = "import json, sys\n\
                      json.dump(json.load(sys.stdin, object_hook=lambda o: o.get('__ansible_unsafe', o)), sys.stdout)";
        fs::write(stage.path("unmark.py"), unmark).unwrap();
        let tool = bin_dir().join("asg-hosts");
        let line = format!("{} --input saved.json --allow-merge \"$@\" | python3 unmark.py", tool.display());
        stage.script("inventory", &line);
        let play = ansible(version, "ansible-playbook").arg("-i").arg(stage.path("inventory"));
        let _play = play.arg(stage.path("play.yml")).run();
        assert!(stage.was_run(), "{version}: no tag was run");
    }
}

#[test]
fn the_binary_itself_is_an_inventory() {
    let model = FleetModel::start();
    for (number, asg) in ["obelix-spot", "obelix-ondemand"].iter().enumerate() {
        model.add_instance(
            "eu-west-1",
            FleetInstance {
                id: format!("i-{number}"),
                state: "running".to_owned(),
                spot: number == 0,
                zone: "eu-west-1a".to_owned(),
                private_ip: format!("172.31.0.{number}"),
                public_ip: String::new(),
                tags: vec![("aws:autoscaling:groupName".to_owned(), (*asg).to_owned())],
            },
        );
    }
    for version in ANSIBLE {
        let list = ansible(version, "ansible-inventory").aws(model.endpoint()).env("AWS_REGION", "eu-west-1");
        let list = list.arg("-i").arg(bin_dir().join("asg-hosts")).arg("--list").run().succeeds();
        assert!(!list.stderr_str().contains("DEPRECAT"), "{version}: {}", list.report());
        let list: BTreeMap<String, Value> = serde_json::from_slice(&list.stdout).unwrap();
        let group = &list["tag_aws_autoscaling_groupName_obelix_spot"];
        assert_eq!(group["hosts"], json!(["172.31.0.0"]), "{version}");
        assert_eq!(list["ec2"]["hosts"], json!(["172.31.0.0", "172.31.0.1"]), "{version}");
    }
}
