//! The same file, the same broker, one shipper after the other. A run ends when the broker has every line.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use wait4::Wait4 as _;

use super::broker::Broker;
use super::shippers::{Job, Shipper};
use crate::process::Look;
use crate::site::Site;
use crate::table::{mebibytes, median, progress};

/// Ends a hang; it judges no speed.
const DEADLINE: Duration = Duration::from_secs(300);
/// Between two questions to the broker.
const LOOK: Duration = Duration::from_millis(5);

/// What is shipped.
pub struct Load {
    /// Of a line, without its newline.
    pub bytes: usize,
    /// For each host.
    pub lines: usize,
    /// As many partitions.
    pub hosts: usize,
}

/// What a run took, all processes together.
#[derive(Clone, Copy, Debug)]
struct Sample {
    wall: Duration,
    cpu: Duration,
    peak: u64,
}

/// Everyone in turn, round by round.
///
/// # Errors
/// When a run fails, or lines do not arrive.
pub fn race(site: &Site, broker: &Broker, load: &Load, rounds: usize) -> Result<String> {
    let files: Vec<String> = (0..load.hosts).map(|host| site.path(&format!("load-{host}.log"))).collect();
    for file in &files {
        write(Path::new(file), load)?;
    }
    let ours = [Shipper::LogShip, Shipper::LogShipPlain];
    let peers = [Shipper::Kcat, Shipper::KcatLz4, Shipper::KcatHeaders, Shipper::Rsyslog, Shipper::RsyslogTuned];
    let ours = ours.into_iter().filter(|_| !site.peers_only);
    let shippers: Vec<Shipper> = ours.chain(peers).collect();
    let mut samples = vec![Vec::new(); shippers.len()];
    for round in 0..=rounds {
        for (shipper, row) in shippers.iter().zip(&mut samples) {
            progress(&format!(
                "{} lines of {} B: round {round} of {rounds}: {}",
                load.lines,
                load.bytes,
                shipper.label()
            ));
            let sample = run(site, broker, load, *shipper, &files)?;
            if round > 0 {
                row.push(sample);
            }
        }
    }
    for file in files {
        fs::remove_file(file)?;
    }
    Ok(render(load, rounds, &shippers, &samples))
}

/// Lines as a web server's: a number, and words.
fn write(path: &Path, load: &Load) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..load.lines {
        let mut line = format!("2026-01-23T11:20:02Z web-1 {number:08} ");
        while line.len() < load.bytes {
            let _ = write!(line, "GET /calls/{:x} ", line.len() * (number + 7));
        }
        line.truncate(load.bytes);
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(())
}

fn run(site: &Site, broker: &Broker, load: &Load, shipper: Shipper, files: &[String]) -> Result<Sample> {
    let topic = broker.topic(i32::try_from(load.hosts)?)?;
    let dir = tempfile::tempdir_in(&site.scratch)?;
    let mut commands = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let own = dir.path().join(number.to_string());
        fs::create_dir(&own)?;
        let host = format!("web-{number}");
        let job = Job { brokers: &broker.address, topic: &topic.name, host: &host, file, dir: &own };
        commands.push(shipper.command(site, &job)?);
    }
    let total = (load.lines * load.hosts) as u64;
    let start = Instant::now();
    let mut children = commands.iter().map(|command| spawn(command)).collect::<Result<Vec<_>>>()?;
    let mut peaks = vec![0; children.len()];
    let arrived = (|| -> Result<Duration> {
        loop {
            for (child, peak) in children.iter_mut().zip(&mut peaks) {
                // One that has ended has nothing to show any more.
                *peak = Look::at(child.id()).map_or(*peak, |look| look.peak.max(*peak));
            }
            let count = broker.count(&topic)?;
            if count >= total {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < DEADLINE, "{}: {count} of {total} lines arrived", shipper.label());
            thread::sleep(LOOK);
        }
    })();
    if !shipper.ends() || arrived.is_err() {
        for child in &children {
            let pid = Pid::from_raw(child.id().cast_signed()).context("a pid")?;
            // One that has ended since is what was wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let ended = children.into_iter().map(Child::wait4).collect::<std::io::Result<Vec<_>>>()?;
    let wall = arrived?;
    ensure!(!shipper.ends() || ended.iter().all(|end| end.status.success()), "{} failed", shipper.label());
    broker.delete(&topic)?;
    Ok(Sample {
        wall,
        cpu: ended.iter().map(|end| end.rusage.utime + end.rusage.stime).sum(),
        peak: peaks.into_iter().max().unwrap_or(0),
    })
}

/// A process that says nothing.
///
/// # Errors
/// When it can't be started.
pub fn spawn(command: &[String]) -> Result<Child> {
    let [program, args @ ..] = command else { anyhow::bail!("no program") };
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("unable to start {program}"))
}

#[expect(clippy::cast_precision_loss, reason = "printed with few digits")]
fn render(load: &Load, rounds: usize, shippers: &[Shipper], samples: &[Vec<Sample>]) -> String {
    let total = (load.lines * load.hosts) as f64;
    let hosts = if load.hosts == 1 { String::new() } else { format!(", {0} hosts, {0} partitions", load.hosts) };
    let mut text = format!(
        "### {total} lines of {} B{hosts}\n\nMedians of {rounds} rounds after a warm-up. Ratio: log-ship's lines/s over this \
         row's, round by round: median (lowest–highest). CPU and memory of the shipper alone; of several, the largest peak.\n\n\
         | shipper | wall s | 1000 lines/s | CPU µs a line | peak RSS MiB | lines/s ratio |\n|---|---:|---:|---:|---:|---:|\n",
        load.bytes
    );
    for (shipper, row) in shippers.iter().zip(samples) {
        let of = |value: &dyn Fn(&Sample) -> f64| median(row.iter().map(value).collect());
        let ratios: Vec<f64> = row
            .iter()
            .zip(&samples[0])
            .map(|(theirs, ours)| theirs.wall.as_secs_f64() / ours.wall.as_secs_f64())
            .collect();
        let (low, high) =
            ratios.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), one| (low.min(*one), high.max(*one)));
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.0} | {:.2} | {:.1} | {:.2} ({low:.2}–{high:.2}) |",
            shipper.label(),
            of(&|sample| sample.wall.as_secs_f64()),
            of(&|sample| total / 1000.0 / sample.wall.as_secs_f64()),
            of(&|sample| sample.cpu.as_secs_f64() * 1e6 / total),
            of(&|sample| mebibytes(sample.peak)),
            median(ratios),
        );
    }
    text.push('\n');
    text
}
