//! `s3-model [--sink] [--bucket NAME]... [--fault-percent P] [--seed S]`: the model, or the sink, as a process for scripts.
//! Prints `AWS_ENDPOINT_URL_S3=http://127.0.0.1:PORT` and serves until SIGTERM or SIGINT.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a script reads the endpoint from stdout")]

use std::io::{self, Write};
use std::process::ExitCode;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testkit::{FaultProxy, NullSink, Plan, S3Model};

const USAGE: &str = "usage: s3-model [--sink] [--bucket NAME]... [--fault-percent P] [--seed S]";

#[derive(Default)]
struct Options {
    sink: bool,
    buckets: Vec<String>,
    percent: u8,
    seed: u64,
}

fn main() -> ExitCode {
    let Some(options) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("s3-model: {err}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--sink" => options.sink = true,
            "--bucket" => options.buckets.push(args.next()?),
            "--fault-percent" => options.percent = args.next()?.parse().ok().filter(|percent| *percent <= 100)?,
            "--seed" => options.seed = args.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn serve(options: &Options) -> io::Result<()> {
    // Caught before the endpoint is printed: whoever reads it may stop the server at once.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    if options.sink {
        let sink = NullSink::start();
        options.buckets.iter().for_each(|bucket| sink.create_bucket(bucket));
        return run(&sink.endpoint(), options, &mut signals);
    }
    let model = S3Model::start();
    options.buckets.iter().for_each(|bucket| model.create_bucket(bucket));
    run(&model.endpoint(), options, &mut signals)
}

fn run(upstream: &str, options: &Options, signals: &mut Signals) -> io::Result<()> {
    let plan = Plan::Random { seed: options.seed, percent: options.percent };
    let proxy = (options.percent > 0).then(|| FaultProxy::start(upstream, plan));
    let endpoint = proxy.as_ref().map_or(upstream.to_owned(), FaultProxy::endpoint);
    println!("AWS_ENDPOINT_URL_S3={endpoint}");
    io::stdout().flush()?;
    signals.forever().next();
    Ok(())
}
