//! log-index as a process, against a real Kafka and a real OpenSearch (`scripts/stack start kafka search`).
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test's own preparations fail at fails the test")]

mod blocked;
mod dead_letters;
mod errors;
mod faults;
mod group;
mod harness;
mod ids;
mod kills;
mod odd;
mod plain;
mod template;
