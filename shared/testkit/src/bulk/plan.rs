//! What goes wrong with `_bulk` requests, and when.

use std::time::Duration;

use rand::RngExt;

use super::BulkItem;
use crate::seed::Seed;

/// What can be done to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkFault {
    /// 429 for the items at these places, from 0. They are left out of what the server gets.
    RefuseAt(Vec<usize>),
    /// The same for every item with this chance, and for one at least.
    RefuseSome {
        /// How many of a hundred.
        percent: u8,
        /// Says which.
        seed: u64,
    },
    /// The whole request is answered with this status, 429 or 503; the server gets nothing.
    Busy {
        /// The status.
        status: u16,
        /// Seconds, as the answer's Retry-After.
        retry_after: Option<u64>,
    },
    /// The server gets everything; the client's connection is reset instead of an answer.
    LostReply,
    /// The server gets everything; the connection closes in the middle of the answer, which is shorter than it says.
    Truncated,
    /// The server gets everything; the answer waits this long, or for [`super::BulkProxy::release`].
    Stall(Duration),
    /// The server gets everything; the answer waits for [`super::BulkProxy::release`].
    Hold,
    /// Every item is answered as created, and the server gets nothing: what a checker has to find.
    Lie,
}

impl BulkFault {
    /// Whether the item at each of `count` places is refused.
    pub(crate) fn refused(&self, count: usize) -> Vec<bool> {
        match self {
            Self::RefuseAt(places) => (0..count).map(|place| places.contains(&place)).collect(),
            Self::RefuseSome { percent, seed } => {
                let mut rng = Seed(*seed).rng();
                let mut refused: Vec<bool> =
                    (0..count).map(|_| rng.random_bool(f64::from(*percent).min(100.0) / 100.0)).collect();
                if count > 0 && !refused.contains(&true) {
                    refused[rng.random_range(0..count)] = true;
                }
                refused
            }
            _ => vec![false; count],
        }
    }
}

/// Which requests fail, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkPlan {
    /// None do.
    None,
    /// Each one may, with any fault but a lie and a hold. The draw depends on the seed and the request's number alone.
    Random {
        /// The same seed gives the same draws.
        seed: u64,
        /// How many of a hundred requests fail.
        percent: u8,
        /// How long a stall takes.
        stall: Duration,
    },
    /// Each one does, like this.
    Always(BulkFault),
    /// Each one that holds a document with this id, or with one that begins with it and a slash, does, like this.
    With(String, BulkFault),
}

impl BulkPlan {
    pub(crate) fn fault(&self, number: u64, items: &[BulkItem]) -> Option<BulkFault> {
        let (seed, percent, stall) = match self {
            Self::None => return None,
            Self::Always(fault) => return Some(fault.clone()),
            Self::With(id, fault) => {
                let is_it = |rest: &str| rest.is_empty() || rest.starts_with('/');
                return items.iter().any(|item| item.id.strip_prefix(id).is_some_and(is_it)).then(|| fault.clone());
            }
            Self::Random { seed, percent, stall } => (*seed, *percent, *stall),
        };
        // From the number and not from a running generator: what one request meets does not depend on how others raced.
        let mut rng = Seed(seed).part(number).rng();
        if rng.random_range(0..100) >= percent {
            return None;
        }
        Some(match rng.random_range(0..5) {
            0 => BulkFault::RefuseSome { percent: rng.random_range(1..=90), seed: rng.random() },
            1 => BulkFault::Busy {
                status: if rng.random() { 429 } else { 503 },
                retry_after: rng.random::<bool>().then_some(1),
            },
            2 => BulkFault::LostReply,
            3 => BulkFault::Truncated,
            _ => BulkFault::Stall(stall),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn draws_can_be_replayed_and_meet_everything() {
        let stall = Duration::from_secs(7);
        let draw = |seed, percent| -> Vec<Option<BulkFault>> {
            let plan = BulkPlan::Random { seed, percent, stall };
            (1..=400).map(|number| plan.fault(number, &[])).collect()
        };
        assert_eq!(draw(3, 50), draw(3, 50));
        assert_ne!(draw(3, 50), draw(4, 50));
        assert!(draw(3, 0).iter().all(Option::is_none));
        let all = draw(3, 100);
        assert!(all.iter().all(Option::is_some));
        let hit = draw(3, 50).iter().flatten().count();
        assert!((150..250).contains(&hit), "{hit} of 400");
        for one in [
            BulkFault::LostReply,
            BulkFault::Truncated,
            BulkFault::Stall(stall),
            BulkFault::Busy { status: 429, retry_after: None },
            BulkFault::Busy { status: 429, retry_after: Some(1) },
            BulkFault::Busy { status: 503, retry_after: None },
            BulkFault::Busy { status: 503, retry_after: Some(1) },
        ] {
            assert!(all.contains(&Some(one.clone())), "{one:?}");
        }
        let shares: BTreeSet<u8> = all
            .iter()
            .filter_map(
                |fault| if let Some(BulkFault::RefuseSome { percent, .. }) = fault { Some(*percent) } else { None },
            )
            .collect();
        assert!(shares.len() > 20, "{shares:?}");
    }

    #[test]
    fn one_item_at_least_is_refused() {
        let refused = |percent, count| BulkFault::RefuseSome { percent, seed: 5 }.refused(count);
        for count in 1..50 {
            assert_eq!(refused(0, count).iter().filter(|one| **one).count(), 1);
            assert_eq!(refused(100, count), vec![true; count]);
            assert_eq!(refused(40, count), refused(40, count));
        }
        assert!(refused(100, 0).is_empty());
        assert_eq!(BulkFault::RefuseAt(vec![0, 2, 9]).refused(3), [true, false, true]);
        assert_eq!(BulkFault::Truncated.refused(2), [false, false]);
    }
}
