//! What is to be done about one reclaim and what has been done, as a machine of few states. It is written down before each
//! step that the world can see, so that a run that dies anywhere leaves the next one enough to end right.

use crate::answer::hook;
use crate::capacity::outcome::Outcome;
use crate::capacity::state::Raise;
use crate::metadata::aws_clock::AwsClock;
use durable::Version;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// AWS is late sometimes, but not by this.
const LONG_AGO: Duration = Duration::from_secs(600);

/// One reclaim of one start of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reclaim {
    #[serde(default)]
    pub(crate) version: Version<1>,
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
    /// The webhook has, or keeps, an end, if not the last: a start that fails again does not tell it again.
    #[serde(default)]
    pub(crate) told: bool,
    /// The webhook has, or keeps, the beginning.
    #[serde(default)]
    pub(crate) noticed: bool,
    /// What came of the rise, once `raise` is settled.
    #[serde(default)]
    pub(crate) capacity: Option<Report<Outcome>>,
    /// What came of the program, once it has ended.
    #[serde(default)]
    pub(crate) program: Option<Report<hook::Outcome>>,
}

/// What an event tells, kept until stdout has it: a run that dies before leaves it to the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report<T> {
    pub(crate) outcome: T,
    pub(crate) told: bool,
}

impl<T> Report<T> {
    pub(crate) fn untold(outcome: T) -> Self {
        Self { outcome, told: false }
    }
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

impl Reclaim {
    /// What is due at a notice that is new.
    pub(crate) fn new(id: String, action: &str, time: &str, raises: bool, hooks: bool) -> Self {
        Self {
            version: Version,
            id,
            action: action.to_owned(),
            time: time.to_owned(),
            raise: if raises { Raise::Due } else { Raise::Unwanted },
            hook: if hooks { Hook::Due } else { Hook::Unwanted },
            done: false,
            told: false,
            noticed: false,
            capacity: None,
            program: None,
        }
    }

    /// Whether AWS should have taken the instance long ago: what was left undone then has no sense any more.
    pub(crate) fn is_past(&self, clock: &AwsClock) -> bool {
        let end = self.time.parse().ok().and_then(|time: jiff::Timestamp| time.checked_add(LONG_AGO).ok());
        end.is_some_and(|end| end < clock.timestamp())
    }

    /// Whether there is nothing left to do, though perhaps to tell.
    pub(crate) fn is_through(&self) -> bool {
        self.is_settled() && self.hook != Hook::Due
    }

    /// Whether all is known of the rise: a request that was accepted is not enough, before the group was looked at.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.raise {
            Raise::Unwanted => true,
            Raise::Due | Raise::Asked(_) => false,
            Raise::Raised { .. } | Raise::Failed => self.capacity.is_some(),
        }
    }

    /// What is left to do of a reclaim that an earlier run began.
    pub(crate) fn found(self) -> Self {
        Self { raise: self.raise.found(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Rung;
    use crate::capacity::outcome::Verdict;
    use crate::capacity::state::Sight;
    use crate::plan::Size;
    use crate::plan::Snapshot;
    use failure::Failure;
    use std::collections::HashSet;

    /// The world of one reclaim: what is on the disk, what the running process knows, what AWS has done, and what was told.
    #[derive(Clone, Debug)]
    struct World {
        disk: Option<Reclaim>,
        process: Option<(Reclaim, Phase)>,
        /// By this reclaim.
        risen: i32,
        /// By others of the herd, who may take so many places still.
        others: i32,
        herd: i32,
        token_seen: bool,
        crashes: u32,
        losses: u32,
        refusals: u32,
        told: Vec<Outcome>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Phase {
        Idle,
        /// Written down, and about to be sent.
        Asking,
        /// Sent, and AWS has done it or not.
        Sent {
            done: bool,
        },
        /// Answered with yes: the group is looked at.
        Accepted,
        /// stdout has the event.
        Told,
        /// Refused for good, which the next start tries again.
        Over,
    }

    #[derive(Clone, Copy)]
    struct Rules {
        rung: Rung,
        /// AWS remembers client tokens.
        honest: bool,
        /// The process writes down that it asks before it asks.
        careful: bool,
        /// The group's maximum; its capacity is 0 at first.
        max: i32,
    }

    impl World {
        fn new(crashes: u32, losses: u32, herd: i32) -> Self {
            Self {
                disk: None,
                process: None,
                risen: 0,
                others: 0,
                herd,
                token_seen: false,
                crashes,
                losses,
                refusals: 2,
                told: Vec::new(),
            }
        }

        fn desired(&self) -> i32 {
            self.risen + self.others
        }

        fn is_full(&self, rules: Rules) -> bool {
            self.desired() >= rules.max
        }

        fn snapshot(&self, rules: Rules) -> Snapshot {
            let desired = self.desired();
            Snapshot { size: Size { desired, min: 0, max: rules.max }, instances: desired }
        }

        fn at(&self, reclaim: &Reclaim, phase: Phase) -> Self {
            Self { process: Some((reclaim.clone(), phase)), ..self.clone() }
        }

        /// The rise is settled with what came of it.
        fn concluded(&self, reclaim: &Reclaim, sight: Sight) -> Self {
            let raise = reclaim.raise.clone().granted(sight);
            let Raise::Raised { request, certain } = &raise else { panic!("{raise:?} is no rise") };
            let capacity = Some(Report::untold(Outcome::raised(request, *certain)));
            self.at(&Reclaim { raise, capacity, ..reclaim.clone() }, Phase::Idle)
        }

        fn raising(&self, reclaim: &Reclaim, raise: Raise, phase: Phase) -> Self {
            self.at(&Reclaim { raise, ..reclaim.clone() }, phase)
        }
    }

    fn next(world: &World, rules: Rules) -> Vec<World> {
        let mut worlds = Vec::new();
        let Some((reclaim, phase)) = &world.process else {
            // A start: what is on the disk counts; else the notice is new.
            let new = || Reclaim::new("i-1".to_owned(), "terminate", "", true, false);
            let reclaim = world.disk.clone().map_or_else(new, Reclaim::found);
            return vec![world.at(&reclaim, Phase::Idle)];
        };
        if world.crashes > 0 {
            worlds.push(World { process: None, crashes: world.crashes - 1, ..world.clone() });
        }
        if world.herd > 0 && !world.is_full(rules) {
            worlds.push(World { others: world.others + 1, herd: world.herd - 1, ..world.clone() });
        }
        // Written and done are two moments; a crash may come between.
        let due = rules.careful || reclaim.is_settled() || world.disk.is_none();
        if due && world.disk.as_ref() != Some(reclaim) {
            worlds.push(World { disk: Some(reclaim.clone()), ..world.clone() });
            return worlds;
        }
        match phase {
            Phase::Idle => match (&reclaim.capacity, &reclaim.raise) {
                (Some(report), _) if !report.told => {
                    let mut told = world.at(reclaim, Phase::Told);
                    told.told.push(report.outcome.clone());
                    worlds.push(told);
                }
                (Some(_), _) if !reclaim.done => {
                    worlds.push(world.at(&Reclaim { done: true, ..reclaim.clone() }, Phase::Idle));
                }
                (Some(_), _) => {}
                (None, Raise::Raised { .. }) => worlds.push(world.at(reclaim, Phase::Accepted)),
                (None, raise) => {
                    let seen = raise.to_look_for().is_some_and(|from| world.desired() > from.unwrap_or(0));
                    let known = rules.rung == Rung::Launch && world.token_seen;
                    if seen {
                        worlds.push(world.concluded(reclaim, Sight::Unseen));
                    } else if world.is_full(rules) && !known {
                        let full = Failure::permanent("it is at its maximum");
                        let mut over = world.at(reclaim, Phase::Over);
                        over.told.push(Outcome::failed("group", None, &full, raise));
                        worlds.push(over);
                    } else {
                        let from = Some(world.desired());
                        let asked = raise.asking(rules.rung, "group", None, from, Some(world.snapshot(rules)));
                        worlds.push(world.raising(reclaim, asked, Phase::Asking));
                    }
                }
            },
            Phase::Asking => {
                let again = rules.rung == Rung::Launch && rules.honest && world.token_seen;
                let full = world.is_full(rules);
                if rules.rung == Rung::Policy || again || !full {
                    let risen = world.risen + i32::from(!again && !full);
                    let sent = world.at(reclaim, Phase::Sent { done: true });
                    worlds.push(World { risen, token_seen: true, ..sent });
                }
                if world.refusals > 0 || (full && rules.rung == Rung::Launch) {
                    let refusals = world.refusals.saturating_sub(1);
                    worlds.push(World { refusals, ..world.at(reclaim, Phase::Sent { done: false }) });
                }
            }
            Phase::Sent { done } => {
                worlds.push(match (done, rules.rung) {
                    (false, _) => world.at(reclaim, Phase::Idle),
                    (true, Rung::Launch) => world.concluded(reclaim, Sight::Seen),
                    (true, Rung::Policy) => world.raising(reclaim, reclaim.raise.clone().accepted(), Phase::Accepted),
                });
                if world.losses > 0 {
                    let lost = world.raising(reclaim, reclaim.raise.clone().lost(), Phase::Idle);
                    worlds.push(World { losses: world.losses - 1, ..lost });
                }
            }
            Phase::Accepted => {
                let Raise::Raised { request, .. } = &reclaim.raise else { panic!("{reclaim:?} was not accepted") };
                let before = request.before.unwrap();
                if !world.is_full(rules) {
                    let grown = world.snapshot(rules).has_grown_since(&before);
                    worlds.push(world.concluded(reclaim, if grown { Sight::Seen } else { Sight::Unseen }));
                    worlds.push(world.concluded(reclaim, Sight::Unseen));
                } else if world.desired() <= before.size.desired {
                    worlds.push(world.raising(reclaim, reclaim.raise.clone().cut_off(), Phase::Idle));
                } else {
                    worlds.push(world.concluded(reclaim, Sight::Unseen));
                }
            }
            Phase::Told => {
                let capacity = reclaim.capacity.clone().map(|report| Report { told: true, ..report });
                worlds.push(world.at(&Reclaim { capacity, ..reclaim.clone() }, Phase::Idle));
            }
            Phase::Over => {}
        }
        worlds
    }

    /// Every world that can be reached.
    fn explore(rules: Rules, first: World) -> Vec<World> {
        let (mut seen, mut open, mut all) = (HashSet::from([format!("{first:?}")]), vec![first], Vec::new());
        while let Some(world) = open.pop() {
            for next in next(&world, rules) {
                if seen.insert(format!("{next:?}")) {
                    open.push(next);
                }
            }
            all.push(world);
        }
        all
    }

    /// What is wrong with what was told last.
    fn lie(world: &World) -> Option<&'static str> {
        let last = world.told.last()?;
        let at_most = i32::try_from(last.at_most.unwrap_or(0)).unwrap();
        match last.outcome {
            Verdict::Raised if last.certain == Some(true) && world.risen != 1 => Some("certain, and not one"),
            Verdict::Raised if world.risen == 0 && world.others == 0 => Some("raised, and nobody has risen"),
            _ if world.risen > at_most => Some("more than it can be at most"),
            _ => None,
        }
    }

    /// Reclaims whose answer is at its end: all is written, told, and said to be done.
    fn ends(worlds: &[World]) -> impl Iterator<Item = &World> {
        worlds.iter().filter(|world| world.disk.as_ref().is_some_and(|reclaim| reclaim.done))
    }

    fn check(worlds: &[World], rung: Rung) {
        for world in worlds {
            // The request of a later start may be under way while an earlier one's failure was told last.
            let settled = world.process.as_ref().is_none_or(|(reclaim, _)| reclaim.is_settled());
            let lie = lie(world).filter(|_| settled && world.disk.as_ref().is_some_and(Reclaim::is_settled));
            assert_eq!(lie, None, "{world:?}");
            // Asked again after two lost answers only if nothing is seen, which a herd may hide.
            assert!(world.risen <= if rung == Rung::Launch { 1 } else { 2 }, "{world:?}");
        }
        assert!(ends(worlds).count() > 0);
        for world in ends(worlds) {
            let reclaim = world.disk.as_ref().unwrap();
            let kept = &reclaim.capacity.as_ref().unwrap().outcome;
            assert_eq!(world.told.last(), Some(kept), "what is on the disk was told: {world:?}");
            let Raise::Raised { certain, .. } = &reclaim.raise else { panic!("{world:?}") };
            assert_eq!(kept.certain, Some(*certain), "{world:?}");
        }
    }

    #[test]
    fn a_launch_is_one_whatever_dies_or_is_lost_and_is_told() {
        let rules = Rules { rung: Rung::Launch, honest: true, careful: true, max: 9 };
        let worlds = explore(rules, World::new(4, 4, 0));
        assert!(worlds.len() > 500, "{}", worlds.len());
        check(&worlds, Rung::Launch);
        assert!(
            ends(&worlds).all(|world| world.risen == 1 && world.told.iter().all(|told| told.certain == Some(true)))
        );
    }

    #[test]
    fn a_policy_is_one_or_is_said_to_be_uncertain_is_never_none_and_is_told() {
        let rules = Rules { rung: Rung::Policy, honest: true, careful: true, max: 9 };
        let worlds = explore(rules, World::new(3, 3, 0));
        println!("{} worlds", worlds.len());
        check(&worlds, Rung::Policy);
        assert!(ends(&worlds).any(|world| world.risen == 1 && world.told[0].certain == Some(true)));
        assert!(ends(&worlds).all(|world| world.risen >= 1));
    }

    /// Others of the herd take what room there is, at any moment.
    #[test]
    fn a_policy_of_a_group_that_others_fill_is_never_said_to_be_certain_without_a_rise() {
        for max in [1, 2] {
            let rules = Rules { rung: Rung::Policy, honest: true, careful: true, max };
            let worlds = explore(rules, World::new(2, 2, 2));
            println!("{} worlds", worlds.len());
            check(&worlds, Rung::Policy);
            let over = |world: &World| matches!(world.process, Some((_, Phase::Over)));
            for world in worlds.iter().filter(|world| over(world)) {
                let told = world.told.last().unwrap();
                assert_eq!(told.outcome, Verdict::Failed);
                assert!(world.risen <= i32::try_from(told.at_most.unwrap_or(0)).unwrap(), "{world:?}");
            }
            assert!(worlds.iter().any(|world| over(world) && world.risen == 0));
        }
    }

    #[test]
    fn the_exploration_finds_what_is_wrong() {
        let lying = Rules { rung: Rung::Launch, honest: false, careful: true, max: 9 };
        let lies = |worlds: &[World]| ends(worlds).filter_map(lie).count();
        assert!(lies(&explore(lying, World::new(1, 1, 0))) > 0, "a server that ignores tokens");
        let careless = Rules { rung: Rung::Policy, honest: true, careful: false, max: 9 };
        assert!(lies(&explore(careless, World::new(1, 0, 0))) > 0, "asked before it is written down");
    }

    /// What a version before reports were kept has written down.
    #[test]
    fn an_older_state_is_read() {
        let text = r#"{"id":"i-1/20261124T080000Z","action":"terminate","time":"2026-11-24T08:00:00Z","raise":{"state":"raised",
            "request":{"rung":"policy","group":"g","zone":null,"doubts":0},"certain":true},"hook":"ended","done":false}"#;
        let reclaim: Reclaim = serde_json::from_str(text).unwrap();
        assert!(!reclaim.is_settled(), "it is not known whether it was told");
        let due = text.replace("\"ended\"", "\"due\"");
        assert_eq!(serde_json::from_str::<Reclaim>(&due).unwrap().hook, Hook::Due);
    }
}
