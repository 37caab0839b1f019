//! How far a rise has come, as the disk keeps it: written before each step that AWS can see.

use crate::args::Rung;
use crate::plan::Snapshot;
use serde::{Deserialize, Serialize};

/// The rise of a group's capacity by one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Raise {
    /// Nobody asked for it.
    Unwanted,
    /// To be asked of AWS.
    Due,
    /// Asked of AWS, or about to be, and not known to be granted.
    Asked(Request),
    /// Accepted by AWS; settled once there is a report of it.
    Raised {
        request: Request,
        /// By one exactly, by an instance that AWS named or that was seen in the group.
        certain: bool,
    },
    /// Not granted before the instance's end, or refused for good.
    Failed,
}

/// What was asked. It is kept, since AWS takes a token again only with the same words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) rung: Rung,
    pub(crate) group: String,
    pub(crate) zone: Option<String>,
    /// So many earlier requests may have been granted without our knowing.
    pub(crate) doubts: u32,
    /// The group's capacity before the first of them, if it was read.
    #[serde(default)]
    pub(crate) from: Option<i32>,
    /// The group just before this one, as far as it was read.
    #[serde(default)]
    pub(crate) before: Option<Snapshot>,
}

/// Whether there is an instance to show for a rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// LaunchInstances named it, or it was seen in the group.
    Seen,
    Unseen,
}

impl Raise {
    /// The state in which a new run finds what an earlier one wrote down: it may have died between request and reply.
    pub(crate) fn found(self) -> Self {
        match self {
            Self::Asked(request) => Self::Asked(Request { doubts: request.doubts.saturating_add(1), ..request }),
            other => other,
        }
    }

    /// The state to write down before a request leaves. One rung's doubts stay when another is tried, and `from` is the
    /// capacity before the first request.
    pub(crate) fn asking(
        &self,
        rung: Rung,
        group: &str,
        zone: Option<&str>,
        from: Option<i32>,
        before: Option<Snapshot>,
    ) -> Self {
        let (doubts, from) = match self {
            Self::Asked(request) => (request.doubts, request.from.or(from)),
            _ => (0, from),
        };
        Self::Asked(Request { rung, group: group.to_owned(), zone: zone.map(str::to_owned), doubts, from, before })
    }

    /// Whether a further request must not leave before a rise was looked for: one lost reply may cost an instance too many,
    /// a hundred of them must not cost a hundred. With it the capacity above which a rise shows.
    pub(crate) fn to_look_for(&self) -> Option<Option<i32>> {
        match self {
            Self::Asked(request) if request.rung == Rung::Policy && request.doubts >= 2 => Some(request.from),
            _ => None,
        }
    }

    /// The state after a reply that says yes, before the group was looked at.
    pub(crate) fn accepted(self) -> Self {
        match self {
            Self::Asked(request) => Self::Raised { certain: false, request },
            other => other,
        }
    }

    /// The state after the group showed that what was accepted added nothing.
    pub(crate) fn cut_off(self) -> Self {
        match self {
            Self::Raised { request, .. } => Self::Asked(request),
            other => other,
        }
    }

    /// The state after a request whose reply nobody knows.
    pub(crate) fn lost(self) -> Self {
        match self {
            Self::Asked(request) => Self::Asked(Request { doubts: request.doubts.saturating_add(1), ..request }),
            other => other,
        }
    }

    /// The state in which the rise is reported. AWS takes a token that it sees again for the same request, so that asking twice
    /// is asking once.
    pub(crate) fn granted(self, sight: Sight) -> Self {
        match self {
            Self::Asked(request) | Self::Raised { request, .. } => {
                let once = request.rung == Rung::Launch || request.doubts == 0;
                Self::Raised { certain: once && sight == Sight::Seen, request }
            }
            other => other,
        }
    }

    /// So many requests may have been granted without our knowing.
    pub(crate) fn doubts(&self) -> u32 {
        match self {
            Self::Asked(request) => request.doubts,
            _ => 0,
        }
    }
}
