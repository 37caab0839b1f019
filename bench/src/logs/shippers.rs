//! The command lines and configurations of log-ship and its peers. All wait for all replicas.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::site::Site;

/// Who ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipper {
    LogShip,
    /// Not compressed.
    LogShipPlain,
    Kcat,
    /// Compressed as log-ship does it.
    KcatLz4,
    /// With headers as long as log-ship's.
    KcatHeaders,
    Rsyslog,
    RsyslogTuned,
}

/// One process of it, for one host.
pub struct Job<'a> {
    /// `host:port`.
    pub brokers: &'a str,
    /// Where lines go.
    pub topic: &'a str,
    /// Key of every message.
    pub host: &'a str,
    /// A file, or a pattern.
    pub file: &'a str,
    /// A directory of the job's own.
    pub dir: &'a Path,
}

impl Shipper {
    /// The row's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::LogShip => "log-ship --once (idempotent, positions on disk, lz4)",
            Self::LogShipPlain => "log-ship --once --kafka compression.type=none",
            Self::KcatLz4 => "kcat -P -l -X acks=all -z lz4",
            Self::Kcat => "kcat -P -l -X acks=all",
            Self::KcatHeaders => "kcat -P -l -X acks=all, with an id and a path as headers",
            Self::Rsyslog => "rsyslog imfile → omkafka, plain",
            Self::RsyslogTuned => "rsyslog imfile → omkafka, tuned",
        }
    }

    /// Whether it ends when all is sent; else it follows its file.
    pub fn ends(self) -> bool {
        matches!(self, Self::LogShip | Self::LogShipPlain | Self::Kcat | Self::KcatLz4 | Self::KcatHeaders)
    }

    /// The command, with what it needs in the job's directory.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn command(self, site: &Site, job: &Job<'_>) -> Result<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (broker, topic, host) = (job.brokers, job.topic, job.host);
        Ok(match self {
            Self::LogShip | Self::LogShipPlain => {
                let plain =
                    if self == Self::LogShip { words(&[]) } else { words(&["--kafka", "compression.type=none"]) };
                let state = job.dir.join("state");
                let state = state.to_string_lossy();
                let to = ["--brokers", broker, "--topic", topic, "--host", host, "--state-dir", &state];
                [words(&[&site.ours("log-ship")]), words(&to), plain, words(&["--once", job.file])].concat()
            }
            Self::Kcat | Self::KcatLz4 | Self::KcatHeaders => {
                let (id, path) = (format!("id={host}/0123456789abcdef/12345678"), format!("path={}", job.file));
                let headers = match self {
                    Self::KcatHeaders => words(&["-H", &id, "-H", &path]),
                    Self::KcatLz4 => words(&["-z", "lz4"]),
                    _ => Vec::new(),
                };
                let kcat = words(&["kcat", "-P", "-b", broker, "-t", topic, "-k", host, "-X", "acks=all"]);
                [kcat, headers, words(&["-l", job.file])].concat()
            }
            Self::Rsyslog | Self::RsyslogTuned => {
                let conf = job.dir.join("rsyslog.conf");
                fs::write(&conf, configuration(self == Self::RsyslogTuned, job))?;
                words(&["/usr/sbin/rsyslogd", "-n", "-iNONE", "-f", &conf.to_string_lossy()])
            }
        })
    }
}

fn configuration(tuned: bool, job: &Job<'_>) -> String {
    let dir = job.dir.display();
    let (queue, options) = if tuned {
        (
            r#"queue.size="200000" queue.dequeueBatchSize="5000" queue.workerThreads="2""#,
            r#""acks=all", "linger.ms=50", "batch.num.messages=10000""#,
        )
    } else {
        (r#"queue.size="50000""#, r#""acks=all""#)
    };
    format!(
        r#"global(workDirectory="{dir}" maxMessageSize="64k")
module(load="imfile")
module(load="omkafka")
template(name="line" type="string" string="%msg%")
input(type="imfile" file="{file}" tag="bench" ruleset="ship")
ruleset(name="ship" queue.type="LinkedList" {queue}) {{
    action(type="omkafka" broker="{broker}" topic="{topic}" key="{host}" template="line" confParam=[{options}]
        resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="{dir}/failed")
}}
"#,
        file = job.file,
        broker = job.brokers,
        topic = job.topic,
        host = job.host,
    )
}

/// How each was run, for the document.
pub fn described(site: &Site, brokers: &str) -> String {
    let job = Job { brokers, topic: "TOPIC", host: "HOST", file: "FILE", dir: Path::new("DIR") };
    let mut text = format!("`{}`\n\n", Shipper::Kcat.command(site, &job).unwrap_or_default().join(" "));
    for (name, tuned) in [("plain", false), ("tuned", true)] {
        let _ = writeln!(text, "rsyslog, {name}:\n\n```text\n{}```\n", configuration(tuned, &job));
    }
    text
}
