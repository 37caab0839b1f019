//! One flipped bit anywhere in an archive, a record or a pointer is noticed, and nothing changes.

use crate::harness::{Harness, plain, snapshot};
use rand::RngExt;
use std::fs;
use testkit::{Seed, figure};

/// Also the last newline of a record counts: what a flip makes of it is a control character, or one more digit.
#[test]
fn one_flipped_bit_is_always_refused() {
    let seed = Seed::from_env_or_random("one_flipped_bit_is_always_refused");
    let mut rng = seed.rng();
    let harness = Harness::with_first();
    let sealed = harness.publish(2, plain(2));
    let before = snapshot(&harness.into);
    let kinds = [
        (sealed.file.as_str(), "latest-stable"),
        (sealed.record_key.as_str(), "2"),
        ("latest-stable.txt", "latest-stable"),
    ];
    for round in 0..figure(200, 1_000) {
        let (name, release) = kinds[usize::try_from(round % 3).unwrap()];
        let path = harness.store.join(name);
        let good = fs::read(&path).unwrap();
        let (at, bit) = (rng.random_range(0..good.len()), rng.random_range(0..8));
        // The first rounds take the edges, where an off-by-one would hide.
        let at = match round {
            0..3 => 0,
            3..6 => good.len() - 1,
            _ => at,
        };
        let mut bad = good.clone();
        bad[at] ^= 1 << bit;
        fs::write(&path, bad).unwrap();
        let run = harness.fetch().args(["--release", release]).run();
        let run = run.fails_with(1).stderr_is_one_line().stdout_is("");
        assert!(run.stderr_str().contains(name), "{name} byte {at} bit {bit}\n{}", run.report());
        assert!(snapshot(&harness.into) == before, "{name} byte {at} bit {bit} changed the target\n{}", run.report());
        fs::write(&path, good).unwrap();
    }
    // What was refused was refused for the flips alone.
    let _run = harness.fetch().run().succeeds().stderr_is_empty();
    harness.assert_current(2);
}
