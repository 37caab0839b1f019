//! Input of a parser that is almost right, many times: whatever the parser makes of it, it comes to an end.

use crate::{Seed, figure, side_by_side};
use nix::time::{ClockId, clock_gettime};
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// What one input may take of a processor, however it is made.
const LONGEST: Duration = Duration::from_secs(1);
/// What is put in besides random bytes: ends, quotes, signs, numbers at their limits, text of other scripts.
const PIECES: [&[u8]; 16] = [
    b"\n",
    b"\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"=",
    b",",
    b"/",
    b"..",
    b"-1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"1e999",
    "\u{202e}é".as_bytes(),
    b"\xff\xfe",
    b"VERSION=",
];

/// Parses 10^5 inputs (10^7 in the long form), each one of `samples` with a few things wrong. `name` is that of the seed.
///
/// # Panics
/// The parser panics, or computes for longer than a second.
pub fn comes_to_an_end(name: &str, samples: &[&[u8]], parse: impl Fn(&[u8]) + Sync) {
    let seed = Seed::from_env_or_random(name);
    let (parts, runs) = (figure(10, 1000), 10_000);
    side_by_side(2, parts, |part| {
        let mut rng = seed.part(part).rng();
        for run in 0..runs {
            let sample = samples[rng.random_range(0..samples.len())];
            let input = spoilt(&mut rng, sample);
            let before = computed();
            parse(&input);
            let took = computed() - before;
            assert!(took < LONGEST, "{seed:?}, part {part}, run {run}: {took:?} for {input:?}");
        }
    });
}

/// The sample with a few things wrong.
fn spoilt(rng: &mut StdRng, sample: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..rng.random_range(1..=6) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..40)).min(bytes.len());
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, PIECES[rng.random_range(0..PIECES.len())].iter().copied())),
            3 => {
                let again = bytes[at..end].repeat(rng.random_range(1..20));
                drop(bytes.splice(at..at, again));
            }
            4 => bytes.truncate(at),
            _ => bytes[at..end].fill_with(|| rng.random()),
        }
    }
    bytes
}

/// What this thread has computed.
fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}
