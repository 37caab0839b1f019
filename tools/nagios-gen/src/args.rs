//! What was typed, checked without touching anything.

use clap::Parser;
use cli::Verbosity;

const LONG_ABOUT: &str = "\
Write Nagios objects for the running instances of a list of hosts (CSV with a header) on stdin

Examples:
  What Nagios would watch, from a saved list:
    nagios-gen <hosts.csv
  With a template of your own, and the hostgroups defined in another file:
    nagios-gen --use ec2-server --no-hostgroups <hosts.csv";

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
    /// Host template that every host uses
    #[arg(long = "use", value_name = "TEMPLATE", default_value = "linux-server", value_parser = name)]
    pub(crate) template: String,
    /// Leave the definitions of hostgroups out, where they stand in another file
    #[arg(long)]
    pub(crate) no_hostgroups: bool,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// A name of an object, as the configuration's author wrote it.
fn name(text: &str) -> Result<String, String> {
    if !text.is_empty() && crate::safe::name(text) == text {
        return Ok(text.to_owned());
    }
    Err("letters, digits, dots, dashes and underscores make a name".to_owned())
}
