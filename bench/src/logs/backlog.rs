//! How soon the first line of a large backlog is with the broker.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::broker::{Broker, Topic};
use super::race::spawn;
use super::shippers::{Job, Shipper};
use crate::site::Site;
use crate::table::{median, progress};

/// Of the backlog.
const BYTES: u64 = 10_000_000_000;
const LINES: usize = 500_000;
const LOOK: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(60);

/// From the start of the process to the first line with the broker: a file never seen, and one that goes on.
///
/// # Errors
/// When no line arrives.
pub fn table(site: &Site, broker: &Broker, rounds: usize) -> Result<String> {
    let mut text = format!(
        "### Start with a backlog\n\nFrom the start of log-ship to the first line with the broker, its connection \
         included; medians of {rounds}, and the highest. The 10 GB: {LINES} lines of 200 B, and behind them a hole.\n\n\
         | file | first start ms | start after kill -9 ms |\n|---|---:|---:|\n"
    );
    for (label, bytes) in [("one line", 0), ("10 GB", BYTES)] {
        let path = site.path("backlog.log");
        let mut file = File::create(&path)?;
        file.write_all(format!("{}\n", "x".repeat(199)).repeat(if bytes == 0 { 1 } else { LINES }).as_bytes())?;
        if bytes > 0 {
            file.set_len(bytes)?;
        }
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            progress(&format!("backlog of {label}: round {round} of {rounds}"));
            let topic = broker.topic(1)?;
            let dir = tempfile::tempdir_in(&site.scratch)?;
            let job = Job { brokers: &broker.address, topic: &topic.name, host: "web-0", file: &path, dir: dir.path() };
            let mut command = Shipper::LogShip.command(site, &job)?;
            command.retain(|word| word != "--once");
            let start = until_more(broker, &topic, &command)?;
            if bytes == 0 {
                file.write_all(b"and another\n")?;
            }
            let restart = until_more(broker, &topic, &command)?;
            if round > 0 {
                first.push(start.as_secs_f64() * 1000.0);
                again.push(restart.as_secs_f64() * 1000.0);
            }
            broker.delete(&topic)?;
        }
        let highest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let (most, most_again) = (highest(&first), highest(&again));
        let _ =
            writeln!(text, "| {label} | {:.0} ({most:.0}) | {:.0} ({most_again:.0}) |", median(first), median(again));
    }
    text.push('\n');
    Ok(text)
}

/// Starts the command and kills it when the topic has more than before.
fn until_more(broker: &Broker, topic: &Topic, command: &[String]) -> Result<Duration> {
    // What a run that was killed had on the way.
    let mut before = broker.count(topic)?;
    loop {
        thread::sleep(LOOK * 100);
        let now = broker.count(topic)?;
        if now == std::mem::replace(&mut before, now) {
            break;
        }
    }
    let start = Instant::now();
    let mut child = spawn(command)?;
    let arrived = loop {
        let count = broker.count(topic)?;
        if count > before {
            break start.elapsed();
        }
        ensure!(start.elapsed() < LIMIT, "no line arrived");
        thread::sleep(LOOK);
    };
    child.kill()?;
    child.wait()?;
    Ok(arrived)
}
