//! Lines from files to documents: log-ship, Kafka, log-index, OpenSearch, whatever is killed in between.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::tool;
use rand::RngExt;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use testkit::{
    BulkPlan, BulkProxy, Clock, Dialect, Link, LinkMode, Running, Seed, Tool, documents, figure, request, wait_until,
};

const DAY: i64 = 24 * 3_600_000;

/// A host with logs, and what its lines go through.
struct Chain {
    dir: TempDir,
    brokers: String,
    server: String,
    name: String,
}

impl Chain {
    fn new() -> Self {
        let from = |name: &str| std::env::var(name).expect("scripts/stack start kafka search sets it");
        let name = format!("chain-{:016x}", rand::random::<u64>());
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        Self { dir, brokers: from("KAFKA_BROKERS"), server: from("SEARCH_URL"), name }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join("logs").join(name)
    }

    fn ship(&self, brokers: &str) -> Tool {
        let ship = tool("log-ship").args(["--brokers", brokers, "--topic", &self.name, "--host", "web-1"]);
        ship.arg("--state-dir").arg(self.dir.path().join("state")).arg(self.log("app.log"))
    }

    fn index(&self, url: &str, member: &str) -> Tool {
        let index = tool("log-index").args(["--brokers", &self.brokers, "--topic", &self.name, "--group", &self.name]);
        let index = index.args(["--url", url, "--index", &format!("{}-%Y.%m.%d", self.name)]);
        index.args(["--member", member, "--request-size", "64KiB", "--kafka", "session.timeout.ms=6000"])
    }

    /// How often each message is a document.
    fn messages(&self) -> BTreeMap<String, usize> {
        let mut messages = BTreeMap::new();
        for document in documents(&self.server, &self.name) {
            *messages.entry(document.source["message"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        messages
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        drop(request(&self.server, "DELETE", &format!("/{}*", self.name), &[], b""));
    }
}

fn append(path: &Path, lines: &[String]) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    file.write_all(lines.concat().as_bytes()).unwrap();
}

/// A file that is rotated, a link that breaks, a server that fails, and kills of either tool: each line is one document.
#[test]
fn a_line_written_once_is_found_once() {
    let seed = Seed::from_env_or_random("a_line_written_once_is_found_once");
    let (mut kills, mut total) = (0, 0);
    for round in 0..figure(6, 24) {
        let mut rng = seed.part(round).rng();
        let chain = Chain::new();
        let link = Link::to(&chain.brokers);
        let proxy = BulkProxy::start(&chain.server, Dialect::OpenSearch);
        let stall = Duration::from_millis(rng.random_range(50..2500));
        proxy.set_plan(BulkPlan::Random { seed: rng.random(), percent: 30, stall });
        let ship = || chain.ship(&link.address()).args(["--stats", "100ms"]).start();
        let index = || chain.index(&proxy.endpoint(), "one").args(["--timeout", "2s"]).start();
        let (mut shipping, mut indexing) = (ship(), index());
        // What was rotated before log-ship ever ran is not its own.
        wait_until("log-ship's first counters", || {
            if shipping.stdout_so_far().is_empty() { Err("none yet".to_owned()) } else { Ok(()) }
        });
        let mut truth: BTreeMap<String, usize> = BTreeMap::new();
        let kill = |run: &mut Running, next: &dyn Fn() -> Running| {
            run.kill();
            *run = next();
        };
        for part in 0..20 {
            let lines: Vec<String> = (0..200).map(|line| format!("{part} {line} {}\n", rng.random::<u64>())).collect();
            truth.extend(lines.iter().map(|line| (line.trim_end().to_owned(), 1)));
            append(&chain.log("app.log"), &lines);
            match rng.random_range(0..7) {
                0 | 1 => {
                    kills += 1;
                    kill(&mut shipping, &ship);
                }
                2 | 3 => {
                    kills += 1;
                    kill(&mut indexing, &index);
                }
                4 => fs::rename(chain.log("app.log"), chain.log(&format!("app.log.{part}"))).unwrap(),
                5 => {
                    link.set(LinkMode::Cut);
                    std::thread::sleep(Duration::from_millis(rng.random_range(0..100)));
                    link.set(LinkMode::Up);
                }
                _ => std::thread::sleep(Duration::from_millis(rng.random_range(0..200))),
            }
        }
        append(&chain.log("app.log"), &["the last\n".to_owned()]);
        truth.insert("the last".to_owned(), 1);
        total += truth.len();
        wait_until("every line", || {
            let found = chain.messages();
            let lost = truth.keys().filter(|line| !found.contains_key(*line)).count();
            if lost == 0 {
                Ok(())
            } else {
                Err(format!("round {round} of {seed:?}: {lost} of {} missing", truth.len()))
            }
        });
        // What is still on its way may only be found again.
        for run in [shipping, indexing] {
            run.terminate();
            run.wait().killed_by(15);
        }
        chain.ship(&chain.brokers).arg("--once").run().succeeds();
        chain.index(&chain.server, "one").arg("--once").run().succeeds();
        assert!(chain.messages() == truth, "round {round} of {seed:?}: a line is two documents");
    }
    tell(&format!("{total} lines, {kills} kills: each line is one document"));
}

#[expect(clippy::print_stderr, reason = "figures that are told")]
fn tell(what: &str) {
    eprintln!("{what}");
}

/// What is read before midnight and sent again after it stays in the index of its day.
#[test]
fn across_midnight() {
    let chain = Chain::new();
    let link = Link::to(&chain.brokers);
    let clock = Clock::build(chain.dir.path());
    // The last one: Kafka refuses times to come, and keeps what is not older than a day.
    let midnight = Clock::wall() / DAY * DAY;
    let day = |millis: i64| {
        let time = jiff::Timestamp::from_millisecond(millis).unwrap();
        format!("{}-{}", chain.name, time.strftime("%Y.%m.%d"))
    };
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}\n")).collect();
    append(&chain.log("app.log"), &lines);
    let mut run = clock.from(midnight - 60_000, chain.ship(&link.address())).start();
    let index = || chain.index(&chain.server, "one").arg("--once").run();
    // Killed as soon as something is in the topic: what was on its way then is sent again.
    let before = wait_until("lines in the topic", || {
        index();
        let found = documents(&chain.server, &chain.name);
        if found.is_empty() { Err("none".to_owned()) } else { Ok(found) }
    });
    run.kill();
    drop(run);
    clock.from(midnight + 10_000, chain.ship(&chain.brokers)).arg("--once").run().succeeds();
    append(&chain.log("app.log"), &["new\n".to_owned()]);
    clock.from(midnight + 20_000, chain.ship(&chain.brokers)).arg("--once").run().succeeds();
    index().succeeds();
    let after = documents(&chain.server, &chain.name);
    assert_eq!(after.len(), lines.len() + 1, "each line is one document");
    for document in before {
        assert_eq!(document.index, day(midnight - 1));
        assert!(after.contains(&document), "{document:?} stays where it is");
    }
    let new = after.iter().find(|document| document.source["message"] == "new").unwrap();
    assert_eq!(new.index, day(midnight));
}

/// The script that a unit or a cron entry runs: its variables, its patterns and the service as a header.
#[test]
fn ship_logs() {
    let chain = Chain::new();
    append(&chain.log("app.log"), &["first\n".to_owned(), "  its second line\n".to_owned(), "next\n".to_owned()]);
    append(&chain.log("other.txt"), &["other\n".to_owned()]);
    let logs = format!("{} {}", chain.log("*.log").display(), chain.log("other.txt").display());
    let path = format!("{}:{}", end_to_end::bin_dir().display(), std::env::var("PATH").unwrap());
    let script = Tool::new(end_to_end::root().join("scripts/ship-logs")).env("PATH", path).env("LOGS", logs);
    let script = script.env("KAFKA_BROKERS", &chain.brokers).env("TOPIC", &chain.name).env("FIRST_LINE", "^[^ ]");
    let script = script.env("KAFKA_OPTIONS", "compression.type=zstd linger.ms=1").env("SERVICE", "obelix");
    script.env("STATE_DIRECTORY", chain.dir.path().join("state")).arg("--once").run().succeeds().stderr_is_empty();
    chain.index(&chain.server, "one").arg("--once").run().succeeds();
    let documents = documents(&chain.server, &chain.name);
    let mut messages: Vec<&str> = documents.iter().filter_map(|one| one.source["message"].as_str()).collect();
    messages.sort_unstable();
    assert_eq!(messages, ["first\n  its second line", "next", "other"]);
    assert!(documents.iter().all(|one| one.source["log"]["origin"]["fields"]["service"] == "obelix"), "{documents:?}");
    let script = Tool::new(end_to_end::root().join("scripts/ship-logs")).env("KAFKA_BROKERS", &chain.brokers);
    script.run().fails_with(2).stderr_contains("ship-logs: SERVICE is not set");
}
