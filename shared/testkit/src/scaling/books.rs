//! Everything that a request may read or change, and the earlier states that stale readers see.

use std::time::Instant;

use super::Refused;
use super::limits::Limits;
use super::state::{Past, State};
use super::tokens::Tokens;
use crate::fleet::query::Query;

/// Everything that a request may read or change; behind one lock, so that two requests never see half of a third.
#[derive(Default)]
pub(crate) struct Books {
    pub state: State,
    pub past: Past,
    pub limits: Limits,
    pub tokens: Tokens,
}

/// A request that was not refused.
pub(crate) struct Done {
    /// The content of the action's result.
    pub result: String,
    /// It was carried out now: not only told, and not told again.
    pub committed: bool,
}

impl Done {
    pub fn now(result: String) -> Self {
        Self { result, committed: true }
    }
}

impl Books {
    /// The state has changed.
    pub fn changed(&mut self, now: Instant) {
        self.past.record(&self.state, now);
    }

    /// Gives the request's group its sizes, for this reason, and the instances that a rise needs.
    pub fn resize(&mut self, query: &Query, now: Instant, why: &str, sizes: (i64, i64, i64)) -> Result<(), Refused> {
        let group = self.state.group(query)?;
        let (first, count) = (group.zones.first().cloned().unwrap_or_default(), group.starts(group.desired, sizes.1));
        let _ids = self.state.start(query, &first, count)?;
        self.move_sizes(query, now, why, sizes)
    }

    /// The same for a request that starts its instances itself.
    pub fn move_sizes(
        &mut self,
        query: &Query,
        now: Instant,
        why: &str,
        (min, desired, max): (i64, i64, i64),
    ) -> Result<(), Refused> {
        let group = self.state.group(query)?;
        let name = group.name.clone();
        let before = group.resize(min, desired, max);
        if before != desired {
            self.limits.resized(&name, now);
        }
        self.state.tell(&name, why, query.action(), before, desired);
        Ok(())
    }
}
