//! What following 1,000 files takes in memory while lines stream into all of them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;

use anyhow::Result;
use testkit::wait_until;

use super::broker::Broker;
use super::race::spawn;
use super::shippers::{Job, Shipper};
use crate::process::Look;
use crate::site::Site;
use crate::table::{mebibytes, progress};

const FILES: usize = 1000;
/// Lines added to each file at a time.
const LINES: usize = 20;

/// 1,000 files, written in turn; the peak of each shipper that can follow.
///
/// # Errors
/// When lines do not arrive.
pub fn table(site: &Site, broker: &Broker, quick: bool) -> Result<String> {
    let turns = if quick { 2 } else { 20 };
    let mut text = format!(
        "### Following {FILES} files\n\n{} lines of 200 B into each, {LINES} at a time, file by file.\n\n\
         | shipper | peak RSS MiB | CPU µs a line |\n|---|---:|---:|\n",
        turns * LINES
    );
    for shipper in [Shipper::LogShip, Shipper::Rsyslog] {
        progress(&format!("{FILES} files: {}", shipper.label()));
        let topic = broker.topic(1)?;
        let dir = tempfile::tempdir_in(&site.scratch)?;
        let logs = dir.path().join("logs");
        fs::create_dir(&logs)?;
        let mut files = (0..FILES)
            .map(|number| File::create(logs.join(format!("{number}.log"))))
            .collect::<std::io::Result<Vec<_>>>()?;
        let pattern = logs.join("*.log");
        let job = Job {
            brokers: &broker.address,
            topic: &topic.name,
            host: "web-0",
            file: &pattern.to_string_lossy(),
            dir: dir.path(),
        };
        let mut command = shipper.command(site, &job)?;
        // Followed, not shipped once.
        command.retain(|word| word != "--once");
        let mut child = spawn(&command)?;
        let lines = format!("{}\n", "x".repeat(200)).repeat(LINES);
        for turn in 1..=turns {
            for file in &mut files {
                file.write_all(lines.as_bytes())?;
            }
            let due = (turn * LINES * FILES) as u64;
            wait_until("the lines", || match broker.count(&topic) {
                Ok(count) if count >= due => Ok(()),
                other => Err(format!("{other:?} of {due}")),
            });
        }
        let look = Look::at(child.id())?;
        child.kill()?;
        child.wait()?;
        let label = if shipper == Shipper::LogShip { "log-ship" } else { shipper.label() };
        let lines = u32::try_from(turns * LINES * FILES)?;
        let _ = writeln!(
            text,
            "| {label} | {:.1} | {:.2} |",
            mebibytes(look.peak),
            look.cpu.as_secs_f64() * 1e6 / f64::from(lines)
        );
        broker.delete(&topic)?;
    }
    text.push('\n');
    Ok(text)
}
