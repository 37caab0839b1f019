//! asg-hosts: who is in the Auto Scaling groups right now, as Auto Scaling and EC2 know it.

mod address;
mod args;
mod cache;
mod cloud;
mod fleet;
mod hostvars;
mod inventory;
mod list;
mod listing;
mod print;
mod saved;
mod selection;
mod table;
mod terminal;

use cli::Output;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(env!("CARGO_BIN_NAME"), run)
}

fn run() -> Result<(), Failure> {
    let Some(args) = cli::parse::<args::Args>()? else { return Ok(()) };
    cli::block_on(1, list::run(&args, Output::default()))
}
