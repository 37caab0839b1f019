//! `TOOL --generate WHAT`: the manual page and the shells' completions, from the same definition as `--help`. Who makes a
//! package asks for them; no tool has an option of that name.

use crate::Output;
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use failure::Failure;
use std::env;

/// What can be generated.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    Man,
    Bash,
    Fish,
    Zsh,
}

/// What the command line asks for, if it asks for that.
///
/// # Errors
/// It asks for something else.
pub(crate) fn asked() -> Result<Option<What>, Failure> {
    let mut args = env::args_os().skip(1);
    if args.next().is_none_or(|first| first != "--generate") {
        return Ok(None);
    }
    let kind = args.next().unwrap_or_default();
    let what = kind.to_str().and_then(|kind| What::from_str(kind, false).ok());
    match (what, args.next()) {
        (Some(what), None) => Ok(Some(what)),
        _ => Err(Failure::usage("--generate takes one of man, bash, fish, zsh (see --help)")),
    }
}

/// Prints it.
///
/// # Errors
/// stdout does not take it.
pub(crate) fn write(what: What, mut command: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    let shell = match what {
        What::Man => None,
        What::Bash => Some(Shell::Bash),
        What::Fish => Some(Shell::Fish),
        What::Zsh => Some(Shell::Zsh),
    };
    match shell {
        Some(shell) => {
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut text);
        }
        None => clap_mangen::Man::new(command)
            .render(&mut text)
            .map_err(|error| Failure::io("unable to render the manual page", error))?,
    }
    Output::default().write_and_close(&text)
}
