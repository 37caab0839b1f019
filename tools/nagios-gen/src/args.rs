//! What was typed, checked without touching anything.

use crate::address::AddressKind;
use clap::Parser;
use cli::Verbosity;
use std::path::PathBuf;
use std::time::Duration;

const LONG_ABOUT: &str = "\
Write Nagios objects for the running instances of a list of hosts (CSV with a header) on stdin

Examples:
  What Nagios would watch, from a saved list:
    nagios-gen <hosts.csv
  Let a running Nagios follow the fleet; nothing happens as long as the fleet is the same:
    asg-hosts | nagios-gen --output /etc/nagios4/conf.d/fleet.cfg --verify /etc/nagios4/nagios.cfg \\
      --reload 'systemctl reload nagios4'
  The same without changing anything: which hosts would come and go:
    asg-hosts | nagios-gen --output /etc/nagios4/conf.d/fleet.cfg --verify /etc/nagios4/nagios.cfg \\
      --dry-run
  A downtime for each instance that spot-watch says is reclaimed:
    nagios-gen --downtime /etc/nagios4/conf.d/fleet.cfg \
      --command-file /var/lib/nagios4/rw/nagios.cmd <events";

/// Command line of nagios-gen.
#[derive(Debug, Parser)]
#[command(
    name = "nagios-gen",
    version = version::VERSION,
    about = "Write Nagios objects for a list of hosts",
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) objects: ObjectArgs,
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Longest wait for each of: another run, Nagios' check, a reload until Nagios has taken it, its pipe
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = retry::duration,
        help_heading = "Running Nagios")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) downtime: DowntimeArgs,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// What the objects look like.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Objects")]
pub(crate) struct ObjectArgs {
    /// Host template that every host uses
    #[arg(long = "use", id = "use", value_name = "TEMPLATE", default_value = "linux-server", value_parser = name)]
    pub(crate) host_template: String,
    /// Leave the definitions of hostgroups out, where they stand in another file
    #[arg(long)]
    pub(crate) no_hostgroups: bool,
    /// Give every host this service, which uses the service template TEMPLATE; may be given several times
    #[arg(long, value_name = "DESCRIPTION=TEMPLATE", value_parser = service)]
    pub(crate) service: Vec<Service>,
    /// Column that the address of a host is in
    #[arg(long, value_name = "KIND", default_value = "private")]
    pub(crate) address: AddressKind,
    /// Leave out hosts in service that have no such address, or that EC2 did not know, instead of failing
    #[arg(long)]
    pub(crate) skip_unaddressed: bool,
    /// Jinja template of all objects, instead of the built-in form; every value it prints is escaped
    #[arg(long, value_name = "FILE", conflicts_with = "no_hostgroups")]
    pub(crate) template: Option<PathBuf>,
}

/// A service that every host gets.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) description: String,
    pub(crate) template: String,
}

/// Where the objects go, and who must take them.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Running Nagios")]
pub(crate) struct FileArgs {
    /// Write to FILE instead of stdout, and only if its bytes would change
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Main configuration of Nagios that reads FILE: nothing is written that Nagios itself would refuse there
    #[arg(long, value_name = "NAGIOS_CFG", requires = "output")]
    pub(crate) verify: Option<PathBuf>,
    /// Shell command that lets Nagios read its configuration again; afterwards it must run with it, or FILE goes back
    #[arg(long, value_name = "CMD", requires = "verify")]
    pub(crate) reload: Option<String>,
    /// Refuse a list that is shorter than that in FILE by more than this share
    #[arg(long, value_name = "PERCENT", default_value = "30%", value_parser = percent, requires = "output")]
    pub(crate) max_shrink: u8,
    /// Accept a list without any host to watch
    #[arg(long, requires = "output")]
    pub(crate) allow_empty: bool,
    /// Check and verify everything, and print which hosts would be added, removed and changed
    #[arg(long, requires = "output")]
    pub(crate) dry_run: bool,
    /// Program that verifies [default: nagios4 or nagios, in PATH or /usr/sbin]
    #[arg(long, value_name = "PROGRAM", requires = "verify")]
    pub(crate) nagios: Option<PathBuf>,
}

/// Events on stdin instead of hosts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Downtimes")]
pub(crate) struct DowntimeArgs {
    /// Print a command for each host of FILE that an event of spot-watch on stdin says is reclaimed
    #[arg(long = "downtime", id = "downtime", value_name = "FILE", conflicts_with_all = ["use", "no_hostgroups", "service",
        "address", "skip_unaddressed", "template", "output"])]
    pub(crate) file: Option<PathBuf>,
    /// How long such a downtime lasts
    #[arg(long = "downtime-for", value_name = "TIME", default_value = "1h", value_parser = seconds,
        requires = "downtime")]
    pub(crate) length: Duration,
    /// Give the commands to the Nagios that reads this pipe, instead of printing them
    #[arg(long, value_name = "PIPE", requires = "downtime")]
    pub(crate) command_file: Option<PathBuf>,
}

/// A name of an object, as the configuration's author wrote it.
fn name(text: &str) -> Result<String, String> {
    if !text.is_empty() && crate::safe::name(text) == text {
        return Ok(text.to_owned());
    }
    Err("letters, digits, dots, dashes and underscores make a name".to_owned())
}

fn service(text: &str) -> Result<Service, String> {
    let wrong = "expected DESCRIPTION=TEMPLATE, for instance HTTP=http-service".to_owned();
    let (description, template) = text.split_once('=').ok_or_else(|| wrong.clone())?;
    if description.is_empty() || crate::safe::words(description) != description || description.starts_with('+') {
        return Err(wrong);
    }
    Ok(Service { description: description.to_owned(), template: name(template)? })
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|number| *number <= 100);
    number.ok_or_else(|| "expected a share from 0% to 100%".to_owned())
}

/// A time in whole seconds, as Nagios counts: one that ends as it begins would be none.
fn seconds(text: &str) -> Result<Duration, String> {
    let time = retry::duration(text)?;
    if time.as_secs() > 0 { Ok(time) } else { Err("expected at least 1s".to_owned()) }
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
    fn shares() {
        assert_eq!(percent("30%"), Ok(30));
        assert_eq!(percent("0"), Ok(0));
        for wrong in ["101%", "-1", "%", "3.5%", ""] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn services() {
        let http = service("HTTP 80=http-service").unwrap();
        assert_eq!((http.description.as_str(), http.template.as_str()), ("HTTP 80", "http-service"));
        for wrong in ["HTTP", "=a", "a=", "a;b=c", "a=b c", "+a=b"] {
            assert!(service(wrong).is_err(), "{wrong}");
        }
    }
}
