//! In which hour lines were first read: a line that is sent again keeps it, so that it goes into the same index.

use serde::{Deserialize, Serialize};

const HOUR: i64 = 3_600_000;

/// From which offset of a file on lines were first read in which hour (since 1970).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hours(Vec<(u64, i64)>);

impl Hours {
    /// Whether lines that are first read `now` need a mark. Times are in milliseconds since 1970.
    pub(crate) fn must_mark(&self, now: i64) -> bool {
        self.0.last().is_none_or(|(_, hour)| *hour != now / HOUR)
    }

    /// From `offset` on, lines are first read `now`.
    pub(crate) fn mark(&mut self, offset: u64, now: i64) {
        self.0.push((offset, now / HOUR));
    }

    /// When the line at `offset`, which may have been sent before, was first read: `now`, if its hour is not over.
    pub(crate) fn of(&self, offset: u64, now: i64) -> i64 {
        let mark = self.0.iter().rev().find(|(at, _)| *at <= offset);
        mark.map_or(now, |(_, hour)| now.clamp(hour * HOUR, hour * HOUR + HOUR - 1))
    }

    /// Forgets the hours of lines that won't be sent again: those before `acked`.
    pub(crate) fn forget(&mut self, acked: u64) {
        let first = self.0.iter().rposition(|(at, _)| *at <= acked).unwrap_or(0);
        self.0.drain(..first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that an earlier run may have sent keeps the hour in which it was first read.
    #[test]
    fn hours_are_kept() {
        let hours = Hours(vec![(0, 10), (200, 20)]);
        let now = 30 * HOUR + 5;
        assert_eq!(hours.of(100, now), 11 * HOUR - 1);
        assert_eq!(hours.of(200, now), 21 * HOUR - 1);
        assert_eq!(hours.of(299, now), 21 * HOUR - 1);
        assert_eq!(hours.of(200, 20 * HOUR + 7), 20 * HOUR + 7, "within the hour, the time itself");
        assert_eq!(hours.of(200, 19 * HOUR), 20 * HOUR, "a clock that went back");
        assert_eq!(Hours::default().of(200, now), now);
    }

    #[test]
    fn an_hour_is_marked_before_its_first_line() {
        let mut hours = Hours::default();
        assert!(hours.must_mark(10 * HOUR));
        hours.mark(300, 10 * HOUR);
        assert!(!hours.must_mark(10 * HOUR + 9));
        assert!(hours.must_mark(11 * HOUR));
    }

    #[test]
    fn what_won_t_be_sent_again_is_forgotten() {
        let mut hours = Hours(vec![(0, 10), (50, 11), (200, 20)]);
        hours.forget(100);
        assert_eq!(hours, Hours(vec![(50, 11), (200, 20)]));
    }
}
