//! One batch, until each of its records is indexed, was indexed before, or is a dead letter.

use crate::answer::Verdict;
use crate::args::Args;
use crate::batch::Batch;
use crate::dead_letters::DeadLetters;
use crate::search::{Outcome, Search};
use crate::trouble::Trouble;
use bytes::Bytes;
use cli::{Class, Console, Failure};
use rand::RngExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What a server may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(30);

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

/// Where batches are delivered to.
#[derive(Debug)]
pub(crate) struct Courier {
    search: Search,
    dead: DeadLetters,
    trouble: Trouble,
    console: Console,
    /// With `--once`: without progress for so long, it fails.
    patience: Option<Duration>,
    /// Whether the server has ever taken anything: before that, what it refuses is a wrong command line.
    taken: AtomicBool,
    sent_again: AtomicU64,
}

/// A batch on its way.
struct Delivery<'a> {
    courier: &'a Courier,
    batch: &'a Batch,
    open: Vec<u32>,
    poison: Vec<(u32, String)>,
    tally: Tally,
    /// Most documents in one request.
    most: usize,
    failures: u32,
    progress: Instant,
}

impl Courier {
    /// # Errors
    /// What the search server's client can't be made of.
    pub(crate) fn new(args: &Args, console: Console) -> Result<Self, Failure> {
        Ok(Self {
            search: Search::new(args)?,
            dead: DeadLetters::new(args),
            trouble: Trouble::new(console, "records are indexed again"),
            console,
            patience: args.once.then_some(args.timeout),
            taken: AtomicBool::new(false),
            sent_again: AtomicU64::new(0),
        })
    }

    /// Documents that were sent more than once.
    pub(crate) fn sent_again(&self) -> u64 {
        self.sent_again.load(Ordering::Relaxed)
    }

    /// Delivers a batch, however long it takes.
    ///
    /// # Errors
    /// The server refuses everything, from the first request on; with `--once`, nothing goes on for too long.
    pub(crate) async fn deliver(&self, batch: &Batch) -> Result<Tally, Failure> {
        let mut delivery = Delivery {
            courier: self,
            batch,
            open: Vec::new(),
            poison: batch.contents.unfit().map(|(item, why)| (item, why.to_owned())).collect(),
            tally: Tally::default(),
            most: usize::MAX,
            failures: 0,
            progress: Instant::now(),
        };
        let unfit: Vec<u32> = delivery.poison.iter().map(|(item, _)| *item).collect();
        delivery.open = (0..batch.contents.len()).filter(|item| unfit.binary_search(item).is_err()).collect();
        while !delivery.open.is_empty() {
            delivery.attempt().await?;
        }
        while !delivery.poison.is_empty() {
            delivery.bury().await?;
        }
        Ok(delivery.tally)
    }
}

impl Delivery<'_> {
    /// Sends what is open, or the first part of it.
    async fn attempt(&mut self) -> Result<(), Failure> {
        let count = self.open.len().min(self.most);
        let part: Vec<u32> = self.open[..count].to_vec();
        if self.failures > 0 {
            self.courier.sent_again.fetch_add(count as u64, Ordering::Relaxed);
        }
        let whole = count == self.batch.contents.len() as usize;
        let body = if whole { self.batch.body.clone() } else { self.gather(&part) };
        match self.courier.search.send(body, count).await {
            Outcome::Taken(verdicts) => {
                self.courier.taken.store(true, Ordering::Relaxed);
                self.judge(&part, verdicts).await
            }
            Outcome::Malformed(why) if !self.has_taken() => self.refused(why),
            Outcome::Malformed(_) | Outcome::TooLarge(_) if count > 1 => {
                self.most = count / 2;
                Ok(())
            }
            Outcome::Malformed(why) | Outcome::TooLarge(why) => {
                self.open.remove(0);
                self.poison.push((part[0], why));
                Ok(())
            }
            Outcome::Busy(why, wish) => {
                // A request that is larger than all that the server may hold would never be taken.
                self.most = (count / 2).max(1);
                self.wait(count, &why, wish, Class::Temporary).await
            }
            Outcome::Again(why, wish) => self.wait(count, &why, wish, Class::Temporary).await,
            Outcome::Refused(why) if !self.has_taken() => self.refused(why),
            Outcome::Refused(why) => self.wait(count, &why, None, Class::Permanent).await,
        }
    }

    fn has_taken(&self) -> bool {
        self.courier.taken.load(Ordering::Relaxed)
    }

    fn refused(&self, why: String) -> Result<(), Failure> {
        Err(Failure::permanent(format!("{} refuses to index: {why}", self.courier.search.origin())))
    }

    fn gather(&self, part: &[u32]) -> Bytes {
        let mut body = Vec::new();
        for item in part {
            body.extend_from_slice(self.batch.document(*item));
        }
        Bytes::from(body)
    }

    /// Takes out what is settled; the rest waits.
    async fn judge(&mut self, part: &[u32], verdicts: Vec<Verdict>) -> Result<(), Failure> {
        let mut again: Vec<u32> = Vec::new();
        let mut worst: Option<(Box<str>, Class)> = None;
        for (item, verdict) in part.iter().zip(verdicts) {
            match verdict {
                Verdict::Created => self.tally.created += 1,
                Verdict::Existing => self.tally.existing += 1,
                Verdict::Poison(why) => self.poison.push((*item, why.into())),
                Verdict::Again(why) => {
                    again.push(*item);
                    worst.get_or_insert((why, Class::Temporary));
                }
                Verdict::Blocked(why) => {
                    again.push(*item);
                    let index = self.batch.index(*item).unwrap_or_default();
                    worst = Some((format!("{index}: {why}").into(), Class::Permanent));
                }
            }
        }
        if again.len() < part.len() {
            self.progress = Instant::now();
            self.failures = 0;
        }
        let count = again.len();
        self.open.splice(..part.len(), again);
        match worst {
            Some((why, class)) => self.wait(count, &why, None, class).await,
            None => {
                self.courier.trouble.end();
                Ok(())
            }
        }
    }

    /// Waits before the next attempt; it says why if that lasts.
    async fn wait(&mut self, count: usize, why: &str, wish: Option<Duration>, class: Class) -> Result<(), Failure> {
        let what = format!("unable to index {count} records at {}: {why}", self.courier.search.origin());
        self.hold(what, wish, class).await
    }

    async fn hold(&mut self, what: String, wish: Option<Duration>, class: Class) -> Result<(), Failure> {
        // One answer that does not come is no end: it takes all of the time.
        let is_second = self.failures > 0;
        if is_second && self.courier.patience.is_some_and(|patience| self.progress.elapsed() >= patience) {
            return Err(Failure::new(class, what));
        }
        self.courier.trouble.meet(&format!("{what}; they are sent again"), class == Class::Permanent);
        let longest = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.failures += 1;
        let pause = longest.mul_f64(rand::rng().random_range(0.0..1.0));
        let pause = pause.max(wish.unwrap_or_default().min(LONGEST_WISH));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Writes what can't be indexed to the topic of dead letters.
    async fn bury(&mut self) -> Result<(), Failure> {
        let contents = &self.batch.contents;
        let letters = self.poison.iter().map(|(item, why)| (*item, contents.letter(*item), why.as_str()));
        let (mut kept, outcome) = self.courier.dead.keep(letters).await;
        kept.sort_unstable();
        if let Some((item, why)) = self.poison.iter().find(|(item, _)| kept.binary_search(item).is_ok()) {
            let letter = contents.letter(*item);
            let more = if kept.len() > 1 { format!(", and {} more", kept.len() - 1) } else { String::new() };
            self.courier.console.warn(format!(
                "unable to index the record at {} of partition {}: {why}; it is in {}{more}",
                letter.offset,
                letter.partition,
                self.courier.dead.topic()
            ));
            self.progress = Instant::now();
            self.failures = 0;
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
