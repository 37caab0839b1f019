//! Whether the instance metadata can be read: two edges, however many polls lie between them.

use crate::metadata::imds::{Miss, Reason};
use std::time::{Duration, Instant};

/// So many polls in a row go wrong before it is told.
const TOLD_AFTER: u64 = 3;

/// What one poll changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Degraded { reason: Reason, detail: String, missed: u64 },
    Recovered { missed: u64, lasted: Duration },
}

/// The polls since the last good one.
#[derive(Debug, Default)]
pub(crate) struct Health {
    missed: u64,
    since: Option<Instant>,
    degraded: bool,
}

impl Health {
    /// A poll that did not get every item it asked for.
    pub(crate) fn missed(&mut self, miss: &Miss, now: Instant) -> Option<Edge> {
        self.missed += 1;
        self.since.get_or_insert(now);
        // A refusal is an answer: there is nothing to wait for.
        let told = !self.degraded && (self.missed >= TOLD_AFTER || miss.reason == Reason::Denied);
        told.then(|| {
            self.degraded = true;
            Edge::Degraded { reason: miss.reason, detail: miss.detail.clone(), missed: self.missed }
        })
    }

    pub(crate) fn good(&mut self, now: Instant) -> Option<Edge> {
        let before = std::mem::take(self);
        let lasted = before.since.map_or(Duration::ZERO, |since| now.duration_since(since));
        before.degraded.then_some(Edge::Recovered { missed: before.missed, lasted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(reason: Reason) -> Miss {
        Miss { reason, detail: "GET x: HTTP 503".to_owned() }
    }

    #[test]
    fn each_edge_is_told_once() {
        let (mut health, now) = (Health::default(), Instant::now());
        let edges: Vec<bool> = (0..10).map(|_| health.missed(&miss(Reason::Timeout), now).is_some()).collect();
        assert_eq!(edges.iter().position(|told| *told), Some(2));
        assert_eq!(edges.iter().filter(|told| **told).count(), 1);
        let lasted = Duration::from_secs(7);
        assert_eq!(health.good(now + lasted), Some(Edge::Recovered { missed: 10, lasted }));
        assert_eq!(health.good(now), None);
    }

    #[test]
    fn a_refusal_is_told_at_once_and_two_misses_never() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(health.missed(&miss(Reason::Denied), now).is_some());
        let mut health = Health::default();
        assert!(health.missed(&miss(Reason::Timeout), now).is_none());
        assert!(health.missed(&miss(Reason::Timeout), now).is_none());
        assert_eq!(health.good(now), None);
    }
}
