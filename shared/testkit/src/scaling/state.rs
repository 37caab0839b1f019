//! The groups and what happened to them, now and a while ago.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Refused, ScalingGroup};
use crate::fleet::query::Query;

/// What Auto Scaling knows.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub groups: BTreeMap<String, ScalingGroup>,
    /// The rises of desired capacities, oldest first.
    pub activities: Vec<Activity>,
    /// How many instances were launched.
    pub launched: u64,
}

#[derive(Clone)]
pub(crate) struct Activity {
    pub group: String,
    pub cause: String,
    pub description: String,
    pub at: Timestamp,
}

impl State {
    /// The group that a request names.
    pub fn group(&mut self, query: &Query) -> Result<&mut ScalingGroup, Refused> {
        let name = query.get("AutoScalingGroupName").unwrap_or_default();
        let missing =
            || Refused::invalid(format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"));
        self.groups.get_mut(name).ok_or_else(missing)
    }

    /// Starts so many instances of the request's group in a zone, and names them.
    pub fn start(&mut self, query: &Query, zone: &str, count: u64) -> Result<Vec<String>, Refused> {
        let first = self.launched;
        let group = self.group(query)?;
        let ids: Vec<String> = (1..=count).map(|number| format!("i-0a{:015x}", first + number)).collect();
        group.members.extend(ids.iter().map(|id| (id.clone(), zone.to_owned(), "Pending".to_owned())));
        self.launched += count;
        Ok(ids)
    }

    /// Tells of a change of the desired capacity if it is a rise; a fall ends no instance in this model.
    pub fn tell(&mut self, group: &str, why: &str, action: &str, before: i64, after: i64) {
        if after <= before {
            return;
        }
        let at = Timestamp::now();
        self.activities.push(Activity {
            group: group.to_owned(),
            cause: format!(
                "At {at:.0} a user request {why} ({action}) changing the desired capacity from {before} to {after}. \
                 At {at:.0} an instance was started in response to a difference between desired and actual capacity, \
                 increasing the capacity from {before} to {after}."
            ),
            description: format!("Launching {} EC2 instance(s)", after - before),
            at,
        });
    }
}

/// Earlier states, kept as long as they can still be told.
#[derive(Default)]
pub(crate) struct Past {
    lag: Duration,
    states: VecDeque<(Instant, State)>,
}

impl Past {
    /// From now on tells the state of `lag` ago; of the time before now it tells the state of now.
    pub fn set_lag(&mut self, lag: Duration, present: &State, now: Instant) {
        self.lag = lag;
        if lag.is_zero() {
            self.states.clear();
        } else if self.states.is_empty() {
            self.states.push_back((now, present.clone()));
        }
    }

    /// The state has changed.
    pub fn record(&mut self, present: &State, now: Instant) {
        if self.lag.is_zero() {
            return;
        }
        self.states.push_back((now, present.clone()));
        while self.states.get(1).is_some_and(|(at, _)| *at + self.lag <= now) {
            self.states.pop_front();
        }
    }

    pub fn told<'s>(&'s self, present: &'s State, now: Instant) -> &'s State {
        let settled = self.states.iter().rev().find(|(at, _)| *at + self.lag <= now);
        settled.or(self.states.front()).map_or(present, |(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_told_until_the_lag_is_over() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (mut past, mut state) = (Past::default(), State::default());
        past.set_lag(Duration::from_secs(10), &state, start);
        for seconds in [1, 2, 3] {
            state.launched = seconds;
            past.record(&state, after(seconds));
        }
        let told = |past: &Past, seconds| past.told(&state, after(seconds)).launched;
        assert_eq!([3, 10, 11, 12, 13, 99].map(|seconds| told(&past, seconds)), [0, 0, 1, 2, 3, 3]);
        past.record(&state, after(99));
        assert_eq!(past.states.len(), 2);
        past.set_lag(Duration::ZERO, &state, after(99));
        assert_eq!(told(&past, 99), 3);
    }
}
