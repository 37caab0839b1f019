//! `asg-code-push`: real Ansible rolls releases out onto a fleet of moto's, whose hosts are directories here.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::aws_cli::AwsCli;
use end_to_end::{bin_dir, root, stack_tool, tool};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;
use testkit::{Finished, FleetFault, FleetGroup, FleetInstance, FleetMember, FleetModel, Tool, wait_until};
use uuid::Uuid;

/// The set-up script of the service: writes down when it runs where.
const SET_UP: &str = r#"echo "start $INSTALL_DIR" >>"$LOG"
test -s "$SERVICE_DIR/version"
echo "end $INSTALL_DIR" >>"$LOG"
"#;

/// A service with three releases, and its instances.
struct Service {
    name: String,
    dir: TempDir,
    /// Addresses, in the order of the deploy.
    hosts: Vec<String>,
}

impl Service {
    /// On moto, with four instances in two groups.
    fn new() -> Self {
        let mut service = Self::released(format!("svc-{}", Uuid::new_v4()), &[]);
        service.launch();
        let listed = service.fleet(tool("asg-hosts")).args(["--format", "ips", "--in-service"]);
        let listed = listed.args(["--tag", &format!("service={}", service.name)]).run().succeeds();
        service.hosts = listed.stdout_str().lines().map(str::to_owned).collect();
        service.hosts.sort();
        assert_eq!(service.hosts.len(), 4, "{}", listed.report());
        service
    }

    /// The releases, for instances that are these hosts.
    fn released(name: String, hosts: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let service = Self { name, dir, hosts: hosts.iter().map(ToString::to_string).collect() };
        let scripts = service.dir.path().join("deploy-scripts");
        fs::create_dir(&scripts).unwrap();
        fs::write(scripts.join(format!("{}.sh", service.name)), SET_UP).unwrap();
        for (artifact, releases) in [(service.name.clone(), 3), ("ansible-code".to_owned(), 1)] {
            let tree = service.dir.path().join(format!("tree-{artifact}"));
            fs::create_dir(&tree).unwrap();
            for release in 1..=releases {
                fs::write(tree.join("version"), format!("{release}\n")).unwrap();
                let pack =
                    tool("artifact-pack").args(["-q", "--artifact", &artifact, "--store", &service.store(&artifact)]);
                pack.arg("-C").arg(&tree).arg(".").run().succeeds();
            }
        }
        let promote = tool("release-promote").args(["-q", "--artifact", "ansible-code", "--release", "latest"]);
        promote.args(["--store", &service.store("ansible-code")]).run().succeeds();
        service
    }

    fn store(&self, artifact: &str) -> String {
        format!("file://{}", self.dir.path().join("stores").join(artifact).display())
    }

    /// Three spot instances and one on demand.
    fn launch(&self) {
        let template = format!("LaunchTemplateName={},Version=1", self.name);
        let data = r#"{"ImageId":"ami-12c6146b","InstanceType":"m4.large"}"#;
        let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("moto: run the tests by scripts/test");
        let aws = AwsCli::of(&endpoint, "us-east-1");
        aws.run(&[
            "ec2",
            "create-launch-template",
            "--launch-template-name",
            &self.name,
            "--launch-template-data",
            data,
        ]);
        for (kind, count) in [("spot", "3"), ("ondemand", "1")] {
            let group = format!("{}_{kind}_asg", self.name);
            let tag = format!("Key=service,Value={},PropagateAtLaunch=true", self.name);
            let create = ["autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", &group];
            let size = ["--min-size", count, "--max-size", count, "--availability-zones", "us-east-1a", "--tags", &tag];
            aws.run(&[&create[..], &["--launch-template", &template], &size].concat());
        }
    }

    /// The environment that leads to the fleet.
    #[expect(clippy::unused_self, reason = "reads like the others")]
    fn fleet(&self, tool: Tool) -> Tool {
        let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("moto: run the tests by scripts/test");
        tool.aws(&endpoint).env("AWS_ENDPOINT_URL", endpoint)
    }

    /// Rolls out, on hosts that are directories here.
    fn push(&self, version: &str, forks: &str) -> Tool {
        let ansible = stack_tool("ansible-core==2.19.14");
        let (first, tools) = (self.dir.path().join("bin"), bin_dir());
        let (first, tools, path) = (first.display(), tools.display(), std::env::var("PATH").unwrap());
        let path = format!("{first}:{tools}:{}:{path}", ansible.display());
        let script = Tool::new(root().join("scripts/asg-code-push")).env("PATH", path);
        let script = self.fleet(script).env("SERVICE", &self.name).env("VERSION", version).env("FORKS", forks);
        let script = script.env("STORE", self.store(&self.name)).env("ANS_STORE", self.store("ansible-code"));
        let scripts = format!("file://{}", self.dir.path().join("deploy-scripts").display());
        let script = script.env("DEPLOY_SCRIPTS", scripts).env("HEALTH_TRIES", "1").env("LOG", self.log());
        let install_dir =
            format!("install_dir={}/{{{{ inventory_hostname }}}}", self.dir.path().join("hosts").display());
        let script = script.env("HOME", self.dir.path()).env("LC_ALL", "C.UTF-8");
        let python = format!("ansible_python_interpreter={}/python", ansible.display());
        script.args(["-e", "ansible_connection=local", "-e", &python, "-e", &install_dir])
    }

    /// Lets asg-hosts find the fleet of this fixture instead of asking AWS.
    fn saved_fleet(&self, fixture: &str) {
        let (bin, saved) = (self.dir.path().join("bin"), root().join("tests/fixtures").join(fixture));
        fs::create_dir(&bin).unwrap();
        let (tool, saved) = (bin_dir().join("asg-hosts"), saved.display());
        let script = format!("#!/bin/sh\nexec '{}' --input '{saved}' \"$@\"\n", tool.display());
        fs::write(bin.join("asg-hosts"), script).unwrap();
        fs::set_permissions(bin.join("asg-hosts"), Permissions::from_mode(0o755)).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn host(&self, index: usize) -> PathBuf {
        self.dir.path().join("hosts").join(&self.hosts[index])
    }

    /// The release that every host runs; 0 for none.
    fn releases(&self) -> Vec<u32> {
        let version = |index| fs::read_to_string(self.host(index).join(&self.name).join("current/version"));
        (0..self.hosts.len()).map(|index| version(index).map_or(0, |text| text.trim().parse().unwrap())).collect()
    }

    /// What was said in the end of which host.
    fn says(&self, run: &Finished, index: usize, release: &str) {
        let told = run.stdout_str().split("Which host has which release").nth(1).expect("the last play ran");
        let host = told.split(&format!("ok: [{}]", self.hosts[index])).last().unwrap();
        let said = host.lines().nth(1).unwrap_or_default();
        assert!(said.contains(release), "{} has {said}: {}", self.hosts[index], run.report());
    }
}

#[test]
fn some_at_a_time_until_one_fails_and_back() {
    let service = Service::new();
    let run = service.push("1", "2").run().succeeds();
    assert_eq!(service.releases(), [1, 1, 1, 1]);
    for index in 0..4 {
        service.says(&run, index, &format!("{}-1", service.name));
    }
    let log = fs::read_to_string(service.log()).unwrap();
    // The two of a batch start in either order.
    let starts = |index| format!("start {}", service.host(index).display());
    let second_batch = log.lines().position(|line| [starts(2), starts(3)].contains(&line.to_owned())).unwrap();
    let ended = log.lines().take(second_batch).filter(|line| line.starts_with("end ")).count();
    assert_eq!(ended, 2, "the second batch starts when the first two are done: {log}");

    // The third host does not get well: the batch that it is in is the last one.
    fs::write(service.host(2).join("broken"), "").unwrap();
    let check = "test ! -e \"$INSTALL_DIR/broken\" && test -s \"$INSTALL_DIR/healthy\"";
    let run = service.push("2", "1").env("HEALTH_CHECK", check).run().fails_with(2);
    assert_eq!(service.releases(), [2, 2, 2, 1]);
    service.says(&run, 2, &format!("{}-2", service.name));
    service.says(&run, 3, &format!("{}-1", service.name));

    let _run = service.push("3", "2").env("HEALTH_CHECK", check).run().fails_with(2);
    assert_eq!(service.releases(), [3, 3, 3, 3], "all of a batch go on, and here the last batch has the sick one");

    fs::remove_file(service.host(2).join("broken")).unwrap();
    let _run = service.push("1", "4").run().succeeds();
    assert_eq!(service.releases(), [1, 1, 1, 1], "back is the same with the old number");
}

#[test]
fn only_hosts_that_are_there_and_only_releases_that_are_there() {
    let service = Service::new();
    let some = format!("{},{}", service.hosts[1], service.hosts[3]);
    let _run = service.push("latest", "2").env("HOSTS", &some).run().succeeds();
    assert_eq!(service.releases(), [0, 3, 0, 3]);

    let gone = format!("{},192.0.2.1", service.hosts[0]);
    let _run = service.push("2", "2").env("HOSTS", gone).run().fails_with(2).stdout_contains("192.0.2.1");
    let wrong = service.push("2", "2").arg("--no-such-option").run().fails_with(2);
    let _run = wrong.stderr_contains("unrecognized arguments: --no-such-option");
    let _run = service.push("9", "2").run().fails_with(1).stderr_contains("release 9");
    let _run = service.push("2", "2").env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").run().fails_with(75);
    assert_eq!(service.releases(), [0, 3, 0, 3], "nothing was touched");
}

#[test]
fn a_script_of_ones_own() {
    let service = Service::new();
    let script = service.dir.path().join("own script.sh");
    fs::write(&script, "#!/bin/sh\nmkdir -p \"$INSTALL_DIR\" && echo \"$1 $2 $3\" >\"$INSTALL_DIR/said\"\n").unwrap();
    let _run = service.push("2", "4").env("CUSTOM_SCRIPT", script).run().succeeds();
    for index in 0..4 {
        let said = fs::read_to_string(service.host(index).join("said")).unwrap();
        assert_eq!(said, format!("{} 1 2\n", service.name));
    }
    assert_eq!(service.releases(), [0, 0, 0, 0]);
}

/// Two of four have no private address, or are not known to EC2: they are named, and the deploy is not done.
#[test]
fn who_got_nothing_is_named() {
    let service = Service::released("obelix".to_owned(), &["127.0.0.1", "127.0.0.3"]);
    service.saved_fleet("four-of-which-two.json");
    let run = service.push("1", "2").run().fails_with(1);
    assert_eq!(service.releases(), [1, 1], "who can be reached is deployed to");
    service.says(&run, 1, "obelix-1");
    let named =
        "in service, and nothing was deployed to: i-0bb without an address of the kind private; i-0dd not known to EC2";
    let _named = run.stdout_contains(named);
    // Neither a limit nor a tag hides them.
    let run = service.push("2", "2").args(["--limit", "127.0.0.3", "--tags", "x"]).run().fails_with(1);
    assert_eq!(service.releases(), [1, 2]);
    let left = "in service, and nothing was deployed to: 127.0.0.1 after a failure, or by an option of Ansible; i-0bb";
    let _named = run.stdout_contains(left).stdout_contains("i-0dd");
    // Who asks for some gets them.
    let _run = service.push("3", "2").env("HOSTS", "127.0.0.1").run().succeeds();
    assert_eq!(service.releases(), [3, 2]);
    // Another way to reach them: the other two are named, and nobody is deployed to.
    let limit = ["--limit", "nobody"];
    let run = service.push("3", "2").env("ADDRESS", "ipv6").args(limit).run().fails_with(1);
    let _named = run.stdout_contains("i-0aa, i-0cc without an address of the kind ipv6");
    assert_eq!(service.releases(), [3, 2]);
}

/// Options and settings of Ansible that keep hosts from a deploy are no success.
#[test]
fn no_option_hides_who_got_nothing() {
    let service = Service::released("obelix".to_owned(), &["127.0.0.1", "127.0.0.3"]);
    service.saved_fleet("four-of-which-two.json");
    let settings = service.dir.path().join("ansible.cfg");
    fs::write(&settings, "[tags]\nrun = deploy\nskip = always\n").unwrap();
    let hosts = || service.push("1", "2").env("HOSTS", "127.0.0.1,127.0.0.3");
    for (push, missed) in [
        (hosts().args(["--limit", "127.0.0.3"]), "127.0.0.1 after"),
        (hosts().args(["--limit", "all:!127.0.0.3"]), "127.0.0.3 after"),
        (hosts().args(["--skip-tags", "always"]), "127.0.0.1, 127.0.0.3 after"),
        (hosts().env("ANSIBLE_SKIP_TAGS", "always"), "127.0.0.1, 127.0.0.3 after"),
        (hosts().env("ANSIBLE_CONFIG", &settings), "127.0.0.1, 127.0.0.3 after"),
        (hosts().arg("--check"), "127.0.0.1, 127.0.0.3 after"),
    ] {
        let _named = push.run().fails_with(1).stdout_contains(&format!("nothing was deployed to: {missed}"));
    }
    for (name, value) in [("ANSIBLE_RUN_TAGS", "x"), ("ANSIBLE_SKIP_TAGS", "untagged")] {
        let run = service.push("1", "2").env(name, value).run().fails_with(1);
        let _named = run.stdout_contains("i-0bb").stdout_contains("i-0dd");
    }
    let _run = hosts().env("ANSIBLE_RUN_TAGS", "x").run().succeeds();
    assert_eq!(service.releases(), [1, 1]);
}

/// Auto Scaling knows an instance before EC2 shows it.
#[test]
fn who_is_not_known_yet_is_waited_for() {
    const REGION: &str = "us-east-1";
    let service = Service::released("obelix".to_owned(), &["127.0.0.1", "127.0.0.2"]);
    let instance = |n: u32| FleetInstance {
        id: format!("i-{n}"),
        state: "running".to_owned(),
        spot: true,
        zone: format!("{REGION}a"),
        private_ip: format!("127.0.0.{n}"),
        public_ip: String::new(),
        tags: [("service", "obelix"), ("aws:autoscaling:groupName", "g")].map(|(k, v)| (k.into(), v.into())).into(),
    };
    let member = |n: u32| FleetMember {
        id: format!("i-{n}"),
        lifecycle_state: "InService".to_owned(),
        health: "Healthy".to_owned(),
        zone: format!("{REGION}a"),
    };
    let model = FleetModel::start();
    model.add_group(REGION, FleetGroup { name: "g".to_owned(), members: vec![member(1), member(2)], tags: Vec::new() });
    model.add_instance(REGION, instance(1));
    let run = service.push("1", "2").aws(model.endpoint()).start();
    wait_until("EC2 to be asked again", || {
        let asked = model.calls().iter().filter(|call| call.action == "DescribeInstances").count();
        if asked > 1 { Ok(()) } else { Err(format!("{asked} questions")) }
    });
    model.add_instance(REGION, instance(2));
    let _run = run.wait().succeeds();
    assert_eq!(service.releases(), [1, 1]);
    // The last page fails: no host is touched.
    model.limit_pages(1);
    model.fail(Box::new(|call| (call.skipped == 1).then(|| FleetFault::error(400, "ExpiredToken"))));
    let run = service.push("2", "2").aws(model.endpoint()).run().fails_with(75);
    let _told = run.stderr_contains("ExpiredToken");
    assert_eq!(service.releases(), [1, 1]);
}
