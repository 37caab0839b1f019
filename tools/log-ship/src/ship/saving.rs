//! Positions to the disk: when they are due, and when the work ends.

use super::{BEAT, SAVE, SAY_EVERY, Ship};
use crate::positions::Memory;
use crate::source::{Cover, Source, Standing};
use crate::spool;
use durable::Version;
use failure::Failure;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// What waits for the broker when a signal comes has this long.
const GRACE: Duration = Duration::from_secs(5);

/// Positions that are being saved.
pub(super) struct Saving {
    /// What the lines take that they cover.
    unsaved: usize,
    /// The positions, by source.
    acked: Vec<(u32, u64)>,
}

impl Ship<'_> {
    pub(super) fn may_save(&self) -> bool {
        self.saving.is_none() && (self.save_failed.is_none() || self.saved.elapsed() >= SAVE)
    }

    pub(super) fn save_if_due(&mut self) {
        let due = self.unsaved >= self.window / 4 || self.saved.elapsed() >= SAVE;
        if self.changed && due && self.may_save() {
            self.save(self.reach());
        }
    }

    /// So much may be acknowledged without being saved: a save is under way long before.
    pub(super) fn unsaved_limit(&self) -> usize {
        self.window / 2
    }

    /// How far behind what is saved lines can be sent until the next time.
    pub(super) fn reach(&self) -> u64 {
        self.window.saturating_add(self.unsaved_limit()) as u64
    }

    /// Begins to save all positions; `reach` is what may be sent until the next time.
    pub(super) fn save(&mut self, reach: u64) {
        let known = self.follow.sources.values().map(|source| source.remembered(reach));
        let files = known.chain(self.follow.unseen.iter().cloned()).chain(self.follow.away.iter().cloned()).collect();
        let (since, topic) = (self.follow.since, Some(self.args.kafka.topic.clone()));
        let cluster = self.cluster.id().map(str::to_owned);
        self.positions.save(Memory { version: Version, since, topic, cluster, files });
        let mut acked = Vec::with_capacity(self.follow.sources.len());
        for (key, source) in &mut self.follow.sources {
            acked.push((*key, source.memory.acked));
            if source.cover == Cover::None {
                source.cover = Cover::Underway;
            }
        }
        self.saving = Some(Saving { unsaved: self.unsaved, acked });
        self.changed = false;
        self.saved = Instant::now();
    }

    /// Saves all positions and waits until they are on disk, or can't be.
    pub(super) fn save_now(&mut self, reach: u64) {
        if self.saving.is_some() {
            let outcome = self.positions.wait();
            self.settle_saved(outcome);
        }
        self.save(reach);
        let outcome = self.positions.wait();
        self.settle_saved(outcome);
    }

    /// Takes what became of the positions that are being saved.
    pub(super) fn take_saved(&mut self) {
        if self.saving.is_some()
            && let Some(outcome) = self.positions.outcome()
        {
            self.settle_saved(outcome);
        }
    }

    fn settle_saved(&mut self, outcome: Result<(), Failure>) {
        let Some(saving) = self.saving.take() else { return };
        let failed = outcome.is_err();
        self.follow.sources.values_mut().filter(|source| source.cover == Cover::Underway).for_each(|source| {
            source.cover = if failed { Cover::None } else { Cover::Saved };
        });
        if let Err(failure) = outcome {
            self.changed = true;
            if self.save_failed.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                self.console.warn(format!("{failure}: lines go on, a restart would send them again"));
                self.save_failed = Some(Instant::now());
            }
            return;
        }
        if self.save_failed.take().is_some() {
            self.console.warn("positions are saved again");
        }
        self.kept = Instant::now();
        self.unsaved -= saving.unsaved;
        for (key, acked) in saving.acked {
            let Some(source) = self.follow.sources.get_mut(&key) else { continue };
            source.known = true;
            // It may have gone back since, to the end of a copy.
            source.memory.hours.forget(acked.min(source.memory.acked));
            if let Some((stream, spool)) = &mut self.spool
                && *stream == key
            {
                spool.release(acked);
            }
        }
    }

    /// Everything is acknowledged: the positions are saved once more, and streams are removed.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.meet_cluster()?;
        for source in self.follow.sources.values().filter(|source| source.standing != Standing::Stream) {
            let left = source.size.saturating_sub(source.read);
            if left > 0 && source.file.is_some() {
                let place = source.memory.place.display();
                self.console
                    .warn(format!("the last {left} bytes of {place} have no newline yet: left for the next run"));
            }
        }
        let over: Vec<u32> = self.follow.sources.values().filter(|source| source.is_over()).map(Source::key).collect();
        // With the streams: what is remembered of them is what tells a run after a kill that nothing of them is left to send.
        self.save_now(0);
        // A disk that fails has as long as a broker that is silent.
        while self.save_failed.is_some() && self.kept.elapsed() < self.timeout() && self.watch.signal().is_none() {
            self.watch.wait(SAVE);
            if self.may_save() {
                self.save_now(0);
            }
        }
        if self.save_failed.is_some() {
            return Err(Failure::temporary("unable to save positions: what was sent will be sent again"));
        }
        let mut broken = None;
        for source in over.iter().filter_map(|key| self.follow.sources.remove(key)).collect::<Vec<_>>() {
            let stream = source.stream.as_ref();
            broken = stream.and_then(|s| s.broken.lock().unwrap_or_else(PoisonError::into_inner).take()).or(broken);
            spool::remove(self.positions.spool(), source.memory.id);
        }
        // What came before is shipped. What should have come is not known.
        let broken = broken.map(|error| Failure::io("unable to read stdin", error));
        match (self.damage.failure(), broken) {
            (None, None) => Ok(()),
            (None, Some(failure)) | (Some(failure), None) => Err(failure),
            (Some(damage), Some(broken)) => {
                self.console.warn(broken);
                Err(damage)
            }
        }
    }

    /// A signal came: what is under way gets a little time, then positions are saved.
    ///
    /// # Errors
    /// It was another cluster that took it.
    pub(super) fn leave(&mut self) -> Result<(), Failure> {
        let limit = Instant::now() + GRACE;
        while self.sender.waiting() > 0 && Instant::now() < limit {
            self.settle(BEAT);
        }
        self.know_cluster()?;
        self.save_now(0);
        Ok(())
    }
}
