//! nagios-gen: writes Nagios objects for a list of hosts.

mod args;
mod objects;
mod safe;

use cli::{Console, Failure, Output};
use records::ReadError;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::finish(env!("CARGO_BIN_NAME"), run())
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity);
    let hosts = records::read_hosts(std::io::stdin().lock()).map_err(|error| match error {
        // The stage before failed: this is not a fleet without hosts.
        ReadError::Empty | ReadError::Io(_) => Failure::temporary(format!("unable to read hosts from stdin: {error}")),
        wrong => Failure::permanent(format!("unable to read hosts from stdin: {wrong}")),
    })?;
    Output::default().write_and_close(objects::render(hosts, &args, console)?.as_bytes())
}
