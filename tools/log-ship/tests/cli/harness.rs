//! A directory of logs, a topic of its own, and what stands in it.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use records::LogId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Running, Tool, wait_until};

/// A message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shipped {
    pub(crate) id: LogId,
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timestamp: i64,
    pub(crate) value: Vec<u8>,
}

pub(crate) struct Harness {
    pub(crate) dir: TempDir,
    pub(crate) topic: String,
    pub(crate) brokers: String,
}

impl Harness {
    /// On the broker of `scripts/stack`; without it the test fails.
    pub(crate) fn new() -> Self {
        Self::on(std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS is set: scripts/stack start kafka"))
    }

    pub(crate) fn on(brokers: String) -> Self {
        let dir = tempfile::Builder::new().prefix("log-ship-").tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        let topic = format!("t-{:016x}", rand::random::<u64>());
        Self { dir, topic, brokers }
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// log-ship for this topic, through `brokers`.
    pub(crate) fn tool_via(&self, brokers: &str) -> Tool {
        let tool = Tool::new(env!("CARGO_BIN_EXE_log-ship")).args(["--brokers", brokers, "--topic", &self.topic]);
        // A run is waited for several times; its own end comes last.
        tool.args(["--host", "web-1", "--state-dir"]).arg(self.state())
    }

    pub(crate) fn tool(&self) -> Tool {
        self.tool_via(&self.brokers)
    }

    /// Ships what is there and ends.
    pub(crate) fn once(&self, path: impl AsRef<Path>) {
        self.tool().args(["--once", "--timeout", "120s"]).arg(path.as_ref()).run().succeeds().stderr_is_empty();
    }

    /// Everything in the topic.
    pub(crate) fn shipped(&self) -> Vec<Shipped> {
        read_topic(&self.brokers, &self.topic)
    }

    pub(crate) fn values(&self) -> Vec<String> {
        self.shipped().into_iter().map(|one| String::from_utf8(one.value).unwrap()).collect()
    }

    /// Waits until these lines are in the topic, each once. Among files there is no order.
    pub(crate) fn await_values(&self, expected: &[&str]) {
        wait_until("the lines", || {
            let (mut values, mut expected) = (self.values(), expected.to_vec());
            values.sort();
            expected.sort_unstable();
            if values == expected { Ok(()) } else { Err(format!("{values:?}")) }
        });
    }

    /// Waits until the positions on disk say that `acked` bytes are acknowledged in all.
    pub(crate) fn await_saved(&self, acked: u64) {
        wait_until("the position on disk", || {
            let saved = self.saved();
            if saved == acked { Ok(()) } else { Err(format!("{saved} of {acked}")) }
        });
    }

    /// Sum of the acknowledged positions in the newer slot.
    fn saved(&self) -> u64 {
        let read = |number: u8| {
            let text = fs::read_to_string(self.state().join(format!("positions.{number}"))).unwrap_or_default();
            let generation = text.get(8..24).map(str::to_owned).unwrap_or_default();
            let length = text.get(25..41).and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or(0);
            (generation, text.get(59..59 + length).unwrap_or_default().to_owned())
        };
        let (_, payload) = read(0).max(read(1));
        let memory: serde_json::Value = serde_json::from_str(&payload).unwrap_or_default();
        let files = memory["files"].as_array().cloned().unwrap_or_default();
        files.iter().filter_map(|file| file["acked"].as_u64()).sum()
    }
}

/// Everything in a topic, from the first message to the last that is there now.
pub(crate) fn read_topic(brokers: &str, topic: &str) -> Vec<Shipped> {
    read_with(brokers, topic, |message| {
        let headers = message.headers().unwrap();
        let headers: BTreeMap<String, String> = headers
            .iter()
            .map(|header| (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap()))
            .collect();
        Shipped {
            id: headers["id"].parse().unwrap(),
            key: String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
            headers,
            timestamp: message.timestamp().to_millis().unwrap(),
            value: message.payload().expect("no line is a tombstone").to_vec(),
        }
    })
}

/// The values in a topic that another shipper has filled.
pub(crate) fn read_values(brokers: &str, topic: &str) -> Vec<Vec<u8>> {
    read_with(brokers, topic, |message| message.payload().unwrap_or_default().to_vec())
}

fn read_with<T>(brokers: &str, topic: &str, take: impl Fn(&BorrowedMessage<'_>) -> T) -> Vec<T> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "20")
        .create()
        .unwrap();
    let (low, high) =
        wait_until("the topic's marks", || match consumer.fetch_watermarks(topic, 0, Duration::from_secs(5)) {
            Ok(marks) => Ok(marks),
            Err(error) if error.to_string().contains("nknown") => Ok((0, 0)),
            Err(error) => Err(error.to_string()),
        });
    if low == high {
        return Vec::new();
    }
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&place).unwrap();
    let mut found = Vec::new();
    wait_until("the topic's last message", || {
        while let Some(message) = consumer.poll(Duration::from_millis(50)) {
            let message = message.map_err(|error| error.to_string())?;
            found.push(take(&message));
            if message.offset() + 1 >= high {
                return Ok(());
            }
        }
        Err(format!("{} of {high}", found.len()))
    });
    found
}

/// Appends to a file, made if it is not there.
pub(crate) fn append(path: &Path, text: &str) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Ends a run by SIGTERM and returns the counters that it printed last.
pub(crate) fn end(run: Running) -> serde_json::Value {
    run.terminate();
    let ended = run.wait().killed_by(15);
    check_stats(&ended.stdout)
}

/// In every line of counters: read = acked + in flight + rejected. Returns the last one.
pub(crate) fn check_stats(stdout: &[u8]) -> serde_json::Value {
    let mut last = serde_json::Value::Null;
    for line in stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        // A killed run may leave half a line.
        let Ok(stats) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let count = |name: &str| stats[name].as_u64().unwrap();
        assert_eq!(count("read"), count("acked") + count("in_flight") + count("rejected"), "{stats}");
        last = stats;
    }
    last
}

/// What became of `truth`, lines that all differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// In no message.
    pub(crate) lost: Vec<String>,
    /// Messages beyond the first of each id.
    pub(crate) resent: usize,
    /// Lines under more than one id: they would be two documents.
    pub(crate) doubled: Vec<String>,
    /// Ids of more than one line.
    pub(crate) clashes: usize,
}

pub(crate) fn account(truth: &[String], shipped: &[Shipped]) -> Account {
    let mut ids: BTreeMap<&[u8], BTreeSet<&LogId>> = BTreeMap::new();
    let mut lines: BTreeMap<&LogId, BTreeSet<&[u8]>> = BTreeMap::new();
    for one in shipped {
        ids.entry(&one.value).or_default().insert(&one.id);
        lines.entry(&one.id).or_default().insert(&one.value);
    }
    Account {
        lost: truth.iter().filter(|line| !ids.contains_key(line.as_bytes())).cloned().collect(),
        resent: shipped.len() - lines.len(),
        doubled: ids
            .iter()
            .filter(|(_, ids)| ids.len() > 1)
            .map(|(line, _)| String::from_utf8_lossy(line).into_owned())
            .collect(),
        clashes: lines.values().filter(|lines| lines.len() > 1).count(),
    }
}
