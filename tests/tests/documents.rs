//! Every command line of the documents, as a reader would run it: block after block of a page in one shell, on real servers
//! or models, with the page's addresses and paths replaced by those of the test. What the machine of a reader has and this
//! one lacks (mail, systemd) is a stand-in, and has to be called.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{bin_dir, root, stack_tool};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testkit::{
    Finished, FleetGroup, FleetInstance, FleetMember, FleetModel, ImdsInstance, ImdsModel, ScalingGroup, ScalingModel,
    Tool,
};

/// For a page; servers may have to be downloaded.
const LIMIT: Duration = Duration::from_secs(600);
const REGION: &str = "us-east-1";

/// Runs a page on what it needs.
type Run = fn(Stage) -> Finished;

/// The pages that are run here.
const PAGES: [(&str, Run); 10] = [
    ("CONTRIBUTING.md", contributing),
    ("README.md", readme),
    ("tools/artifact-fetch/README.md", artifact_fetch),
    ("tools/artifact-pack/README.md", artifact_pack),
    ("tools/asg-hosts/README.md", asg_hosts),
    ("tools/log-index/README.md", log_index),
    ("tools/log-ship/README.md", log_ship),
    ("tools/nagios-gen/README.md", nagios_gen),
    ("tools/release-promote/README.md", release_promote),
    ("tools/spot-watch/README.md", spot_watch),
];
/// The pages that tests of their own run.
const ELSEWHERE: [(&str, &str); 3] = [
    ("docs/FIRST-HOUR.md", "tests/tests/first_hour.rs"),
    ("docs/MIRRORS.md", "tests/tests/mirror.rs"),
    ("scripts/service/README.md", "tests/tests/service/life.rs"),
];

/// A page and what is around it.
struct Stage {
    page: &'static str,
    text: String,
    dir: TempDir,
    before: String,
    line: Tool,
}

impl Stage {
    fn new(page: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["home", "bin", "work"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        let parts = [dir.path().join("bin"), bin_dir()];
        let path = parts.map(|part| part.display().to_string()).join(":") + ":" + &std::env::var("PATH").unwrap();
        let line = Tool::new("bash")
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", dir.path().join("home"))
            .deadline(LIMIT);
        let text = fs::read_to_string(root().join(page)).unwrap();
        let who = "git config --global user.name jenkins; git config --global user.email jenkins@example.com\n";
        Self { page, text, dir, before: who.to_owned(), line }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.line = self.line.env(name, value);
        self
    }

    /// Variables of `scripts/stack`, under their own names.
    fn with_variables(self, names: &[&str]) -> Self {
        names.iter().fold(self, |stage, name| {
            stage.env(name, std::env::var(name).expect("scripts/stack start s3 aws nagios kafka search sets it"))
        })
    }

    /// Runs before the page does.
    fn before(mut self, commands: &str) -> Self {
        self.before += commands;
        self.before.push('\n');
        self
    }

    /// What the page calls `from` is `to` here.
    fn with(mut self, from: &str, to: impl AsRef<str>) -> Self {
        let commands: String = blocks(&self.text).into_iter().map(|(_, block)| block).collect();
        assert!(commands.contains(from), "{}: no command has {from}", self.page);
        self.text = self.text.replace(from, to.as_ref());
        self
    }

    /// A directory of the page's, in the test's own.
    fn with_dir(self, from: &str) -> Self {
        let to = self.path(from.trim_start_matches('/'));
        fs::create_dir_all(&to).unwrap();
        let to = to.display().to_string();
        self.with(from, to)
    }

    /// A program that has to be called by the page.
    fn stand_in(self, name: &str, does: &str) -> Self {
        let called = self.path("called");
        fs::create_dir_all(&called).unwrap();
        let text = format!("#!/bin/bash\nset -eu\ntouch '{}'\n{does}\n", called.join(name).display());
        let path = self.path("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// A tool of ours that goes on for ever unless it's told not to: it has to run for a while without a complaint.
    fn that_follows(self, name: &str) -> Self {
        let tool = bin_dir().join(name).display().to_string();
        self.stand_in(
            name,
            &format!(
                "export STATE_DIRECTORY=$(mktemp -d)\n\
                 code=0\n\
                 timeout -s TERM 8 '{tool}' \"$@\" 2> >(tee \"$STATE_DIRECTORY/said\" >&2) || code=$?\n\
                 [ ! -s \"$STATE_DIRECTORY/said\" ] || exit 1\n\
                 [ $code -eq 124 ] || exit $code"
            ),
        )
    }

    /// Runs every block of the page, one after the other, in one shell.
    fn run(self) -> Finished {
        let mut script =
            String::from("set -Eeuo pipefail\ntrap 'echo \"failed: the block at line $at\" >&2' ERR\nat=0\n");
        script += &self.before;
        for (line, block) in blocks(&self.text) {
            let _ = writeln!(script, "at={line}\n{block}");
        }
        script += "echo all blocks have run\n";
        fs::write(self.path("page.sh"), script).unwrap();
        let done = self.line.arg(self.dir.path().join("page.sh")).cwd(self.dir.path().join("work")).run().succeeds();
        assert!(done.stdout_str().contains("all blocks have run\n"), "{}: {}", self.page, done.report());
        for stand_in in names_in(&self.dir.path().join("bin")) {
            let called = self.dir.path().join("called").join(&stand_in).exists();
            assert!(called, "{}: nobody called {stand_in}: {}", self.page, done.report());
        }
        done
    }
}

/// The blocks of commands, with the lines at which they begin.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```sh" {
            let block: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            blocks.push((number + 1, block.join("\n") + "\n"));
        }
    }
    blocks
}

fn names_in(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// The files that git knows or would take.
fn files() -> Vec<String> {
    let line = ["-C", root().to_str().unwrap(), "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(line).output().unwrap();
    let files = String::from_utf8(listed.stdout).unwrap();
    files.split('\0').filter(|name| root().join(name).is_file()).map(str::to_owned).collect()
}

/// A checkout of this repository as it stands, with what was built.
fn checkout(stage: &Stage) {
    let work = stage.path("work");
    for name in files() {
        let to = work.join(&name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join(&name), to).unwrap();
    }
    fs::create_dir(work.join("target")).unwrap();
    symlink(bin_dir(), work.join("target/release")).unwrap();
}

/// Cargo, asked for tests: those have to be there.
const CARGO_TEST: &str = r#"
[ "$1 $2 $3 $4" = "test --release --locked -p" ] && [ "$6" = --test ]
package=$5 name=$7 filter=$8
case $package in
  end-to-end) grep -q "fn $filter()" "tests/tests/$name.rs" ;;
  *) [ -f "tools/$package/tests/$name/${filter%::}.rs" ] ;;
esac"#;

fn contributing(stage: Stage) -> Finished {
    checkout(&stage);
    let home = std::env::var("HOME").unwrap();
    stage.stand_in("cargo", CARGO_TEST).before(&format!("export HOME='{home}'")).run()
}

fn readme(stage: Stage) -> Finished {
    checkout(&stage);
    // What is installed for the servers is kept for the next time.
    let home = std::env::var("HOME").unwrap();
    let stage = stage.before(&format!(
        "git init -q . && git add -A && git commit -qm all\nmkdir -p ~/.config\nexport XDG_CACHE_HOME='{home}/.cache'\n\
         trap 'scripts/stack stop 2>/dev/null' EXIT"
    ));
    let stage = stage.stand_in("cargo", r#"[ "$*" = "build --release --locked" ]"#);
    let stage =
        stage.stand_in("sudo", r#"[ "$1 $2" = "apt install" ] && dpkg-deb --info "$3" | grep -q "Package: asg-tools""#);
    stage.with_dir("/tmp").run().stdout_contains("REASON=release of the week")
}

/// A store of the page's own on the real server, and a workspace with a remote.
fn with_store(stage: Stage) -> Stage {
    let names = ["AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
    let bucket = format!("documents-{}", uuid::Uuid::new_v4());
    let own = format!("s3://{bucket}/");
    let stage = stage.with_variables(&names).with("s3://build/", own).env("BUILD_NUMBER", "117");
    let stage = stage.before(&format!(
        "curl -fsS --aws-sigv4 aws:amz:us-east-1:s3 -u \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -X PUT \"$AWS_ENDPOINT_URL_S3/{bucket}\""
    ));
    stage.before(
        "git init -q --bare ../origin.git && git clone -q ../origin.git . 2>/dev/null\n\
         mkdir code code/tests common && echo 1 | tee code/run.sh code/a.pyc code/tests/t.sh common/lib.sh >/dev/null\n\
         git add -A && git commit -qm first && git push -q origin HEAD\n\
         export WORKSPACE=$PWD",
    )
}

/// Its first releases, as many as the page's numbers need.
fn with_releases(stage: Stage) -> Stage {
    let store = stage.text.split("--store ").find_map(|rest| rest.strip_prefix("s3://")).unwrap();
    let store =
        format!("s3://{}", store.split_whitespace().next().unwrap().trim_end_matches(')').trim_end_matches(';'));
    stage.before(&format!(
        "for n in {{1..42}}; do artifact-pack -q --artifact obelix --store {store} code >/dev/null; done\n\
         promote() {{ release-promote -q --artifact obelix --store {store} --release \"$1\" >/dev/null; }}"
    ))
}

fn artifact_pack(stage: Stage) -> Finished {
    with_store(stage).with_dir("/tmp/releases").run().stdout_contains("FILE=obelix-")
}

fn artifact_fetch(stage: Stage) -> Finished {
    let stage = with_releases(with_store(stage)).before("promote 41; promote 42");
    stage.with_dir("/srv/obelix").run().stdout_contains("\n42\n")
}

fn release_promote(stage: Stage) -> Finished {
    let done = with_releases(with_store(stage)).before("promote 41").run();
    done.stdout_contains("5xx since 14:02")
}

/// Instances of two groups.
fn fleet() -> FleetModel {
    let model = FleetModel::start();
    for (group, ids) in [("obelix_spot_asg", 1..4_u32), ("obelix_ondemand_asg", 4..6)] {
        let members = ids.clone().map(|n| FleetMember {
            id: format!("i-{n:08x}"),
            lifecycle_state: "InService".to_owned(),
            health: "Healthy".to_owned(),
            zone: format!("{REGION}a"),
        });
        model.add_group(REGION, FleetGroup { name: group.to_owned(), members: members.collect(), tags: Vec::new() });
        for n in ids {
            let tags = [("Name", "ob-appengine"), ("service", "obelix"), ("aws:autoscaling:groupName", group)];
            model.add_instance(
                REGION,
                FleetInstance {
                    id: format!("i-{n:08x}"),
                    state: "running".to_owned(),
                    spot: group.contains("spot"),
                    zone: format!("{REGION}a"),
                    private_ip: format!("10.0.0.{n}"),
                    public_ip: String::new(),
                    tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                },
            );
        }
    }
    model
}

fn with_fleet(mut stage: Stage, model: &FleetModel) -> Stage {
    stage.line = stage.line.aws(model.endpoint());
    stage
}

fn asg_hosts(stage: Stage) -> Finished {
    let model = fleet();
    let (aws, ansible) = (stack_tool("awscli==1.46.3"), stack_tool("ansible-core==2.19.14"));
    let (aws, ansible) = (aws.join("aws").display().to_string(), ansible.join("ansible-inventory"));
    let tool = bin_dir().join("asg-hosts").display().to_string();
    let stage = with_fleet(stage, &model).with_dir("/var/cache/asg-hosts").with("/usr/local/bin/asg-hosts", tool);
    let stage = stage.stand_in("aws", &format!("exec '{aws}' \"$@\""));
    let stage = stage.stand_in("ansible-inventory", &format!("exec '{}' \"$@\"", ansible.display()));
    let stage = stage.stand_in("ping", r#"[[ "$*" =~ ^"-c 1 10.0.0."[123]$ ]]"#);
    let done = stage.run().stdout_contains("tag_service_obelix").stdout_contains("5 instances: 5 in service");
    done.stdout_contains("define host {")
}

fn nagios_gen(stage: Stage) -> Finished {
    let model = fleet();
    let stage = with_fleet(stage, &model).with_variables(&["NAGIOS_RELOAD", "NAGIOS_FILE"]);
    let stack = |name: &str| std::env::var(name).expect("scripts/stack start nagios sets it");
    let stage = stage.with("/etc/nagios4/conf.d/fleet.cfg", stack("NAGIOS_FILE"));
    let stage = stage.with("/etc/nagios4/nagios.cfg", stack("NAGIOS_CFG"));
    let stage = stage.with("/var/lib/nagios4/rw/nagios.cmd", stack("NAGIOS_COMMAND_FILE"));
    let stage = stage.stand_in("systemctl", r#"[ "$*" = "reload nagios4" ] && bash -c "$NAGIOS_RELOAD""#);
    let event = format!(
        r#"{{"schema":1,"event":"notice","instance_id":"i-00000001","time":"{}"}}"#,
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    let stage = stage.before(&format!("rm -f \"$NAGIOS_FILE\"; asg-hosts >hosts.csv; echo '{event}' >events"));
    stage.run().stdout_contains("\tuse\tec2-server\n").stdout_contains("i-00000005")
}

/// The page's broker, and one name for its topics that nobody else has.
fn with_broker(stage: Stage) -> (Stage, String) {
    let brokers = std::env::var("KAFKA_BROKERS").expect("scripts/stack start kafka sets it");
    let own = format!("documents-{:016x}", rand::random::<u64>());
    let stage = stage.with("kafka-1:9092", &brokers).with("--topic ", format!("--topic {own}-"));
    (stage, own)
}

fn log_ship(stage: Stage) -> Finished {
    let (stage, _) = with_broker(stage);
    let var = |name: &str| std::env::var(name).expect("scripts/stack start kafka sets it");
    let stage = stage.with("kafka-1:9093", var("KAFKA_TLS_BROKERS")).with_dir("/etc/log-ship");
    let settings = stage.text.split("    security.protocol").nth(1).unwrap().split("\n\n").next().unwrap();
    let settings = format!("security.protocol{settings}").replace("    ", "").replace('…', &var("KAFKA_TLS_PASSWORD"));
    let settings = format!("{settings}\nssl.ca.location={}\n", var("KAFKA_TLS_CA"));
    fs::write(stage.path("etc/log-ship/kafka"), settings).unwrap();
    let stage = stage.with_dir("/var/log").with_dir("/srv/obelix/log");
    fs::create_dir(stage.path("var/log/nginx")).unwrap();
    for file in ["var/log/syslog", "var/log/nginx/access.log", "var/log/dpkg.log", "srv/obelix/log/app.log"] {
        fs::write(stage.path(file), "2026-01-23 first\n  second\n").unwrap();
    }
    let stage = stage.stand_in("journalctl", r#"[ "$*" = "-f -o cat" ] && echo "a line of the journal""#);
    stage.that_follows("log-ship").run().stdout_contains("\"acked\":4")
}

fn log_index(stage: Stage) -> Finished {
    let (stage, own) = with_broker(stage);
    let url = std::env::var("SEARCH_URL").expect("scripts/stack start search sets it");
    let stage = stage.with("https://search:9200", &url).with("http://127.0.0.1:9200", &url).with_dir("/etc/log-index");
    fs::write(stage.path("etc/log-index/password"), "secret\n").unwrap();
    let stage =
        stage.with("--group ", format!("--group {own}-")).with("--index 'logs-", format!("--index '{own}-logs-"));
    let stage = stage
        .with("--index logs ", format!("--index {own}-logs "))
        .with("--index 'syslog-", format!("--index '{own}-syslog-"));
    let brokers = std::env::var("KAFKA_BROKERS").unwrap();
    let stage = stage.before(&format!(
        "seq 3 >lines; for topic in logs syslog logs-dead-letters; do\n\
         log-ship --brokers {brokers} --topic {own}-$topic --state-dir ../ship-$topic --once lines; done"
    ));
    let done = stage.that_follows("log-index").run();
    drop(testkit::request(&url, "DELETE", &format!("/{own}*"), &[], b""));
    done.stdout_contains("\"created\":3")
}

fn spot_watch(stage: Stage) -> Finished {
    let (imds, scaling) = (ImdsModel::start(), ScalingModel::start());
    imds.set_instance(ImdsInstance::spot("i-0123456789abcdef0"));
    imds.lifecycle_state(Some("InService"));
    imds.moving_notice("terminate");
    let mut own = ScalingGroup::new("obelix_spot_asg", 1, 3, 10);
    own.members = vec![("i-0123456789abcdef0".to_owned(), "us-east-1a".to_owned(), "InService".to_owned())];
    own.tags = vec![("spot-watch:ondemand-asg".to_owned(), "obelix_ondemand_asg".to_owned())];
    scaling.add_group(own);
    scaling.add_group(ScalingGroup::new("obelix_ondemand_asg", 1, 2, 10));
    let fleet = stage.path("fleet.cfg");
    let hosts = "instance_id,name,asg,instance_state,private_ip,tags\ni-0123456789abcdef0,app,obelix_spot_asg,running,10.0.0.1,{}\n";
    let _written = Tool::new(bin_dir().join("nagios-gen")).arg("--output").arg(&fleet).stdin(hosts).run().succeeds();
    let stage = stage
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint())
        .env("AWS_ENDPOINT_URL_AUTO_SCALING", scaling.endpoint())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test-secret-key")
        .env("AWS_REGION", REGION)
        .env("NAGIOS_FILE", fleet)
        .with_dir("/var/log");
    let script = root().join("scripts/downtime-reclaimed").display().to_string();
    let stage = stage.stand_in("downtime-reclaimed", &format!("exec '{script}'"));
    let drain = stage.path("bin/drain").display().to_string();
    let stage = stage.stand_in("drain", "echo drained").with("/usr/local/bin/drain", drain);
    let mail = stage.path("mail").display().to_string();
    let stage = stage.stand_in("mail", &format!("echo \"$*\" >>'{mail}'; cat >>'{mail}'"));
    let mail = stage.path("mail");
    let stage = stage.before(&format!("trap 'cat {0}' EXIT", mail.display())).that_follows("spot-watch");
    let done = stage.run().stdout_contains("SCHEDULE_HOST_DOWNTIME").stdout_contains("-s spot notice ops@example.com");
    done.stdout_contains("i-0123456789abcdef0 of ").stdout_contains(": terminate at ").stdout_contains("Capacity: ")
}

#[test]
fn every_command_of_every_page() {
    let pages: Vec<_> =
        PAGES.into_iter().map(|(page, run)| (page, std::thread::spawn(move || run(Stage::new(page))))).collect();
    let failed: Vec<&str> = pages.into_iter().filter_map(|(page, run)| run.join().is_err().then_some(page)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Commands stand in blocks that say so, and each page that has some is run by a test.
#[test]
fn every_page_with_commands_is_run() {
    let tools = end_to_end::tools();
    let mut found = BTreeSet::new();
    for page in files().into_iter().filter(|name| name.ends_with(".md") && name != "docs/BENCHMARKS.md") {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        if text.contains("```sh\n") {
            found.insert(page.clone());
        }
        // The synopsis of a tool has placeholders.
        let examples = text.split("\n## ").filter(|part| !part.starts_with("Usage\n")).flat_map(str::lines);
        for line in examples.filter_map(|line| line.strip_prefix("    ")) {
            let word = line.split(' ').next().unwrap_or_default();
            // Pictures have arrows.
            let command = line.is_ascii() && tools.iter().any(|tool| tool == word);
            assert!(!command, "{page}: not in a block of sh: {line}");
        }
    }
    let known: BTreeSet<String> = PAGES
        .iter()
        .map(|(page, _)| page)
        .chain(ELSEWHERE.iter().map(|(page, _)| page))
        .map(|page| (*page).to_owned())
        .collect();
    assert_eq!(found, known);
    for (page, test) in ELSEWHERE {
        let name = Path::new(page).file_name().unwrap().to_str().unwrap();
        assert!(fs::read_to_string(root().join(test)).unwrap().contains(name), "{test} does not read {page}");
    }
}
