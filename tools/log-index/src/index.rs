//! The work: records from the group's partitions into batches, batches to the search server, positions back to Kafka.

use crate::args::Args;
use crate::batch::Builder;
use crate::deliver::{Courier, Tally};
use crate::document::Writer;
use crate::group::{Group, Read};
use crate::share::{Recent, Share};
use crate::stats;
use crate::trouble::Trouble;
use cli::{Console, Signals, Stream};
use failure::{Class, Failure};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A batch that isn't full goes when its first record has waited for so long.
const LINGER: Duration = Duration::from_millis(100);
/// Longest wait for anything, so that signals and the clock are seen.
const BEAT: Duration = Duration::from_millis(100);
/// Positions are committed this often.
const COMMIT: Duration = Duration::from_millis(250);
/// Batches that wait for one that is not settled: more of them would be a position too far behind.
const MOST_UNSETTLED: usize = 10_000;
/// What is under way when a signal comes has this long.
const GRACE: Duration = Duration::from_secs(5);

/// Indexes until there is nothing more to come (with `--once`), a signal comes, or it can't go on.
///
/// # Errors
/// Wrong options, files that can't be read, a server that refuses everything, a signal; with `--once`, no progress.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity).impatient();
    // Files that are pipes are waited for, which a signal ends in its usual way.
    let courier = Arc::new(Courier::new(args, console)?);
    let signals = Signals::catch(None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("unable to start threads", error))?;
    let (sender, news) = channel();
    let bell = sender.clone();
    let ringing = Arc::new(AtomicBool::new(false));
    let rung = Arc::clone(&ringing);
    let ring = move || {
        // One ring is heard as well as many.
        if !rung.swap(true, Ordering::AcqRel) {
            drop(bell.send(News::Records));
        }
    };
    // Never closed: there is nothing to leave for a member that may come back, and positions are committed before.
    let mut group = ManuallyDrop::new(Group::join(args, console, Arc::new(ring))?);
    let mut index = Index {
        args,
        signals,
        courier,
        builder: Builder::new(Writer::new(&args.documents), args.search.request_size),
        runtime,
        sender,
        news,
        ringing,
        reading: Trouble::new(console, "records are read again"),
        progress: Instant::now(),
        trouble: None,
        recent: Recent::default(),
    };
    let result = index.work(&mut group);
    // A request that is under way is given up.
    index.runtime.shutdown_background();
    result
}

/// What the main loop waits for.
#[derive(Debug)]
enum News {
    /// There are records to read.
    Records,
    /// This has become of records of a batch, and the rest waits in nobody's way.
    Part(u64, Tally),
    /// A batch is settled, or can't be.
    Batch(u64, Result<Tally, Failure>),
}

struct Index<'a> {
    args: &'a Args,
    signals: Signals,
    courier: Arc<Courier>,
    builder: Builder,
    runtime: Runtime,
    sender: Sender<News>,
    news: Receiver<News>,
    /// Whether news of records is on its way.
    ringing: Arc<AtomicBool>,
    reading: Trouble,
    /// When a batch was last settled or a record read.
    progress: Instant,
    /// What was last in the way of reading.
    trouble: Option<String>,
    recent: Recent,
}

impl Index<'_> {
    fn work(&mut self, group: &mut Group) -> Result<(), Failure> {
        let console = Console::new(env!("CARGO_BIN_NAME"), self.args.verbosity);
        let stream = self.args.stats.map(|_| Stream::start(console)).transpose()?;
        let result = self.turns(group, stream.as_ref());
        self.say_stats(group, stream.as_ref());
        match &result {
            Err(_) if self.signals.seen().is_some() => {
                // What could not be committed is read again, and is there already.
                drop(group.commit_at_last());
                result
            }
            Err(_) => {
                if self.may_commit() {
                    group.commit();
                }
                result
            }
            Ok(()) => group.commit_at_last(),
        }
    }

    fn turns(&mut self, group: &mut Group, stream: Option<&Stream>) -> Result<(), Failure> {
        let (mut committed, mut said) = (Instant::now(), Instant::now());
        loop {
            if let Some(signal) = self.signals.seen() {
                self.leave(group);
                return Err(Failure::interrupted(signal));
            }
            self.take_news(group, Duration::ZERO)?;
            if committed.elapsed() >= COMMIT {
                committed = Instant::now();
                if self.may_commit() {
                    group.commit();
                }
            }
            if self.args.stats.is_some_and(|every| said.elapsed() >= every) {
                said = Instant::now();
                self.say_stats(group, stream);
            }
            if self.args.once && self.is_finished(group)? {
                return Ok(());
            }
            self.turn(group)?;
        }
    }

    /// Reads what there is room for, sends what is due, and waits for what comes next.
    fn turn(&mut self, group: &mut Group) -> Result<(), Failure> {
        let builder = &mut self.builder;
        let heard = group.listen(|record| builder.push(record))?;
        let mut read = Read { any: false, trouble: heard };
        if !builder.is_full() {
            self.ringing.store(false, Ordering::Release);
            let more = group.read(|record| {
                builder.push(record);
                !builder.is_full()
            })?;
            read = Read { any: more.any, trouble: more.trouble.or(read.trouble) };
        }
        if read.any {
            self.progress = Instant::now();
        }
        let any = read.any;
        self.note(read);
        let age = self.builder.since().map(|since| since.elapsed());
        let due = self.builder.is_full() || age.is_some_and(|age| age >= LINGER);
        if due && self.has_room(group) {
            self.send(group);
            return Ok(());
        }
        let wait = match age {
            // There may be more to read at once.
            _ if any && !due => Duration::ZERO,
            Some(age) if !due => LINGER.saturating_sub(age),
            _ => BEAT,
        };
        self.take_news(group, wait)
    }

    /// Keeps and says what is in the way of reading.
    fn note(&mut self, read: Read) {
        match read.trouble {
            Some(what) => {
                self.reading.meet(&what, false);
                self.trouble = Some(what);
            }
            None if read.any && self.trouble.take().is_some() => self.reading.end(),
            None => {}
        }
    }

    /// Whether one more batch may be on its way.
    fn has_room(&self, group: &Group) -> bool {
        let ledger = group.ledger();
        let requests = usize::from(self.args.search.requests);
        ledger.under_way() < requests && ledger.unsettled() < MOST_UNSETTLED && !self.courier.is_crowded()
    }

    fn send(&mut self, group: &Group) {
        let batch = self.builder.take();
        let records = u64::from(batch.contents.len());
        let number = group.ledger().begin(records, batch.since, &batch.contents.ends);
        let (courier, sender) = (Arc::clone(&self.courier), self.sender.clone());
        self.runtime.spawn(async move {
            let part = |tally| drop(sender.send(News::Part(number, tally)));
            let result = courier.deliver(batch, part).await;
            // Nobody is there any more only at the end.
            drop(sender.send(News::Batch(number, result)));
        });
    }

    /// Takes what has become of batches, waiting at most so long for the first news.
    fn take_news(&mut self, group: &Group, wait: Duration) -> Result<(), Failure> {
        let mut next = self.news.recv_timeout(wait).ok();
        while let Some(news) = next {
            match news {
                News::Records => {}
                News::Part(number, tally) => {
                    self.look_at(tally)?;
                    group.ledger().wait(number, tally);
                    self.progress = Instant::now();
                }
                News::Batch(number, result) => {
                    let tally = result?;
                    self.look_at(tally)?;
                    group.ledger().finish(number, tally);
                    self.progress = Instant::now();
                }
            }
            next = self.news.try_recv().ok();
        }
        Ok(())
    }

    /// Before a batch with too many dead letters is committed, it ends: a fault elsewhere is not worth a topic full of them.
    fn look_at(&mut self, tally: Tally) -> Result<(), Failure> {
        let Some(most) = self.args.documents.max_dead_letters else { return Ok(()) };
        self.recent.add(tally.records(), tally.rejected);
        self.recent.exceeds(most).map_or(Ok(()), |what| Err(self.too_many(&what, most)))
    }

    /// Whether positions may move: not before so many records are settled that their share of dead letters says something, where
    /// the end may still come before them.
    fn may_commit(&self) -> bool {
        !self.args.once || self.args.documents.max_dead_letters.is_none() || self.recent.is_telling()
    }

    fn too_many(&self, what: &str, most: Share) -> Failure {
        let topic = self.args.dead_letters();
        Failure::permanent(format!(
            "{what}, more than --max-dead-letters {most}: their positions are not committed; the reasons are in {topic}"
        ))
    }

    /// A signal came: what is under way gets a little time.
    fn leave(&mut self, group: &Group) {
        let limit = Instant::now() + GRACE;
        while group.ledger().under_way() > 0 && Instant::now() < limit {
            if self.take_news(group, BEAT).is_err() {
                break;
            }
        }
    }

    /// With `--once`: whether all that was there is settled.
    fn is_finished(&self, group: &Group) -> Result<bool, Failure> {
        group.set_targets();
        let (is_read, unsettled) = {
            let ledger = group.ledger();
            (ledger.is_read(), ledger.unsettled())
        };
        if is_read && self.builder.is_empty() && unsettled == 0 {
            let most = self.args.documents.max_dead_letters;
            let exceeds = most.and_then(|most| Some((self.recent.exceed_at_last(most)?, most)));
            return exceeds.map_or(Ok(true), |(what, most)| Err(self.too_many(&what, most)));
        }
        // A batch on its way has its own patience.
        if unsettled > 0 || self.progress.elapsed() < self.args.timeout {
            return Ok(false);
        }
        let why = self.trouble.clone().unwrap_or_else(|| {
            let why = group.complaint().unwrap_or_else(|| "the broker gave no partition and no record".to_owned());
            format!("unable to read topic {}: {why}", self.args.kafka.topic())
        });
        let class = if group.needs_a_person() { Class::Permanent } else { Class::Temporary };
        Err(Failure::new(class, why))
    }

    fn say_stats(&self, group: &Group, stream: Option<&Stream>) {
        let Some(stream) = stream else { return };
        stream.send(stats::line(&group.ledger(), self.builder.len() as u64, self.courier.sent_again(), group.lag()));
    }
}
