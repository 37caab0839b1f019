//! `--confirm`: the protocol of rsyslog's omprog, spoken by hand and by a real rsyslogd.

use crate::harness::{Harness, account, read_values};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use testkit::{Link, LinkMode, Seed, wait_until};

struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    fn start(harness: &Harness, brokers: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_log-ship"))
            .args([
                "--brokers",
                brokers,
                "--topic",
                &harness.topic,
                "--host",
                "web-1",
                "--confirm",
                "-q",
                "--timeout",
                "2s",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut talk = Self { child, stdin, stdout };
        assert_eq!(talk.answer(), "OK", "it is ready");
        talk
    }

    fn say(&mut self, message: &str) -> String {
        self.stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn ok_means_that_the_broker_has_it() {
    let harness = Harness::new();
    let mut talk = Talk::start(&harness, &harness.brokers);
    assert_eq!(talk.say("one"), "OK");
    assert_eq!(harness.values(), ["one"]);
    assert_eq!(talk.say("BEGIN TRANSACTION"), "OK");
    assert_eq!(talk.say("two"), "DEFER_COMMIT");
    assert_eq!(talk.say("three"), "DEFER_COMMIT");
    assert_eq!(talk.say("COMMIT TRANSACTION"), "OK");
    assert_eq!(harness.values(), ["one", "two", "three"]);
    drop(talk.stdin);
    assert!(talk.child.wait().unwrap().success());
    let shipped = harness.shipped();
    assert_eq!((shipped[0].id.offset, shipped[1].id.offset), (0, 22));
}

#[test]
fn a_broker_that_is_away_is_an_error_and_no_end() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    let mut talk = Talk::start(&harness, &link.address());
    link.set(LinkMode::Cut);
    assert_eq!(talk.say("BEGIN TRANSACTION"), "OK");
    assert_eq!(talk.say("one"), "DEFER_COMMIT");
    let answer = talk.say("COMMIT TRANSACTION");
    assert!(!answer.is_empty() && answer != "OK", "{answer:?}");
    link.set(LinkMode::Up);
    assert_eq!(talk.say("BEGIN TRANSACTION"), "OK");
    assert_eq!(talk.say("one"), "DEFER_COMMIT");
    assert_eq!(talk.say("COMMIT TRANSACTION"), "OK");
    assert!(harness.values().contains(&"one".to_owned()));
    drop(talk.stdin);
    assert!(talk.child.wait().unwrap().success());
}

/// A real rsyslogd with a disk queue; it and log-ship are killed at random. Nothing is lost; what is sent twice is told. A
/// second rsyslogd with the same queue and its own omkafka gets the same messages and dies at the same moments: what becomes
/// of them is told, not asserted.
#[test]
fn under_rsyslogd_with_kills() {
    let seed = Seed::from_env_or_random("under_rsyslogd_with_kills");
    let mut rng = seed.rng();
    let harness = Harness::new();
    let ours = Rsyslog::as_shipped(harness.dir.path().join("rsyslog"), &harness, &harness.brokers);
    let theirs = Rsyslog::new(
        harness.dir.path().join("omkafka"),
        &format!(
            r#"module(load="omkafka")
action(type="omkafka" broker="{}" topic="{}-omkafka" confParam=["acks=all"] template="bare" resubmitOnFailure="on"
    keepFailedMessages="on" failedMsgFile="failed"
    queue.type="Disk" queue.filename="q" queue.maxDiskSpace="100m" queue.checkpointInterval="1" queue.syncQueueFiles="on"
    queue.saveOnShutdown="on" action.resumeRetryCount="-1" action.resumeInterval="1")"#,
            harness.brokers, harness.topic,
        ),
    );
    let mut truth = Vec::new();
    let (mut daemon, mut other) = (ours.start(), theirs.start());
    for round in 0..4 {
        let lines: Vec<String> = (0..200).map(|line| format!("<14>round {round} line {line}")).collect();
        ours.say(&lines);
        theirs.say(&lines);
        truth.extend(lines);
        // rsyslogd's own input has no acknowledgement: all of it must be in its queue, or sent, before it is killed.
        wait_until("messages in Kafka or in the queue", || {
            let last = format!("<14>round {round} line 199");
            let there = ours.has_queued(&last) || harness.values().contains(&last);
            let other = theirs.has_queued(&last) || count(&harness).contains_key(&last);
            if there && other { Ok(()) } else { Err(format!("ours: {there}, omkafka's: {other}")) }
        });
        let pause = Duration::from_millis(rand::RngExt::random_range(&mut rng, 0..300));
        std::thread::sleep(pause);
        if rand::RngExt::random(&mut rng) {
            kill_group(&mut daemon);
            kill_group(&mut other);
            daemon = ours.start();
            other = theirs.start();
        } else {
            for child in children(daemon.id()) {
                let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
            }
        }
    }
    wait_until("all messages", || {
        let account = account(&truth, &harness.shipped());
        if account.lost.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are lost: {:?}", account.lost.len(), account.lost.first()))
        }
    });
    kill_group(&mut daemon);
    let doubled = account(&truth, &harness.shipped()).doubled.len();
    // A clean end: omkafka sends what it has in memory.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(other.id().cast_signed()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    other.wait().unwrap();
    let counts = count(&harness);
    let lost = truth.iter().filter(|line| !counts.contains_key(*line)).count();
    let more = counts.values().filter(|count| **count > 1).count();
    testkit_say(&format!(
        "of {} messages: through log-ship 0 were lost and {doubled} sent more than once; through omkafka {lost} were lost \
         and {more} sent more than once",
        truth.len()
    ));
}

/// A broker that is away for longer than rsyslog's usual queue of 1,000 messages lasts, and kills of rsyslogd and log-ship
/// meanwhile: the local file has each message at once, and the topic has all of them in the end.
#[test]
fn a_long_outage_under_rsyslogd() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    let rsyslog = Rsyslog::as_shipped(harness.dir.path().join("rsyslog"), &harness, &link.address());
    let mut daemon = rsyslog.start();
    let first = "<14>before the outage".to_owned();
    rsyslog.say(std::slice::from_ref(&first));
    wait_until("the first message", || {
        let values = harness.values();
        if values == [first.as_str()] { Ok(()) } else { Err(format!("{values:?}")) }
    });
    link.set(LinkMode::Frozen);
    let mut truth = vec![first];
    for part in 0..2 {
        let lines: Vec<String> = (0..700).map(|line| format!("<14>part {part} line {line}")).collect();
        rsyslog.say(&lines);
        truth.extend(lines);
        wait_until("the local file during the outage", || {
            let local = rsyslog.local();
            if local == truth { Ok(()) } else { Err(format!("{} of {}", local.len(), truth.len())) }
        });
        kill_group(&mut daemon);
        daemon = rsyslog.start();
    }
    assert_eq!(harness.values().len(), 1, "the broker is still away");
    link.set(LinkMode::Up);
    wait_until("all messages", || {
        let lost = account(&truth, &harness.shipped()).lost;
        if lost.is_empty() { Ok(()) } else { Err(format!("{} are lost: {:?}", lost.len(), lost.first())) }
    });
    kill_group(&mut daemon);
}

/// A queue on disk that is full: messages beyond it are in the local file alone, and hold nothing up; those in it are shipped.
#[test]
fn a_full_queue_under_rsyslogd() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Frozen);
    let rules = shipped_rules(&harness, &link.address());
    let bound = r#"queue.maxDiskSpace="1g""#;
    assert!(rules.contains(bound), "{rules}");
    // Room comes back with each file that is through, so files have to be smaller than the queue.
    let rules = rules.replace(bound, r#"queue.maxDiskSpace="100k" queue.maxFileSize="10k""#);
    let rsyslog = Rsyslog::new(harness.dir.path().join("rsyslog"), &rules);
    let mut daemon = rsyslog.start();
    let truth: Vec<String> = (0..1_000).map(|line| format!("<14>line {line}")).collect();
    rsyslog.say(&truth);
    wait_until("the local file", || {
        let local = rsyslog.local();
        if local == truth { Ok(()) } else { Err(format!("{} of {}", local.len(), truth.len())) }
    });
    link.set(LinkMode::Up);
    let after = "<14>after the outage".to_owned();
    // There is room again when the first ones are through.
    wait_until("a message of now", || {
        rsyslog.say(std::slice::from_ref(&after));
        if harness.values().contains(&after) { Ok(()) } else { Err(format!("{} messages", harness.values().len())) }
    });
    kill_group(&mut daemon);
    let shipped = truth.len() - account(&truth, &harness.shipped()).lost.len();
    testkit_say(&format!("of 1,000 messages {shipped} fitted into a queue of 100 KB"));
    assert!((100..900).contains(&shipped), "{shipped}");
    let expected = &truth[..shipped];
    assert_eq!(account(expected, &harness.shipped()).lost, Vec::<String>::new(), "the first ones");
}

/// How often each message stands in omkafka's topic.
fn count(harness: &Harness) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in read_values(&harness.brokers, &format!("{}-omkafka", harness.topic)) {
        *counts.entry(String::from_utf8(value).unwrap()).or_default() += 1;
    }
    counts
}

/// The configuration of this repository, with another tool and topic.
fn shipped_rules(harness: &Harness, brokers: &str) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/etc/rsyslog.d/60-log-ship.conf");
    let tool = format!(
        "{} --brokers {brokers} --topic {} --confirm --host web-1 -q",
        env!("CARGO_BIN_EXE_log-ship"),
        harness.topic
    );
    let command = "/usr/local/bin/log-ship --brokers kafka-1:9092 --topic syslog --confirm";
    let (text, interval) = (fs::read_to_string(file).unwrap(), r#"action.resumeInterval="5""#);
    assert!(text.contains(command) && text.contains(interval), "{text}");
    text.replace(command, &tool).replace(interval, r#"action.resumeInterval="1""#)
}

/// A rsyslogd with a socket to write into, a local file, and one more action.
struct Rsyslog {
    dir: PathBuf,
}

impl Rsyslog {
    /// `rules` are what becomes of the messages.
    fn new(dir: PathBuf, rules: &str) -> Self {
        fs::create_dir(&dir).unwrap();
        let config = format!(
            r#"module(load="imptcp")
global(workDirectory="{dir}")
template(name="bare" type="string" string="%rawmsg%")
template(name="line" type="string" string="%rawmsg%\n")
input(type="imptcp" path="{dir}/port" unlink="on")
{rules}
action(type="omfile" file="{dir}/local" template="line")
"#,
            dir = dir.display(),
        );
        fs::write(dir.join("conf"), config).unwrap();
        Self { dir }
    }

    /// By the file that is shipped. Other than there are the tool's path and its options, and how soon rsyslog tries again.
    fn as_shipped(dir: PathBuf, harness: &Harness, brokers: &str) -> Self {
        Self::new(dir, &shipped_rules(harness, brokers))
    }

    fn start(&self) -> Child {
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        let mut command = Command::new("rsyslogd");
        command.env("PATH", path).arg("-n").arg("-f").arg(self.dir.join("conf")).arg("-iNONE").current_dir(&self.dir);
        // A group of its own: its child goes with it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("rsyslogd can be started")
    }

    fn say(&self, lines: &[String]) {
        let mut to = wait_until("rsyslogd's socket", || {
            UnixStream::connect(self.dir.join("port")).map_err(|error| error.to_string())
        });
        to.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    }

    /// What the local file has.
    fn local(&self) -> Vec<String> {
        fs::read_to_string(self.dir.join("local")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn has_queued(&self, message: &str) -> bool {
        fs::read_dir(&self.dir).unwrap().flatten().any(|file| {
            let bytes = fs::read(file.path()).unwrap_or_default();
            bytes.windows(message.len()).any(|window| window == message.as_bytes())
        })
    }
}

#[expect(clippy::print_stderr, reason = "a figure that is told, not asserted")]
fn testkit_say(what: &str) {
    eprintln!("{what}");
}

fn kill_group(daemon: &mut Child) {
    let group = rustix::process::Pid::from_raw(daemon.id().cast_signed()).unwrap();
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    daemon.wait().unwrap();
}

fn children(parent: u32) -> Vec<rustix::process::Pid> {
    let tasks = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let all = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = all.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let words: Vec<String> = lists.chain([tasks]).collect();
    words
        .iter()
        .flat_map(|list| list.split_whitespace())
        .filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?))
        .collect()
}
