//! release-promote: makes a release the stable one, keeps the history of promotions and moves the git tag along.

mod args;
mod channel;
mod choice;
mod follower;
mod ledger;
mod promote;
mod rehearsal;
mod seal;
mod tag;

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
    cli::block_on(1, async {
        match args.release.clone().filter(|_| !args.history) /* set by RELEASE_VERSION, perhaps */ {
            Some(selector) => promote::run(&args, selector, console, out).await,
            None => promote::print_history(&args, console, out).await,
        }
    })
}
