//! log-index: indexes log records from Kafka, each once, however often it was sent.

mod answer;
mod args;
mod batch;
mod blocks;
mod dead_letters;
mod deliver;
mod document;
mod group;
mod headers;
mod index;
mod index_name;
mod ledger;
mod search;
mod share;
mod stats;
mod template;
mod trouble;

use args::Asked;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(env!("CARGO_BIN_NAME"), run)
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    args.check()?;
    match args.asked() {
        Asked::Index => index::run(&args),
        Asked::PrintTemplate => template::print(&args),
        Asked::PutTemplate => template::put(&args),
    }
}
