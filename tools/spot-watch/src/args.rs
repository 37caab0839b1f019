//! What was typed, checked without touching anything.

use aws::AwsArgs;
use clap::{Args as Group, Parser, ValueEnum};
use cli::Verbosity;
use failure::Failure;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

const ABOUT: &str = "Watch a spot instance for its end and raise capacity elsewhere exactly once";

const LONG_ABOUT: &str = "\
Watch a spot instance for its end and raise capacity elsewhere exactly once

Examples:
  As a service, raising the on-demand group by one when this instance is reclaimed:
    spot-watch --raise obelix_ondemand_asg --on-notice /usr/local/bin/drain
  From cron, every minute:
    spot-watch --raise obelix_ondemand_asg --for 60s -q >>/var/log/spot-watch.json
  What would be done, without doing it:
    spot-watch --raise obelix_ondemand_asg --once --dry-run
  What the instance's role must allow:
    spot-watch --raise obelix_ondemand_asg --iam-policy";

/// Command line of spot-watch.
#[derive(Debug, Parser)]
#[command(
    name = "spot-watch",
    version = version::VERSION,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) raise: Raise,
    #[command(flatten)]
    pub(crate) telling: Telling,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Which group gets the capacity, and how.
#[derive(Debug, Group)]
#[command(next_help_heading = "Capacity")]
pub(crate) struct Raise {
    /// Auto Scaling group whose capacity rises by one for each reclaim [default: none, watch only]
    #[arg(long = "raise", value_name = "ASG", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// The same, the group being named by this tag of the instance's own group
    #[arg(long = "raise-from-tag", value_name = "KEY", conflicts_with = "group")]
    pub(crate) from_tag: Option<String>,
    /// How capacity is raised [default: launch where the group allows it, else policy]
    #[arg(long, value_name = "RUNG")]
    pub(crate) capacity: Option<Rung>,
    /// Simple scaling policy of the group that adds one instance
    #[arg(long, value_name = "NAME", default_value = "spot-watch")]
    pub(crate) policy: String,
    /// Put that policy at the start where it is missing
    #[arg(long)]
    pub(crate) ensure_policy: bool,
    /// Raise the group's maximum up to this many instances when it stands in the way [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) max_size_ceiling: Option<i32>,
    /// Raise capacity for these actions of a notice only
    #[arg(long, value_name = "ACTION[,ACTION]", value_delimiter = ',', default_value = "terminate,stop,hibernate",
        value_parser = ["terminate", "stop", "hibernate"])]
    pub(crate) actions: Vec<String>,
    /// Print the permissions that the instance's role needs, and end
    #[arg(long)]
    pub(crate) iam_policy: bool,
}

/// Who is told of a notice, and what runs.
#[derive(Debug, Group)]
#[command(next_help_heading = "Notice")]
pub(crate) struct Telling {
    /// Post the notice, and the end of what was done about it, as JSON to this URL
    #[arg(long, value_name = "URL", env = "SPOT_WATCH_NOTIFY", hide_env_values = true)]
    pub(crate) notify: Option<Secret>,
    /// Program to run at a notice; the event is on its stdin
    #[arg(long, value_name = "CMD", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) on_notice: Option<String>,
    /// Let /bin/sh run the program's line, instead of the program itself
    #[arg(long, requires = "on_notice")]
    pub(crate) shell: bool,
    /// The program is ended this long before the instance is
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = retry::duration)]
    pub(crate) margin: Duration,
    /// When the instance's own group ends it: run the program, then tell the group to go on
    #[arg(long)]
    pub(crate) complete_lifecycle: bool,
}

/// What is watched, how often and how long.
#[derive(Debug, Group)]
#[command(next_help_heading = "Watching")]
pub(crate) struct Watching {
    /// How often the instance metadata is asked
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Tell of rebalance recommendations too, at most one in ten minutes; capacity is not raised for them
    #[arg(long)]
    pub(crate) rebalance: bool,
    /// Ask once, do what is due, and end
    #[arg(long, conflicts_with = "watch_for")]
    pub(crate) once: bool,
    /// End after this time, unless a notice is being acted upon
    #[arg(long = "for", id = "watch_for", value_name = "TIME", value_parser = retry::duration)]
    pub(crate) watch_for: Option<Duration>,
    /// Where what has been done is remembered [default: $STATE_DIRECTORY, else /var/lib/spot-watch]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Change nothing: say what would be asked of AWS
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What must not be told to anybody, not even when it is wrong: the path of a webhook lets everybody write there.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// How a group's capacity is raised by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rung {
    /// LaunchInstances with a client token
    Launch,
    /// ExecutePolicy of a simple scaling policy
    Policy,
}

impl Raise {
    /// Whether any group is to get capacity.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.group.is_some() || self.from_tag.is_some()
    }
}

impl Args {
    /// What the parser can't check by itself.
    ///
    /// # Errors
    /// Options that mean nothing together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let raise = &self.raise;
        if raise.iam_policy && raise.group.is_none() {
            return Err(Failure::usage("--iam-policy needs --raise, the group to name in it (see --help)"));
        }
        self.webhook()?;
        let idle = [
            (raise.capacity.is_some(), "--capacity"),
            (raise.ensure_policy, "--ensure-policy"),
            (raise.max_size_ceiling.is_some(), "--max-size-ceiling"),
        ];
        match idle.iter().find(|(given, _)| *given && !raise.is_asked_for()) {
            Some((_, option)) => {
                Err(Failure::usage(format!("{option} needs --raise or --raise-from-tag (see --help)")))
            }
            None => Ok(()),
        }
    }

    /// Where notices are posted. An empty value is none.
    ///
    /// # Errors
    /// It is no URL of the web; the message does not repeat it.
    pub(crate) fn webhook(&self) -> Result<Option<Url>, Failure> {
        let Some(Secret(text)) = self.telling.notify.as_ref().filter(|secret| !secret.0.is_empty()) else {
            return Ok(None);
        };
        match Url::parse(text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(Some(url)),
            _ => Err(Failure::usage(
                "the value of --notify or SPOT_WATCH_NOTIFY is no http:// or https:// URL (see --help)",
            )),
        }
    }

    /// Where state is kept.
    pub(crate) fn state_dir(&self) -> PathBuf {
        let from_systemd = || {
            // systemd separates several directories by colons; the first is the one of this tool.
            let dirs = std::env::var_os("STATE_DIRECTORY")?.into_string().ok()?;
            dirs.split(':').next().filter(|dir| !dir.is_empty()).map(PathBuf::from)
        };
        let dir = self.watching.state_dir.clone().or_else(from_systemd);
        dir.unwrap_or_else(|| PathBuf::from("/var/lib/spot-watch"))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match retry::duration(text)? {
        short if short < Duration::from_millis(1) => Err("an interval is at least 1ms".to_owned()),
        long if long > Duration::from_secs(60) => {
            Err("an interval is at most 60s: a notice comes two minutes ahead".to_owned())
        }
        interval => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<(), Failure> {
        let args = Args::try_parse_from(["spot-watch"].iter().chain(words)).map_err(|e| Failure::usage(e.to_string()));
        args?.check()
    }

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_that_need_a_group() {
        assert!(parse(&["--raise", "a", "--capacity", "policy", "--ensure-policy"]).is_ok());
        assert!(parse(&["--ensure-policy"]).is_err());
        assert!(parse(&["--iam-policy", "--raise-from-tag", "k"]).is_err());
        assert!(parse(&["--raise", "a", "--raise-from-tag", "k"]).is_err());
        assert!(parse(&["--once", "--for", "60s"]).is_err());
        assert!(parse(&["--shell"]).is_err());
    }

    #[test]
    fn values() {
        assert!(parse(&["--notify", "https://hooks.example.com/x"]).is_ok());
        assert!(parse(&["--notify", ""]).is_ok());
        let wrong = parse(&["--notify", "hooks.example.com/secret"]).unwrap_err();
        assert!(!wrong.to_string().contains("secret"));
        assert!(parse(&["--raise", "a", "--actions", "termnate"]).is_err());
        assert!(interval("5s").is_ok());
        assert!(interval("2m").is_err());
        assert!(interval("0s").is_err());
    }
}
