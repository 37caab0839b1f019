//! Command lines: help and version go to stdout, a wrong one is one line on stderr and exit code 2.

use crate::{Output, generate, limits};
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use failure::Failure;
use std::ffi::OsString;

/// Parses the process's arguments; `None` when help or version was asked for and has been printed.
///
/// # Errors
/// A wrong command line, stdout that can't take the help, or too few files that may be open.
pub fn parse<A: Parser>() -> Result<Option<A>, Failure> {
    if let Some(what) = generate::asked()? {
        generate::write(what, A::command())?;
        return Ok(None);
    }
    let error = match A::try_parse() {
        Ok(args) => {
            limits::enough()?;
            return Ok(Some(args));
        }
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut out = Output::default();
            out.write(error.render().to_string().as_bytes())?;
            out.close()?;
            Ok(None)
        }
        _ => Err(Failure::usage(one_line(&without_values(&error, std::env::args_os())))),
    }
}

/// clap's message, without what may be a password that was typed in a wrong place: a word that belongs to no option, the value
/// of what looks like a setting with a dot in its name, the rest of one that was cut by a space, and what stands before an @.
fn without_values(error: &clap::Error, words: impl Iterator<Item = OsString>) -> String {
    let mut rendered = error.render().to_string();
    let words: Vec<OsString> = words.collect();
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        let Some(ContextValue::String(typed)) = error.get(kind) else { continue };
        let name = typed.split_once('=').map(|(name, _)| name).filter(|name| name.is_empty() || name.contains('.'));
        if error.kind() == ErrorKind::UnknownArgument && !typed.starts_with('-') && name.is_none() {
            let place = words.iter().rposition(|word| word == typed.as_str());
            let place = place.map_or_else(String::new, |place| format!(" {place}"));
            return format!("unexpected argument{place}: it belongs to no option (not shown: it may be a password)");
        }
        if let Some((_, host)) = typed.rsplit_once('@') {
            rendered = rendered.replace(&format!("'{typed}'"), &format!("'…@{host}'"));
        }
        let is_rest =
            words.windows(2).any(|pair| pair[0].as_encoded_bytes().ends_with(b"=") && pair[1] == typed.as_str());
        if name.is_some() || is_rest {
            rendered = rendered.replace(
                &format!("'{typed}'"),
                &format!("'{}…'", name.map_or(String::new(), |name| format!("{name}="))),
            );
        }
    }
    rendered
}

/// clap's message without its usage paragraph, on one line.
fn one_line(rendered: &str) -> String {
    let body = rendered.split("\n\nUsage:").next().unwrap_or(rendered);
    let body = body.split("\n\nFor more information").next().unwrap_or(body);
    let mut message = String::new();
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let tip = if line.starts_with("tip:") { ";" } else { "" };
        let space = if message.is_empty() { "" } else { " " };
        message.extend([tip, space, line]);
    }
    format!("{} (see --help)", message.strip_prefix("error: ").unwrap_or(&message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_become_one_line() {
        let rendered = "error: unexpected argument '--x' found\n\n  tip: a similar one\n\nUsage: t [OPTIONS]\n\nFor more information, try '--help'.\n";
        assert_eq!(one_line(rendered), "unexpected argument '--x' found; tip: a similar one (see --help)");
    }
}
