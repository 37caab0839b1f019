//! What came of a rise, as the event `capacity` tells it and the disk keeps it.

use crate::args::Rung;
use crate::capacity::state::{Raise, Request};
use crate::plan::{Plan, Size};
use failure::{Class, Failure};
use serde::{Deserialize, Serialize};

/// The fields of the event `capacity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) outcome: Verdict,
    pub(crate) group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rung: Option<Rung>,
    /// Whether it rose by one exactly, and the instance was named or seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certain: Option<bool>,
    /// By how many it can have risen at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<u32>,
    /// Requests for the rise itself, by this run.
    pub(crate) attempts: u32,
    pub(crate) elapsed_ms: u64,
    /// Instances that AWS named at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) instances: Vec<String>,
    /// The last figures read before the rise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// How a failure counts in the exit code.
    #[serde(skip)]
    pub(crate) class: Option<Class>,
}

/// How a rise ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Raised,
    Failed,
    DryRun,
}

impl Outcome {
    /// What would be asked of AWS.
    pub(crate) fn dry_run(plan: &Plan) -> Option<Self> {
        let target = plan.target.as_ref()?;
        let rung = target.rungs.first().copied();
        Some(Self { rung, ..Self::of(Verdict::DryRun, &target.group, Some(target.now.size)) })
    }

    /// A rise that was granted, as certain as `certain` says.
    pub(crate) fn raised(request: &Request, certain: bool) -> Self {
        let before = request.before.map(|before| before.size);
        Self {
            rung: Some(request.rung),
            certain: Some(certain),
            at_most: Some(if certain { 1 } else { request.doubts + 1 }),
            ..Self::of(Verdict::Raised, &request.group, before)
        }
    }

    /// A failure, after which some of what was asked may have been granted all the same.
    pub(crate) fn failed(group: &str, before: Option<Size>, failure: &Failure, raise: &Raise) -> Self {
        let doubts = raise.doubts();
        Self {
            error: Some(failure.to_string()),
            class: Some(failure.class().unwrap_or(Class::Temporary)),
            certain: (doubts > 0).then_some(false),
            at_most: (doubts > 0).then_some(doubts),
            ..Self::of(Verdict::Failed, group, before)
        }
    }

    fn of(outcome: Verdict, group: &str, before: Option<Size>) -> Self {
        Self {
            outcome,
            group: group.to_owned(),
            rung: None,
            certain: None,
            at_most: None,
            attempts: 0,
            elapsed_ms: 0,
            instances: Vec::new(),
            before,
            error: None,
            note: None,
            class: None,
        }
    }
}
