//! Many runs of one kind, several at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Runs `work` for every number below `count`, `at_once` of them at a time: most of a run is waiting. The first one that
/// panics is the last one that begins.
///
/// # Panics
/// One of them did.
pub fn side_by_side(at_once: usize, count: u64, work: impl Fn(u64) + Sync) {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let _end = StopOnPanic(&stop);
                while !stop.load(Ordering::Relaxed) {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        number if number < count => work(number),
                        _ => return,
                    }
                }
            });
        }
    });
}

struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    #[test]
    fn each_number_comes_once() {
        let seen = Mutex::new(BTreeSet::new());
        side_by_side(4, 1_000, |number| assert!(seen.lock().expect("nobody panics").insert(number)));
        assert_eq!(seen.into_inner().expect("nobody panics"), (0..1_000).collect());
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_reaches_the_test() {
        side_by_side(4, 1_000, |number| assert_ne!(number, 7));
    }
}
