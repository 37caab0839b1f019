//! An instance of the stack boots: with the user data of its launch template, and the permissions of its role.

use crate::cloud::Cloud;
use crate::template::{Stack, Template};
use base64::prelude::{BASE64_STANDARD, Engine};
use end_to_end::tool;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use testkit::{Running, Tool};

impl Cloud {
    /// A promoted release of the service, and one of its Ansible code.
    pub fn release(&self) {
        for artifact in [&self.service, "ansible-code"] {
            self.pack(artifact).run().succeeds();
            self.promote(artifact).run().succeeds();
        }
    }

    fn pack(&self, artifact: &str) -> Tool {
        let tree = self.dir.path().join("tree");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("run.sh"), "echo run\n").unwrap();
        self.of_store("artifact-pack", artifact).arg("-C").arg(&tree).arg(".")
    }

    fn promote(&self, artifact: &str) -> Tool {
        self.of_store("release-promote", artifact).args(["--release", "latest"])
    }

    fn of_store(&self, name: &str, artifact: &str) -> Tool {
        let store = format!("s3://{}/{artifact}/prod", self.parameters["ReleaseBucket"]);
        self.reach(tool(name)).args(["-q", "--artifact", artifact, "--store", &store])
    }

    fn set_up(&self, service: &str, script: &str) {
        let file = self.dir.path().join("set-up.sh");
        fs::write(&file, script).unwrap();
        let there = format!("s3://{}/prod/{service}.sh", self.parameters["DeployScriptsBucket"]);
        self.aws(&["s3", "cp", file.to_str().unwrap(), &there]);
    }

    /// The user data of the newest launch template, as cloud-init leaves it on an instance.
    fn user_data(&self, stack: &Stack<'_>) -> PathBuf {
        let data = self.launch_template(stack)["LaunchTemplateData"]["UserData"].as_str().unwrap().to_owned();
        let file = self.dir.path().join("user-data");
        fs::write(&file, BASE64_STANDARD.decode(data).unwrap()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }
}

/// A moto of this test alone, whose answers can be made to depend on permissions.
struct Strict {
    endpoint: String,
    _server: Running,
}

impl Strict {
    fn start() -> Self {
        let (endpoint, server) = end_to_end::moto();
        Self { endpoint, _server: server }
    }

    /// Whether only that is done which the caller's policies allow.
    fn asks_for_permission(&self, yes: bool) {
        let (plain, after) = ([("Content-Type", "text/plain")], if yes { "0" } else { "inf" });
        let answer =
            testkit::request(&self.endpoint, "POST", "/moto-api/reset-auth", &plain, after.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// moto judges S3 by action and key, and other services by the action alone.
#[test]
fn an_instance_boots_with_its_role_and_may_do_nothing_else() {
    let moto = Strict::start();
    let template = Template::read();
    let mut cloud = Cloud::new(moto.endpoint.clone(), &template);
    let (healthy, mail) = (cloud.dir.path().join("healthy"), cloud.dir.path().join("mail"));
    cloud.set("OnFailure", &format!("cat >{}", mail.display()));
    cloud.readme("Create and update");
    cloud.release();
    cloud.pack("twilix").run().succeeds();
    let service = cloud.service.clone();
    cloud.set_up(&service, "test -f \"$SERVICE_DIR/run.sh\" && test \"$1 $2\" = '1 1'\n");
    cloud.set_up("twilix", "true\n");
    let stack = cloud.stack(&template);
    let user_data = cloud.user_data(&stack);

    let role = stack.ids["InstanceRole"].clone();
    let allow = |policy: &Value| {
        // moto's CloudFormation stores the role's own policies in a form that moto can't read.
        let document = policy.to_string();
        let put = ["iam", "put-role-policy", "--role-name", &role, "--policy-name", "boot", "--policy-document"];
        cloud.aws(&[&put[..], &[&document]].concat());
    };
    let boot = cloud.properties(&stack, "InstanceRole")["Policies"][0]["PolicyDocument"].clone();
    allow(&boot);
    let arn = format!("arn:aws:iam::{}:role/{role}", stack.ids["AWS::AccountId"]);
    let session = cloud.aws(&["sts", "assume-role", "--role-arn", &arn, "--role-session-name", "instance"]);
    let as_instance = |tool: Tool| {
        let of = |key: &str| session["Credentials"][key].as_str().unwrap();
        let tool = tool.env("AWS_ACCESS_KEY_ID", of("AccessKeyId")).env("AWS_SECRET_ACCESS_KEY", of("SecretAccessKey"));
        tool.env("AWS_SESSION_TOKEN", of("SessionToken"))
    };
    let start = |disk: &str| {
        let tool = cloud.reach(Tool::new(&user_data)).env("INSTALL_DIR", cloud.dir.path().join(disk));
        as_instance(tool).run()
    };

    moto.asks_for_permission(true);
    let _booted = start("srv").succeeds();
    assert_eq!(fs::read_to_string(&healthy).unwrap(), format!("{service}-1\n"));
    assert!(!mail.exists());

    // What is not allowed: to publish, to read what belongs to others, to change groups or instances.
    let others = cloud.dir.path().join("others");
    let fetch = cloud.of_store("artifact-fetch", "twilix").args(["--release", "1", "--into"]).arg(&others);
    for tool in [fetch, cloud.pack(&service), cloud.promote(&service).args(["--channel", "next"])] {
        let _denied = as_instance(tool).run().fails_with(1).stderr_contains("AccessDenied");
    }
    let script = format!("s3://{}/prod/twilix.sh", cloud.parameters["DeployScriptsBucket"]);
    let ours = format!("s3://{}/prod/{service}.sh", cloud.parameters["DeployScriptsBucket"]);
    let release = format!("s3://{}/{service}/prod/latest-stable.txt", cloud.parameters["ReleaseBucket"]);
    let group = format!("{service}_ondemand_asg");
    for words in [
        &["s3", "cp", &script, "-"][..],
        &["s3", "cp", user_data.to_str().unwrap(), &ours],
        &["s3", "rm", &release],
        &["autoscaling", "set-desired-capacity", "--auto-scaling-group-name", &group, "--desired-capacity", "0"],
        &["ec2", "terminate-instances", "--instance-ids", "i-0123456789abcdef0"],
        &["iam", "list-roles"],
    ] {
        let run = as_instance(cloud.reach(Tool::new("aws"))).args(words).run();
        let said = run.stderr_str();
        let denied = ["AccessDenied", "UnauthorizedOperation", "Forbidden"].iter().any(|word| said.contains(word));
        assert!(denied, "{words:?}: {}", run.report());
    }
    let _read = as_instance(cloud.reach(Tool::new("aws"))).args(["s3", "cp", &ours, "-"]).run().succeeds();

    // Neither of these can be left out; and a boot that fails says so, and leaves no health file.
    for (needed, code) in [("Fetch", 1), ("SetUp", 75)] {
        let mut less = boot.clone();
        less["Statement"].as_array_mut().unwrap().retain(|statement| statement["Sid"] != json!(needed));
        moto.asks_for_permission(false);
        allow(&less);
        moto.asks_for_permission(true);
        let _failed = start(needed).fails_with(code);
        assert!(!healthy.exists(), "{needed}");
        assert!(fs::read_to_string(&mail).unwrap().contains("instance-boot of"), "{needed}");
        fs::remove_file(&mail).unwrap();
    }
    moto.asks_for_permission(false);
}
