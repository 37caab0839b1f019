//! Randomness that can be replayed: every random test prints its seed and takes it back from `TEST_SEED`.
#![expect(clippy::print_stderr, reason = "the seed of a failing test must reach whoever reads its output")]

use std::env;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The one number a random test is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// Takes the seed from `TEST_SEED`, or draws one, and prints `seed NAME=N` to stderr so that a failure can be replayed.
    pub fn from_env_or_random(name: &str) -> Self {
        let seed = match env::var("TEST_SEED") {
            Ok(text) => Self(text.parse().expect("TEST_SEED is a whole number")),
            Err(_) => Self(rand::random()),
        };
        eprintln!("seed {name}={}", seed.0);
        seed
    }

    /// Starts a generator; the same seed always gives the same numbers.
    pub fn rng(self) -> StdRng {
        StdRng::seed_from_u64(self.0)
    }

    /// Derives the seed of one of several independent parts (a thread, a round) of the same test.
    pub fn part(self, number: u64) -> Self {
        Self(self.0 ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed: Seed| -> [u64; 4] { seed.rng().random() };
        assert_eq!(draw(Seed(7)), draw(Seed(7)));
        assert_ne!(draw(Seed(7)), draw(Seed(8)));
        assert_ne!(draw(Seed(7).part(0)), draw(Seed(7).part(1)));
    }
}
