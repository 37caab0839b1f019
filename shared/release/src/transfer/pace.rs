//! How much of an archive is asked for at once, and when an answer counts as late: by what the answers so far took.

use std::time::Duration;

/// Bytes in a unit of memory and of time per length.
pub(super) const UNIT: u64 = 1 << 20;
/// Units of a range where answers begin at once: fewer requests for the same bytes.
const NEAR_UNITS: u64 = 4;
/// Units of a range where each answer is waited for: memory is for ranges that are coming, and more of them fit.
const FAR_UNITS: u64 = 2;
/// A store that takes longer to begin an answer is far.
const NEAR: Duration = Duration::from_millis(15);
/// Answers that shall be coming in at any time, besides those that have not begun.
const COMING: u32 = 6;
/// Requests under way at most.
const AT_MOST: usize = 64;
/// Answers that say enough about the next.
const ENOUGH: u64 = 2;
/// An answer is never late before. Where everything is faster, a second request costs more than it brings.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// One more request for each so many answers, besides a few: a store or link that slows down as a whole must not get more
/// to do.
const ANSWERS_PER_REPEAT: u64 = 8;
const FREE_REPEATS: u64 = 2;

/// What the answers so far took.
#[derive(Debug)]
pub(super) struct Pace {
    /// Units of the next range.
    units: u64,
    first_byte: Estimate,
    transfer: Estimate,
    whole: Estimate,
    answers: u64,
    repeats: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        let none = Estimate::default();
        Self { units: FAR_UNITS, first_byte: none, transfer: none, whole: none, answers: 0, repeats: 0 }
    }

    /// Length of the next range in bytes.
    pub(super) fn length(&self) -> u64 {
        self.units * UNIT
    }

    /// Requests that shall be under way.
    pub(super) fn window(&self) -> usize {
        if self.transfer.samples < ENOUGH {
            return COMING as usize;
        }
        let waiting = self.first_byte.mean / self.transfer.mean.max(f64::EPSILON);
        let window = (f64::from(COMING) * (1.0 + waiting)).ceil();
        (window as usize).min(AT_MOST)
    }

    /// An answer of `length` bytes came: it began after `first_byte`, and its bytes took `transfer`.
    pub(super) fn came(&mut self, length: u64, first_byte: Duration, transfer: Duration) {
        self.answers += 1;
        if length != self.length() {
            return; // the archive's last range, or one asked for before the length changed
        }
        self.first_byte.sample(first_byte);
        self.transfer.sample(transfer);
        self.whole.sample(first_byte + transfer);
        let near = self.first_byte.mean < NEAR.as_secs_f64();
        let units = if near { NEAR_UNITS } else { FAR_UNITS };
        if self.transfer.samples >= ENOUGH && units != self.units {
            // What is late is known all the time: also of those that are still under way.
            self.whole = self.whole.times(units as f64 / self.units as f64);
            self.units = units;
            (self.first_byte, self.transfer) = Default::default();
        }
    }

    /// How long an answer is waited for before it is asked for once more; `None` while too little is known.
    pub(super) fn patience(&self) -> Option<Duration> {
        let Estimate { mean, deviation, samples } = self.whole;
        let patience = Duration::from_secs_f64((mean + 4.0 * deviation).max(2.0 * mean));
        (samples >= ENOUGH).then_some(patience.max(LEAST_PATIENCE))
    }

    /// Whether a late answer may be asked for once more; counts it.
    pub(super) fn may_repeat(&mut self) -> bool {
        let may = self.repeats < FREE_REPEATS + self.answers / ANSWERS_PER_REPEAT;
        self.repeats += u64::from(may);
        may
    }
}

/// A mean and a mean deviation that follow what is measured, as TCP's of its round trips do (RFC 6298). In seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    mean: f64,
    deviation: f64,
    samples: u64,
}

impl Estimate {
    fn times(self, factor: f64) -> Self {
        Self { mean: self.mean * factor, deviation: self.deviation * factor, ..self }
    }

    fn sample(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        if self.samples == 0 {
            (self.mean, self.deviation) = (took, took / 2.0);
        } else {
            self.deviation += ((self.mean - took).abs() - self.deviation) / 4.0;
            self.mean += (took - self.mean) / 8.0;
        }
        self.samples += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The pace after `answers`, each of the length that was due.
    fn after(answers: u32, first_byte: Duration, per_unit: Duration) -> Pace {
        let mut pace = Pace::new();
        for _ in 0..answers {
            let units = u32::try_from(pace.length() / UNIT).unwrap();
            pace.came(pace.length(), first_byte, per_unit * units);
        }
        pace
    }

    #[test]
    fn more_is_asked_for_at_once_the_longer_answers_take_to_begin() {
        for (first_byte, units, window) in [(1, 4, 7..=7), (30, 2, 14..=14), (100, 2, 31..=31), (5000, 2, 64..=64)] {
            let pace = after(40, first_byte * MS, 12 * MS);
            assert_eq!(pace.length(), units * UNIT, "{first_byte} ms");
            assert!(window.contains(&pace.window()), "{first_byte} ms: {}", pace.window());
        }
    }

    #[test]
    fn a_slow_link_gets_no_more_at_once() {
        assert_eq!(after(40, 30 * MS, 5000 * MS).window(), 7);
    }

    #[test]
    fn an_answer_is_late_by_what_others_took() {
        assert_eq!(Pace::new().patience(), None);
        assert_eq!(after(40, MS, MS).patience(), Some(LEAST_PATIENCE));
        let patience = after(40, 100 * MS, 450 * MS).patience().unwrap();
        assert!((2000 * MS..2100 * MS).contains(&patience), "{patience:?}");
    }

    #[test]
    fn what_is_late_is_known_when_the_length_changes() {
        let pace = after(ENOUGH as u32, MS, 100 * MS);
        assert_eq!((pace.length(), pace.window()), (NEAR_UNITS * UNIT, COMING as usize));
        assert!(pace.patience().is_some_and(|patience| patience > 400 * MS));
    }

    #[test]
    fn a_store_that_slows_down_gets_few_requests_more() {
        let mut pace = after(80, 100 * MS, 12 * MS);
        let repeats = (0..1000).filter(|_| pace.may_repeat()).count();
        assert_eq!(repeats, 12);
    }

    #[test]
    fn a_store_may_come_nearer_and_go_away() {
        let mut pace = after(40, MS, 12 * MS);
        for (first_byte, units) in [(100, 2), (1, 4), (100, 2)] {
            for _ in 0..60 {
                pace.came(pace.length(), first_byte * MS, 12 * MS);
            }
            assert_eq!(pace.length(), units * UNIT);
        }
    }
}
