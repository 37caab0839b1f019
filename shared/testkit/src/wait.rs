//! Waiting on a state instead of sleeping: looked at often, limited generously, and a failure says what was last seen.
#![expect(clippy::panic, reason = "a state that never comes is a failed test")]

use std::thread;
use std::time::{Duration, Instant};

/// How long anything in a test may take before it counts as hanging: far above what a loaded machine needs, downloads
/// included, so that only what never comes meets it.
pub const LIMIT: Duration = Duration::from_secs(900);

/// Calls `look` until it answers `Ok`, and panics with its last `Err` once [`LIMIT`] has passed.
/// The pause between two looks grows from 1 ms to 20 ms, so quick states are seen quickly and slow ones cost little.
pub fn wait_until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    wait_within(LIMIT, what, look)
}

fn wait_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let status = match look() {
            Ok(value) => return value,
            Err(status) => status,
        };
        if started.elapsed() >= limit {
            panic!("waited {:.1} s for {what}; last status: {status}", started.elapsed().as_secs_f64());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_soon_as_the_state_is_there() {
        let mut looks = 0;
        let seen = wait_until("the third look", || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        });
        assert_eq!(seen, 3);
    }

    #[test]
    #[should_panic(expected = "for the impossible; last status: still not")]
    fn says_the_last_status_at_the_limit() {
        wait_within(Duration::from_millis(30), "the impossible", || Err::<(), _>("still not".to_owned()));
    }
}
