//! nagios-gen as a process, against files and against real Nagios daemons.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod downtime;
mod file;
mod fleet;
mod fuzz;
mod harness;
mod kills;
mod live;
mod plain;
mod template;
