//! artifact-pack: packs files into a numbered release and publishes it in a store.

mod args;
mod audit;
mod exclusion;
mod held;
mod parts;
mod publish;
mod source;
mod stream;
mod tree;
mod upload;

use cli::{Console, Output};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(env!("CARGO_BIN_NAME"), run)
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    let job = args.job()?;
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity);
    let out = Output::default();
    cli::block_on(2, async {
        if args.audit { audit::run(&args, console, out).await } else { publish::run(&args, job, console, out).await }
    })
}
