//! log-index: indexes log records from Kafka, each once, however often it was sent.

mod answer;
mod args;
mod batch;
mod dead_letters;
mod deliver;
mod document;
mod group;
mod index;
mod index_name;
mod json;
mod ledger;
mod search;
mod stats;
mod syslog;
mod trouble;

use cli::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::finish(env!("CARGO_BIN_NAME"), run())
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    args.check()?;
    index::run(&args)
}
