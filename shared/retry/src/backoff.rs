//! Pauses that grow and that no two processes share.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Pauses between tries of one thing. Full jitter: each is drawn between zero and a ceiling, which doubles up to a longest, so
/// that a herd that was refused together does not come back together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    ceiling: Duration,
    /// The part of the ceiling that no pause is below.
    least: f64,
    rng: StdRng,
}

impl Backoff {
    /// The ceiling starts at `first` and ends at `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self::seeded(first, longest, rand::random())
    }

    /// The same, with pauses that follow from `seed` alone.
    #[must_use]
    pub fn seeded(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, ceiling: first.min(longest), least: 0.0, rng: StdRng::seed_from_u64(seed) }
    }

    /// The same, but each pause is at least half of its ceiling: for what is looked at again and again anyway, where a look at
    /// once would show nothing new.
    #[must_use]
    pub fn at_least_half(self) -> Self {
        Self { least: 0.5, ..self }
    }

    /// The pause before the next try.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let pause = self.ceiling.mul_f64(self.rng.random_range(self.least..1.0));
        self.ceiling = self.ceiling.saturating_mul(2).min(self.longest);
        pause
    }

    /// The pause before the next try, unless it would outlast the time that is `left`.
    #[must_use]
    pub fn pause_within(&mut self, left: Duration) -> Option<Duration> {
        Some(self.pause()).filter(|pause| *pause < left)
    }

    /// Starts over, after a try that was a success.
    pub fn reset(&mut self) {
        self.ceiling = self.first.min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(1);

    #[test]
    fn the_ceiling_doubles_and_ends_at_the_longest() {
        for (number, ceiling) in [100, 200, 400, 800, 1000, 1000].into_iter().enumerate() {
            let longest_seen = (0..2_000).map(|seed| {
                let mut backoff = Backoff::seeded(FIRST, LONGEST, seed);
                for _ in 0..number {
                    let _pause = backoff.pause();
                }
                backoff.pause()
            });
            let longest_seen = longest_seen.max().expect("there are seeds");
            let ceiling = Duration::from_millis(ceiling);
            assert!(longest_seen <= ceiling && longest_seen > ceiling.mul_f64(0.98), "{number}: {longest_seen:?}");
        }
    }

    #[test]
    fn pauses_are_spread_down_to_zero() {
        let mut pauses: Vec<_> = (0..1_000).map(|seed| Backoff::seeded(LONGEST, LONGEST, seed).pause()).collect();
        pauses.sort();
        for (tenth, pauses) in (0..).zip(pauses.chunks(100)) {
            let middle = LONGEST.mul_f64(0.05 + 0.1 * f64::from(tenth));
            assert!(pauses[50].abs_diff(middle) < LONGEST.mul_f64(0.05), "{tenth}: {:?}", pauses[50]);
        }
    }

    #[test]
    fn pauses_of_at_least_half() {
        let pauses = (0..1_000).map(|seed| Backoff::seeded(LONGEST, LONGEST, seed).at_least_half().pause());
        let (shortest, longest) = pauses.fold((LONGEST, FIRST), |(low, high), pause| (low.min(pause), high.max(pause)));
        assert!(shortest >= LONGEST / 2 && shortest < LONGEST.mul_f64(0.52), "{shortest:?}");
        assert!(longest > LONGEST.mul_f64(0.98) && longest <= LONGEST, "{longest:?}");
    }

    #[test]
    fn no_pause_outlasts_what_is_left() {
        for seed in 0..1_000 {
            let pause = Backoff::seeded(FIRST, LONGEST, seed).pause_within(FIRST / 2);
            assert!(pause.is_none_or(|pause| pause < FIRST / 2));
        }
        assert_eq!(Backoff::new(FIRST, LONGEST).pause_within(Duration::ZERO), None);
    }

    #[test]
    fn a_success_starts_over() {
        let mut backoff = Backoff::seeded(FIRST, LONGEST, 1);
        for _ in 0..9 {
            let _pause = backoff.pause();
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }

    #[test]
    fn nothing_overflows() {
        let mut backoff = Backoff::new(Duration::MAX / 2, Duration::MAX / 2);
        for _ in 0..9 {
            let _pause = backoff.pause();
        }
    }
}
