//! Records that can't be indexed: kept in a topic of their own with the reason, so that the same tool can read them again.

use crate::args::{Args, Ids};
use crate::headers;
use kafka::{Complaint, Hidden};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::OnceLock;
use tokio::sync::oneshot::{self, Receiver, Sender};

/// Longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 1024;

/// A record as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Letter<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970, or -1.
    pub(crate) timestamp: i64,
    /// The id of its document.
    pub(crate) id: &'a [u8],
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// The topic.
pub(crate) struct DeadLetters {
    from: String,
    topic: String,
    config: ClientConfig,
    ids: Ids,
    /// Most runs need none.
    producer: OnceLock<ThreadedProducer<Reports>>,
    hidden: Hidden,
}

impl DeadLetters {
    pub(crate) fn new(args: &Args) -> Self {
        let mut config = ClientConfig::new();
        config.set("client.id", "log-index");
        // What came through one topic must fit into another, headers added: the broker decides.
        config.set("message.max.bytes", "100000000");
        for (key, value) in args.kafka.options() {
            config.set(key, value);
        }
        config.set("bootstrap.servers", args.kafka.brokers()).set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", args.timeout.as_millis().max(1000).to_string());
        config.set_log_level(RDKafkaLogLevel::Warning);
        let hidden = Hidden::of(args.kafka.options());
        Self {
            from: args.kafka.topic().to_owned(),
            topic: args.dead_letters(),
            config,
            ids: args.documents.ids,
            producer: OnceLock::new(),
            hidden,
        }
    }

    /// Its name.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Keeps records, each with why it could not be indexed, and returns which of them the broker has.
    ///
    /// # Errors
    /// Why some of them are not kept.
    pub(crate) async fn keep<'a>(
        &self,
        letters: impl Iterator<Item = (u32, Letter<'a>, &'a str)>,
    ) -> (Vec<u32>, Result<(), String>) {
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(error) => {
                let why = self.hidden.hide(&error.to_string());
                return (Vec::new(), Err(format!("unable to write topic {}: {why}", self.topic)));
            }
        };
        let mut sent: Vec<(u32, Receiver<Result<(), Code>>)> = Vec::new();
        let (mut kept, mut failed) = (Vec::new(), Ok(()));
        let tell = |code: Code| Err(format!("unable to write topic {}: {code}", self.topic));
        for (item, letter, why) in letters {
            let (report, reported) = oneshot::channel();
            match self.send(producer, &letter, why, report) {
                Ok(()) => sent.push((item, reported)),
                Err(code) => {
                    // A full queue, most likely: the rest has its turn later.
                    failed = tell(code);
                    break;
                }
            }
        }
        for (item, reported) in sent {
            match reported.await {
                Ok(Ok(())) => kept.push(item),
                Ok(Err(code)) => failed = tell(code),
                Err(_) => failed = tell(Code::Unknown),
            }
        }
        let complaint = producer.context().complaint.text();
        (kept, failed.map_err(|what| complaint.map(|why| format!("{what}: {why}")).unwrap_or(what)))
    }

    fn producer(&self) -> Result<&ThreadedProducer<Reports>, KafkaError> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        let reports = Reports { complaint: Complaint::hiding(self.hidden.clone()) };
        let producer = ThreadedProducer::from_config_and_context(&self.config, reports)?;
        Ok(self.producer.get_or_init(|| producer))
    }

    fn send(
        &self,
        producer: &ThreadedProducer<Reports>,
        letter: &Letter<'_>,
        why: &str,
        report: Sender<Result<(), Code>>,
    ) -> Result<(), Code> {
        let position = format!("{}-{}-{}", self.from, letter.partition, letter.offset);
        let why = &why[..why.floor_char_boundary(LONGEST_REASON)];
        let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len() + 4);
        // Read again, it gets the id that it has now: from what it is, or from this where only its place names it.
        let own = letter.headers.iter().find(|(key, _)| *key == records::ID_HEADER.as_bytes());
        let is_named = own.and_then(|(_, value)| *value).is_some_and(|own| !own.is_empty());
        let replace = self.ids == Ids::V1 || !is_named;
        if replace {
            headers = headers.insert(Header { key: records::ID_HEADER, value: Some(letter.id) });
        }
        for (key, value) in &letter.headers {
            let key = String::from_utf8_lossy(key);
            let is_replaced = replace && key == records::ID_HEADER;
            if !is_replaced && !key.starts_with(headers::OF_DEAD_LETTERS) {
                headers = headers.insert(Header { key: &key, value: *value });
            }
        }
        headers = headers.insert(Header { key: headers::ID, value: Some(letter.id) });
        headers = headers.insert(Header { key: headers::ERROR, value: Some(why) });
        headers = headers.insert(Header { key: headers::POSITION, value: Some(&position) });
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(report)).headers(headers);
        if let Some(key) = letter.key {
            record = record.key(key);
        }
        if let Some(payload) = letter.payload {
            record = record.payload(payload);
        }
        if letter.timestamp >= 0 {
            record = record.timestamp(letter.timestamp);
        }
        producer.send(record).map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Hands what librdkafka reports to who waits for it.
#[derive(Debug)]
struct Reports {
    complaint: Complaint,
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.hear(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Sender<Result<(), Code>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        if result.is_ok() {
            self.complaint.forget();
        }
        // Who waited may have been given up.
        let _ = report.send(result);
    }
}
