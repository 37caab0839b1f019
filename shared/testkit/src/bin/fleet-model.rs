//! `fleet-model [--instances N] [--groups N] [--region NAME]`: the model of EC2 and Auto Scaling as a process for scripts.
//! Prints `AWS_ENDPOINT_URL=http://127.0.0.1:PORT` and serves until SIGTERM or SIGINT.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a script reads the endpoint from stdout")]

use std::io::{self, Write};
use std::process::ExitCode;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testkit::FleetModel;

const USAGE: &str = "usage: fleet-model [--instances N] [--groups N] [--region NAME]";

struct Options {
    instances: usize,
    groups: usize,
    region: String,
}

fn main() -> ExitCode {
    let Some(options) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("fleet-model: {err}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { instances: 9, groups: 3, region: "us-east-1".to_owned() };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--instances" => options.instances = args.next()?.parse().ok()?,
            "--groups" => options.groups = args.next()?.parse().ok().filter(|groups| *groups > 0)?,
            "--region" => options.region = args.next()?,
            _ => return None,
        }
    }
    Some(options)
}

fn serve(options: &Options) -> io::Result<()> {
    // Caught before the endpoint is printed: whoever reads it may stop the server at once.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let model = FleetModel::start();
    model.fill(&options.region, options.instances, options.groups);
    println!("AWS_ENDPOINT_URL={}", model.endpoint());
    io::stdout().flush()?;
    signals.forever().next();
    Ok(())
}
