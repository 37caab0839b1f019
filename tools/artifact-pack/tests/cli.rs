//! artifact-pack as its users run it: the real binary, against an S3 that keeps AWS's rules, a proxy that fails on
//! demand, and plain directories.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]
#![expect(clippy::panic, reason = "an unmet expectation shows the whole run")]

#[path = "cli/access.rs"]
mod access;
#[path = "cli/attributes.rs"]
mod attributes;
#[path = "cli/change.rs"]
mod change;
#[path = "cli/choice.rs"]
mod choice;
#[path = "cli/conditions.rs"]
mod conditions;
#[path = "cli/errors.rs"]
mod errors;
#[path = "cli/formats.rs"]
mod formats;
#[path = "cli/housekeeping.rs"]
mod housekeeping;
#[path = "cli/loss.rs"]
mod loss;
#[path = "cli/parts.rs"]
mod parts;
#[path = "cli/record.rs"]
mod record;
#[path = "cli/same.rs"]
mod same;
#[path = "cli/shelf.rs"]
mod shelf;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/sweep.rs"]
mod sweep;
