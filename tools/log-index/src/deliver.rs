//! One batch, until each of its records is indexed, was indexed before, or is a dead letter.

use crate::answer::Verdict;
use crate::args::Args;
use crate::batch::Batch;
use crate::blocks::{Blocks, Fate, Refusal};
use crate::dead_letters::DeadLetters;
use crate::search::{Outcome, Search};
use crate::trouble::Trouble;
use bytes::Bytes;
use cli::Console;
use failure::{Class, Failure};
use retry::Backoff;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What a server may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(30);
/// Longest time after which waiting records are looked at again: another index may have taken something.
const LOOK: Duration = Duration::from_millis(500);
/// Requests' worth of records that may wait for indices that refuse writes.
const WAITING_REQUESTS: u64 = 8;

/// What became of the records of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Documents that this run made.
    pub(crate) created: u64,
    /// Documents that were there.
    pub(crate) existing: u64,
    /// Dead letters.
    pub(crate) rejected: u64,
}

impl Tally {
    /// All of them.
    pub(crate) fn records(self) -> u64 {
        self.created + self.existing + self.rejected
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.created += more.created;
        self.existing += more.existing;
        self.rejected += more.rejected;
    }
}

/// Where batches are delivered to.
#[derive(Debug)]
pub(crate) struct Courier {
    search: Search,
    dead: DeadLetters,
    trouble: Trouble,
    blocks: Blocks,
    /// The indices that refuse writes, as trouble.
    blocked: Trouble,
    console: Console,
    /// With `--once`: without progress for so long, it fails.
    patience: Option<Duration>,
    /// The same, for records that wait to be set aside.
    long_patience: Option<Duration>,
    /// Whether the server has ever taken anything: before that, what it refuses is a wrong command line.
    taken: AtomicBool,
    sent_again: AtomicU64,
}

/// A batch on its way.
struct Delivery<'a> {
    courier: &'a Courier,
    batch: Batch,
    open: Vec<u32>,
    /// What waits for its index.
    waiting: Vec<u32>,
    poison: Vec<(u32, Fault)>,
    tally: Tally,
    /// Most documents in one request.
    most: usize,
    /// Whether anything failed since the last progress,
    failed: bool,
    /// when that was,
    progress: Instant,
    /// and the pauses since then.
    backoff: Backoff,
}

/// Why a record becomes a dead letter.
enum Fault {
    /// For what it is.
    Record(String),
    /// For the state of its index.
    Index(String),
}

impl Fault {
    fn why(&self) -> &str {
        match self {
            Self::Record(why) | Self::Index(why) => why,
        }
    }
}

impl Courier {
    /// # Errors
    /// What the search server's client can't be made of.
    pub(crate) fn new(args: &Args, console: Console) -> Result<Self, Failure> {
        let after = args.documents.blocked_after;
        Ok(Self {
            search: Search::new(args)?,
            dead: DeadLetters::new(args),
            trouble: Trouble::new(console, "records are indexed again"),
            blocks: Blocks::new(after, WAITING_REQUESTS.saturating_mul(args.search.request_size)),
            blocked: Trouble::new(console, "records are indexed again"),
            console,
            patience: args.once.then_some(args.timeout),
            long_patience: args.once.then_some(args.timeout.max(after)),
            taken: AtomicBool::new(false),
            sent_again: AtomicU64::new(0),
        })
    }

    /// Documents that were sent more than once.
    pub(crate) fn sent_again(&self) -> u64 {
        self.sent_again.load(Ordering::Relaxed)
    }

    /// Whether so many records wait for their indices that no more may be read.
    pub(crate) fn is_crowded(&self) -> bool {
        self.blocks.is_crowded()
    }

    /// Delivers a batch, however long it takes. `part` is called when what is left of it is in nobody's way, with what has become
    /// of the rest; what is returned has become of what was left.
    ///
    /// # Errors
    /// The server refuses everything, from the first request on; with `--once`, nothing goes on for too long.
    pub(crate) async fn deliver(&self, batch: Batch, part: impl FnOnce(Tally)) -> Result<Tally, Failure> {
        let unfit = batch.contents.unfit().map(|(item, why)| (item, Fault::Record(why.to_owned())));
        let mut delivery = Delivery {
            courier: self,
            open: Vec::new(),
            waiting: Vec::new(),
            poison: unfit.collect(),
            tally: Tally::default(),
            most: usize::MAX,
            failed: false,
            progress: Instant::now(),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            batch,
        };
        let unfit: Vec<u32> = delivery.poison.iter().map(|(item, _)| *item).collect();
        let fit = (0..delivery.batch.contents.len()).filter(|item| unfit.binary_search(item).is_err());
        (delivery.waiting, delivery.open) = if self.blocks.are_none() {
            (Vec::new(), fit.collect())
        } else {
            fit.partition(|item| self.blocks.is_blocked(delivery.batch.index(*item)))
        };
        while !delivery.open.is_empty() {
            delivery.attempt().await?;
        }
        if !delivery.poison.is_empty() {
            // Once in any case: most batches with a dead letter are done by it.
            delivery.bury().await?;
        }
        if delivery.is_done() {
            return Ok(delivery.tally);
        }
        delivery.shrink();
        let _place = self.blocks.wait(delivery.batch.bytes());
        part(std::mem::take(&mut delivery.tally));
        delivery.settle().await?;
        Ok(delivery.tally)
    }
}

impl Delivery<'_> {
    fn is_done(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty() && self.poison.is_empty()
    }

    /// What waits for its index, or for the topic of dead letters, until that is settled too.
    async fn settle(&mut self) -> Result<(), Failure> {
        let courier = self.courier;
        let since = Instant::now();
        self.progress = since;
        while !self.is_done() {
            if !self.poison.is_empty() {
                self.bury().await?;
            }
            let mut pause = LOOK;
            for (index, items) in self.by_index() {
                match courier.blocks.fate(&index, since.elapsed(), Instant::now()) {
                    Fate::Send => self.open.extend(items),
                    Fate::Wait(longest) => {
                        pause = pause.min(longest.max(FIRST_PAUSE));
                        self.waiting.extend(items);
                    }
                    Fate::Aside(why) => {
                        self.say_aside(&index, &why);
                        self.poison.extend(items.into_iter().map(|item| (item, Fault::Index(why.to_string()))));
                    }
                }
            }
            if self.open.is_empty() && self.poison.is_empty() && !self.waiting.is_empty() {
                self.lose_patience()?;
                tokio::time::sleep(pause).await;
            }
            while !self.open.is_empty() {
                self.attempt().await?;
            }
        }
        Ok(())
    }

    /// Lets go of all documents that are settled.
    fn shrink(&mut self) {
        let mut kept: Vec<u32> =
            self.waiting.iter().copied().chain(self.poison.iter().map(|(item, _)| *item)).collect();
        kept.sort_unstable();
        let place = |item: u32| kept.binary_search(&item).ok().and_then(|place| u32::try_from(place).ok()).unwrap_or(0);
        self.waiting.iter_mut().for_each(|item| *item = place(*item));
        self.poison.iter_mut().for_each(|(item, _)| *item = place(*item));
        self.batch = self.batch.pick(&kept);
    }

    /// Takes what waits, by index.
    fn by_index(&mut self) -> BTreeMap<String, Vec<u32>> {
        let mut by_index: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for item in self.waiting.drain(..) {
            let index = self.batch.index(item);
            match by_index.get_mut(index) {
                Some(items) => items.push(item),
                None => drop(by_index.insert(index.to_owned(), vec![item])),
            }
        }
        by_index
    }

    /// With `--once`: whether these records have waited for too long.
    fn lose_patience(&self) -> Result<(), Failure> {
        let waited = self.progress.elapsed();
        let Some(item) = self.waiting.first().filter(|_| self.courier.long_patience.is_some_and(|most| waited >= most))
        else {
            return Ok(());
        };
        let index = self.batch.index(*item);
        match self.courier.blocks.refusal(index) {
            Some(refusal) => Err(Failure::new(refusal.class, self.what(self.waiting.len(), index, &refusal.why))),
            None => Ok(()),
        }
    }

    fn what(&self, count: usize, index: &str, why: &str) -> String {
        format!("unable to index {count} records at {}: {index}: {why}", self.courier.search.origin())
    }

    /// Says, once for each block, where the records of an index go.
    fn say_aside(&self, index: &str, why: &str) {
        if self.courier.blocks.is_news(index) {
            let topic = self.courier.dead.topic();
            self.courier
                .console
                .warn(format!("index {index} refuses writes: {why}; its records go to {topic} until it takes them"));
        }
    }

    /// Sends what is open, or the first part of it.
    async fn attempt(&mut self) -> Result<(), Failure> {
        let count = self.open.len().min(self.most);
        let part: Vec<u32> = self.open.drain(..count).collect();
        if self.failed {
            self.courier.sent_again.fetch_add(count as u64, Ordering::Relaxed);
        }
        let whole = count == self.batch.contents.len() as usize;
        let body = if whole { self.batch.body.clone() } else { self.gather(&part) };
        let (why, wish, class) = match self.courier.search.send(body, count).await {
            Outcome::Taken(verdicts) => {
                self.courier.taken.store(true, Ordering::Relaxed);
                return self.judge(&part, verdicts).await;
            }
            Outcome::Malformed(why) if !self.has_taken() => return Err(self.refused(why)),
            Outcome::Malformed(_) | Outcome::TooLarge(_) if count > 1 => {
                self.most = count / 2;
                self.open.splice(..0, part);
                return Ok(());
            }
            Outcome::Malformed(why) | Outcome::TooLarge(why) => {
                self.poison.push((part[0], Fault::Record(why)));
                return Ok(());
            }
            Outcome::Busy(why, wish) => {
                // A request that is larger than all that the server may hold would never be taken.
                self.most = (count / 2).max(1);
                (why, wish, Class::Temporary)
            }
            Outcome::Again(why, wish) => (why, wish, Class::Temporary),
            Outcome::Refused(why) if !self.has_taken() => return Err(self.refused(why)),
            Outcome::Refused(why) => (why, None, Class::Permanent),
        };
        self.open.splice(..0, part);
        self.wait(count, &why, wish, class).await
    }

    fn has_taken(&self) -> bool {
        self.courier.taken.load(Ordering::Relaxed)
    }

    fn refused(&self, why: String) -> Failure {
        Failure::permanent(format!("{} refuses to index: {why}", self.courier.search.origin()))
    }

    fn gather(&self, part: &[u32]) -> Bytes {
        let mut body = Vec::new();
        for item in part {
            body.extend_from_slice(self.batch.document(*item));
        }
        Bytes::from(body)
    }

    /// Takes out what is settled; the rest waits, or is open once more.
    async fn judge(&mut self, part: &[u32], verdicts: Vec<Verdict>) -> Result<(), Failure> {
        let mut again: Vec<u32> = Vec::new();
        let mut worst: Option<Box<str>> = None;
        let mut refusals: BTreeMap<&str, (usize, Refusal)> = BTreeMap::new();
        // One record after the other of the same index is the rule.
        let mut took: Vec<&str> = Vec::new();
        let mut settled = 0;
        for (item, verdict) in part.iter().zip(verdicts) {
            settled += 1;
            match verdict {
                Verdict::Created | Verdict::Existing => {
                    let place =
                        if verdict == Verdict::Created { &mut self.tally.created } else { &mut self.tally.existing };
                    *place += 1;
                    let index = self.batch.index(*item);
                    if took.last() != Some(&index) {
                        took.push(index);
                    }
                }
                Verdict::Poison(why) => self.poison.push((*item, Fault::Record(why.into()))),
                Verdict::Again(why) => {
                    settled -= 1;
                    again.push(*item);
                    worst.get_or_insert(why);
                }
                Verdict::Blocked(refusal) => {
                    settled -= 1;
                    self.waiting.push(*item);
                    refusals.entry(self.batch.index(*item)).or_insert((0, refusal)).0 += 1;
                }
            }
        }
        let blocks = &self.courier.blocks;
        for (index, (count, refusal)) in refusals {
            let what = self.what(count, index, &refusal.why);
            let needs_a_person = refusal.class == Class::Permanent;
            blocks.refused(index, refusal, Instant::now());
            self.courier.blocked.meet(&format!("{what}; they are sent again"), needs_a_person);
        }
        took.sort_unstable();
        took.dedup();
        for index in took {
            if blocks.took(index, Instant::now()) {
                self.courier.console.warn(format!("index {index} takes records again"));
            }
        }
        if blocks.are_none() {
            self.courier.blocked.end();
        }
        if settled > 0 {
            self.progressed();
        }
        let count = again.len();
        self.open.splice(..0, again);
        match worst {
            Some(why) => self.wait(count, &why, None, Class::Temporary).await,
            None => {
                self.courier.trouble.end();
                Ok(())
            }
        }
    }

    /// Something was settled: the pauses start over.
    fn progressed(&mut self) {
        self.failed = false;
        self.progress = Instant::now();
        self.backoff.reset();
    }

    /// Waits before the next attempt; it says why if that lasts.
    async fn wait(&mut self, count: usize, why: &str, wish: Option<Duration>, class: Class) -> Result<(), Failure> {
        let what = format!("unable to index {count} records at {}: {why}", self.courier.search.origin());
        self.hold(what, wish, class).await
    }

    async fn hold(&mut self, what: String, wish: Option<Duration>, class: Class) -> Result<(), Failure> {
        // One answer that does not come is no end: it takes all of the time.
        if self.failed && self.courier.patience.is_some_and(|patience| self.progress.elapsed() >= patience) {
            return Err(Failure::new(class, what));
        }
        self.courier.trouble.meet(&format!("{what}; they are sent again"), class == Class::Permanent);
        self.failed = true;
        let pause = self.backoff.pause().max(wish.unwrap_or_default().min(LONGEST_WISH));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Writes what can't be indexed to the topic of dead letters.
    async fn bury(&mut self) -> Result<(), Failure> {
        let contents = &self.batch.contents;
        let letters = self.poison.iter().map(|(item, fault)| (*item, contents.letter(*item), fault.why()));
        let (mut kept, outcome) = self.courier.dead.keep(letters).await;
        kept.sort_unstable();
        let is_kept = |item: u32| kept.binary_search(&item).is_ok();
        // Of an index that is set aside that was said already.
        let said = self.poison.iter().filter(|(item, fault)| is_kept(*item) && matches!(fault, Fault::Record(_)));
        let count = said.clone().count();
        if let Some((item, fault)) = said.into_iter().next() {
            let letter = contents.letter(*item);
            let more = if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
            self.courier.console.warn(format!(
                "unable to index the record at {} of partition {}: {}; it is in {}{more}",
                letter.offset,
                letter.partition,
                fault.why(),
                self.courier.dead.topic()
            ));
        }
        if !kept.is_empty() {
            self.progressed();
        }
        self.tally.rejected += kept.len() as u64;
        self.poison.retain(|(item, _)| kept.binary_search(item).is_err());
        match outcome {
            Ok(()) => Ok(()),
            Err(why) => {
                let what = format!("unable to keep {} records that can't be indexed: {why}", self.poison.len());
                self.hold(what, None, Class::Temporary).await
            }
        }
    }
}
