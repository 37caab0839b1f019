//! Which records are under way, and how far each partition is done: up to the first record that is not settled.

use crate::deliver::Tally;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// The account of this run: `read` = acked + in flight + rejected, at every moment.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Batches in the order in which they were begun.
    batches: VecDeque<Pending>,
    first: u64,
    owned: BTreeMap<i32, Owned>,
    /// Assignments so far: what was read under an earlier one moves no position of this one.
    assignments: u64,
    /// Records with a value,
    pub(crate) read: u64,
    /// and those without.
    pub(crate) skipped: u64,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
struct Pending {
    records: u64,
    since: Instant,
    ends: Vec<(i32, u64, i64)>,
    stage: Stage,
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is being sent.
    Sent,
    /// What is left of it waits for its indices, in nobody's way.
    Waits,
    /// All of it is settled.
    Done,
}

/// Where a record stands in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the first since the partition was assigned.
    First,
    /// It is the one that was due.
    Due,
    /// This offset was due.
    After(i64),
}

/// A partition that is assigned to this member.
#[derive(Debug)]
struct Owned {
    assignment: u64,
    /// First offset that was not read yet.
    next: Option<i64>,
    /// First offset that is not settled, as far as this run knows.
    done: Option<i64>,
    committed: Option<i64>,
    /// With `--once`: it is done from this offset on.
    target: Option<i64>,
}

impl Ledger {
    /// These partitions are this member's from now on.
    pub(crate) fn assign(&mut self, partitions: impl Iterator<Item = i32>) {
        self.assignments += 1;
        for partition in partitions {
            let assignment = self.assignments;
            let owned = Owned { assignment, next: None, done: None, committed: None, target: None };
            self.owned.insert(partition, owned);
        }
    }

    /// And these no more.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.owned.remove(&partition);
    }

    /// The partitions of this member.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.owned.keys().copied()
    }

    /// The same, each with the assignment that it came with.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = (i32, u64)> {
        self.owned.iter().map(|(partition, owned)| (*partition, owned.assignment))
    }

    /// This offset of a partition was read; tells where it stands in it.
    pub(crate) fn pass(&mut self, partition: i32, offset: i64) -> Standing {
        let Some(owned) = self.owned.get_mut(&partition) else { return Standing::Due };
        match owned.next.replace(offset + 1) {
            None => Standing::First,
            Some(due) if due < offset => Standing::After(due),
            Some(_) => Standing::Due,
        }
    }

    /// A batch is on its way; returns its number.
    pub(crate) fn begin(&mut self, records: u64, since: Instant, ends: &BTreeMap<i32, i64>) -> u64 {
        let of_now = |(partition, end): (&i32, &i64)| {
            let owned = self.owned.get(partition)?;
            Some((*partition, owned.assignment, *end))
        };
        let ends = ends.iter().filter_map(of_now).collect();
        self.batches.push_back(Pending { records, since, ends, stage: Stage::Sent });
        self.first + self.batches.len() as u64 - 1
    }

    /// This has become of records of a batch; what is left of it waits.
    pub(crate) fn wait(&mut self, number: u64, tally: Tally) {
        let settled = tally.records();
        if let Some(batch) = self.batch(number) {
            batch.stage = Stage::Waits;
            batch.records = batch.records.saturating_sub(settled);
            self.tally.add(tally);
        }
    }

    /// This has become of the rest of a batch: it is settled.
    pub(crate) fn finish(&mut self, number: u64, tally: Tally) {
        let Some(batch) = self.batch(number) else { return };
        batch.stage = Stage::Done;
        batch.records = 0;
        self.tally.add(tally);
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.stage == Stage::Done) {
            self.first += 1;
            for (partition, assignment, end) in batch.ends {
                if let Some(owned) = self.owned.get_mut(&partition).filter(|owned| owned.assignment == assignment) {
                    owned.done = Some(end);
                }
            }
        }
    }

    fn batch(&mut self, number: u64) -> Option<&mut Pending> {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok())?;
        self.batches.get_mut(place)
    }

    /// Batches that are on their way.
    pub(crate) fn under_way(&self) -> usize {
        self.batches.iter().filter(|batch| batch.stage == Stage::Sent).count()
    }

    /// Batches from the first one on that is not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.batches.len()
    }

    /// Records that are not settled.
    pub(crate) fn in_flight(&self) -> u64 {
        self.batches.iter().map(|batch| batch.records).sum()
    }

    /// When the oldest of them came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.batches.iter().find(|batch| batch.stage != Stage::Done).map(|batch| batch.since)
    }

    /// Positions that moved since they were last committed; from here on they count as committed.
    pub(crate) fn due_commits(&mut self) -> Vec<(i32, i64)> {
        let mut moved = Vec::new();
        for (partition, owned) in &mut self.owned {
            if let Some(done) = owned.done.filter(|_| owned.done != owned.committed) {
                owned.committed = owned.done;
                moved.push((*partition, done));
            }
        }
        moved
    }

    /// A commit failed: they are due again.
    pub(crate) fn not_committed(&mut self, partitions: impl Iterator<Item = i32>) {
        for partition in partitions {
            if let Some(owned) = self.owned.get_mut(&partition) {
                owned.committed = None;
            }
        }
    }

    /// Partitions of which it isn't known yet where they end.
    pub(crate) fn without_target(&self) -> Vec<i32> {
        self.owned.iter().filter(|(_, owned)| owned.target.is_none()).map(|(partition, _)| *partition).collect()
    }

    /// A partition is to be read to this offset.
    pub(crate) fn set_target(&mut self, partition: i32, target: i64) {
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.target.get_or_insert(target);
        }
    }

    /// A partition was read to its present end.
    pub(crate) fn reach_end(&mut self, partition: i32) {
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.target = Some(owned.next.unwrap_or_default());
        }
    }

    /// Whether every partition is read to where it ended.
    pub(crate) fn is_read(&self) -> bool {
        let read = |owned: &Owned| owned.target.is_some_and(|target| owned.next.unwrap_or_default() >= target);
        !self.owned.is_empty() && self.owned.values().all(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(ledger: &mut Ledger, ends: &[(i32, i64)]) -> u64 {
        ledger.begin(1, Instant::now(), &ends.iter().copied().collect())
    }

    #[test]
    fn a_position_waits_for_all_before_it() {
        let mut ledger = Ledger::default();
        ledger.assign([0, 1].into_iter());
        let first = begin(&mut ledger, &[(0, 10), (1, 5)]);
        let second = begin(&mut ledger, &[(0, 20)]);
        ledger.finish(second, Tally::default());
        assert_eq!(ledger.due_commits(), []);
        ledger.finish(first, Tally::default());
        assert_eq!(ledger.due_commits(), [(0, 20), (1, 5)]);
        assert_eq!(ledger.due_commits(), []);
        ledger.not_committed([1].into_iter());
        assert_eq!(ledger.due_commits(), [(1, 5)]);
    }

    #[test]
    fn what_was_read_under_an_earlier_assignment_moves_nothing() {
        let mut ledger = Ledger::default();
        ledger.assign([0].into_iter());
        let batch = begin(&mut ledger, &[(0, 10)]);
        ledger.revoke(0);
        ledger.assign([0].into_iter());
        ledger.finish(batch, Tally { created: 1, ..Tally::default() });
        assert_eq!(ledger.due_commits(), []);
        assert_eq!(ledger.tally.created, 1, "it was indexed all the same");
        let batch = begin(&mut ledger, &[(0, 4)]);
        ledger.finish(batch, Tally::default());
        assert_eq!(ledger.due_commits(), [(0, 4)]);
    }

    #[test]
    fn what_waits_is_in_nobody_s_way_and_holds_its_position() {
        let mut ledger = Ledger::default();
        ledger.assign([0].into_iter());
        let first = ledger.begin(10, Instant::now(), &[(0, 10)].into_iter().collect());
        ledger.wait(first, Tally { created: 7, rejected: 1, ..Tally::default() });
        assert_eq!((ledger.under_way(), ledger.in_flight(), ledger.tally.created), (0, 2, 7));
        let second = begin(&mut ledger, &[(0, 20)]);
        ledger.finish(second, Tally { created: 1, ..Tally::default() });
        assert_eq!((ledger.due_commits(), ledger.unsettled()), (vec![], 2));
        ledger.finish(first, Tally { rejected: 2, ..Tally::default() });
        assert_eq!((ledger.due_commits(), ledger.unsettled(), ledger.in_flight()), (vec![(0, 20)], 0, 0));
        assert_eq!(ledger.tally, Tally { created: 8, existing: 0, rejected: 3 });
    }

    #[test]
    fn gaps_are_noticed() {
        let mut ledger = Ledger::default();
        ledger.assign([0].into_iter());
        assert_eq!(ledger.pass(0, 5), Standing::First);
        assert_eq!(ledger.pass(0, 6), Standing::Due);
        assert_eq!(ledger.pass(0, 9), Standing::After(7));
    }

    #[test]
    fn read_to_the_end() {
        let mut ledger = Ledger::default();
        assert!(!ledger.is_read());
        ledger.assign([0, 1].into_iter());
        ledger.set_target(0, 2);
        ledger.set_target(1, 0);
        assert!(!ledger.is_read());
        ledger.pass(0, 1);
        assert!(ledger.is_read());
        ledger.set_target(0, 9);
        assert!(ledger.is_read(), "what came later is for the next run");
    }
}
