//! The time as AWS has it, learnt from the metadata service: requests are signed with it and deadlines are counted by it,
//! so a wall clock that is wrong or jumps costs nothing.

use aws_smithy_async::time::TimeSource;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A clock that is the machine's own until AWS has told a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwsClock {
    told: Arc<Mutex<Option<(Instant, SystemTime)>>>,
}

impl AwsClock {
    /// Takes the time of an answer's `Date` header. That is told in whole seconds, so a clock that is less than one ahead of
    /// it is right as it is.
    pub(crate) fn learn(&self, date: &str) {
        let Ok(zoned) = jiff::fmt::rfc2822::parse(date) else { return };
        let told = SystemTime::from(zoned.timestamp());
        if self.now().duration_since(told).is_ok_and(|ahead| ahead < Duration::from_secs(1)) {
            return;
        }
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), told));
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp::try_from(self.now()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// How long it is until `at`; nothing for what is past.
    pub(crate) fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.timestamp())).unwrap_or_default()
    }
}

impl TimeSource for AwsClock {
    fn now(&self) -> SystemTime {
        match *self.told.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((seen, told)) => told + seen.elapsed(),
            None => SystemTime::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_tells_counts_and_garbage_does_not() {
        let clock = AwsClock::default();
        clock.learn("yesterday");
        assert!(clock.until(Timestamp::now() + Duration::from_secs(60)) > Duration::from_secs(50));
        clock.learn("Tue, 24 Nov 2026 09:00:00 GMT");
        let at: Timestamp = "2026-11-24T09:02:00Z".parse().unwrap();
        let left = clock.until(at);
        assert!(left > Duration::from_secs(100) && left <= Duration::from_secs(120), "{left:?}");
        assert_eq!(clock.until("2026-11-24T08:00:00Z".parse().unwrap()), Duration::ZERO);
    }

    #[test]
    fn almost_a_date() {
        testkit::comes_to_an_end("almost_a_date", &[b"Fri, 23 Jan 2026 11:20:02 GMT"], |bytes| {
            let clock = AwsClock::default();
            clock.learn(&String::from_utf8_lossy(bytes));
            let _left = clock.until(clock.timestamp());
        });
    }
}
