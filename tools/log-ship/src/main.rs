//! log-ship: ships log lines to Kafka, each with an id that is fixed where the line is read.

mod args;
mod confirm;
mod contents;
mod folder;
mod follow;
mod hours;
mod lines;
mod positions;
mod reach;
mod sender;
mod ship;
mod source;
mod spool;
mod stats;
mod trail;
mod watch;

use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(env!("CARGO_BIN_NAME"), run)
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    args.check()?;
    if args.confirm { confirm::run(&args) } else { ship::run(&args) }
}
