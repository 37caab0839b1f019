//! nagios-gen: writes Nagios objects for a list of hosts, and lets a running Nagios take them.

mod address;
mod args;
mod command;
mod config;
mod daemon;
mod definitions;
mod downtime;
mod hosts;
mod objects;
mod place;
mod publish;
mod safe;
mod template;
mod verify;

use cli::{Console, Output};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(env!("CARGO_BIN_NAME"), run)
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity);
    if let Some(file) = &args.downtime.file {
        return downtime::run(file, &args.downtime, args.timeout, console);
    }
    let text = objects::render(&args.objects, console)?;
    match &args.file.output {
        Some(output) => publish::run(output, &args.file, args.timeout, &text, console),
        None => Output::default().write_and_close(text.as_bytes()),
    }
}
