//! The way to Kafka: what was sent, what was acknowledged, and how much of it waits in memory.

mod producer;

use crate::args::Args;
use failure::Failure;
use producer::{Reports, config};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What librdkafka and the tracking of a line take in memory besides its bytes.
const OVERHEAD: usize = 640;
/// The start does not wait longer for a broker.
const INTRODUCTION: Duration = Duration::from_millis(100);

/// A line to send.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Which source it came from.
    pub(crate) source: u32,
    /// Where the next line of it begins.
    pub(crate) end: u64,
    /// Its id.
    pub(crate) id: &'a str,
    /// When it was first read, in milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// The file's name.
    pub(crate) path: &'a str,
    /// The line.
    pub(crate) value: &'a [u8],
}

/// What became of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    /// Which source it came from.
    pub(crate) source: u32,
    /// Where the next line of it begins.
    pub(crate) end: u64,
    /// What it took of the window.
    pub(crate) charge: usize,
    /// Why it was not taken.
    pub(crate) error: Option<Code>,
    /// It was never sent, since it can't be.
    pub(crate) rejected: bool,
    /// Bytes of the line.
    pub(crate) length: u64,
}

#[derive(Debug)]
struct Slot {
    source: u32,
    charge: u32,
    length: u32,
    end: u64,
    sent: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Acked,
    Rejected,
    Failed(Code),
}

/// The producer and everything that it has not settled.
pub(crate) struct Sender {
    config: ClientConfig,
    producer: BaseProducer<Reports>,
    reports: Reports,
    topic: String,
    host: String,
    fields: Vec<(String, String)>,
    /// In the order in which they were sent.
    slots: VecDeque<Slot>,
    /// Number of the first of them.
    first: usize,
    charge: usize,
    started: Instant,
}

impl Sender {
    /// A producer; it connects by itself, and as often as it takes.
    ///
    /// # Errors
    /// An option that librdkafka doesn't take.
    pub(crate) fn new(args: &Args) -> Result<Self, Failure> {
        let config = config(args);
        let reports = Reports::new(args);
        let topic = &args.kafka.topic;
        let refused = |error| kafka::refused(&error, &args.kafka.options, args.kafka.options_file.as_ref());
        let producer = start(&config, &reports, topic).map_err(refused)?;
        Ok(Self {
            config,
            producer,
            reports,
            topic: topic.clone(),
            host: args.host(),
            fields: args.lines.fields.clone(),
            slots: VecDeque::new(),
            first: 0,
            charge: 0,
            started: Instant::now(),
        })
    }

    /// Hands a line over; false if there is no room for it now.
    ///
    /// # Errors
    /// This line can't be sent at all, for the reason given.
    pub(crate) fn send(&mut self, line: &Line<'_>) -> Result<bool, Code> {
        let mut headers = OwnedHeaders::new_with_capacity(2 + self.fields.len())
            .insert(Header { key: records::ID_HEADER, value: Some(line.id) })
            .insert(Header { key: records::PATH_HEADER, value: Some(line.path) });
        for (key, value) in &self.fields {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let number = self.first + self.slots.len();
        let record = BaseRecord::with_opaque_to(&self.topic, number)
            .key(self.host.as_bytes())
            .payload(line.value)
            .timestamp(line.timestamp)
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => {}
            Err((KafkaError::MessageProduction(code), _)) if for_good(code) => return Err(code),
            // A full queue, or a producer that is at its end: poll settles either.
            Err(_) => return Ok(false),
        }
        self.track(line.source, line.end, line.value.len(), line.path.len() + OVERHEAD, State::Waiting);
        Ok(true)
    }

    /// Passes over a line that can't be sent: its source's position moves past it when those before it are settled.
    pub(crate) fn skip(&mut self, source: u32, end: u64) {
        self.track(source, end, 0, OVERHEAD, State::Rejected);
    }

    fn track(&mut self, source: u32, end: u64, length: usize, besides: usize, state: State) {
        let charge = u32::try_from(length + besides).unwrap_or(u32::MAX);
        self.charge += charge as usize;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let sent = u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX);
        self.slots.push_back(Slot { source, charge, length, end, sent, state });
    }

    /// Waits at most `wait` for news and hands out what is settled, in the order in which it was sent.
    pub(crate) fn settle(&mut self, wait: Duration, mut settled: impl FnMut(Settled)) -> usize {
        let number = self.reports.count();
        self.producer.poll(wait);
        // One call, one batch of the broker's: all that is there is taken.
        let mut before = number;
        while self.reports.count() > before {
            before = self.reports.count();
            self.producer.poll(Duration::ZERO);
        }
        let (first, slots) = (self.first, &mut self.slots);
        self.reports.take(|opaque, state| {
            // What an earlier producer was given has been settled with its end.
            if let Some(slot) = opaque.checked_sub(first).and_then(|at| slots.get_mut(at)) {
                slot.state = state;
            }
        });
        if self.producer.client().fatal_error().is_some() {
            self.renew();
        }
        let mut count = 0;
        while let Some(slot) = self.slots.front() {
            let error = match slot.state {
                State::Waiting => break,
                State::Acked | State::Rejected => None,
                State::Failed(code) => Some(code),
            };
            let charge = slot.charge as usize;
            self.charge -= charge;
            count += 1;
            let (rejected, length) = (slot.state == State::Rejected, u64::from(slot.length));
            settled(Settled { source: slot.source, end: slot.end, charge, error, rejected, length });
            self.first += 1;
            self.slots.pop_front();
        }
        count
    }

    /// Gives up what the broker has not acknowledged; the next settle hands it out as failed.
    pub(crate) fn give_up(&mut self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// An idempotent producer that lost its place can't go on: another one does, and what was waiting is sent anew.
    fn renew(&mut self) {
        let reports = self.reports.anew();
        if let Ok(producer) = start(&self.config, &reports, &self.topic) {
            self.producer = producer;
            self.reports = reports;
            for slot in self.slots.iter_mut().filter(|slot| slot.state == State::Waiting) {
                slot.state = State::Failed(Code::Fatal);
            }
        }
    }

    /// The cluster's id, once a broker has answered.
    pub(crate) fn cluster(&self) -> Option<String> {
        self.producer.client().fetch_cluster_id(Duration::ZERO)
    }

    /// Waits at most `wait` until a broker has answered.
    pub(crate) fn meet(&self, wait: Duration) {
        // A broker that fails is reported when lines wait for it.
        drop(self.producer.client().fetch_metadata(Some(&self.topic), wait));
    }

    /// Lines that wait for the broker.
    pub(crate) fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// What they take in memory.
    pub(crate) fn charge(&self) -> usize {
        self.charge
    }

    /// How long the oldest of them has been waiting.
    pub(crate) fn oldest(&self) -> Duration {
        let sent = |slot: &Slot| self.started.elapsed().saturating_sub(Duration::from_millis(u64::from(slot.sent)));
        self.slots.front().map(sent).unwrap_or_default()
    }

    /// What librdkafka last complained of, and whether a person has to do something about it.
    pub(crate) fn complaint(&self) -> Option<(String, bool)> {
        self.reports.complaint()
    }

    /// Name of the host, key of every message.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

/// A producer that has been introduced to the cluster, if it's there. librdkafka asks for its producer's id when it is told
/// of the brokers; as long as the connection to those is not up, that fails, and is tried again after half a second or when
/// it's told the next time: it's told twice.
fn start(config: &ClientConfig, reports: &Reports, topic: &str) -> KafkaResult<BaseProducer<Reports>> {
    let producer = BaseProducer::from_config_and_context(config, reports.clone())?;
    let limit = Instant::now() + INTRODUCTION;
    for _ in 0..2 {
        // A broker that fails is reported when lines wait for it.
        drop(producer.client().fetch_metadata(Some(topic), limit.saturating_duration_since(Instant::now())));
    }
    Ok(producer)
}

/// Whether an error is the line's own fault: no second try can help.
pub(crate) fn for_good(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
    )
}

/// Whether an error needs a person: trying again won't help before that.
pub(crate) fn needs_a_person(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::InvalidTopic
            | Code::PolicyViolation
    )
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("waiting", &self.slots.len()).finish_non_exhaustive()
    }
}
