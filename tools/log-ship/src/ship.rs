//! The work: lines from files or stdin to the broker, positions to the disk.

mod cluster;
mod saving;
mod silence;
mod start;

use crate::args::Args;
use crate::folder::Patterns;
use crate::follow::Follow;
use crate::lines::Cutter;
use crate::positions::{Memory, Positions};
use crate::sender::{Sender, Settled};
use crate::source::{Desk, Source, Standing, Turn};
use crate::spool::{Damage, Spool};
use crate::stats::Counters;
use crate::watch::Watch;
use cli::{Console, Stream};
use cluster::Cluster;
use failure::Failure;
use jiff::Timestamp;
use rdkafka::error::RDKafkaErrorCode as Code;
use saving::Saving;
use std::time::{Duration, Instant};

/// Folders are looked into at least this often, whatever inotify says.
const SWEEP: Duration = Duration::from_secs(1);
/// And at most this often.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);
/// Acknowledged positions are saved this often.
const SAVE: Duration = Duration::from_millis(250);
/// A line that waits longer is said,
const LONG_WAIT: Duration = Duration::from_secs(10);
/// and so often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Between two looks for acknowledgements.
const BEAT: Duration = Duration::from_millis(1);
/// Before lines that the broker refused are sent again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Ships until there is nothing more to come, a signal comes, or it can't go on.
///
/// # Errors
/// Wrong options, no state directory, a broker that is silent too long (with `--once`), a signal.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity);
    let patterns = Patterns::new(&args.paths, args.kafka.secret_files())?;
    let sender = Sender::new(args)?;
    let watch = Watch::start(console)?;
    raise_limit();
    let (positions, memory) = Positions::open(&args.state_dir())?;
    let first = memory.is_none();
    let memory = match memory {
        Some(memory) => memory,
        None => Memory { since: positions.file_time()?, ..Memory::default() },
    };
    check_topic(args, memory.topic.as_deref())?;
    let follow = Follow::new(patterns, sender.host(), console, memory.since);
    let cutter = Cutter {
        max: usize::try_from(args.lines.max_line).unwrap_or(usize::MAX),
        first_line: args.lines.first_line.clone(),
        long: args.lines.long_lines,
    };
    let mut ship = Ship {
        args,
        console,
        watch,
        sender,
        positions,
        follow,
        cutter,
        window: usize::try_from(args.max_in_flight.as_u64()).unwrap_or(usize::MAX),
        cluster: memory.cluster.map_or(Cluster::Unknown, Cluster::Remembered),
        spool: None,
        damage: Damage::default(),
        buffer: Vec::new(),
        counters: Counters::default(),
        unsaved: 0,
        saving: None,
        changed: true,
        saved: Instant::now(),
        save_failed: None,
        kept: Instant::now(),
        stalled: None,
        refused: None,
        refusal: None,
        progress: Instant::now(),
    };
    ship.resume(memory.files, first)?;
    if first {
        // When it began decides which rotated files are its own: a start that is killed must not begin again.
        ship.save_now(ship.reach());
    }
    ship.work()
}

/// What is acknowledged of a file is so for one topic: for another one its lines would be missing, and nothing would say so.
fn check_topic(args: &Args, before: Option<&str>) -> Result<(), Failure> {
    let (topic, dir) = (&args.kafka.topic, args.state_dir());
    match before.filter(|before| before != topic) {
        None => Ok(()),
        Some(before) => Err(Failure::permanent(format!(
            "unable to ship to topic {topic}: {} holds the positions of topic {before}; give each topic its own --state-dir",
            dir.display()
        ))),
    }
}

struct Ship<'a> {
    args: &'a Args,
    console: Console,
    watch: Watch,
    sender: Sender,
    positions: Positions,
    follow: Follow,
    cutter: Cutter,
    window: usize,
    cluster: Cluster,
    spool: Option<(u32, Spool)>,
    /// What earlier runs took from stdin, and the disk has lost.
    damage: Damage,
    buffer: Vec<u8>,
    counters: Counters,
    /// What lines take that are acknowledged, but whose positions are not on disk.
    unsaved: usize,
    /// What is being saved.
    saving: Option<Saving>,
    /// Something is to be saved.
    changed: bool,
    saved: Instant,
    /// Positions can't be saved, which was said then.
    save_failed: Option<Instant>,
    /// When they were last saved.
    kept: Instant,
    stalled: Option<Instant>,
    refused: Option<Instant>,
    /// Why the broker last refused lines.
    refusal: Option<Code>,
    /// When the broker last acknowledged something, or nothing waited for it.
    progress: Instant,
}

impl Ship<'_> {
    fn work(&mut self) -> Result<(), Failure> {
        let stream = self.args.stats.map(|_| Stream::start(self.console)).transpose()?;
        let mut stats_due = Instant::now() + self.args.stats.unwrap_or(SWEEP);
        let mut swept = Instant::now();
        // At once: from then on changes are told.
        let mut sweep = true;
        loop {
            if let Some(signal) = self.watch.signal() {
                self.leave()?;
                self.say_stats(stream.as_ref());
                return Err(Failure::interrupted(signal));
            }
            let sent = self.pump();
            let settled = self.settle(Duration::ZERO);
            // Before anything is saved that a cluster has acknowledged.
            self.know_cluster()?;
            self.end_records();
            self.take_saved();
            self.save_if_due();
            self.complain();
            if let (Some(every), true) = (self.args.stats, Instant::now() >= stats_due) {
                self.say_stats(stream.as_ref());
                stats_due += every;
            }
            if self.is_finished() {
                let outcome = self.finish();
                self.say_stats(stream.as_ref());
                return outcome;
            }
            self.check_deadline()?;
            let rewritten = self.follow.sources.values().any(|source| source.rewritten);
            if rewritten || (sweep && swept.elapsed() >= SWEEP_PAUSE) || swept.elapsed() >= SWEEP {
                sweep = false;
                self.changed |= self.follow.sweep(false);
                let folders = self.follow.folders.clone();
                self.watch.folders(&folders);
                swept = Instant::now();
            }
            let wait = match (
                sent || settled > 0,
                self.sender.waiting() > 0 || self.unsaved > 0 || self.saving.is_some() || sweep,
            ) {
                (true, _) => Duration::ZERO,
                (false, true) if self.progress.elapsed() < LONG_WAIT => BEAT,
                (false, true) => 10 * BEAT,
                (false, false) if self.args.stats.is_some() => {
                    stats_due.saturating_duration_since(Instant::now()).min(SAVE)
                }
                (false, false) => SAVE,
            };
            let seen = self.watch.wait(wait);
            sweep |= seen.names;
            if seen.bytes || wait == SAVE {
                self.follow.sources.values_mut().for_each(Source::look);
            }
        }
    }

    /// One chunk of every source that has something; whether anything was sent.
    fn pump(&mut self) -> bool {
        let mut sent = false;
        let mut unsure = false;
        let mut rejected = Vec::new();
        if self.save_failed.is_none() && self.unsaved >= self.unsaved_limit() {
            return false;
        }
        // A turn reads a whole chunk: not for the one line that there is room for.
        let room = self.window - self.window / 8;
        let now = Timestamp::now().as_millisecond();
        for source in self.follow.sources.values_mut() {
            self.counters.read += u64::from(source.end_skip(&mut self.sender));
        }
        for source in self.follow.sources.values_mut().filter(|source| source.is_ready() && !source.rewritten) {
            if self.sender.charge() >= room {
                break;
            }
            let before = source.waiting;
            let mut desk = Desk {
                sender: &mut self.sender,
                cutter: &self.cutter,
                buffer: &mut self.buffer,
                now,
                room: self.window,
                unsaved: self.save_failed.is_some(),
                rejected: &mut rejected,
            };
            match source.turn(&mut desk) {
                Ok(Turn::Unsure) => unsure = true,
                Ok(Turn::Rewritten) => source.rewritten = true,
                Ok(Turn::Full) => sent |= source.waiting > before,
                Ok(Turn::Sent) => sent = true,
                Ok(Turn::Idle) => {}
                Err(error) => {
                    let what = format!("unable to read {}", source.memory.place.display());
                    if source.pause(REFUSED_PAUSE) {
                        self.console.warn(Failure::io(what, error));
                    }
                }
            }
            self.counters.read += (source.waiting - before) as u64;
        }
        if let Some((path, offset, why)) = rejected.first() {
            let more =
                if rejected.len() > 1 { format!(", and {} more lines", rejected.len() - 1) } else { String::new() };
            self.console.warn(format!("unable to ship the line at {offset} of {path}: {why}{more}"));
        }
        if unsure && self.may_save() {
            self.save(self.reach());
        }
        sent
    }

    /// Takes what the broker has said.
    fn settle(&mut self, wait: Duration) -> usize {
        let mut settled: Vec<Settled> = Vec::new();
        let count = self.sender.settle(wait, |one| settled.push(one));
        for one in &settled {
            if one.rejected {
                self.counters.rejected += 1;
            } else if one.error.is_none() {
                self.counters.acked += 1;
                self.counters.bytes += one.length;
                self.progress = Instant::now();
            } else {
                // It will be read again.
                self.counters.read -= 1;
            }
            if one.error.is_none() {
                self.unsaved += one.charge;
                self.changed = true;
            }
            if let Some(source) = self.follow.sources.get_mut(&one.source) {
                source.settle(one);
            }
        }
        if self.sender.waiting() == 0 && self.refused.is_none() {
            self.progress = Instant::now();
        }
        if settled.iter().any(|one| one.error.is_some()) || self.refused.is_some() {
            self.go_back(&settled);
        }
        count
    }

    /// Sources of which something was refused begin again at what is acknowledged.
    fn go_back(&mut self, settled: &[Settled]) {
        let mut refused = settled.iter().filter_map(|one| one.error).next();
        for source in self.follow.sources.values_mut() {
            refused = source.go_back(REFUSED_PAUSE).or(refused);
        }
        if settled.iter().any(|one| one.error.is_none() && !one.rejected) {
            (self.refused, self.refusal) = (None, None);
        }
        if let Some(code) = refused {
            let say = self.refused.is_none_or(|said| said.elapsed() >= SAY_EVERY);
            if say {
                self.console.warn(format!(
                    "unable to send lines to topic {}: {code}; they are sent again",
                    self.args.kafka.topic
                ));
                self.refused = Some(Instant::now());
            }
            self.refusal = Some(code);
        }
    }

    fn end_records(&mut self) {
        let (once, joins) = (self.args.once, self.cutter.first_line.is_some());
        let ends = self.follow.sources.values_mut().map(|source| source.end_record(once, joins));
        self.changed |= ends.fold(false, |any, one| any | one);
    }

    fn say_stats(&self, stream: Option<&Stream>) {
        let Some(stream) = stream else { return };
        let unread = self.follow.unread();
        let mut counters = self.counters;
        counters.destroyed = self.follow.destroyed;
        let files = self.follow.sources.len() as u64;
        stream.send(counters.line(self.sender.waiting() as u64, self.sender.oldest(), unread, files));
    }

    /// Whether there is nothing more to come.
    fn is_finished(&self) -> bool {
        if self.args.paths.is_empty() {
            return self.follow.sources.values().all(|source| source.standing != Standing::Stream || source.is_over());
        }
        self.args.once
            && self.sender.waiting() == 0
            && self.follow.sources.values().all(|source| match source.standing {
                Standing::Stream => source.is_over(),
                _ => source.is_exhausted() && source.memory.cut.is_none_or(|cut| cut <= source.memory.acked),
            })
            && self.follow.sources.values().all(|source| !source.rewritten)
    }
}

/// Every file that is followed stays open: as many as the system allows.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without it, files beyond the old limit are told as unreadable.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
