//! Indices that refuse writes: how long their records wait, and when they are set aside, so that no other index has to wait for
//! one that an operator, a lifecycle or a full disk has closed.

use failure::Class;
use retry::Backoff;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two tries of a blocked index: from this,
const FIRST_TRY: Duration = Duration::from_millis(200);
/// to this,
const LAST_TRY: Duration = Duration::from_secs(5);
/// or to this when its records are set aside.
const LAST_TRY_ASIDE: Duration = Duration::from_secs(10);
/// Another index that took a record so shortly before a block shows as well that the server takes some.
const BEFORE: Duration = Duration::from_secs(60);
/// Indices that are remembered; with more of them the oldest go.
const MOST: usize = 1000;

/// What stands in the way of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The index itself: it is closed, read-only, without a shard, or an alias that leads nowhere.
    Index,
    /// What others have in common with it: a full disk, no more shards, permissions, all of the cluster.
    Server,
}

/// Why an index refuses writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) scope: Scope,
    pub(crate) class: Class,
    pub(crate) why: Box<str>,
}

/// What is to be done with records that wait for an index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Send them: the index is not blocked, or it is time to try.
    Send,
    /// Wait, at most so long.
    Wait(Duration),
    /// Set them aside, for this reason.
    Aside(Box<str>),
}

/// The blocked indices, and the records that wait for them.
#[derive(Debug)]
pub(crate) struct Blocks {
    after: Duration,
    /// Bytes that may wait.
    room: u64,
    waiting: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocked: BTreeMap<String, Blocked>,
    /// When indices that are not blocked last took a record.
    taken: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Blocked {
    since: Instant,
    refusal: Refusal,
    backoff: Backoff,
    next_try: Instant,
    /// When it refused the last record,
    refused: Instant,
    /// and when another index had taken one by then.
    elsewhere: Option<Instant>,
    /// Whether it was logged that its records are set aside.
    told: bool,
}

/// Room that waiting records take, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    blocks: &'a Blocks,
    bytes: u64,
}

impl Blocks {
    /// Records of an index are set aside after this long; so many bytes may wait.
    pub(crate) fn new(after: Duration, room: u64) -> Self {
        Self { after, room, waiting: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Whether an index refused writes when it was last asked.
    pub(crate) fn is_blocked(&self, index: &str) -> bool {
        self.state().blocked.contains_key(index)
    }

    /// Whether there are any.
    pub(crate) fn are_none(&self) -> bool {
        self.state().blocked.is_empty()
    }

    /// An index took a record. Returns whether it was logged before that its records are set aside.
    pub(crate) fn took(&self, index: &str, now: Instant) -> bool {
        let mut state = self.state();
        match state.taken.get_mut(index) {
            Some(taken) => *taken = now,
            None => drop(state.taken.insert(index.to_owned(), now)),
        }
        forget_oldest(&mut state.taken, |taken| *taken);
        state.blocked.remove(index).is_some_and(|blocked| blocked.told)
    }

    /// An index refused a record.
    pub(crate) fn refused(&self, index: &str, refusal: Refusal, now: Instant) {
        let mut state = self.state();
        state.taken.remove(index);
        let elsewhere = state.taken.values().max().copied();
        let blocked = state.blocked.entry(index.to_owned()).or_insert_with(|| Blocked {
            since: now,
            refusal: refusal.clone(),
            backoff: Backoff::new(FIRST_TRY, LAST_TRY).at_least_half(),
            next_try: now,
            refused: now,
            elsewhere: None,
            told: false,
        });
        (blocked.refusal, blocked.refused, blocked.elsewhere) = (refusal, now, elsewhere);
        // Whoever was sent to try has put the next try off already.
        if now >= blocked.next_try {
            blocked.put_off(now);
        }
        forget_oldest(&mut state.blocked, |blocked| blocked.since);
    }

    /// What is to be done with records that have waited so long for an index.
    pub(crate) fn fate(&self, index: &str, waited: Duration, now: Instant) -> Fate {
        let crowded = self.is_crowded();
        let mut state = self.state();
        let Some(blocked) = state.blocked.get_mut(index) else { return Fate::Send };
        if now >= blocked.next_try {
            // Whoever waits for the same index leaves the try to this one.
            blocked.put_off(now);
            return Fate::Send;
        }
        if blocked.goes_aside(self.after, crowded && waited >= self.after) {
            return Fate::Aside(blocked.refusal.why.clone());
        }
        Fate::Wait(blocked.next_try.saturating_duration_since(now))
    }

    /// Whether it still has to be logged that an index's records are set aside.
    pub(crate) fn is_news(&self, index: &str) -> bool {
        let mut state = self.state();
        let Some(blocked) = state.blocked.get_mut(index).filter(|blocked| !blocked.told) else { return false };
        blocked.told = true;
        blocked.backoff = Backoff::new(LAST_TRY, LAST_TRY_ASIDE).at_least_half();
        true
    }

    /// Why an index refuses writes, if it does.
    pub(crate) fn refusal(&self, index: &str) -> Option<Refusal> {
        self.state().blocked.get(index).map(|blocked| blocked.refusal.clone())
    }

    /// Records of so many bytes begin to wait.
    pub(crate) fn wait(&self, bytes: u64) -> Place<'_> {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        Place { blocks: self, bytes }
    }

    /// Whether no more may wait.
    pub(crate) fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.room
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where there are too many, the oldest one goes.
fn forget_oldest<T>(indices: &mut BTreeMap<String, T>, age: impl Fn(&T) -> Instant) {
    if indices.len() > MOST {
        let oldest = indices.iter().min_by_key(|(_, one)| age(one)).map(|(index, _)| index.clone());
        oldest.map(|oldest| indices.remove(&oldest));
    }
}

impl Blocked {
    /// The next try is a while from now.
    fn put_off(&mut self, now: Instant) {
        self.next_try = now + self.backoff.pause();
    }

    /// Whether records are set aside. A server that takes nothing at all is waited for: only where another index had taken
    /// records when this one refused the last is it the odd one out. What all indices have in common may reach the others a
    /// little later, so there it has to be one that took something of late.
    fn goes_aside(&self, after: Duration, in_the_way: bool) -> bool {
        if self.refused.saturating_duration_since(self.since) < after {
            return false;
        }
        match self.refusal.scope {
            Scope::Index => {
                // What waits has filled its room: to wait on would stop the others.
                in_the_way || self.elsewhere.is_some_and(|taken| taken + after.max(BEFORE) >= self.since)
            }
            Scope::Server => self.elsewhere.is_some_and(|taken| {
                taken >= self.since + after / 2 && self.refused.saturating_duration_since(taken) <= after / 2
            }),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.blocks.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn refusal(scope: Scope) -> Refusal {
        Refusal { scope, class: Class::Permanent, why: "closed".into() }
    }

    fn aside() -> Fate {
        Fate::Aside("closed".into())
    }

    /// What becomes of records after so many seconds; tries that are due meanwhile are refused.
    fn fate(blocks: &Blocks, index: &str, scope: Scope, start: Instant, seconds: u64) -> Fate {
        let now = start + Duration::from_secs(seconds);
        match blocks.fate(index, AFTER, now) {
            Fate::Send if blocks.is_blocked(index) => {
                blocks.refused(index, refusal(scope), now);
                blocks.fate(index, AFTER, now)
            }
            fate => fate,
        }
    }

    #[test]
    fn an_index_that_is_closed_beside_one_that_is_not() {
        let (blocks, start) = (Blocks::new(AFTER, 100), Instant::now());
        blocks.refused("old", refusal(Scope::Index), start);
        blocks.took("today", start);
        assert!(matches!(fate(&blocks, "old", Scope::Index, start, 59), Fate::Wait(_)));
        assert_eq!(fate(&blocks, "old", Scope::Index, start, 60), aside());
        assert_eq!(fate(&blocks, "old", Scope::Index, start, 3600), aside(), "as long as the other one is not blocked");
        assert!(blocks.is_news("old") && !blocks.is_news("old"));
        assert_eq!(fate(&blocks, "other", Scope::Index, start, 3600), Fate::Send);
        blocks.refused("today", refusal(Scope::Index), start + Duration::from_secs(3601));
        for index in ["old", "today"] {
            assert!(matches!(fate(&blocks, index, Scope::Index, start, 3700), Fate::Wait(_)), "nothing takes anything");
        }
        assert!(
            blocks.took("old", start + Duration::from_secs(3701)),
            "the block was logged, so its end is logged too"
        );
        assert_eq!(fate(&blocks, "old", Scope::Index, start, 3702), Fate::Send);
    }

    #[test]
    fn a_block_of_everything_is_waited_for() {
        for scope in [Scope::Index, Scope::Server] {
            let (blocks, start) = (Blocks::new(AFTER, 100), Instant::now());
            blocks.refused("today", refusal(scope), start);
            assert!(matches!(fate(&blocks, "today", scope, start, 100_000), Fate::Wait(_)));
        }
    }

    /// The first index that takes records again is no proof against the others, which are tried a little later.
    #[test]
    fn the_end_of_a_block_of_everything() {
        let (blocks, start) = (Blocks::new(AFTER, 100), Instant::now());
        blocks.refused("old", refusal(Scope::Index), start);
        assert!(matches!(fate(&blocks, "old", Scope::Index, start, 1000), Fate::Wait(_)));
        let over = start + Duration::from_secs(1000);
        blocks.took("today", over);
        assert!(matches!(blocks.fate("old", AFTER, over), Fate::Wait(_)));
        assert_eq!(blocks.fate("old", AFTER, over + LAST_TRY), Fate::Send);
        blocks.refused("old", refusal(Scope::Index), over + LAST_TRY);
        assert_eq!(blocks.fate("old", AFTER, over + LAST_TRY), aside());
    }

    #[test]
    fn a_full_disk_is_one_index_s_only_while_another_takes_records() {
        let (blocks, start) = (Blocks::new(AFTER, 100), Instant::now());
        blocks.refused("today", refusal(Scope::Server), start);
        blocks.took("late", start + Duration::from_secs(1));
        assert!(matches!(fate(&blocks, "today", Scope::Server, start, 60), Fate::Wait(_)));
        blocks.took("late", start + Duration::from_secs(61));
        assert_eq!(fate(&blocks, "today", Scope::Server, start, 70), aside());
        assert!(matches!(fate(&blocks, "today", Scope::Server, start, 100), Fate::Wait(_)), "it takes none any more");
    }

    #[test]
    fn what_fills_the_room_is_in_the_way() {
        let (blocks, start) = (Blocks::new(AFTER, 100), Instant::now());
        blocks.refused("old", refusal(Scope::Index), start);
        let place = blocks.wait(100);
        assert!(blocks.is_crowded());
        assert_eq!(fate(&blocks, "old", Scope::Index, start, 61), aside());
        let soon = start + Duration::from_secs(61);
        assert!(matches!(blocks.fate("old", Duration::from_secs(5), soon), Fate::Wait(_)), "each waits its time");
        drop(place);
        assert!(!blocks.is_crowded());
        assert!(matches!(fate(&blocks, "old", Scope::Index, start, 62), Fate::Wait(_)));
    }

    #[test]
    fn one_at_a_time_tries_a_blocked_index() {
        let (blocks, start) = (Blocks::new(AFTER, 100), Instant::now());
        blocks.refused("old", refusal(Scope::Index), start);
        let later = start + FIRST_TRY;
        assert_eq!(blocks.fate("old", AFTER, later), Fate::Send);
        assert!(matches!(blocks.fate("old", AFTER, later), Fate::Wait(_)));
    }
}
