//! What stands between a request and its group: throttling, contention, and a group that is busy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::Refused;
use crate::seed::Seed;

#[derive(Default)]
pub(crate) struct Limits {
    pub bucket: Option<Bucket>,
    /// The share of calls that fail, and the seed that says which.
    pub contention: Option<(f64, Seed)>,
    groups: BTreeMap<String, Pace>,
}

/// A group's own limits.
#[derive(Default)]
struct Pace {
    busy_until: Option<Instant>,
    cooldown: Duration,
    resized: Option<Instant>,
}

impl Limits {
    pub fn set_busy(&mut self, group: &str, until: Instant) {
        self.pace(group).busy_until = Some(until);
    }

    pub fn set_cooldown(&mut self, group: &str, cooldown: Duration) {
        self.pace(group).cooldown = cooldown;
    }

    /// The group's desired capacity has changed.
    pub fn resized(&mut self, group: &str, at: Instant) {
        self.pace(group).resized = Some(at);
    }

    /// Every call has to pass this.
    pub fn admit(&mut self, now: Instant) -> Result<(), Refused> {
        let admitted = self.bucket.as_mut().is_none_or(|bucket| bucket.take(now));
        if admitted { Ok(()) } else { Err(Refused::new(400, "Throttling", "Rate exceeded")) }
    }

    /// Every call that changes something has to pass this too.
    pub fn admit_change(&self, number: u64, group: &str, now: Instant) -> Result<(), Refused> {
        if self.groups.get(group).and_then(|pace| pace.busy_until).is_some_and(|until| now < until) {
            return Err(in_progress(group));
        }
        // From the number and not from a running generator: what one call meets does not depend on how others raced.
        if let Some((share, seed)) = self.contention
            && seed.part(number).rng().random_bool(share)
        {
            let message = "You already have a pending update to an Amazon EC2 Auto Scaling resource.";
            return Err(Refused::new(500, "ResourceContention", message));
        }
        Ok(())
    }

    /// A call that honours the cooldown has to pass this too.
    pub fn cooled_down(&self, group: &str, now: Instant) -> Result<(), Refused> {
        let pace = self.groups.get(group);
        let cools = pace.is_some_and(|pace| pace.resized.is_some_and(|at| now < at + pace.cooldown));
        if cools { Err(in_progress(group)) } else { Ok(()) }
    }

    fn pace(&mut self, group: &str) -> &mut Pace {
        self.groups.entry(group.to_owned()).or_default()
    }
}

fn in_progress(group: &str) -> Refused {
    Refused::new(400, "ScalingActivityInProgress", format!("Scaling activity in progress for group {group}"))
}

/// A token bucket.
pub(crate) struct Bucket {
    burst: f64,
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub fn full(burst: f64, per_second: f64, now: Instant) -> Self {
        Self { burst, per_second, tokens: burst, at: now }
    }

    /// Takes one token if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = self.burst.min(self.tokens + waited * self.per_second);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_fills_with_time_and_a_refusal_takes_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::full(2.0, 0.5, start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(bucket.take(start) && bucket.take(start));
        assert!((0..100).all(|_| !bucket.take(after(1))));
        assert!(bucket.take(after(2)));
        assert!(!bucket.take(after(2)));
        assert!(bucket.take(after(1000)) && bucket.take(after(1000)) && !bucket.take(after(1000)));
    }

    #[test]
    fn contention_depends_on_the_number_alone() {
        let limits = Limits { contention: Some((0.5, Seed(7))), ..Limits::default() };
        let met = |number| limits.admit_change(number, "g", Instant::now()).is_err();
        let first: Vec<bool> = (1..100).map(met).collect();
        assert_eq!(first, (1..100).map(met).collect::<Vec<_>>());
        assert!(first.contains(&true) && first.contains(&false));
    }

    #[test]
    fn a_group_cools_down_after_a_change_only() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        limits.set_cooldown("g", Duration::from_secs(60));
        assert!(limits.cooled_down("g", now).is_ok());
        limits.resized("g", now);
        assert!(limits.cooled_down("g", now + Duration::from_secs(59)).is_err());
        assert!(limits.cooled_down("g", now + Duration::from_secs(60)).is_ok());
    }
}
