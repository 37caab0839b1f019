//! A topic, a group and indices of a test's own, and what stands in them.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use testkit::{Document, Finished, LIMIT, Running, Tool, request, wait_until};

/// 2026-11-24T13:00:00Z
pub(crate) const NOON: i64 = 1_795_525_200_000;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) timestamp: i64,
}

impl Record {
    /// A line as log-ship sends it.
    pub(crate) fn line(id: &str, value: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("id".to_owned(), id.into()), ("path".to_owned(), "/var/log/a.log".into())];
        Self { partition: 0, key: Some("web-1".into()), value: Some(value.into()), headers, timestamp: NOON }
    }

    /// A message of somebody else.
    pub(crate) fn bare(value: impl Into<Vec<u8>>) -> Self {
        Self { partition: 0, key: None, value: Some(value.into()), headers: Vec::new(), timestamp: NOON }
    }

    pub(crate) fn in_partition(self, partition: i32) -> Self {
        Self { partition, ..self }
    }

    pub(crate) fn at(self, timestamp: i64) -> Self {
        Self { timestamp, ..self }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.headers.push((key.to_owned(), value.into()));
        self
    }

    pub(crate) fn header(&self, key: &str) -> String {
        let found: Vec<_> = self.headers.iter().filter(|(name, _)| name == key).collect();
        assert_eq!(found.len(), 1, "{key} in {self:?}");
        String::from_utf8(found[0].1.clone()).unwrap()
    }
}

pub(crate) struct Harness {
    pub(crate) brokers: String,
    pub(crate) server: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    /// First part of the names of its indices.
    pub(crate) prefix: String,
    pub(crate) _indices: Option<Indices>,
}

/// Deletes the indices at the end.
pub(crate) struct Indices {
    server: String,
    prefix: String,
}

impl Harness {
    /// With a topic of so many partitions.
    pub(crate) fn new(partitions: i32) -> Self {
        let harness = Self::without_topic();
        harness.create_topic(&harness.topic, partitions);
        harness
    }

    /// Another one with the same names.
    pub(crate) fn same(&self) -> Self {
        Self {
            brokers: self.brokers.clone(),
            server: self.server.clone(),
            topic: self.topic.clone(),
            group: self.group.clone(),
            prefix: self.prefix.clone(),
            _indices: None,
        }
    }

    pub(crate) fn without_topic() -> Self {
        let from = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set: scripts/stack start"));
        let mark = format!("{:016x}", rand::random::<u64>());
        let (server, prefix) = (from("SEARCH_URL"), format!("i-{mark}"));
        Self {
            brokers: from("KAFKA_BROKERS"),
            topic: format!("t-{mark}"),
            group: format!("g-{mark}"),
            _indices: Some(Indices { server: server.clone(), prefix: prefix.clone() }),
            server,
            prefix,
        }
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) {
        self.create_topic_with(topic, partitions, &[]);
    }

    pub(crate) fn create_topic_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
        assert_eq!(created, [Ok(topic.to_owned())]);
    }

    /// Deletes the first records of a partition, as retention does.
    pub(crate) fn delete_records(&self, partition: i32, before: i64) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(before)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("fetch.wait.max.ms", "20");
        config
    }

    /// log-index for this topic, group and prefix, at the server itself.
    pub(crate) fn tool(&self) -> Tool {
        self.tool_at(&self.server)
    }

    pub(crate) fn tool_at(&self, url: &str) -> Tool {
        let tool =
            Tool::new(env!("CARGO_BIN_EXE_log-index")).args(["--brokers", &self.brokers, "--topic", &self.topic]);
        let tool = tool.args(["--group", &self.group, "--url", url, "--stats", "100ms"]);
        tool.args(["--index", &format!("{}-%Y.%m.%d", self.prefix)])
    }

    pub(crate) fn once(&self) -> Finished {
        let finished = self.tool().arg("--once").run().succeeds();
        check_stats(&finished.stdout);
        finished
    }

    pub(crate) fn produce(&self, records: &[Record]) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            self.client().set("message.max.bytes", "10000000").set("linger.ms", "5").create().unwrap();
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: Some(value) });
            }
            let message = || {
                let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic);
                message = message.partition(record.partition).timestamp(record.timestamp).headers(headers.clone());
                if let Some(key) = &record.key {
                    message = message.key(key);
                }
                if let Some(value) = &record.value {
                    message = message.payload(value);
                }
                message
            };
            wait_until("room in the queue", || producer.send(message()).map_err(|(error, _)| error.to_string()));
        }
        producer.flush(LIMIT).unwrap();
    }

    /// Everything in a topic.
    pub(crate) fn read_topic(&self, topic: &str) -> Vec<Record> {
        let consumer: BaseConsumer =
            self.client().set("group.id", "reader").set("enable.partition.eof", "true").create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), LIMIT).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions).unwrap() {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut found, mut ended) = (Vec::new(), 0);
        while ended < partitions {
            match consumer.poll(LIMIT).expect("the topic can be read") {
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                message => found.push(record(&message.unwrap())),
            }
        }
        found
    }

    /// Position of the group in a partition.
    pub(crate) fn committed(&self, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.client().set("group.id", &self.group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        match consumer.committed_offsets(list, LIMIT).unwrap().elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Names and ids of the group's members, if nothing is being shared out.
    pub(crate) fn members(&self) -> Option<BTreeMap<String, String>> {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let list = consumer.fetch_group_list(Some(&self.group), LIMIT).ok()?;
        let group = list.groups().first().filter(|group| group.state() == "Stable")?;
        Some(group.members().iter().map(|member| (member.client_host().to_owned(), member.id().to_owned())).collect())
    }

    /// The group as its broker sees it, for people.
    pub(crate) fn describe(&self) -> String {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let Ok(list) = consumer.fetch_group_list(Some(&self.group), LIMIT) else { return "unknown".to_owned() };
        let Some(group) = list.groups().first() else { return "none".to_owned() };
        let share = |bytes: Option<&[u8]>| {
            bytes.map_or_else(String::new, |bytes| format!("{:?}", &bytes[bytes.len().min(26)..]))
        };
        let members = group.members().iter().map(|member| format!("{} {}", member.id(), share(member.assignment())));
        format!("{}: {:?}", group.state(), members.collect::<Vec<_>>())
    }

    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> Value {
        testkit::ask(&self.server, method, target, body)
    }

    /// Makes an index with this mapping.
    pub(crate) fn map(&self, index: &str, properties: &str) {
        let body = format!(r#"{{"mappings":{{"properties":{properties}}}}}"#);
        let made = self.ask("PUT", &format!("/{index}"), &body);
        assert_eq!(made["acknowledged"], true, "{made}");
    }

    pub(crate) fn delete_indices(&self) {
        self.ask("DELETE", &format!("/{}*", self.prefix), "");
    }

    /// Every document in its indices, by id.
    pub(crate) fn documents(&self) -> Vec<Document> {
        testkit::documents(&self.server, &self.prefix)
    }

    /// Ids of all documents' records; each may be there once only.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.documents().iter().map(|document| record_id(&document.id).to_owned()).collect()
    }

    /// Puts the index template of these options.
    pub(crate) fn put_template(&self, options: &[&str]) {
        let pattern = format!("{}-%Y.%m.%d", self.prefix);
        let tool = Tool::new(env!("CARGO_BIN_EXE_log-index")).args(["--url", &self.server, "--index", &pattern]);
        tool.arg("--put-template").args(options).run().succeeds().stderr_is_empty();
    }

    /// Waits until the counters of a run hold.
    pub(crate) fn await_stats(&self, run: &Running, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, || {
            let stats = check_stats(&run.stdout_so_far());
            let said = || format!("{stats}: {}", String::from_utf8_lossy(&run.stderr_so_far()));
            if holds(&stats) { Ok(stats.clone()) } else { Err(said()) }
        })
    }

    /// Deletes the topic and makes it anew.
    pub(crate) fn renew_topic(&self, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deleted = runtime.block_on(admin.delete_topics(&[&self.topic], &AdminOptions::new())).unwrap();
        assert_eq!(deleted, [Ok(self.topic.clone())]);
        wait_until("the topic anew", || {
            let new = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
            let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
            // It may take the broker a moment to be rid of the old one.
            if created == [Ok(self.topic.clone())] { Ok(()) } else { Err(format!("{created:?}")) }
        });
    }
}

/// The id of the record that a document was made of: what stands before the hash.
pub(crate) fn record_id(id: &str) -> &str {
    id.rsplit_once('/').filter(|(_, hash)| hash.len() == 32).map_or(id, |(own, _)| own)
}

impl Drop for Indices {
    fn drop(&mut self) {
        drop(request(&self.server, "DELETE", &format!("/{}*", self.prefix), &[], b""));
        drop(request(&self.server, "DELETE", &format!("/_index_template/log-index-{}-y.m.d", self.prefix), &[], b""));
    }
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: message.partition(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
    }
}

/// In every line of counters: read = acked + in flight + rejected. Returns the last one.
pub(crate) fn check_stats(stdout: &[u8]) -> Value {
    let mut last = Value::Null;
    for line in stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        // A killed run may leave half a line.
        let Ok(stats) = serde_json::from_slice::<Value>(line) else { continue };
        let count = |name: &str| stats[name].as_u64().unwrap();
        assert_eq!(count("read"), count("acked") + count("in_flight") + count("rejected"), "{stats}");
        assert_eq!(count("acked"), count("created") + count("existing"), "{stats}");
        last = stats;
    }
    last
}
