//! `imds-model [--instance-id ID] [--life-cycle spot|on-demand] [--group-tag NAME] [--role NAME]`: the model of the instance
//! metadata service as a process for scripts. Prints `AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:PORT` and serves
//! until its stdin ends. A line of stdin is a command: `notice ACTION SECONDS_FROM_NOW`, `clear` (the notice), `state STATE`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a script reads the endpoint from stdout")]

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use testkit::{ImdsInstance, ImdsModel};

const USAGE: &str =
    "usage: imds-model [--instance-id ID] [--life-cycle spot|on-demand] [--group-tag NAME] [--role NAME]";

fn main() -> ExitCode {
    let Some(instance) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(instance) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("imds-model: {err}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<ImdsInstance> {
    let mut instance = ImdsInstance::spot("i-1234567890abcdef0");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--instance-id" => instance.id = args.next()?,
            "--life-cycle" => instance.life_cycle = Some(args.next()?),
            "--group-tag" => instance.tags = Some(vec![("aws:autoscaling:groupName".to_owned(), args.next()?)]),
            "--role" => instance.role = Some(args.next()?),
            _ => return None,
        }
    }
    Some(instance)
}

fn serve(instance: ImdsInstance) -> io::Result<()> {
    let model = ImdsModel::start();
    model.set_instance(instance);
    println!("AWS_EC2_METADATA_SERVICE_ENDPOINT={}", model.endpoint());
    io::stdout().flush()?;
    for line in io::stdin().lines() {
        let line = line?;
        if obey(&model, &line).is_none() {
            eprintln!("imds-model: {line:?} is no command");
        }
    }
    Ok(())
}

fn obey(model: &ImdsModel, line: &str) -> Option<()> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["notice", action, seconds] => {
            let at = Timestamp::now().as_second().checked_add(seconds.parse().ok()?)?;
            model.notice(action, &Timestamp::from_second(at).ok()?.to_string());
        }
        ["clear"] => model.set("spot/instance-action", None),
        ["state", state] => model.lifecycle_state(Some(state)),
        _ => return None,
    }
    Some(())
}
