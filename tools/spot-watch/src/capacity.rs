//! The rise of a group's capacity by one: asked for until it is granted, refused for good, or the instance ends.

mod launch;
mod policy;
mod refusal;

use crate::answer::progress::Progress;
use crate::answer::reclaim::{Raise, Reply};
use crate::args::Rung;
use crate::plan::{self, Plan, Size, Target};
use aws_sdk_autoscaling::Client;
use cli::{Class, Failure};
use rand::RngExt;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A herd of a hundred that asks this often is not throttled for ever.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What came of it: the fields of the event `capacity`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
    pub(crate) group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rung: Option<Rung>,
    /// Whether it rose by one exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certain: Option<bool>,
    /// By how many it can have risen at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<u32>,
    /// Requests for the rise itself, by this run.
    pub(crate) attempts: u32,
    pub(crate) elapsed_ms: u64,
    /// Instances that AWS named at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
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

impl Outcome {
    /// What would be asked of AWS.
    pub(crate) fn dry_run(plan: &Plan) -> Option<Self> {
        let target = plan.target.as_ref()?;
        let rung = target.rungs.first().copied();
        Some(Self { rung, ..Self::of("dry_run", &target.group, Some(target.size)) })
    }

    /// A failure before anything could be asked by this run.
    pub(crate) fn without_plan(group: Option<&str>, failure: &Failure, doubts: u32) -> Self {
        let error = Some(failure.to_string());
        let class = Some(failure.class().unwrap_or(Class::Temporary));
        let failed = Self::of("failed", group.unwrap_or_default(), None);
        Self { error, class, ..failed }.doubted(doubts)
    }

    /// A failure after which some of what was asked may have been granted all the same.
    fn doubted(self, doubts: u32) -> Self {
        let (certain, at_most) = if doubts > 0 { (Some(false), Some(doubts)) } else { (self.certain, self.at_most) };
        Self { certain, at_most, ..self }
    }

    fn of(outcome: &'static str, group: &str, before: Option<Size>) -> Self {
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

/// One step of one rung.
pub(crate) enum Step {
    Granted(Grant),
    /// Certainly not done: now, or for good.
    Refused(Failure),
    /// Nobody knows whether it was done.
    Lost(Failure),
}

/// A rise that AWS has accepted.
#[derive(Default)]
pub(crate) struct Grant {
    instances: Vec<String>,
    note: Option<String>,
    /// AWS did not say whether this was the rise.
    doubtful: bool,
}

/// Everything one rung needs for one rise.
pub(crate) struct Rise<'a> {
    client: &'a Client,
    target: &'a Target,
    policy: &'a str,
    ceiling: Option<i32>,
    token: String,
    /// The last figures read.
    before: Size,
    attempts: u32,
    /// They were read by this rise, and the maximum is where it should be.
    looked: bool,
    room: Room,
    /// So many requests may have been granted, although the rise has failed.
    doubts: u32,
}

/// What is known of the group's maximum after a launch was refused for good.
#[derive(Default)]
enum Room {
    /// Nothing was refused.
    #[default]
    Untouched,
    /// It may be the maximum that stands in the way.
    Unknown { refusal: String },
    /// There was room, or has been made: the same refusal again has another reason.
    Seen { refusal: String },
}

/// Raises the capacity of the plan's group by one, as `progress` says how far an earlier run came.
pub(crate) async fn raise(
    plan: &Plan,
    policy: &str,
    ceiling: Option<i32>,
    token: String,
    progress: &Progress,
    deadline: Instant,
) -> Option<Outcome> {
    let (client, target) = (plan.client.as_ref()?, plan.target.as_ref()?);
    let started = Instant::now();
    let mut rise = Rise {
        client,
        target,
        policy,
        ceiling,
        token,
        before: target.size,
        attempts: 0,
        looked: false,
        room: Room::default(),
        doubts: 0,
    };
    // An earlier run's rung goes first: AWS may have taken that request.
    let mut rungs = target.rungs.clone();
    if let Raise::Asked(request) = progress.raise()
        && request.group == target.group
    {
        rungs.sort_by_key(|rung| *rung != request.rung);
    }
    let asked = rise.climb(&rungs, progress, deadline).await;
    let (rung, certain, at_most) = match (&asked, progress.raise()) {
        (Ok(grant), Raise::Raised { request, certain }) => {
            let at_most = if certain { 1 } else { request.doubts + 1 };
            (Some(request.rung), Some(certain && !grant.doubtful), Some(at_most))
        }
        _ => (None, None, None),
    };
    let (outcome, grant, failure) = match asked {
        Ok(grant) => ("raised", grant, None),
        Err(failure) => ("failed", Grant::default(), Some(failure)),
    };
    let outcome = Outcome {
        rung,
        certain,
        at_most,
        attempts: rise.attempts,
        elapsed_ms: crate::event::millis(started.elapsed()),
        instances: grant.instances,
        note: grant.note,
        class: failure.as_ref().map(|failure| failure.class().unwrap_or(Class::Temporary)),
        error: failure.map(|failure| failure.to_string()),
        ..Outcome::of(outcome, &target.group, Some(rise.before))
    };
    Some(outcome.doubted(rise.doubts))
}

impl Rise<'_> {
    /// Tries the rungs one after the other, each until it is granted, refused for good or too late.
    async fn climb(&mut self, rungs: &[Rung], progress: &Progress, deadline: Instant) -> Result<Grant, Failure> {
        let mut refused = Vec::new();
        for rung in rungs {
            match self.insist(*rung, progress, deadline).await {
                Err(failure) if !failure.is_temporary() => refused.push(failure.to_string()),
                other => return other,
            }
        }
        // Not settled: a person may make room while the instance is there still, and start this again.
        refused.dedup();
        self.doubts = progress.raise().doubts();
        Err(Failure::permanent(refused.join("; ")))
    }

    async fn insist(&mut self, rung: Rung, progress: &Progress, deadline: Instant) -> Result<Grant, Failure> {
        let mut longest = FIRST_PAUSE;
        loop {
            let step = tokio::time::timeout_at(deadline, self.step(rung, progress)).await;
            let failure = match step {
                Ok(Step::Granted(grant)) => {
                    progress.answered(Reply::Granted, !grant.doubtful).await;
                    return Ok(grant);
                }
                Ok(Step::Refused(failure)) => {
                    progress.answered(Reply::Refused, true).await;
                    failure
                }
                Ok(Step::Lost(failure)) => {
                    progress.answered(Reply::Lost, true).await;
                    failure
                }
                // Granted, and cut off while the figures afterwards were looked for.
                Err(_) if matches!(progress.raise(), Raise::Raised { .. }) => {
                    let note = Some("the instance's end came before the group could be read afterwards".to_owned());
                    return Ok(Grant { note, doubtful: true, ..Grant::default() });
                }
                Err(_) => {
                    progress.answered(Reply::Lost, true).await;
                    Failure::temporary("no answer before the instance's end")
                }
            };
            if !failure.is_temporary() {
                return Err(failure);
            }
            progress.told_again(&failure);
            // Full jitter: a herd that was refused together must not come back together.
            let pause = longest.mul_f64(rand::rng().random_range(0.0..1.0));
            longest = (longest * 2).min(LONGEST_PAUSE);
            if Instant::now() + pause >= deadline {
                self.give_up(progress).await;
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn give_up(&mut self, progress: &Progress) {
        self.doubts = progress.raise().doubts();
        progress.settle(Raise::Failed).await;
    }

    async fn step(&mut self, rung: Rung, progress: &Progress) -> Step {
        match rung {
            Rung::Launch => self.launch(progress).await,
            Rung::Policy => self.execute(progress).await,
        }
    }

    /// The figures before the rise, with the maximum lifted where it may be; read once, since every look takes from what AWS
    /// lets through. Unread figures hold nothing up, unless there is a maximum to be raised.
    async fn look_first(&mut self) -> Result<Size, Failure> {
        if self.looked {
            return Ok(self.before);
        }
        let size = match self.read().await {
            Ok(size) => size,
            Err(failure) if self.ceiling.is_some() || !failure.is_temporary() => return Err(failure),
            // Those of the plan, a few minutes old.
            Err(_) => return Ok(self.before),
        };
        match self.lift(size).await {
            Ok(false) if size.is_full() => return Err(self.full(size)),
            Err(failure) if size.is_full() || failure.is_temporary() => return Err(failure),
            Ok(true) => self.before.max = self.ceiling.unwrap_or(size.max),
            _ => {}
        }
        self.looked = true;
        Ok(self.before)
    }

    /// Lifts the group's maximum to the ceiling, if that is higher than the maximum just read.
    ///
    /// The ceiling itself is written, not one more than what was read: of a herd the first one's write is enough for all,
    /// and no write takes another one's back.
    async fn lift(&self, size: Size) -> Result<bool, Failure> {
        let Some(ceiling) = self.ceiling.filter(|ceiling| *ceiling > size.max) else { return Ok(false) };
        let group = &self.target.group;
        let asked =
            self.client.update_auto_scaling_group().auto_scaling_group_name(group).max_size(ceiling).send().await;
        match asked {
            Ok(_) => Ok(true),
            Err(error) => Err(aws::failure(format!("unable to raise the maximum of {group} to {ceiling}"), error)),
        }
    }

    async fn read(&mut self) -> Result<Size, Failure> {
        let size = plan::size(self.client, &self.target.group).await?;
        self.before = size;
        Ok(size)
    }

    fn full(&self, size: Size) -> Failure {
        Failure::permanent(format!("unable to raise {}: it is at its maximum of {}", self.target.group, size.max))
    }
}
