//! Waiting on a state instead of sleeping: looked at often, limited generously, and a failure says what was last seen.
#![expect(clippy::panic, reason = "a state that never comes is a failed test")]

use std::thread;
use std::time::{Duration, Instant};

/// Calls `look` until it answers `Ok`, and panics with its last `Err` once `limit` has passed.
/// The pause between two looks grows from 1 ms to 20 ms, so quick states are seen quickly and slow ones cost little.
pub fn wait_until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
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
        let seen = wait_until("the third look", Duration::from_secs(60), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        });
        assert_eq!(seen, 3);
    }

    #[test]
    #[should_panic(expected = "for the impossible; last status: still not")]
    fn says_the_last_status_at_the_limit() {
        wait_until("the impossible", Duration::from_millis(30), || Err::<(), _>("still not".to_owned()));
    }
}
