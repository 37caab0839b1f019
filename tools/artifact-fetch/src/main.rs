//! artifact-fetch: fetches a release, verifies it, unpacks it beside the running one and switches over.

mod args;
mod fetch;
mod removal;
mod resolve;
mod seen;
mod shelf;
mod writeback;

use cli::{Console, Output};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(env!("CARGO_BIN_NAME"), run)
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity);
    let out = Output::default();
    cli::block_on(1, fetch::run(&args, console, out))
}
