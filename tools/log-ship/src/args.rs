//! What was typed, checked without touching anything.

use bytesize::ByteSize;
use clap::{Args as Group, Parser, ValueEnum};
use cli::Verbosity;
use failure::Failure;
use kafka::{Given, OptionsFile, Pair};
use regex::bytes::Regex;
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

const ABOUT: &str = "Ship log lines to Kafka, each with an id that stays the same however often it is sent";

const LONG_ABOUT: &str = "\
Ship log lines to Kafka, each with an id that stays the same however often it is sent

Examples:
  As a service, following files through rotation:
    log-ship --brokers kafka-1:9092,kafka-2:9092 --topic logs '/var/log/nginx/*.log' /var/log/syslog
  What there is now, and no more:
    log-ship --brokers kafka-1:9092 --topic logs --once /var/log/dpkg.log
  The lines of a program, kept on disk until the broker has them:
    /srv/obelix/current/bin/report | log-ship --brokers kafka-1:9092 --topic reports --field unit=report
  Under rsyslog's omprog, which keeps each message until its OK:
    log-ship --brokers kafka-1:9092 --topic syslog --confirm";

/// Options of librdkafka that carry the promise; whoever changes one gets another tool.
const FIXED: [&str; 12] = [
    "acks",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.required.acks",
    "retries",
];

/// Longest line that fits into a message of Kafka's default limit, with its headers.
const LONGEST_LINE: u64 = 1_000_000;

/// Command line of log-ship.
#[derive(Debug, Parser)]
#[command(
    name = "log-ship",
    version = version::VERSION,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    /// Files, or patterns (`*`, `?`, `[a-z]`, `{a,b}`, `**`) that also take files that appear later [default: stdin]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
    #[command(flatten)]
    pub(crate) lines: Lines,
    /// Where a file begins that has never been seen before
    #[arg(long, value_name = "WHERE", default_value = "start")]
    pub(crate) from: From,
    /// End when all that is there has been acknowledged
    #[arg(long)]
    pub(crate) once: bool,
    /// Speak the protocol of rsyslog's omprog on stdin and stdout: `OK` after the broker's acknowledgement
    #[arg(long)]
    pub(crate) confirm: bool,
    /// Print counters this often
    #[arg(long, value_name = "TIME", value_parser = retry::interval)]
    pub(crate) stats: Option<Duration>,
    /// Where positions, ids and the spool of this topic are kept [default: $STATE_DIRECTORY, else /var/lib/log-ship]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Room on disk for lines from stdin that wait for the broker
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub(crate) spool_size: ByteSize,
    /// Room in memory for lines that wait for the broker
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    pub(crate) max_in_flight: ByteSize,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Where lines go.
#[derive(Debug, Group)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct Kafka {
    /// Brokers to ask first: `host:port`, with commas in between
    #[arg(long, value_name = "HOST:PORT[,…]", env = "KAFKA_BROKERS", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) brokers: String,
    /// Topic of the messages
    #[arg(long, value_name = "TOPIC", value_parser = kafka::topic)]
    pub(crate) topic: String,
    /// Any option of librdkafka: `security.protocol=sasl_ssl`, `compression.type=zstd`
    #[arg(long = "kafka", value_name = "KEY=VALUE", value_parser = option)]
    pub(crate) options: Vec<Given<Pair>>,
    /// File with such options, one in a line: for passwords. Those of --kafka go before them
    #[arg(long = "kafka-file", value_name = "FILE", value_parser = options_file)]
    pub(crate) options_file: Option<Given<OptionsFile>>,
    /// With --once and --confirm: the broker's silence that ends the wait [default: 30s; with --confirm 5s]
    #[arg(long, value_name = "TIME", value_parser = retry::interval)]
    pub(crate) timeout: Option<Duration>,
}

/// What becomes of a line.
#[derive(Debug, Group)]
#[command(next_help_heading = "Lines")]
pub(crate) struct Lines {
    /// A line that does not match belongs to the one before it
    #[arg(long, value_name = "REGEX", value_parser = Regex::new)]
    pub(crate) first_line: Option<Regex>,
    /// Header for every message
    #[arg(long = "field", value_name = "KEY=VALUE", value_parser = field)]
    pub(crate) fields: Vec<(String, String)>,
    /// Name of this host, key of every message [default: the kernel's]
    #[arg(long, value_name = "NAME", value_parser = host)]
    pub(crate) host: Option<String>,
    /// Longest line
    #[arg(long, value_name = "SIZE", default_value = "1000000B", value_parser = longest)]
    pub(crate) max_line: u64,
    /// What becomes of a longer one
    #[arg(long, value_name = "WHAT", default_value = "split")]
    pub(crate) long_lines: LongLines,
}

/// Where a new file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// At its first byte
    Start,
    /// At its end, if it was there when log-ship was started for the first time
    End,
}

/// What becomes of a line longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LongLines {
    /// Sent in pieces, each with an id of its own
    Split,
    /// Not sent, but counted and said
    Reject,
}

impl Args {
    /// What the parser can't check by itself.
    ///
    /// # Errors
    /// Options that mean nothing together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        kafka::check(&self.kafka.options, self.kafka.options_file.as_ref(), &self.kafka.brokers)?;
        if let Some(name) = self.paths.iter().find_map(|path| kafka::option_name(path)) {
            return Err(Failure::usage(format!(
                "{name}=… is no PATH: each option of Kafka needs its own --kafka (see --help)"
            )));
        }
        let alone = [
            (!self.paths.is_empty(), "a PATH"),
            (self.stats.is_some(), "--stats"),
            (self.once, "--once"),
            (self.lines.first_line.is_some(), "--first-line"),
        ];
        if let Some((_, what)) = alone.iter().find(|(given, _)| *given && self.confirm) {
            return Err(Failure::usage(format!("{what} means nothing with --confirm (see --help)")));
        }
        if self.from == From::End && self.paths.is_empty() {
            return Err(Failure::usage("--from end needs a PATH (see --help)"));
        }
        if self.max_in_flight.as_u64() < 64 * 1024 {
            return Err(Failure::usage("--max-in-flight is at least 64KiB (see --help)"));
        }
        if self.spool_size.as_u64() < 1024 * 1024 {
            return Err(Failure::usage("--spool-size is at least 1MiB (see --help)"));
        }
        Ok(())
    }

    /// Where state is kept.
    pub(crate) fn state_dir(&self) -> PathBuf {
        let from_systemd = || {
            // systemd separates several directories by colons; the first is the one of this tool.
            let dirs = std::env::var_os("STATE_DIRECTORY")?.into_string().ok()?;
            dirs.split(':').next().filter(|dir| !dir.is_empty()).map(PathBuf::from)
        };
        let dir = self.state_dir.clone().or_else(from_systemd);
        dir.unwrap_or_else(|| PathBuf::from("/var/lib/log-ship"))
    }

    /// The host's name: as given, or the kernel's.
    pub(crate) fn host(&self) -> String {
        let of_kernel = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.lines.host.clone().unwrap_or_else(of_kernel)
    }
}

impl Kafka {
    /// The options of librdkafka; later ones count.
    pub(crate) fn options(&self) -> impl Iterator<Item = &Pair> {
        kafka::all(&self.options, self.options_file.as_ref())
    }

    /// The files that hold secrets of log-ship itself.
    pub(crate) fn secret_files(&self) -> Vec<PathBuf> {
        let file = self.options_file.iter().filter_map(Given::get).map(OptionsFile::path);
        file.chain(self.options().filter_map(kafka::file_of)).map(PathBuf::from).collect()
    }
}

fn option(text: &str) -> Result<Given<Pair>, Infallible> {
    kafka::option(text, "log-ship", &FIXED)
}

fn options_file(path: &str) -> Result<Given<OptionsFile>, Infallible> {
    OptionsFile::read(path, "log-ship", &FIXED)
}

fn field(text: &str) -> Result<(String, String), String> {
    let (key, value) = kafka::pair(text)?;
    if [records::ID_HEADER, records::PATH_HEADER].contains(&key.as_str()) {
        return Err(format!("the header {key} is log-ship's own"));
    }
    Ok((key, value))
}

fn host(text: &str) -> Result<String, String> {
    let plain = (1..=255).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if plain { Ok(text.to_owned()) } else { Err("expected a name without spaces, 255 bytes at most".to_owned()) }
}

fn longest(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|_| "expected a size such as 64KiB".to_owned())?;
    match size.as_u64() {
        size @ 16..=LONGEST_LINE => Ok(size),
        _ => Err(format!("expected 16 to {LONGEST_LINE} bytes: Kafka's default limit for a message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<(), Failure> {
        let line = ["log-ship", "--brokers", "b:1", "--topic", "t"];
        let args = Args::try_parse_from(line.iter().chain(words)).map_err(|e| Failure::usage(e.to_string()));
        args?.check()
    }

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_that_mean_nothing_together() {
        assert!(parse(&["--confirm"]).is_ok());
        assert!(parse(&["--confirm", "f"]).is_err());
        assert!(parse(&["--confirm", "--stats", "1s"]).is_err());
        assert!(parse(&["--from", "end"]).is_err());
        assert!(parse(&["--from", "end", "f"]).is_ok());
    }

    #[test]
    fn the_promise_can_not_be_configured_away() {
        assert!(parse(&["--kafka", "compression.type=zstd"]).is_ok());
        for key in FIXED {
            assert!(parse(&["--kafka", &format!("{key}=1")]).is_err(), "{key}");
        }
        assert!(parse(&["--field", "id=1"]).is_err());
        assert!(parse(&["--field", "unit=a=b"]).is_ok());
        assert!(parse(&["--max-line", "2MiB"]).is_err());
    }
}
