//! The ranges of an archive, in their order, several asked for at once.

use super::pace::{Pace, UNIT};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Head, Objects, Room, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Units of memory for ranges: coming, waiting for an earlier one, and with whoever reads them.
const MEMORY: u64 = 16;
/// Requests for the same range at once.
const SAME_AT_ONCE: usize = 3;
/// How often it is asked whether enough is known to call an answer late.
const LOOK: Duration = Duration::from_millis(20);

/// A range that came, in the pieces it came in. The memory it has is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) pieces: VecDeque<Bytes>,
    _memory: Memory,
}

/// Units that are taken, and given back with this value.
#[derive(Debug)]
struct Memory {
    units: u64,
    freed: Arc<watch::Sender<u64>>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.freed.send_modify(|freed| *freed += self.units);
    }
}

/// Where a range ends, in units from the archive's start. Memory is given in their order: if later ranges could have it all,
/// the first one, which all wait for, would have none.
#[derive(Debug)]
struct Turn {
    end: u64,
    freed: watch::Receiver<u64>,
}

#[async_trait]
impl Room for Turn {
    async fn wait(&self) {
        let mut freed = self.freed.clone();
        // Whoever gives memory back outlives whoever waits for it.
        let _ = freed.wait_for(|freed| self.end <= freed + MEMORY).await;
    }
}

/// What is read, and how fast that goes.
#[derive(Debug)]
pub(super) struct Source<'a> {
    store: &'a dyn Objects,
    key: &'a str,
    head: &'a Head,
    pace: Mutex<Pace>,
}

impl<'a> Source<'a> {
    pub(super) fn new(store: &'a dyn Objects, key: &'a str, head: &'a Head) -> Self {
        Self { store, key, head, pace: Mutex::new(Pace::new()) }
    }

    /// Sends all ranges on, from the first. Those under way go on while `to` has no place. Ends early if nobody reads `to`.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn send_all(
        &self,
        arrived: impl Fn(u64),
        to: &mpsc::Sender<Option<Range>>,
    ) -> Result<(), StoreError> {
        let size = self.head.size;
        let freed = Arc::new(watch::Sender::new(0));
        let (mut under_way, mut came, mut asked, mut end) = (FuturesOrdered::new(), VecDeque::new(), 0, 0);
        while asked < size || !under_way.is_empty() || !came.is_empty() {
            let (length, window) = self.next(size - asked);
            if asked < size && under_way.len() + came.len() < window {
                let units = length.div_ceil(UNIT);
                end += units;
                let (turn, memory) =
                    (Turn { end, freed: freed.subscribe() }, Memory { units, freed: Arc::clone(&freed) });
                let range = self.range(asked..asked + length, turn);
                under_way.push_back(async move { Ok(Range { pieces: range.await?.into(), _memory: memory }) });
                asked += length;
                continue;
            }
            tokio::select! {
                biased;
                place = to.reserve(), if !came.is_empty() => match place {
                    Ok(place) => place.send(came.pop_front()),
                    Err(_) => return Ok(()),
                },
                Some(range) = under_way.next() => {
                    let range: Range = range?;
                    arrived(range.pieces.iter().map(|piece| piece.len() as u64).sum());
                    came.push_back(range);
                }
            }
        }
        Ok(())
    }

    /// Length of the next of `left` bytes to ask for, and how many requests shall be under way.
    fn next(&self, left: u64) -> (u64, usize) {
        let pace = self.pace();
        (pace.length().min(left), pace.window())
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One range. A late answer is asked for once more, and the first that is whole is taken.
    async fn range(&self, part: std::ops::Range<u64>, turn: Turn) -> Result<Vec<Bytes>, StoreError> {
        let ask = || async {
            let came = self.store.read(self.key, &self.head.tag, part.clone(), &turn).await?;
            self.pace().came(part.end - part.start, came.first_byte, came.transfer);
            Ok(came.pieces)
        };
        let mut asked = FuturesUnordered::from_iter([ask()]);
        loop {
            tokio::select! {
                Some(answer) = asked.next() => match answer {
                    // The other may still come; of another state of the object none does.
                    Err(StoreError::Unavailable(_)) if !asked.is_empty() => {}
                    answer => return answer,
                },
                () = self.is_late(&turn), if asked.len() < SAME_AT_ONCE => {
                    if self.pace().may_repeat() {
                        asked.push(ask());
                    }
                }
            }
        }
    }

    /// Waits until what was just asked for is late. Nothing is before its turn has come: nobody waits for it yet.
    async fn is_late(&self, turn: &Turn) {
        turn.wait().await;
        let since = Instant::now();
        loop {
            let patience = self.pace().patience();
            match patience.map(|patience| since + patience) {
                Some(end) if Instant::now() >= end => return,
                Some(end) => sleep_until(end).await,
                None => sleep(LOOK).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use failure::Failure;
    use rand::RngExt;
    use std::collections::BTreeMap;
    use store::{Arrived, Attributes, Condition, Listed, Object, Put, Tag};
    use testkit::Seed;

    const SIZE: u64 = 300 * UNIT + 12_345;

    /// A store of one object, each of whose bytes tells which unit it lies in, that keeps its readers waiting.
    #[derive(Debug)]
    struct Scripted {
        seed: Seed,
        /// Milliseconds before an answer, at most.
        longest: u64,
        /// Part of the ranges whose first request is never answered.
        never: f64,
        fails_at: Option<u64>,
        asked: Mutex<BTreeMap<u64, u64>>,
        /// Bytes that were given.
        taken: Mutex<u64>,
    }

    impl Scripted {
        fn new(name: &str, longest: u64, never: f64) -> Self {
            let (seed, asked) = (Seed::from_env_or_random(name), Mutex::default());
            Self { seed, longest, never, fails_at: None, asked, taken: Mutex::default() }
        }

        /// Requests beyond one for each range.
        fn repeats(&self) -> u64 {
            self.asked.lock().unwrap().values().map(|times| times - 1).sum()
        }
    }

    #[async_trait]
    impl Objects for Scripted {
        fn url(&self, key: &str) -> String {
            key.to_owned()
        }

        async fn read(
            &self,
            key: &str,
            _: &Tag,
            part: std::ops::Range<u64>,
            room: &dyn Room,
        ) -> Result<Arrived, StoreError> {
            let times = {
                let mut asked = self.asked.lock().unwrap();
                let times = asked.entry(part.start).or_default();
                *times += 1;
                *times
            };
            let mut rng = self.seed.part(part.start * 10 + times).rng();
            let first_byte = Duration::from_millis(rng.random_range(0..=self.longest));
            if times == 1 && rng.random_bool(self.never) {
                std::future::pending::<()>().await;
            }
            sleep(first_byte).await;
            if self.fails_at.is_some_and(|at| part.contains(&at)) {
                return Err(StoreError::Unavailable(Failure::temporary(format!("unable to read {key}"))));
            }
            room.wait().await;
            *self.taken.lock().unwrap() += part.end - part.start;
            let units = part.clone().step_by(usize::try_from(UNIT).unwrap());
            let piece = |at: u64| vec![(at / UNIT) as u8; usize::try_from(UNIT.min(part.end - at)).unwrap()];
            Ok(Arrived { pieces: units.map(|at| piece(at).into()).collect(), first_byte, transfer: Duration::ZERO })
        }

        async fn get(&self, _: &str) -> Result<Option<Object>, StoreError> {
            unreachable!("ranges are read")
        }

        async fn head(&self, _: &str) -> Result<Option<Head>, StoreError> {
            unreachable!("ranges are read")
        }

        async fn put(&self, _: &str, _: &[u8], _: Condition<'_>, _: &Attributes) -> Result<Put, StoreError> {
            unreachable!("ranges are read")
        }

        async fn delete(&self, _: &str) -> Result<(), StoreError> {
            unreachable!("ranges are read")
        }

        async fn list(&self, _: &str) -> Result<Vec<Listed>, StoreError> {
            unreachable!("ranges are read")
        }
    }

    fn head() -> Head {
        Head {
            size: SIZE,
            tag: Tag::of_nothing(),
            crc64nvme: None,
            build: None,
            attributes: Attributes::default(),
            modified: std::time::SystemTime::UNIX_EPOCH,
        }
    }

    /// Reads it all; `slow` readers keep what they have for a while. Gives what came, if it came in order.
    async fn read(store: &Scripted, slow: bool) -> Result<u64, StoreError> {
        let head = head();
        let source = Source::new(store, "a-1.tar", &head);
        let (to, mut from) = mpsc::channel::<Option<Range>>(1);
        let reading = async {
            let mut came = 0;
            while let Some(range) = from.recv().await {
                let range = range.expect("no end is sent");
                for piece in &range.pieces {
                    assert!(piece.iter().all(|byte| *byte == (came / UNIT) as u8), "{:?}: order", store.seed);
                    came += piece.len() as u64;
                }
                if slow {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            came
        };
        let sending = async {
            let sent = source.send_all(|_| {}, &to).await;
            drop(to);
            sent
        };
        let (sent, came) = tokio::join!(sending, reading);
        sent.map(|()| came)
    }

    #[tokio::test]
    async fn whatever_the_order_of_the_answers_all_comes_in_order() {
        for (longest, slow) in [(0, false), (5, false), (60, false), (5, true)] {
            let store = Scripted::new("whatever_the_order_of_the_answers_all_comes_in_order", longest, 0.0);
            assert_eq!(read(&store, slow).await.unwrap(), SIZE);
        }
    }

    #[tokio::test]
    async fn what_is_never_answered_is_asked_for_again() {
        let store = Scripted::new("what_is_never_answered_is_asked_for_again", 20, 0.02);
        assert_eq!(read(&store, false).await.unwrap(), SIZE);
        assert!(store.repeats() > 0);
    }

    #[tokio::test]
    async fn nobody_who_reads_ends_it_and_so_does_the_store() {
        let mut store = Scripted::new("nobody_who_reads_ends_it_and_so_does_the_store", 1, 0.0);
        let (to, from) = mpsc::channel(1);
        drop(from);
        let head = head();
        Source::new(&store, "a-1.tar", &head).send_all(|_| {}, &to).await.unwrap();
        store.fails_at = Some(40 * UNIT);
        assert!(matches!(read(&store, false).await, Err(StoreError::Unavailable(_))));
    }

    /// A reader that stops has all the memory there is, and no more is taken from the store.
    #[tokio::test]
    async fn a_reader_that_stops_bounds_what_is_taken() {
        let store = Scripted::new("a_reader_that_stops_bounds_what_is_taken", 1, 0.0);
        let head = head();
        let source = Source::new(&store, "a-1.tar", &head);
        let (to, _from) = mpsc::channel(1);
        let last = Mutex::new(Instant::now());
        let sending = source.send_all(|_| *last.lock().unwrap() = Instant::now(), &to);
        let stands = async {
            while last.lock().unwrap().elapsed() < Duration::from_millis(500) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _ = sending => panic!("somebody read it"),
            () = stands => {}
        }
        let taken = *store.taken.lock().unwrap();
        assert!(taken > 0 && taken <= MEMORY * UNIT, "{taken}");
    }
}
