//! artifact-fetch as its users run it: the real binary, in a cleared environment, against stores that lie, break and
//! stall.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod errors;
mod flips;
mod harness;
mod hostile;
mod kills;
mod old;
mod readers;
mod s3;
mod shelf;
mod trees;
mod trust;
