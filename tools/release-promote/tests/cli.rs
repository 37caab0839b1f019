//! release-promote as people and Jenkins run it: the real binary, real git, a store of files and one that keeps S3's rules.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

#[path = "cli/stage.rs"]
mod stage;

#[path = "cli/conditions.rs"]
mod conditions;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/kills.rs"]
mod kills;
#[path = "cli/old.rs"]
mod old;
#[path = "cli/plain.rs"]
mod plain;
#[path = "cli/races.rs"]
mod races;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/remotes.rs"]
mod remotes;
#[path = "cli/tags.rs"]
mod tags;
