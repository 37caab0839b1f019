//! What each page assumes around it, what it says of its blocks, and what stands in for programs that are not here.

use crate::host::{Stage, on_the_stack};
use end_to_end::{bin_dir, root, stack_tool};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use testkit::{ImdsInstance, ImdsModel, ScalingGroup, ScalingModel};

/// A page whose commands are run here.
pub struct Around {
    pub page: &'static str,
    pub with: fn(&mut Stage),
    /// Commands before its first block.
    pub before: &'static str,
    /// Words of a block, and what holds after it. `$said` is a file with what it said.
    pub holds: &'static [(&'static str, &'static str)],
    /// Words of a block that runs until it is ended, and what holds when it may be.
    pub goes_on: &'static [(&'static str, &'static str)],
    pub stand_ins: &'static [StandIn],
}

impl Around {
    pub const NONE: Self = Self { page: "", with: |_| (), before: "", holds: &[], goes_on: &[], stand_ins: &[] };
}

/// A program that stands in for one that can't be had here. The page has to call it, as it checks.
pub struct StandIn {
    pub name: &'static str,
    /// Why it is not the program itself.
    pub why: &'static str,
    pub does: &'static str,
}

/// Blocks that a test of their own runs: page, heading, the test, and the words in it that take the block.
pub const ELSEWHERE: [(&str, &str, &str, &str); 14] = [
    ("docs/FIRST-HOUR.md", "The tools and the servers", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "A bucket", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "Two artifacts: the service, and the code that sets it up", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "What instances get: a promotion", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "An instance boots", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "The next release, and back", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "A fleet that is watched", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "Logs that are found", HOUR, HOURS_WORDS),
    ("docs/FIRST-HOUR.md", "The end", HOUR, HOURS_WORDS),
    ("scripts/service/README.md", "Create and update", "service/life.rs", r#"cloud.readme("Create and update")"#),
    ("scripts/service/README.md", "Dashboard", "service/life.rs", r#"cloud.readme("Dashboard")"#),
    ("docs/MIRRORS.md", "", "mirror.rs", r#"read_to_string(root().join("docs/MIRRORS.md"))"#),
    ("scripts/service/README.md", "Delete", "service/life.rs", r#"cloud.readme("Delete")"#),
    (
        "scripts/service/README.md",
        "spot-watch on the instances",
        "service/reclaim.rs",
        r#"block("spot-watch on the instances", "sh")"#,
    ),
];
const HOUR: &str = "first_hour.rs";
const HOURS_WORDS: &str = r#"document.split("```sh\n")"#;

/// Building takes half an hour, and whoever runs this test has built.
const CARGO: StandIn = StandIn {
    name: "cargo",
    why: "what it is to build was built before, and what it is to test is tested beside this",
    does: r#"
case "$*" in
  "build --release --locked") [ -x target/release/log-index ] ;;
  "test --release --locked -p end-to-end --test "*" -- --exact") grep -q "^fn $8()" "tests/tests/$7.rs" ;;
  "test --release --locked -p "*" --test cli "*::) [ -f "tools/$5/tests/cli/${8%::}.rs" ] ;;
  *) exit 2 ;;
esac"#,
};

const SUDO: StandIn = StandIn {
    name: "sudo",
    why: "this test runs as root, on hosts that may not have it",
    does: r#"
case "$*" in
  "apt install /tmp/asg-tools_"*.deb | scripts/install) exec "$@" </dev/null ;;
  *) exit 2 ;;
esac"#,
};

pub const PAGES: [Around; 13] = [
    Around {
        page: "README.md",
        with: checkout,
        holds: &[
            ("apt install", "dpkg-query -W asg-tools && cmp /usr/bin/log-ship target/release/log-ship && man -w artifact-pack"),
            ("--into /tmp/srv/obelix", "grep -qx RELEASE \"$said\" && [ \"$(readlink /tmp/srv/obelix/current)\" = obelix-1 ]"),
            ("BUILD_NUMBER=117", "grep -qx BUILD=117 \"$said\" && grep -qx 'REASON=release of the week' \"$said\""),
        ],
        stand_ins: &[
            CARGO,
            SUDO,
        ],
        ..Around::NONE
    },
    Around {
        page: "CONTRIBUTING.md",
        with: checkout,
        holds: &[("scripts/stack stop", "[ ! -e .stack ]")],
        stand_ins: &[CARGO],
        ..Around::NONE
    },
    Around {
        page: "docs/OPERATIONS.md",
        with: checkout,
        holds: &[
            ("sudo scripts/install", "cmp /usr/local/bin/log-ship target/release/log-ship && ls /etc/systemd/system/spot-watch.service"),
            ("PIPESTATUS", "grep -qx PROMOTION=1 \"$said\""),
        ],
        stand_ins: &[SUDO],
        ..Around::NONE
    },
    Around {
        page: "docs/BUCKET.md",
        with: |stage| {
            stage.moto();
            stage.files("json", &["policy.json", "lifecycle.json"]);
        },
        before: "aws s3api create-bucket --bucket build",
        holds: &[(
            "put-bucket-policy",
            "aws s3api get-bucket-policy --bucket build --output text | jq -e '.Statement[1].Sid == \"RecordsStay\"' &&
             aws s3api get-bucket-lifecycle-configuration --bucket build | jq -e '.Rules[0].Status == \"Enabled\"'",
        )],
        ..Around::NONE
    },
    Around {
        page: "SECURITY.md",
        holds: &[(
            "--iam-policy",
            "jq -es '.[0].Statement[0].Effect == \"Allow\" and (.[0] | tojson | contains(\"obelix_ondemand_asg\")) and
             (.[1] | tojson | contains(\"PutScalingPolicy\"))' \"$said\"",
        )],
        ..Around::NONE
    },
    Around {
        page: "tools/artifact-fetch/README.md",
        with: Stage::store,
        before: "
            workspace; bucket; forty_releases
            built; promoted latest
            artifact-fetch -q --artifact obelix --store s3://build/obelix/prod --into /srv/obelix >/dev/null
            built; promoted latest",
        holds: &[
            ("--release 41", "grep -qx VERSION=41 \"$said\" && [ \"$(readlink /srv/obelix/current)\" = obelix-41 ]"),
            ("cut -d= -f2", "[ \"$(cat \"$said\")\" = 42 ]"),
            ("--print-path", "[ \"$(pwd -P)\" = /srv/obelix/obelix-42 ]"),
            ("until artifact-fetch", "grep -qx VERSION=42 \"$said\""),
        ],
        ..Around::NONE
    },
    Around {
        page: "tools/artifact-pack/README.md",
        with: Stage::store,
        before: "workspace; bucket",
        holds: &[
            ("file:///tmp/releases", "tar tf /tmp/releases/obelix-1.tar | grep -qx common/lib.sh"),
            ("--compress zstd", "grep -qx FORMAT=tar.zst \"$said\""),
            (
                "--exclude '*.pyc'",
                "aws s3 cp s3://build/obelix/prod/obelix-2.tar - | tar t >members
                 grep -qx code/run.sh members && ! grep -e pyc -e tests members",
            ),
            (
                "--storage-class STANDARD --sse AES256",
                "aws s3api head-object --bucket build --key obelix/prod/obelix-3.tar | grep AES256",
            ),
            ("--release -", "grep -qx VERSION=4 \"$said\" && grep -qx PROMOTION=1 \"$said\""),
            ("--audit", "grep -qx state,object,release,build,builder,last_seen,difference \"$said\""),
        ],
        ..Around::NONE
    },
    Around {
        page: "tools/release-promote/README.md",
        with: Stage::store,
        before: "workspace; bucket; forty_releases; built; promoted latest; built",
        holds: &[
            (
                "--tag production",
                "[ \"$(git ls-remote origin 'refs/tags/production^{}' | cut -f1)\" = \"$(git rev-parse HEAD)\" ]",
            ),
            ("\"release of the week\"", "grep -qx VERSION=42 \"$said\""),
            ("PIPESTATUS", "grep -qx VERSION=43 \"$said\""),
            ("--release previous", "grep -qx VERSION=42 \"$said\" && grep -qx 'REASON=5xx since 14:02' \"$said\""),
            (
                "--channel canary",
                "aws s3 cp s3://build/obelix/prod/canary.txt - | grep -qx VERSION=43 &&
                 aws s3 cp s3://build/obelix/prod/latest-stable.txt - | grep -qx VERSION=43",
            ),
            ("--history", "grep -qx n,time,who,from,to,commit,reason \"$said\" && grep -q '^5,.*,42,43,' \"$said\""),
        ],
        ..Around::NONE
    },
    Around {
        page: "tools/asg-hosts/README.md",
        with: |stage| {
            stage.moto();
            let path = std::env::join_paths([stack_tool("ansible-core==2.19.14")]).unwrap();
            stage.env("ANSIBLE", path);
        },
        before: "fleet; export PATH=$PATH:$ANSIBLE LC_ALL=C.UTF-8",
        holds: &[
            ("-i \"$(command -v asg-hosts)\" --list", "grep -q '\"tag_service_obelix\"' \"$said\" && grep -q ansible_ssh_host \"$said\""),
            ("-i ./fleet --graph", "grep -q '@tag_aws_autoscaling_groupName_obelix_spot_asg:' \"$said\""),
            (
                "--format table",
                "grep -q '^4 instances: 4 in service' \"$said\" && grep -q 'define host {' \"$said\" &&
                 [ \"$(grep -c '^obelix_spot_asg,i-.*,obelix$' \"$said\")\" = 4 ] && ls /var/cache/asg-hosts/*",
            ),
        ],
        stand_ins: &[StandIn {
            name: "ping",
            why: "moto's instances have addresses that nobody has",
            does: "[[ \"$*\" =~ ^'-c 1 '[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+$ ]]",
        }],
        ..Around::NONE
    },
    Around {
        page: "tools/nagios-gen/README.md",
        with: |stage| {
            stage.moto();
            stage.nagios();
        },
        before: "
            fleet
            rm -f /etc/nagios4/conf.d/fleet.cfg /etc/nagios4/conf.d/.fleet.cfg.*
            asg-hosts >hosts.csv
            id=$(sed -n '2s/,.*//p' hosts.csv)
            echo '{\"schema\":1,\"event\":\"notice\",\"instance_id\":\"'$id'\",\"time\":\"'$(date -u +%FT%TZ)'\"}' >events
            mkdir -p /var/lib/nagios4/rw
            ln -s \"$NAGIOS_COMMAND_FILE\" /var/lib/nagios4/rw/nagios.cmd
            status=$(sed -n 's/^status_file=//p' /etc/nagios4/nagios.cfg)",
        holds: &[
            ("--use ec2-server", "[ \"$(grep -c ec2-server \"$said\")\" = 4 ] && grep -q \"$id\" \"$said\""),
            ("asg-hosts --asg", "[ \"$(grep -c 'host_name=.*-i-' \"$status\")\" -ge 4 ] && grep -q \"$id\" /etc/nagios4/conf.d/fleet.cfg"),
            ("--dry-run", "[ ! -s \"$said\" ]"),
            (
                "--downtime",
                "for _ in {1..600}; do grep -A 99 \"host_name=.*$id\" \"$status\" | grep -q scheduled_downtime_depth=1 && exit 0
                 sleep 0.1; done; exit 1",
            ),
        ],
        stand_ins: &[StandIn {
            name: "systemctl",
            why: "the daemon is one of scripts/stack, not a service of systemd",
            does: "[ \"$*\" = 'reload nagios4' ]\nbash -c \"$NAGIOS_RELOAD\"",
        }],
        ..Around::NONE
    },
    Around {
        page: "tools/spot-watch/README.md",
        with: instance,
        before: "
            aws sns create-topic --name ops >topic
            printf '#!/bin/sh\\ncat >>\"$STAGE/drained\"\\necho drained\\n' >/usr/local/bin/drain
            chmod +x /usr/local/bin/drain
            mkdir -p /etc/nagios4/conf.d
            printf '%s\\n' instance_id,name,instance_state,private_ip,tags 'i-0123456789abcdef0,app,running,10.0.0.1,{}' |
              nagios-gen --output /etc/nagios4/conf.d/fleet.cfg
            says() { jq -es \"map(select($1)) | length > 0\" \"$said\"; }",
        goes_on: &[
            ("--raise-from-tag", "says '.event == \"done\" and .capacity.outcome == \"raised\"' && jq -e .notice_id \"$STAGE/drained\""),
            ("downtime-reclaimed", "grep '^\\[[0-9]*\\] SCHEDULE_HOST_DOWNTIME;app-i-0123456789abcdef0;' \"$said\""),
            (
                "spot notice",
                "grep -x -e '-s spot notice ops@example.com' \"$STAGE/mail\" && says '.event == \"done\" and .hook.outcome == \"ok\"' &&
                 grep '^i-0123456789abcdef0 of obelix_spot_asg: terminate at ' \"$STAGE/mail\"",
            ),
            (
                "while read -r event",
                "grep -x -e '-s spot instance reclaimed ops@example.com' \"$STAGE/mail\" &&
                 grep -x 'Raised: obelix_ondemand_asg' \"$STAGE/mail\" && grep '^Capacity: [0-9]* to [0-9]*, min 1, max 10$' \"$STAGE/mail\" &&
                 grep -x drained \"$STAGE/mail\"",
            ),
            ("aws sns publish", "says '.event == \"done\" and .hook.outcome == \"ok\"' && grep MessageId \"$said\""),
            ("SLACK_URL", "jq -e '.text == \"i-0123456789abcdef0 of obelix_spot_asg is reclaimed: terminate\"' \"$STAGE/posted\""),
        ],
        // Each run is the first one after the notice.
        holds: &[
            (
                "--dry-run",
                "says '.event == \"capacity\" and .outcome == \"dry_run\"' && jq -e '.Statement[0].Effect == \"Allow\"' policy.json &&
                 rm -rf /var/lib/spot-watch",
            ),
            ("--raise-from-tag", "rm -r /var/lib/spot-watch"),
            ("downtime-reclaimed", "rm -r /var/lib/spot-watch && jq -e .schema /var/log/spot-watch.json"),
            ("spot notice", "rm -r /var/lib/spot-watch"),
            ("while read -r event", "rm -r /var/lib/spot-watch"),
            ("aws sns publish", "rm -r /var/lib/spot-watch"),
        ],
        stand_ins: &[StandIn {
            name: "mail",
            why: "a test sends no mail",
            does: "{ echo \"$*\"; cat; } >>\"$STAGE/mail\"",
        }],
    },
    Around {
        page: "tools/log-ship/README.md",
        with: log_ship,
        before: "
            mount -t tmpfs none /var/log
            mkdir -p /etc/log-ship /var/log/nginx /srv/obelix/log
            { sed \"s/…/$KAFKA_TLS_PASSWORD/\" kafka; echo \"ssl.ca.location=$KAFKA_TLS_CA\"; } >/etc/log-ship/kafka
            run=run$RANDOM$RANDOM
            for file in syslog nginx/access.log dpkg.log; do echo \"$file of $run\" >>\"/var/log/$file\"; done
            printf '%s\\n' \"2026-01-23 trace of $run\" '  at Main' '2026-01-23 next' >/srv/obelix/log/app.log
            export run
            # From the topic into the search server, to be found there.
            arrived() { # TOPIC PATH TEXT
              log-index --brokers \"$KAFKA_BROKERS\" --topic \"$1\" --group \"$run-$1\" --url \"$SEARCH_URL\" --index \"$run-$1\" --once
              curl -fsS -X POST \"$SEARCH_URL/$run-$1/_refresh\"
              curl -fsS \"$SEARCH_URL/$run-$1/_search?size=100&q=$run\" | jq -e --arg path \"$2\" --arg text \"$3\" \\
                '[.hits.hits[]._source | select(.log.origin.path == $path and .message == $text)] | length == 1'
            }",
        goes_on: &[
            (
                "--stats 60s",
                "arrived logs /var/log/syslog \"syslog of $run\" && arrived logs /var/log/nginx/access.log \"nginx/access.log of $run\"",
            ),
            ("--first-line", "arrived java /srv/obelix/log/app.log \"2026-01-23 trace of $run\"$'\\n  at Main'"),
        ],
        holds: &[
            ("--stats 60s", "jq -e '.rejected == 0 and .read == .acked' \"$said\""),
            ("--kafka-file", "arrived logs /var/log/dpkg.log \"dpkg.log of $run\"; curl -fsS -X DELETE \"$SEARCH_URL/$run-*\""),
        ],
        stand_ins: &[],
    },
    Around {
        page: "tools/log-index/README.md",
        with: |stage| {
            stage.stack(&["KAFKA_BROKERS", "SEARCH_URL"]);
            stage.address("kafka-1:9092", on_the_stack("KAFKA_BROKERS"));
            stage.address("https://search:9200", on_the_stack("SEARCH_URL"));
            stage.address("http://127.0.0.1:9200", on_the_stack("SEARCH_URL"));
        },
        before: "
            mkdir -p /etc/log-index
            echo secret >/etc/log-index/password
            run=run$RANDOM$RANDOM
            curl -fsS -X DELETE \"$SEARCH_URL/logs*,syslog*\" >deleted
            for topic in logs syslog logs-dead-letters; do
              echo \"<13>Jan 23 11:20:02 web-1 cron[7]: $topic $run\" >\"$topic\"
              log-ship --brokers \"$KAFKA_BROKERS\" --topic \"$topic\" --state-dir \"$STAGE/$topic\" --once \"$topic\"
            done
            found() { # INDEX FILTER
              curl -fsS -X POST \"$SEARCH_URL/$1/_refresh\"
              curl -fsS \"$SEARCH_URL/$1/_search?size=100&q=$run\" | jq -e \"[.hits.hits[]._source | select($2)] | length == 1\"
            }",
        goes_on: &[
            (
                "--password-file",
                "found \"logs-$(date -u +%Y.%m.%d)\" \".message | endswith(\\\": logs $run\\\")\"",
            ),
            ("--parse syslog", "found 'syslog-*' \".syslog.appname == \\\"cron\\\" and .message == \\\"syslog $run\\\"\""),
        ],
        holds: &[
            ("--put-template", "curl -fsS \"$SEARCH_URL/_index_template/log-index-logs-y.m.d\""),
            ("--password-file", "jq -e '.rejected == 0' \"$said\""),
            ("--index logs --once", "found logs \".message | endswith(\\\": logs $run\\\")\""),
            (
                "--group replay",
                "found \"logs-$(date -u +%Y.%m.%d)\" \".message | endswith(\\\": logs-dead-letters $run\\\")\" &&
                 curl -fsS -X DELETE \"$SEARCH_URL/_index_template/log-index-logs-y.m.d\" &&
                 curl -fsS -X DELETE \"$SEARCH_URL/logs*,syslog*\"",
            ),
        ],
        ..Around::NONE
    },
];

/// A checkout of this repository as it stands, with what was built.
fn checkout(stage: &mut Stage) {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").arg("-C").arg(root()).args(list).output().unwrap();
    let work = stage.path("work");
    for name in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        // What is deleted and not committed yet is listed too.
        if root().join(name).exists() {
            fs::create_dir_all(work.join(name).parent().unwrap()).unwrap();
            fs::copy(root().join(name), work.join(name)).unwrap();
        }
    }
    fs::create_dir(work.join("target")).unwrap();
    symlink(bin_dir(), work.join("target/release")).unwrap();
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=jenkins", "-c", "user.email=jenkins@example.com"];
        let run = Command::new("git").current_dir(&work).args(who).args(args).output().unwrap();
        assert!(run.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&run.stderr));
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "all"]);
}

/// A spot instance that has its notice, and the groups around it.
fn instance(stage: &mut Stage) {
    let (imds, scaling) = (ImdsModel::start(), ScalingModel::start());
    let (id, zone) = ("i-0123456789abcdef0".to_owned(), "eu-west-1a".to_owned());
    imds.set_instance(ImdsInstance {
        region: "eu-west-1".to_owned(),
        zone: zone.clone(),
        tags: Some(vec![("aws:autoscaling:groupName".to_owned(), "obelix_spot_asg".to_owned())]),
        ..ImdsInstance::spot(&id)
    });
    imds.lifecycle_state(Some("InService"));
    imds.moving_notice("terminate");
    let group = |name, desired| ScalingGroup { zones: vec![zone.clone()], ..ScalingGroup::new(name, 1, desired, 10) };
    scaling.add_group(ScalingGroup {
        members: vec![(id, zone.clone(), "InService".to_owned())],
        tags: vec![("spot-watch:ondemand-asg".to_owned(), "obelix_ondemand_asg".to_owned())],
        ..group("obelix_spot_asg", 3)
    });
    scaling.add_group(group("obelix_ondemand_asg", 2));
    stage.moto();
    stage.env("AWS_REGION", "eu-west-1");
    stage.env("AWS_DEFAULT_REGION", "eu-west-1");
    stage.instance(imds, scaling);
    stage.web("SLACK_URL");
}

fn log_ship(stage: &mut Stage) {
    stage.stack(&["KAFKA_BROKERS", "KAFKA_TLS_PASSWORD", "KAFKA_TLS_CA", "SEARCH_URL"]);
    stage.address("kafka-1:9092", on_the_stack("KAFKA_BROKERS"));
    stage.address("kafka-1:9093", on_the_stack("KAFKA_TLS_BROKERS"));
    stage.files("properties", &["kafka"]);
}
