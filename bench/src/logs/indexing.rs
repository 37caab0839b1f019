//! Records from a topic into a server that throws them away, and into a real one beside curl with the same requests made
//! beforehand.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::broker::{Broker, Topic};
use crate::measure::{Env, Pipeline};
use crate::site::Site;
use crate::table::{Contestant, compare};

const LINE: usize = 200;
/// Documents in one request of curl's, about as many as log-index puts into one.
const IN_ONE: usize = 10_000;

/// Both tables, each handed to `print` as soon as it is there.
///
/// # Errors
/// When a run fails.
pub fn tables(site: &Site, quick: bool, rounds: usize, print: impl Fn(&str) -> Result<()>) -> Result<()> {
    let broker = &Broker::new(&std::env::var("KAFKA_BROKERS").context("KAFKA_BROKERS is not set")?)?;
    let scale = if quick { 100 } else { 1 };
    let sink = Sink::start(site)?;
    let mut rows = Vec::new();
    let count = 1_000_000 / scale;
    for partitions in [1, 12] {
        let topic = filled(site, broker, partitions, count)?;
        for compress in ["none", "gzip"] {
            let (url, name) = (sink.url.clone(), topic.name.clone());
            let steps = move |round| {
                let group = format!("{name}-{compress}-{round}");
                vec![index(site, broker, &name, &group, &url, &["--index", "logs-%Y.%m.%d", "--compress", compress])]
            };
            rows.push(Contestant::new(format!("{partitions} partitions, --compress {compress}"), steps));
        }
    }
    print(&compare(&format!("{count} records of {LINE} B into a server that throws them away"), rounds, &rows)?)?;

    let server = std::env::var("SEARCH_URL").context("SEARCH_URL is not set")?;
    let count = 300_000 / scale;
    let topic = filled(site, broker, 1, count)?;
    let bodies = bodies(site, count)?;
    let mark = std::process::id();
    let ours = |round| {
        let (group, index_name) = (format!("{}-{round}", topic.name), format!("bench-{mark}-ours-{round}"));
        vec![index(site, broker, &topic.name, &group, &server, &["--index", &index_name])]
    };
    let theirs = |round| {
        let mut words = vec!["curl".to_owned()];
        for (number, body) in bodies.iter().enumerate() {
            if number > 0 {
                words.push("--next".to_owned());
            }
            let url = format!("{server}/bench-{mark}-curl-{round}/_bulk");
            let rest =
                ["-sS", "--fail", "-o", "/dev/null", "-H", "Content-Type: application/x-ndjson", "--data-binary"];
            words.extend(rest.map(str::to_owned));
            words.extend([format!("@{body}"), url]);
        }
        vec![Pipeline::new(&Env::new(), vec![words])]
    };
    let rows = [Contestant::new("log-index", ours), Contestant::new("curl --data-binary, one connection", theirs)];
    print(&compare(&format!("{count} documents into OpenSearch"), rounds, &rows)?)?;
    drop(testkit::request(&server, "DELETE", &format!("/bench-{mark}-*"), &[], b""));
    Ok(())
}

fn index(site: &Site, broker: &Broker, topic: &str, group: &str, url: &str, options: &[&str]) -> Pipeline {
    let words = ["--brokers", &broker.address, "--topic", topic, "--group", group, "--url", url, "--once"];
    let mut line = vec![site.ours("log-index")];
    line.extend(words.iter().chain(options).map(|word| (*word).to_owned()));
    Pipeline::new(&Env::new(), vec![line])
}

fn id(number: usize) -> String {
    format!("web-1/00000000000000aa/{}", number * (LINE + 1))
}

fn line(number: usize) -> String {
    format!("{number:08} {}", "x".repeat(LINE - 9))
}

/// A topic with so many records, as many in each partition. kcat fills it: this process must not grow, since what it starts
/// begins with its memory.
fn filled(site: &Site, broker: &Broker, partitions: i32, count: usize) -> Result<Topic> {
    let topic = broker.topic(partitions)?;
    let path = site.path("records.log");
    let each = count / usize::try_from(partitions)?;
    let mut file = BufWriter::new(File::create(&path)?);
    for number in 0..each {
        writeln!(file, "{}", line(number))?;
    }
    file.flush()?;
    for partition in 0..partitions {
        let partition = partition.to_string();
        let words = ["-P", "-b", &broker.address, "-t", &topic.name, "-p", &partition, "-k", "web-1", "-l", &path];
        let filled = Command::new("kcat").args(words).args(["-H", "path=/var/log/app.log"]).status();
        ensure!(filled.context("unable to start kcat")?.success(), "kcat did not fill partition {partition}");
    }
    Ok(topic)
}

/// The server that throws documents away, as a process of its own.
struct Sink {
    process: Child,
    url: String,
}

impl Sink {
    fn start(site: &Site) -> Result<Self> {
        let mut process = Command::new(site.ours("bulk-sink")).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().context("no stdout")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("SEARCH_URL=").context("bulk-sink names no URL")?.to_owned();
        Ok(Self { process, url })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Files with the same documents as requests.
fn bodies(site: &Site, count: usize) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for start in (0..count).step_by(IN_ONE) {
        let path = site.path(&format!("body-{start}"));
        let mut file = BufWriter::new(File::create(&path)?);
        for number in start..count.min(start + IN_ONE) {
            let (id, line) = (id(number), line(number));
            writeln!(file, r#"{{"create":{{"_id":"{id}"}}}}"#)?;
            let head = r#"{"@timestamp":"2026-11-24T13:00:00.000Z","message":""#;
            let tail = r#"","log":{"origin":{"host":"web-1","path":"/var/log/app.log"}}}"#;
            writeln!(file, "{head}{line}{tail}")?;
        }
        file.flush()?;
        files.push(fs::canonicalize(path)?.to_string_lossy().into_owned());
    }
    Ok(files)
}
