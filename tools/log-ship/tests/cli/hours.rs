//! Over the turn of an hour, on a faked clock: log-ship is killed on it, and what is sent again later keeps its hour.

use crate::harness::{Harness, account, append};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{Clock, Seed, wait_until};

const HOUR: i64 = 3_600_000;

#[test]
fn a_line_keeps_its_hour() {
    let seed = Seed::from_env_or_random("a_line_keeps_its_hour");
    let mut rng = seed.rng();
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "first\n");
    let clock = Clock::build(harness.dir.path());
    // Within what the broker keeps, and each start in another hour than the one before.
    let base = Clock::wall() / HOUR * HOUR - 18 * HOUR;
    let stop = AtomicBool::new(false);
    let mut written = vec!["first".to_owned()];
    for round in 0..8 {
        // Shortly before the turn of an hour; the next start finds the clock an hour on.
        let start = base + 2 * round * HOUR - 700;
        let mut running = clock.from(start, harness.tool()).args(["--stats", "10ms"]).arg(&path).start();
        let started = Instant::now();
        wait_until("log-ship's first counters", || {
            if running.stdout_so_far().is_empty() { Err("none".to_owned()) } else { Ok(()) }
        });
        stop.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut lines = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let line = |number: usize| format!("round {round} line {number} {}", "x".repeat(100));
                    let some: Vec<String> = (lines.len()..lines.len() + 50).map(line).collect();
                    append(&path, &(some.join("\n") + "\n"));
                    lines.extend(some);
                    thread::sleep(Duration::from_millis(1));
                }
                lines
            });
            let moment = Duration::from_millis(rng.random_range(650..1000));
            thread::sleep(moment.saturating_sub(started.elapsed()));
            running.kill();
            stop.store(true, Ordering::Relaxed);
            written.extend(writer.join().expect("the writer writes"));
        });
    }
    clock.from(base + 17 * HOUR, harness.tool()).arg("--once").arg(&path).run().succeeds();
    let shipped = harness.shipped();
    let found = account(&written, &shipped);
    assert!(found.lost.is_empty() && found.doubled.is_empty() && found.clashes == 0, "{seed:?}: {found:?}");
    let mut hours: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for one in &shipped {
        hours.entry(one.id.to_string()).or_default().insert(one.timestamp / HOUR - base / HOUR);
    }
    let strays: Vec<_> = hours.iter().filter(|(_, hours)| hours.len() > 1).collect();
    assert!(strays.is_empty(), "{} lines in two hours, {seed:?}: {:?}", strays.len(), strays.first());
    let all: BTreeSet<i64> = hours.values().flatten().copied().collect();
    assert!(found.resent > 0 && all.len() > 4, "the test shows nothing: {} sent again, hours {all:?}", found.resent);
    tell(&format!("{} lines, {} sent again after the hour had turned, hours {all:?}", written.len(), found.resent));
}

#[expect(clippy::print_stderr, reason = "figures that are told")]
fn tell(what: &str) {
    eprintln!("{what}");
}
