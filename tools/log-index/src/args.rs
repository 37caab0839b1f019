//! What was typed, checked without touching anything.

use crate::index_name::IndexName;
use crate::share::Share;
use bytesize::ByteSize;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args as Group, Parser, ValueEnum};
use cli::Verbosity;
use failure::Failure;
use kafka::{Given, OptionsFile, Pair};
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

const ABOUT: &str = "Index log records from Kafka in Elasticsearch or OpenSearch, each once, whatever is sent twice";

const LONG_ABOUT: &str = "\
Index log records from Kafka in Elasticsearch or OpenSearch, each once, whatever is sent twice

Examples:
  As a service, one index a day:
    log-index --brokers kafka-1:9092 --topic logs --group index --url https://search:9200 --index 'logs-%Y.%m.%d'
  Syslog lines, with their own time and their parts as fields:
    log-index --brokers kafka-1:9092 --topic syslog --group index --url https://search:9200 --index 'syslog-%Y.%m' --parse syslog
  What there is now, and no more:
    log-index --brokers kafka-1:9092 --topic logs --group once --url http://127.0.0.1:9200 --index logs --once
  Types for the fields that log-index writes, before the first document:
    log-index --url https://search:9200 --index 'logs-%Y.%m.%d' --put-template
  Replay dead letters after fixing the mapping:
    log-index --brokers kafka-1:9092 --topic logs-dead-letters --group replay --url https://search:9200 --index 'logs-%Y.%m.%d' --once";

/// Options of librdkafka that carry the promise; whoever changes one gets another tool.
const FIXED: [&str; 14] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "group.protocol",
    "acks",
    "request.required.acks",
];

/// Command line of log-index.
#[derive(Debug, Parser)]
#[command(
    name = "log-index",
    version = version::VERSION,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) kafka: Kafka,
    #[command(flatten)]
    pub(crate) search: Search,
    #[command(flatten)]
    pub(crate) documents: Documents,
    /// End when all that was there at the start is indexed
    #[arg(long)]
    pub(crate) once: bool,
    /// An answer takes no longer; with --once also the time without progress that ends the run
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = retry::interval)]
    pub(crate) timeout: Duration,
    /// Print counters this often
    #[arg(long, value_name = "TIME", value_parser = retry::interval)]
    pub(crate) stats: Option<Duration>,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Where records come from.
#[derive(Debug, Group)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct Kafka {
    /// Brokers to ask first: `host:port`, with commas in between
    #[arg(long, value_name = "HOST:PORT[,…]", env = "KAFKA_BROKERS", value_parser = NonEmptyStringValueParser::new())]
    #[arg(required_unless_present_any = ["print_template", "put_template"])]
    brokers: Option<String>,
    /// Topic of the records
    #[arg(long, value_name = "TOPIC", required_unless_present_any = ["print_template", "put_template"], value_parser = kafka::topic)]
    topic: Option<String>,
    /// Consumer group: its members share the partitions, and its position is kept by Kafka
    #[arg(long, value_name = "GROUP", required_unless_present_any = ["print_template", "put_template"], value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// Name of this member, one for each log-index of the group [default: the host's name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) member: Option<String>,
    /// Where records go that can't be indexed [default: TOPIC-dead-letters]
    #[arg(long, value_name = "TOPIC", value_parser = kafka::topic)]
    pub(crate) dead_letters: Option<String>,
    /// Any option of librdkafka: `security.protocol=sasl_ssl`
    #[arg(long = "kafka", value_name = "KEY=VALUE", value_parser = option)]
    pub(crate) options: Vec<Given<Pair>>,
    /// File with such options, one in a line: for passwords. Those of --kafka go before them
    #[arg(long = "kafka-file", value_name = "FILE", value_parser = options_file)]
    pub(crate) options_file: Option<Given<OptionsFile>>,
}

/// Where documents go.
#[derive(Debug, Group)]
#[command(next_help_heading = "Search")]
pub(crate) struct Search {
    /// Elasticsearch or OpenSearch
    #[arg(long, value_name = "URL", env = "SEARCH_URL", hide_env_values = true, value_parser = url)]
    #[arg(required_unless_present = "print_template")]
    url: Option<Url>,
    /// User; the password is in --password-file or $SEARCH_PASSWORD
    #[arg(long, value_name = "NAME", env = "SEARCH_USER", conflicts_with = "api_key_file")]
    pub(crate) user: Option<String>,
    /// File with the password alone
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// File with an API key alone, encoded as the server gave it [default: $SEARCH_API_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// File with the certificates (PEM) to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// How requests are packed
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub(crate) compress: Compress,
    /// Size of a request
    #[arg(long, value_name = "SIZE", default_value = "2MiB", value_parser = request_size)]
    pub(crate) request_size: u64,
    /// Requests at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) requests: u8,
}

/// What a record becomes.
#[derive(Debug, Group)]
#[command(next_help_heading = "Documents")]
pub(crate) struct Documents {
    /// Index of a record: strftime's conversions, from the record's own time, in UTC
    #[arg(long, value_name = "PATTERN", value_parser = IndexName::new)]
    pub(crate) index: IndexName,
    /// Line format
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) parse: Parse,
    /// Field of a JSON object that holds its own time
    #[arg(long, value_name = "NAME", default_value = "@timestamp", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) time_field: String,
    /// How long before its message's time a line's own time counts
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = retry::duration)]
    pub(crate) oldest: Duration,
    /// How long after its message's time a line's own time counts
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = retry::duration)]
    pub(crate) newest: Duration,
    /// Document ids
    #[arg(long, value_name = "VERSION", default_value = "v2")]
    pub(crate) ids: Ids,
    /// Records of an index that refuses writes go to the dead letters after this long, while other indices take records
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = retry::duration)]
    pub(crate) blocked_after: Duration,
    /// Stop with exit code 1 if more than this share of the last 10,000 records are dead letters: 5%
    #[arg(long, value_name = "SHARE", value_parser = Share::new)]
    pub(crate) max_dead_letters: Option<Share>,
    /// Print the index template for --index and --parse, and exit
    #[arg(long)]
    print_template: bool,
    /// Put the index template for --index and --parse to --url, and exit
    #[arg(long, conflicts_with = "print_template")]
    put_template: bool,
}

/// Line format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Parse {
    /// JSON objects become documents, other lines messages
    Auto,
    /// Every line is a message, JSON or not
    None,
    /// As auto; lines that are not JSON get a parse_error
    Json,
    /// As auto; lines of syslog, RFC 5424 or 3164, are taken apart, and others get a parse_error
    Syslog,
}

/// How documents are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ids {
    /// The record's id alone, as before: for an upgrade, until yesterday's index is complete
    V1,
    /// The record's id and a hash of the record
    V2,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Index,
    PrintTemplate,
    PutTemplate,
}

/// How requests are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compress {
    /// Not at all
    None,
    /// Use when bandwidth is the bottleneck
    Gzip,
}

impl Args {
    /// What the parser can't check by itself.
    ///
    /// # Errors
    /// Options that mean nothing together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.asked() != Asked::Index {
            return Ok(());
        }
        kafka::check(&self.kafka.options, self.kafka.options_file.as_ref(), self.kafka.brokers())?;
        if self.dead_letters() == self.kafka.topic() {
            return Err(Failure::usage(
                "--dead-letters is the topic that is read: it would be read for ever (see --help)",
            ));
        }
        if kafka::topic(&self.dead_letters()).is_err() {
            return Err(Failure::usage("the name of the topic is too long for -dead-letters: give --dead-letters"));
        }
        Ok(())
    }

    /// What the run is for.
    pub(crate) fn asked(&self) -> Asked {
        match (self.documents.print_template, self.documents.put_template) {
            (true, _) => Asked::PrintTemplate,
            (_, true) => Asked::PutTemplate,
            _ => Asked::Index,
        }
    }

    /// The topic of what can't be indexed.
    pub(crate) fn dead_letters(&self) -> String {
        self.kafka.dead_letters.clone().unwrap_or_else(|| format!("{}-dead-letters", self.kafka.topic()))
    }

    /// The name of this member of the group.
    pub(crate) fn member(&self) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.kafka.member.clone().unwrap_or_else(host)
    }
}

impl Kafka {
    pub(crate) fn brokers(&self) -> &str {
        self.brokers.as_deref().unwrap_or_default()
    }

    pub(crate) fn topic(&self) -> &str {
        self.topic.as_deref().unwrap_or_default()
    }

    pub(crate) fn group(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }

    /// The options of librdkafka; later ones count.
    pub(crate) fn options(&self) -> impl Iterator<Item = &Pair> {
        kafka::all(&self.options, self.options_file.as_ref())
    }
}

impl Search {
    /// The server.
    pub(crate) fn url(&self) -> &Url {
        self.url.as_ref().expect("required unless the template is printed, for which no server is asked")
    }
}

fn option(text: &str) -> Result<Given<Pair>, Infallible> {
    kafka::option(text, "log-index", &FIXED)
}

fn options_file(path: &str) -> Result<Given<OptionsFile>, Infallible> {
    OptionsFile::read(path, "log-index", &FIXED)
}

fn url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("expected a URL such as https://127.0.0.1:9200".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected a URL without ? and #".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("no user in the URL, every user of the host could read it: use --user".to_owned());
    }
    Ok(url)
}

fn request_size(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|_| "expected a size such as 2MiB".to_owned())?;
    match size.as_u64() {
        size @ 1024..=104_857_600 => Ok(size),
        _ => Err("expected 1KiB to 100MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<(), Failure> {
        let line = ["log-index", "--brokers", "b:1", "--topic", "t", "--group", "g", "--url", "http://s:1"];
        let line = line.iter().chain(&["--index", "logs-%Y.%m.%d"]).chain(words);
        let args = Args::try_parse_from(line).map_err(|e| Failure::usage(e.to_string()));
        args?.check()
    }

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_promise_can_not_be_configured_away() {
        assert!(parse(&["--kafka", "fetch.min.bytes=1"]).is_ok());
        for key in FIXED {
            assert!(parse(&["--kafka", &format!("{key}=1")]).is_err(), "{key}");
        }
    }

    #[test]
    fn dead_letters_are_not_read_back() {
        assert!(parse(&["--dead-letters", "t"]).is_err());
        assert!(parse(&["--dead-letters", "u"]).is_ok());
    }
}
