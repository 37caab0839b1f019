//! artifact-pack as its users run it: the real binary, against an S3 that keeps AWS's rules, a proxy that fails on
//! demand, and plain directories.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]
#![expect(clippy::panic, reason = "an unmet expectation shows the whole run")]

mod access;
mod attributes;
mod change;
mod choice;
mod conditions;
mod errors;
mod formats;
mod harness;
mod housekeeping;
mod loss;
mod parts;
mod record;
mod same;
mod signals;
mod sweep;
