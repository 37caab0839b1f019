//! How far the answer to a notice has come, on the disk before the world can see it.

use crate::answer::hook;
use crate::answer::reclaim::{self, Reclaim, Report};
use crate::args::Rung;
use crate::capacity::outcome::Outcome;
use crate::capacity::state::Raise;
use crate::plan::{Snapshot, Target};
use crate::records::{Record, Records};
use cli::Console;
use failure::Failure;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The state of a reclaim while several things go on, written down at each step.
pub(crate) struct Progress {
    reclaim: Mutex<Reclaim>,
    records: Records,
    console: Console,
    unwritten: AtomicBool,
}

impl Progress {
    pub(crate) fn new(reclaim: Reclaim, records: Records, console: Console) -> Self {
        Self { reclaim: Mutex::new(reclaim), records, console, unwritten: AtomicBool::new(false) }
    }

    /// Writes the intent down, with the request that will be made first where the plan is there: one write on a slow disk
    /// is better than two.
    pub(crate) async fn begin(&self, first: Option<&Target>) {
        let reclaim = {
            let mut reclaim = self.reclaim.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Raise::Due, Some(target)) = (&reclaim.raise, first)
                && let Some(rung) = target.rungs.first()
            {
                let zone = target.zone.as_deref().filter(|_| *rung == Rung::Launch);
                reclaim.raise = reclaim.raise.asking(*rung, &target.group, zone, None, Some(target.now));
            }
            reclaim.clone()
        };
        self.records.answer(&reclaim.id);
        self.write(&reclaim).await;
    }

    pub(crate) fn raise(&self) -> Raise {
        self.now().raise
    }

    /// Before a request for the rise leaves.
    pub(crate) async fn asking(
        &self,
        rung: Rung,
        group: &str,
        zone: Option<&str>,
        from: Option<i32>,
        before: Snapshot,
    ) {
        self.change(|reclaim| reclaim.raise = reclaim.raise.asking(rung, group, zone, from, Some(before))).await;
        if self.unwritten.load(Ordering::Relaxed) || !self.records.know_the_past() {
            // Whoever ran before may have asked as well, and could not leave word of it.
            let mut reclaim = self.reclaim.lock().unwrap_or_else(PoisonError::into_inner);
            if let Raise::Asked(request) = &mut reclaim.raise {
                request.doubts = request.doubts.max(1);
            }
        }
    }

    /// AWS has said yes; what it did is not known yet.
    pub(crate) async fn accepted(&self) {
        self.change_raise(Raise::accepted).await;
    }

    /// What AWS had said yes to has added nothing.
    pub(crate) async fn cut_off(&self) {
        self.change_raise(Raise::cut_off).await;
    }

    /// Nobody knows what AWS did.
    pub(crate) async fn lost(&self) {
        self.change_raise(Raise::lost).await;
    }

    async fn change_raise(&self, change: impl FnOnce(Raise) -> Raise) {
        self.change(|reclaim| {
            let raise = std::mem::replace(&mut reclaim.raise, Raise::Failed);
            reclaim.raise = change(raise);
        })
        .await;
    }

    /// The rise is settled, and what came of it is to be told: both in one write.
    pub(crate) async fn conclude(&self, raise: Raise, outcome: Outcome) {
        self.change(|reclaim| {
            reclaim.raise = raise;
            reclaim.capacity = Some(Report::untold(outcome));
        })
        .await;
    }

    /// The program has ended, and what came of it is to be told.
    pub(crate) async fn ended(&self, outcome: hook::Outcome) {
        self.change(|reclaim| {
            reclaim.hook = reclaim::Hook::Ended;
            reclaim.program = Some(Report::untold(outcome));
        })
        .await;
    }

    /// Says why the same is asked once more.
    pub(crate) fn told_again(&self, failure: &Failure) {
        self.console.step(format!("asking again: {failure}"));
    }

    pub(crate) fn now(&self) -> Reclaim {
        self.reclaim.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state and writes it down, unless it was so before.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Reclaim)) {
        let changed = {
            let mut reclaim = self.reclaim.lock().unwrap_or_else(PoisonError::into_inner);
            let before = reclaim.clone();
            change(&mut reclaim);
            (before != *reclaim).then(|| reclaim.clone())
        };
        if let Some(reclaim) = changed {
            self.write(&reclaim).await;
        }
    }

    /// A disk that takes nothing must not cost an instance: told once, and the work goes on.
    async fn write(&self, reclaim: &Reclaim) {
        if let Err(failure) = self.records.save(Record::Reclaim, reclaim).await
            && !self.unwritten.swap(true, Ordering::Relaxed)
        {
            self.console.warn(format!("{failure}; capacity is raised all the same"));
        }
    }
}
