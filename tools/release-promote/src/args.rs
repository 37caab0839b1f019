//! What was typed, checked without touching anything.

use clap::Parser;
use cli::Verbosity;
use release::layout::{LATEST_STABLE, is_channel};
use release::record::MAX_VALUE;
use release::{Selector, StoreArgs};
use std::path::PathBuf;

const LONG_ABOUT: &str = "\
Make a release the stable one, and move its git tag along

Examples:
  Promote release 42, and let the tag `production` say so:
    release-promote --artifact obelix --store s3://build/obelix/prod --release 42 --tag production
  Promote what was built last:
    release-promote --artifact obelix --store s3://build/obelix/prod --release latest
  Go back to what was stable before:
    release-promote --artifact obelix --store s3://build/obelix/prod --release previous --reason \"5xx since 14:02\"
  Who promoted what, and when:
    release-promote --artifact obelix --store s3://build/obelix/prod --history";

/// Command line of release-promote.
#[derive(Debug, Parser)]
#[command(
    name = "release-promote",
    version = version::VERSION,
    about = "Make a release the stable one, and move its git tag along",
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Release to promote: a number, latest, previous, another channel, or - for a record on stdin
    #[arg(long, env = "RELEASE_VERSION", value_name = "RELEASE", required_unless_present = "history")]
    pub(crate) release: Option<Selector>,
    /// Pointer to move
    #[arg(long, value_name = "NAME", default_value = LATEST_STABLE, value_parser = channel)]
    pub(crate) channel: String,
    /// Annotated git tag to move to the release's commit
    #[arg(long, env = "GIT_TAG_NAME", value_name = "NAME", value_parser = tag_name)]
    pub(crate) tag: Option<String>,
    /// Git checkout or bare repository to push the tag from
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repo: PathBuf,
    /// Remote whose tag is moved: a name or a URL
    #[arg(long, value_name = "REMOTE", default_value = "origin", value_parser = remote)]
    pub(crate) remote: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason)]
    pub(crate) reason: String,
    /// Print all promotions as CSV
    #[arg(long, conflicts_with_all = ["reason", "dry_run"])]
    pub(crate) history: bool,
    /// Check everything, say what would change on stderr, print the record there would be, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

fn channel(text: &str) -> Result<String, String> {
    if is_channel(text) {
        return Ok(text.to_owned());
    }
    Err("a channel's name is made of lower-case letters, digits, '-' and '_'; latest and previous are taken".to_owned())
}

/// What a record's value can hold.
fn reason(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("a reason is one line without control characters".to_owned());
    }
    if text.len() > MAX_VALUE {
        return Err(format!("a reason has at most {MAX_VALUE} bytes"));
    }
    if text.contains("VERSION") || text.contains("GIT_COMMIT") {
        return Err("a reason can't hold VERSION or GIT_COMMIT, since scripts grep the record for them".to_owned());
    }
    Ok(text.to_owned())
}

fn remote(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') {
        return Err("git would take it for an option".to_owned());
    }
    Ok(text.to_owned())
}

/// git's own rules, as far as a wrong name could mean another ref or an option.
fn tag_name(text: &str) -> Result<String, String> {
    let wrong_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let wrong_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let wrong = text.starts_with('-')
        || text.ends_with('.')
        || text.contains("..")
        || text.contains("@{")
        || text.chars().any(wrong_char)
        || text.split('/').any(wrong_part);
    if wrong && !text.is_empty() { Err("git takes no such tag name".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn reasons() {
        assert!(reason(&"x".repeat(MAX_VALUE)).is_ok());
        for wrong in ["a\nb", "MY_VERSION", &"x".repeat(MAX_VALUE + 1)] {
            assert!(reason(wrong).is_err());
        }
    }

    #[test]
    fn tag_names() {
        for right in ["", "production", "prod/obelix", "v1.2"] {
            assert!(tag_name(right).is_ok(), "{right}");
        }
        for wrong in ["-d", "a b", "a..b", "a:b", "a/", "x.lock", "a@{0}", ".x"] {
            assert!(tag_name(wrong).is_err(), "{wrong}");
        }
    }
}
