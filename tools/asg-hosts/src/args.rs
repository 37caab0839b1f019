//! What was typed, checked without touching anything.

use crate::address::{Addressing, Kind};
use aws::RegionsArgs;
use clap::{Args as Group, Parser, ValueEnum};
use cli::Verbosity;
use failure::Failure;
use std::path::PathBuf;
use std::time::Duration;

const ABOUT: &str = "List the instances of Auto Scaling groups, as Auto Scaling and EC2 know them";

const LONG_ABOUT: &str = "\
List the instances of Auto Scaling groups, as Auto Scaling and EC2 know them

Examples:
  Everything in every group, as CSV:
    asg-hosts --region eu-west-1,us-east-1
  A look at one service:
    asg-hosts --asg 'obelix_*' --format table
  A command for every instance in service:
    asg-hosts --asg obelix_spot_asg --in-service --format ips -0 | xargs -0 -n 1 ping -c 1
  The inventory of an Ansible run:
    ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=true \\
      ansible-playbook -i /usr/local/bin/asg-hosts --limit tag_service_obelix deploy.yml
  A saved list instead of AWS:
    aws ec2 describe-instances | asg-hosts --input - --state running";

/// Command line of asg-hosts.
#[derive(Debug, Parser)]
#[command(
    name = "asg-hosts",
    version = version::VERSION,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) selectors: Selectors,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) ansible: Ansible,
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) aws: RegionsArgs,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Which instances.
#[derive(Debug, Group)]
#[command(next_help_heading = "Instances")]
pub(crate) struct Selectors {
    /// Group to list, by its name or a pattern such as 'obelix_*'; may be repeated [default: all groups]
    #[arg(long, value_name = "NAME|GLOB", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) asg: Vec<String>,
    /// Only instances with this tag; may be repeated, and then values of one key are alternatives
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub(crate) tag: Vec<(String, String)>,
    /// Only instances in these states of EC2 [default: all; running for --list and --host]
    #[arg(long, value_name = "STATE[,STATE]", value_delimiter = ',')]
    pub(crate) state: Vec<State>,
    /// Only instances bought this way
    #[arg(long, value_name = "LIFECYCLE")]
    pub(crate) lifecycle: Option<Lifecycle>,
    /// Only instances that Auto Scaling counts as in service
    #[arg(long)]
    pub(crate) in_service: bool,
    /// Only instances that Auto Scaling holds for healthy
    #[arg(long)]
    pub(crate) healthy: bool,
}

/// What is printed.
#[derive(Debug, Group)]
#[command(next_help_heading = "Output")]
pub(crate) struct Shape {
    /// How hosts are printed
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    pub(crate) format: Format,
    /// Columns to print, in this order; tag:KEY is the value of a tag
    #[arg(long, value_name = "COLUMN[,COLUMN]", value_delimiter = ',', value_parser = column)]
    pub(crate) columns: Vec<String>,
    /// End values with NUL instead of newline, for xargs -0; with --format ips or one column only
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Address of hosts in --format ips, --list and --host [default: private]
    #[arg(long, value_name = "KIND")]
    pub(crate) address: Option<Kind>,
    /// Leave out instances in service that have no such address, or that EC2 does not know in time, instead of failing
    #[arg(long)]
    pub(crate) skip_unaddressed: bool,
}

/// The protocol of Ansible's inventory scripts.
#[derive(Debug, Group)]
#[command(next_help_heading = "Ansible inventory")]
pub(crate) struct Ansible {
    /// Print all groups, hosts and their variables
    #[arg(long, conflicts_with_all = ["format", "columns", "null", "host"])]
    pub(crate) list: bool,
    /// Print the variables of one host
    #[arg(long, value_name = "HOST", conflicts_with_all = ["format", "columns", "null"])]
    pub(crate) host: Option<String>,
    /// All variables that ec2.py had, instead of those in common use
    #[arg(long)]
    pub(crate) full_hostvars: bool,
    /// Accept groups or hosts that become one although they are different on AWS
    #[arg(long)]
    pub(crate) allow_merge: bool,
}

/// Where the answers come from, if not from AWS at this moment.
#[derive(Debug, Group)]
#[command(next_help_heading = "Source")]
pub(crate) struct Source {
    /// Read saved output of `aws ec2 describe-instances` instead of asking AWS; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["regions", "profile", "endpoint_url", "cache"])]
    pub(crate) input: Option<PathBuf>,
    /// Keep the last answers in this directory, and use them while they are fresh
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// How long answers are fresh
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "cache", value_parser = retry::duration)]
    pub(crate) max_age: Duration,
    /// Use older answers, and say how old, when AWS gives none
    #[arg(long, requires = "cache")]
    pub(crate) stale_ok: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Csv,
    Json,
    Jsonl,
    Table,
    Ips,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lifecycle {
    Spot,
    OnDemand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
    All,
}

impl Args {
    /// Whether Ansible is asking: it shows every byte on stderr as an error.
    pub(crate) fn is_inventory(&self) -> bool {
        self.ansible.list || self.ansible.host.is_some()
    }

    /// By which addresses hosts are printed, unless they are printed as records.
    pub(crate) fn addressing(&self) -> Option<Addressing> {
        let kind = self.shape.address.unwrap_or(Kind::Private);
        if self.is_inventory() {
            return Some(Addressing::Inventory(kind));
        }
        (self.shape.format == Format::Ips).then_some(Addressing::Ips(kind))
    }

    /// What the parser can't check by itself.
    ///
    /// # Errors
    /// Options that mean nothing together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let single = self.shape.format == Format::Csv && self.shape.columns.len() == 1;
        if self.shape.null && self.shape.format != Format::Ips && !single {
            return Err(Failure::usage("-0 needs --format ips, or csv with one column (see --help)"));
        }
        if self.shape.format == Format::Ips && !self.shape.columns.is_empty() {
            return Err(Failure::usage("--format ips has no columns (see --help)"));
        }
        if self.addressing().is_none() && (self.shape.address.is_some() || self.shape.skip_unaddressed) {
            return Err(Failure::usage(
                "--address and --skip-unaddressed need --format ips, --list or --host (see --help)",
            ));
        }
        if !self.is_inventory() && (self.ansible.full_hostvars || self.ansible.allow_merge) {
            return Err(Failure::usage("--full-hostvars and --allow-merge need --list or --host (see --help)"));
        }
        Ok(())
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

fn column(text: &str) -> Result<String, String> {
    if records::COLUMNS.contains(&text) || text.strip_prefix("tag:").is_some_and(|key| !key.is_empty()) {
        return Ok(text.to_owned());
    }
    Err(format!("no such column; there are {} and tag:KEY", records::COLUMNS.join(", ")))
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
    fn a_tag_is_split_at_the_first_sign() {
        assert_eq!(tag("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(tag("=b").is_err());
        assert!(tag("a").is_err());
    }
}
