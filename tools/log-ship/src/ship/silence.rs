//! A broker that takes nothing: said once a minute, and the end of a run that was to end.

use super::{LONG_WAIT, SAY_EVERY, Ship};
use crate::sender::needs_a_person;
use failure::{Class, Failure};
use std::time::{Duration, Instant};

/// Default of `--timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Ship<'_> {
    /// Says, once a minute, that the broker takes nothing.
    pub(super) fn complain(&mut self) {
        let oldest = self.sender.oldest();
        if oldest < LONG_WAIT {
            if self.stalled.take().is_some() {
                self.console.warn("the broker takes lines again");
            }
            return;
        }
        if self.stalled.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            let why = self.sender.complaint().map(|(why, _)| format!(": {why}")).unwrap_or_default();
            let (lines, seconds) = (self.sender.waiting(), oldest.as_secs());
            self.console.warn(format!("unable to send {lines} lines, the oldest waits for {seconds} s{why}"));
            self.stalled = Some(Instant::now());
        }
    }

    /// How long the broker may be silent, or the disk fail, before a run ends that was to end.
    pub(super) fn timeout(&self) -> Duration {
        self.args.kafka.timeout.unwrap_or(TIMEOUT)
    }

    /// With `--once` a broker that is silent ends the run.
    pub(super) fn check_deadline(&mut self) -> Result<(), Failure> {
        let ends = self.args.once || (self.args.paths.is_empty() && self.args.kafka.timeout.is_some());
        let timeout = self.timeout();
        if ends && self.save_failed.is_some() && self.kept.elapsed() >= timeout {
            return Err(Failure::temporary("unable to save positions: what was sent since will be sent again"));
        }
        if !ends || self.progress.elapsed() < timeout {
            return Ok(());
        }
        self.save_now(self.reach());
        let what = format!("unable to send lines to topic {}", self.args.kafka.topic);
        if let Some(code) = self.refusal {
            let class = if needs_a_person(code) { Class::Permanent } else { Class::Temporary };
            return Err(Failure::new(class, format!("{what}: {code}")));
        }
        let (why, is_for_a_person) =
            self.sender.complaint().unwrap_or_else(|| ("the broker is silent".to_owned(), false));
        let class = if is_for_a_person { Class::Permanent } else { Class::Temporary };
        Err(Failure::new(class, format!("{what}: {why}")))
    }
}
