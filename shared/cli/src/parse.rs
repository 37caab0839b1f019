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

/// clap's message, without what may be a password that was typed in a wrong place: a word that belongs to no option, what
/// follows the name of an unknown one, the value of an option that takes a URL or a setting, the value of what looks like a
/// setting with a dot in its name, and the rest of one that was cut by a space.
fn without_values(error: &clap::Error, words: impl Iterator<Item = OsString>) -> String {
    let mut rendered = error.render().to_string();
    let words: Vec<OsString> = words.collect();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let is_open = |option: &str| option.contains("<URL>") || option.contains("<KEY=VALUE>");
    if let (Some(option), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue))
        && is_open(option)
    {
        return rendered.replace(&format!(" '{value}'"), "");
    }
    for typed in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand].map(text) {
        let Some(typed) = typed else { continue };
        let setting = typed.split_once('=').map(|(name, _)| name).filter(|name| name.is_empty() || name.contains('.'));
        if error.kind() == ErrorKind::UnknownArgument && setting.is_none() {
            if !typed.starts_with('-') {
                let place = words.iter().rposition(|word| word == typed);
                let place = place.map_or_else(String::new, |place| format!(" {place}"));
                return format!(
                    "unexpected argument{place}: it belongs to no option (not shown: it may be a password)"
                );
            }
            let name =
                typed.find(|c: char| !matches!(c, '-' | '.') && !c.is_ascii_lowercase()).map(|end| &typed[..end]);
            rendered = name.map_or(rendered.clone(), |name| rendered.replace(typed, &format!("{name}…")));
        }
        let is_rest = words.windows(2).any(|pair| pair[0].as_encoded_bytes().ends_with(b"=") && pair[1] == typed);
        if setting.is_some() || is_rest {
            let name = setting.map_or(String::new(), |name| format!("{name}="));
            rendered = rendered.replace(&format!("'{typed}'"), &format!("'{name}…'"));
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
