//! `scaling-model --group NAME:MIN:DESIRED:MAX... [--no-launch-template] [--policy GROUP:NAME]...`: the model of Auto Scaling
//! as a process for scripts. Prints `AWS_ENDPOINT_URL_AUTO_SCALING=http://127.0.0.1:PORT` and serves until its stdin ends. The
//! line `show` on stdin prints `NAME desired=N` for every group. A policy is a simple one that adds one instance.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a script reads the endpoint from stdout")]

use std::io::{self, Write};
use std::process::ExitCode;

use testkit::{ScalingGroup, ScalingModel, ScalingPolicy};

const USAGE: &str =
    "usage: scaling-model --group NAME:MIN:DESIRED:MAX... [--no-launch-template] [--policy GROUP:NAME]...";

fn main() -> ExitCode {
    let Some(groups) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(groups) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("scaling-model: {err}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Vec<ScalingGroup>> {
    let (mut groups, mut policies, mut template) = (Vec::new(), Vec::new(), true);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--group" => groups.push(group(&args.next()?)?),
            "--policy" => policies.push(args.next()?),
            "--no-launch-template" => template = false,
            _ => return None,
        }
    }
    groups.iter_mut().for_each(|group| group.launch_template = template);
    for policy in policies {
        let (group, name) = policy.rsplit_once(':')?;
        groups.iter_mut().find(|known| known.name == group)?.policies.push(ScalingPolicy::plus_one(name));
    }
    (!groups.is_empty()).then_some(groups)
}

/// From the right: the name may have colons.
fn group(text: &str) -> Option<ScalingGroup> {
    let mut parts = text.rsplitn(4, ':');
    let mut number = || parts.next()?.parse().ok();
    let (max, desired, min) = (number()?, number()?, number()?);
    Some(ScalingGroup::new(parts.next()?, min, desired, max))
}

fn serve(groups: Vec<ScalingGroup>) -> io::Result<()> {
    let model = ScalingModel::start();
    let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
    groups.into_iter().for_each(|group| model.add_group(group));
    println!("AWS_ENDPOINT_URL_AUTO_SCALING={}", model.endpoint());
    io::stdout().flush()?;
    for line in io::stdin().lines() {
        match line?.as_str() {
            "show" => names.iter().for_each(|name| println!("{name} desired={}", model.group(name).desired)),
            other => eprintln!("scaling-model: {other:?} is no command"),
        }
        io::stdout().flush()?;
    }
    Ok(())
}
