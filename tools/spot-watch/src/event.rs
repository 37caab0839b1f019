//! Events: one JSON object a line, as event.schema.json has it.

use crate::answer::hook;
use crate::answer::webhook::Delivery;
use crate::capacity::outcome::Outcome;
use crate::metadata::imds::Reason;
use crate::plan::Size;
use serde::Serialize;

/// What an event is about, beside the fields that all have.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Event<'a> {
    Ready(Ready<'a>),
    Notice { action: &'a str, action_time: &'a str, group: Option<&'a str>, resumed: bool },
    Rebalance { notice_time: &'a str },
    Lifecycle(Lifecycle<'a>),
    Capacity(&'a Outcome),
    Hook(&'a hook::Outcome),
    Notify(&'a Delivery),
    Degraded { reason: Reason, detail: &'a str, missed: u64 },
    Recovered { missed: u64, lasted_ms: u64 },
    Done(Done<'a>),
}

/// What is watched and what a notice will lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Ready<'a> {
    pub(crate) life_cycle: Option<&'a str>,
    pub(crate) lifecycle_state: Option<&'a str>,
    /// The instance's own group.
    pub(crate) group: Option<&'a str>,
    /// The group that gets the capacity.
    pub(crate) target: Option<&'a str>,
    /// The ways to raise it, in the order in which they are tried.
    pub(crate) rungs: Vec<crate::args::Rung>,
    pub(crate) size: Option<Size>,
    pub(crate) watching: Vec<&'static str>,
    pub(crate) interval_ms: u64,
    pub(crate) dry_run: bool,
    pub(crate) warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
}

/// A change of the state that the instance's own group wants it in, or the answer to the end of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lifecycle<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<&'a str>,
    pub(crate) to: &'a str,
    /// Lifecycle hooks of the group that were told to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completed: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
}

/// All of one reclaim: what the mail to the team needs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Done<'a> {
    pub(crate) action: &'a str,
    pub(crate) action_time: &'a str,
    pub(crate) group: Option<&'a str>,
    pub(crate) capacity: Option<&'a Outcome>,
    /// The raised group's figures afterwards, if they could be read.
    pub(crate) after: Option<Size>,
    pub(crate) hook: Option<&'a hook::Outcome>,
    pub(crate) elapsed_ms: u64,
}

/// The fields that all events have, around one's own.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    event: &'static str,
    instance_id: Option<&'a str>,
    time: String,
    notice_id: Option<&'a str>,
    deadline_ms: Option<u64>,
    #[serde(flatten)]
    own: &'a Event<'a>,
}

/// The reclaim that an event belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) notice_id: &'a str,
    /// How long the instance is there still, milliseconds.
    pub(crate) deadline_ms: u64,
}

impl Event<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::Notice { .. } => "notice",
            Self::Rebalance { .. } => "rebalance",
            Self::Lifecycle(_) => "lifecycle",
            Self::Capacity(_) => "capacity",
            Self::Hook(_) => "hook",
            Self::Notify(_) => "notify",
            Self::Degraded { .. } => "degraded",
            Self::Recovered { .. } => "recovered",
            Self::Done(_) => "done",
        }
    }

    /// The event as a line with its end.
    pub(crate) fn line(&self, instance_id: Option<&str>, time: jiff::Timestamp, about: Option<About<'_>>) -> Vec<u8> {
        let line = Line {
            schema: 1,
            event: self.name(),
            instance_id,
            time: time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            notice_id: about.map(|about| about.notice_id),
            deadline_ms: about.map(|about| about.deadline_ms),
            own: self,
        };
        // These types have no map with other keys than text, which is all that could fail.
        let text = serde_json::to_string(&line).unwrap_or_default();
        let mut safe = String::with_capacity(text.len() + 1);
        for c in text.chars() {
            // JSON lets some of these stand as they are.
            if failure::is_obeyed(c) { safe.push_str(&format!("\\u{:04x}", u32::from(c))) } else { safe.push(c) }
        }
        safe.push('\n');
        safe.into_bytes()
    }
}
