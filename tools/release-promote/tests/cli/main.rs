//! release-promote as people and Jenkins run it: the real binary, real git, a store of files and one that keeps S3's rules.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod conditions;
mod harness;
mod hostile;
mod kills;
mod old;
mod plain;
mod races;
mod refusals;
mod remotes;
mod tags;
