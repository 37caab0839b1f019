//! log-ship as a process, on a real Kafka (`scripts/stack start kafka`).
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod accounting;
mod confirm;
mod copies;
mod disk;
mod harness;
mod hours;
mod lines;
mod links;
mod outages;
mod plain;
mod releases;
mod rotation;
mod runs;
mod spool;
mod state;
mod stdin;
mod tls;
