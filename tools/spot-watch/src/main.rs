//! spot-watch: watches a spot instance for its end, and raises capacity elsewhere exactly once.

mod answer;
mod args;
mod capacity;
mod duration;
mod event;
mod metadata;
mod permissions;
mod plan;
mod planning;
mod records;
mod standby;
mod watch;

use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(env!("CARGO_BIN_NAME"), run)
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    watch::run(args)
}
