//! librdkafka as it is set up here, and what it reports.

use super::State;
use crate::args::Args;
use kafka::{Complaint, Hidden};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::sync::{Arc, Mutex, PoisonError};

/// Options for the producer.
pub(super) fn config(args: &Args) -> ClientConfig {
    let kafka = &args.kafka;
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("client.id", "log-ship"),
        // Larger batches cost less for each line; a line waits no longer than this for others.
        // Where each is waited for, there are none.
        ("linger.ms", if args.confirm { "1" } else { "20" }),
        // Several fit into the window: one that waits to be filled does not hold up the rest.
        ("batch.size", "500000"),
        ("message.max.bytes", "1048576"),
        // Lines and their headers repeat themselves: a third of the bytes for the network and for the broker's disk.
        ("compression.type", "lz4"),
        // As Kafka's own clients do it, so that a host's lines are in the partition that they would choose.
        ("partitioner", "murmur2_random"),
        // A broker that is back is found within a second.
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "500"),
        ("retry.backoff.max.ms", "500"),
        ("socket.keepalive.enable", "true"),
        ("socket.nagle.disable", "true"),
    ] {
        config.set(key, value);
    }
    for (key, value) in kafka.options() {
        config.set(key, value);
    }
    for (key, value) in [
        ("bootstrap.servers", kafka.brokers.as_str()),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("message.timeout.ms", "0"),
        // The window is counted here; librdkafka's own limits only must not be in its way.
        ("queue.buffering.max.messages", "1000000"),
        ("queue.buffering.max.kbytes", "2097151"),
    ] {
        config.set(key, value);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// What librdkafka reports, kept until it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    settled: Arc<Mutex<Vec<(usize, State)>>>,
    complaint: Arc<Complaint>,
}

impl Reports {
    /// None yet; what is typed as an option won't be in them.
    pub(super) fn new(args: &Args) -> Self {
        let complaint = Complaint::hiding(Hidden::of(args.kafka.options()));
        Self { settled: Arc::default(), complaint: Arc::new(complaint) }
    }

    /// None yet, for another producer with the same options.
    pub(super) fn anew(&self) -> Self {
        Self { settled: Arc::default(), complaint: Arc::clone(&self.complaint) }
    }

    /// How many lines are settled that were not asked for.
    pub(super) fn count(&self) -> usize {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Hands out what became of lines.
    pub(super) fn take(&self, mut each: impl FnMut(usize, State)) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.iter().any(|(_, state)| *state == State::Acked) {
            self.complaint.forget();
        }
        settled.drain(..).for_each(|(number, state)| each(number, state));
    }

    /// What librdkafka last complained of, and whether a person has to do something about it.
    pub(super) fn complaint(&self) -> Option<(String, bool)> {
        self.complaint.text().map(|text| (text, self.complaint.needs_a_person()))
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        self.complaint.hear_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.hear(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let state = match result {
            Ok(_) => State::Acked,
            Err((error, _)) => State::Failed(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).push((number, state));
    }
}
