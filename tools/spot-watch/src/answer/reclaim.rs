//! What is to be done about one reclaim and what has been done, as a machine of few states. It is written down before each
//! step that the world can see, so that a run that dies anywhere leaves the next one enough to end right.

use crate::args::Rung;
use crate::metadata::aws_clock::AwsClock;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// AWS is late sometimes, but not by this.
const LONG_AGO: Duration = Duration::from_secs(600);

/// One reclaim of one start of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reclaim {
    /// Instance and start.
    pub(crate) id: String,
    /// What AWS said that it will do.
    pub(crate) action: String,
    /// When, as AWS said it first.
    pub(crate) time: String,
    pub(crate) raise: Raise,
    pub(crate) hook: Hook,
    /// The end of it has been told.
    pub(crate) done: bool,
    /// The webhook has been told of an end, if not of the last: a start that fails again does not tell it again.
    #[serde(default)]
    pub(crate) told: bool,
}

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
    /// Granted.
    Raised {
        request: Request,
        /// By one exactly.
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
}

/// The program that runs at a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hook {
    Unwanted,
    /// To be run, or run by somebody who died.
    Due,
    /// Run to its end, however that was.
    Ended,
}

/// What AWS made of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Granted,
    /// Certainly not done.
    Refused,
    /// Nobody knows.
    Lost,
}

impl Raise {
    /// The state in which a new run finds what an earlier one wrote down: it may have died between request and reply.
    pub(crate) fn found(self) -> Self {
        match self {
            Self::Asked(request) => Self::Asked(Request { doubts: request.doubts + 1, ..request }),
            other => other,
        }
    }

    /// The state to write down before a request leaves. One rung's doubts stay when another is tried, and `from` is the
    /// capacity before the first request.
    pub(crate) fn asking(&self, rung: Rung, group: &str, zone: Option<&str>, from: Option<i32>) -> Self {
        let (doubts, from) = match self {
            Self::Asked(request) => (request.doubts, request.from.or(from)),
            _ => (0, from),
        };
        Self::Asked(Request { rung, group: group.to_owned(), zone: zone.map(str::to_owned), doubts, from })
    }

    /// Whether a further request must not leave before a rise was looked for: one lost reply may cost an instance too many,
    /// a hundred of them must not cost a hundred. With it the capacity above which a rise shows.
    pub(crate) fn to_look_for(&self) -> Option<Option<i32>> {
        match self {
            Self::Asked(request) if request.rung == Rung::Policy && request.doubts >= 2 => Some(request.from),
            _ => None,
        }
    }

    /// The state after a rise was seen that no reply told of.
    pub(crate) fn seen(self) -> Self {
        match self {
            Self::Asked(request) => Self::Raised { certain: false, request },
            other => other,
        }
    }

    /// The state after the reply. `tokens_held` tells that AWS knows a token when it sees it again, so that asking twice is
    /// asking once.
    pub(crate) fn answered(self, reply: Reply, tokens_held: bool) -> Self {
        match (self, reply) {
            (Self::Asked(request), Reply::Granted) => {
                let once = request.rung == Rung::Launch && tokens_held;
                Self::Raised { certain: once || request.doubts == 0, request }
            }
            (Self::Asked(request), Reply::Lost) => Self::Asked(Request { doubts: request.doubts + 1, ..request }),
            (state, _) => state,
        }
    }

    /// So many requests may have been granted without our knowing.
    pub(crate) fn doubts(&self) -> u32 {
        match self {
            Self::Asked(request) => request.doubts,
            _ => 0,
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        !matches!(self, Self::Due | Self::Asked(_))
    }
}

impl Reclaim {
    /// What is due at a notice that is new.
    pub(crate) fn new(id: String, action: &str, time: &str, raises: bool, hooks: bool) -> Self {
        Self {
            id,
            action: action.to_owned(),
            time: time.to_owned(),
            raise: if raises { Raise::Due } else { Raise::Unwanted },
            hook: if hooks { Hook::Due } else { Hook::Unwanted },
            done: false,
            told: false,
        }
    }

    /// Whether AWS should have taken the instance long ago: what was left undone then has no sense any more.
    pub(crate) fn is_past(&self, clock: &AwsClock) -> bool {
        let end = self.time.parse().ok().map(|time: jiff::Timestamp| time + LONG_AGO);
        end.is_some_and(|end| end < clock.timestamp())
    }

    /// What is left to do of a reclaim that an earlier run began.
    pub(crate) fn found(self) -> Self {
        Self { raise: self.raise.found(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The world of one reclaim: what is on the disk, what the running process knows, and what AWS has done.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct World {
        disk: Option<Raise>,
        process: Option<(Raise, InFlight)>,
        risen: u32,
        token_seen: bool,
        crashes: u32,
        losses: u32,
        refusals: u32,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum InFlight {
        Nothing,
        /// Sent, and AWS has not done it.
        Refused,
        /// Sent, and AWS has done it.
        Granted,
    }

    #[derive(Clone, Copy)]
    struct Rules {
        rung: Rung,
        /// AWS remembers client tokens.
        honest: bool,
        /// The process writes down that it asks before it asks.
        careful: bool,
    }

    fn next(world: &World, rules: Rules) -> Vec<World> {
        let mut worlds = Vec::new();
        let Some((raise, in_flight)) = &world.process else {
            // A start: what is on the disk counts; else the notice is new, and the intent is written down first.
            let raise = world.disk.clone().map_or(Raise::Due, Raise::found);
            worlds.push(World {
                process: Some((raise.clone(), InFlight::Nothing)),
                disk: Some(raise),
                ..world.clone()
            });
            return worlds;
        };
        let with = |raise: &Raise, in_flight| Some((raise.clone(), in_flight));
        if world.crashes > 0 {
            worlds.push(World { process: None, crashes: world.crashes - 1, ..world.clone() });
        }
        match in_flight {
            InFlight::Nothing if raise.is_settled() => {
                worlds.push(World { disk: Some(raise.clone()), ..world.clone() });
            }
            InFlight::Nothing => {
                if raise.to_look_for().is_some() && world.risen > 0 {
                    worlds.push(World { process: with(&raise.clone().seen(), InFlight::Nothing), ..world.clone() });
                    return worlds;
                }
                let asked = raise.asking(rules.rung, "group", None, Some(0));
                let disk = if rules.careful { Some(asked.clone()) } else { world.disk.clone() };
                // Written and sent are two moments; a crash may come between.
                if disk != world.disk {
                    worlds.push(World { disk, process: with(&asked, InFlight::Nothing), ..world.clone() });
                    return worlds;
                }
                let again = rules.rung == Rung::Launch && rules.honest && world.token_seen;
                worlds.push(World {
                    process: with(&asked, InFlight::Granted),
                    risen: world.risen + u32::from(!again),
                    token_seen: true,
                    ..world.clone()
                });
                if world.refusals > 0 {
                    let refusals = world.refusals - 1;
                    worlds.push(World { process: with(&asked, InFlight::Refused), refusals, ..world.clone() });
                }
            }
            _ => {
                let reply = if *in_flight == InFlight::Granted { Reply::Granted } else { Reply::Refused };
                let replied = raise.clone().answered(reply, true);
                worlds.push(World { process: with(&replied, InFlight::Nothing), ..world.clone() });
                if world.losses > 0 {
                    let lost = raise.clone().answered(Reply::Lost, true);
                    let losses = world.losses - 1;
                    worlds.push(World { process: with(&lost, InFlight::Nothing), losses, ..world.clone() });
                }
            }
        }
        worlds
    }

    /// Every world that can be reached, and of the ends how far capacity had risen and whether that was said to be certain.
    fn explore(rules: Rules, crashes: u32, losses: u32) -> (usize, HashSet<(u32, bool, u32)>) {
        let first = World { disk: None, process: None, risen: 0, token_seen: false, crashes, losses, refusals: 2 };
        let (mut seen, mut open, mut ends) = (HashSet::from([first.clone()]), vec![first], HashSet::new());
        while let Some(world) = open.pop() {
            if let (Some(Raise::Raised { certain, request }), Some((process, _))) = (&world.disk, &world.process)
                && process.is_settled()
            {
                ends.insert((world.risen, *certain, request.doubts));
            }
            for next in next(&world, rules) {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        (seen.len(), ends)
    }

    #[test]
    fn a_launch_is_one_whatever_dies_or_is_lost() {
        let (worlds, ends) = explore(Rules { rung: Rung::Launch, honest: true, careful: true }, 4, 4);
        assert!(worlds > 500, "{worlds}");
        assert!(!ends.is_empty());
        assert!(ends.iter().all(|(risen, certain, _)| *risen == 1 && *certain), "{ends:?}");
    }

    #[test]
    fn a_policy_is_one_or_is_said_to_be_uncertain_and_is_never_none() {
        let (_, ends) = explore(Rules { rung: Rung::Policy, honest: true, careful: true }, 4, 4);
        assert!(ends.contains(&(1, true, 0)));
        for (risen, certain, doubts) in &ends {
            assert!(*risen >= 1 && *risen <= 2 && *risen <= 1 + doubts, "{risen} {certain} {doubts}");
            assert!(!certain || *risen == 1, "{risen} {certain}");
        }
    }

    #[test]
    fn the_exploration_finds_what_is_wrong() {
        let (_, lying) = explore(Rules { rung: Rung::Launch, honest: false, careful: true }, 1, 1);
        assert!(lying.iter().any(|(risen, certain, _)| *risen > 1 && *certain), "a server that ignores tokens");
        let (_, careless) = explore(Rules { rung: Rung::Policy, honest: true, careful: false }, 1, 0);
        assert!(careless.iter().any(|(risen, certain, _)| *risen > 1 && *certain), "asked before it is written down");
    }
}
