//! The rise of a group's capacity by one: asked for until it is granted, refused for good, or the instance ends.

mod launch;
pub(crate) mod outcome;
mod policy;
mod refusal;
pub(crate) mod state;

use crate::answer::progress::Progress;
use crate::args::Rung;
use crate::capacity::outcome::Outcome;
use crate::capacity::state::{Raise, Request, Sight};
use crate::plan::{self, Plan, Size, Snapshot, Target};
use aws_sdk_autoscaling::Client;
use failure::Failure;
use retry::Backoff;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A herd of a hundred that asks this often is not throttled for ever.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One step of one rung.
pub(crate) enum Step {
    Granted(Grant),
    /// Certainly not done: now, or for good.
    Refused(Failure),
    /// Nobody knows whether it was done.
    Lost(Failure),
}

/// A rise that AWS has accepted.
pub(crate) struct Grant {
    instances: Vec<String>,
    note: Option<String>,
    sight: Sight,
}

impl Grant {
    /// Accepted, and no instance was named or seen, for this reason.
    fn unseen(why: impl Into<String>) -> Self {
        Self { instances: Vec::new(), note: Some(why.into()), sight: Sight::Unseen }
    }
}

/// How the asking ended.
enum End {
    Granted(Grant),
    /// Refused for good by each rung. Not settled: an operator may make room while the instance is there still, and start
    /// this again.
    Refused(Failure),
    /// The instance's end came first.
    TooLate(Failure),
}

/// What a rise is asked with.
pub(crate) struct Terms<'a> {
    pub(crate) policy: &'a str,
    /// The maximum may be raised so far.
    pub(crate) ceiling: Option<i32>,
    pub(crate) token: String,
    pub(crate) deadline: Instant,
    /// Set when this process has to end.
    pub(crate) ending: watch::Receiver<bool>,
}

/// Everything one rung needs for one rise.
pub(crate) struct Rise<'a> {
    client: &'a Client,
    target: &'a Target,
    terms: &'a Terms<'a>,
    /// The last figures read.
    before: Snapshot,
    attempts: u32,
    /// They were read by this rise, and the maximum is where it should be.
    looked: bool,
    /// The group was seen to count instances, or could not be read.
    counted: bool,
    room: Room,
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

/// Raises the capacity of the plan's group by one, as `progress` says how far an earlier run came. What came of it is on the
/// disk with the state that it led to, so that the two never differ, and is told by the next run if this one can't.
pub(crate) async fn raise(plan: &Plan, terms: &Terms<'_>, progress: &Progress) -> Option<Outcome> {
    let (client, target) = (plan.client.as_ref()?, plan.target.as_ref()?);
    let started = Instant::now();
    let mut rise = Rise {
        client,
        target,
        terms,
        before: target.now,
        attempts: 0,
        looked: false,
        counted: false,
        room: Room::default(),
    };
    let end = rise.pursue(progress).await;
    let (attempts, elapsed_ms) = (rise.attempts, crate::duration::millis(started.elapsed()));
    let before = Some(rise.before.size);
    Some(match end {
        End::Granted(Grant { instances, note, sight }) => {
            let given = Given { attempts, elapsed_ms, instances, note };
            conclude(progress, sight, given).await?
        }
        End::TooLate(failure) => {
            let failed = Outcome::failed(&target.group, before, &failure, &progress.raise());
            let outcome = Outcome { attempts, elapsed_ms, ..failed };
            progress.conclude(Raise::Failed, outcome.clone()).await;
            outcome
        }
        End::Refused(failure) => {
            let failed = Outcome::failed(&target.group, before, &failure, &progress.raise());
            Outcome { attempts, elapsed_ms, ..failed }
        }
    })
}

/// What only the run that asked can say of a rise.
#[derive(Default)]
pub(crate) struct Given {
    attempts: u32,
    elapsed_ms: u64,
    instances: Vec<String>,
    note: Option<String>,
}

/// Settles a rise that was granted. `None`: it was not.
async fn conclude(progress: &Progress, sight: Sight, given: Given) -> Option<Outcome> {
    let raise = progress.raise().granted(sight);
    let Raise::Raised { request, certain } = &raise else { return None };
    let Given { attempts, elapsed_ms, instances, note } = given;
    let outcome = Outcome { attempts, elapsed_ms, instances, note, ..Outcome::raised(request, *certain) };
    progress.conclude(raise, outcome.clone()).await;
    Some(outcome)
}

/// Settles a rise that an earlier run was granted and did not live to tell, where AWS can't be asked about it.
pub(crate) async fn conclude_unasked(progress: &Progress) -> Option<Outcome> {
    let note = Some("an earlier run was granted this, and the group could not be read since".to_owned());
    conclude(progress, Sight::Unseen, Given { note, ..Given::default() }).await
}

impl Rise<'_> {
    async fn pursue(&mut self, progress: &Progress) -> End {
        // An earlier run was granted this, and died before it was told.
        if let Raise::Raised { request, .. } = progress.raise() {
            match self.look_back(&request, progress).await {
                Ok(grant) => return End::Granted(grant),
                Err(failure) => progress.told_again(&failure),
            }
        }
        // An earlier run's rung goes first: AWS may have taken that request.
        let mut rungs = self.target.rungs.clone();
        if let Raise::Asked(request) = progress.raise()
            && request.group == self.target.group
        {
            rungs.sort_by_key(|rung| *rung != request.rung);
        }
        self.climb(&rungs, progress).await
    }

    /// What an earlier run's request came to, which AWS had accepted; a failure where it added nothing, so that it is due.
    async fn look_back(&mut self, request: &Request, progress: &Progress) -> Result<Grant, Failure> {
        if request.rung == Rung::Launch {
            return Ok(Grant::unseen("an earlier run was granted this, and its answer is not known any more"));
        }
        let looking = tokio::time::timeout_at(self.terms.deadline, self.confirm(request, progress)).await;
        match looking {
            Ok(Step::Granted(grant)) => Ok(grant),
            Ok(Step::Refused(failure) | Step::Lost(failure)) => Err(failure),
            Err(_) => Ok(Self::cut_short()),
        }
    }

    fn cut_short() -> Grant {
        Grant::unseen("the instance's end came before the group could be read afterwards")
    }

    /// Tries the rungs one after the other, each until it is granted, refused for good or too late.
    async fn climb(&mut self, rungs: &[Rung], progress: &Progress) -> End {
        let mut refused = Vec::new();
        for rung in rungs {
            match self.insist(*rung, progress).await {
                End::Refused(failure) => refused.push(failure.to_string()),
                other => return other,
            }
        }
        refused.dedup();
        End::Refused(Failure::permanent(refused.join("; ")))
    }

    async fn insist(&mut self, rung: Rung, progress: &Progress) -> End {
        let deadline = self.terms.deadline;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let step = tokio::time::timeout_at(deadline, self.step(rung, progress)).await;
            let failure = match step {
                Ok(Step::Granted(grant)) => return End::Granted(grant),
                Ok(Step::Refused(failure)) => failure,
                Ok(Step::Lost(failure)) => {
                    progress.lost().await;
                    failure
                }
                // Granted, and cut off while the figures afterwards were looked for.
                Err(_) if matches!(progress.raise(), Raise::Raised { .. }) => return End::Granted(Self::cut_short()),
                Err(_) => {
                    progress.lost().await;
                    Failure::temporary("no answer before the instance's end")
                }
            };
            if !failure.is_temporary() {
                return End::Refused(failure);
            }
            progress.told_again(&failure);
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(pause) = backoff.pause_within(left) else { return End::TooLate(failure) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self, rung: Rung, progress: &Progress) -> Step {
        match rung {
            Rung::Launch => self.launch(progress).await,
            Rung::Policy => self.execute(progress).await,
        }
    }

    /// The figures before the rise, with the maximum lifted where it may be; read once, since every look takes from what AWS
    /// lets through. Unread figures hold nothing up, unless there is a maximum to be raised.
    async fn look_first(&mut self) -> Result<Snapshot, Failure> {
        if self.looked {
            return Ok(self.before);
        }
        let size = match self.read().await {
            Ok(size) => size,
            Err(failure) if self.terms.ceiling.is_some() || !failure.is_temporary() => return Err(failure),
            // Those of the plan, a few minutes old.
            Err(_) => return Ok(self.before),
        };
        match self.lift(size).await {
            Ok(false) if size.is_full() => return Err(self.full(size)),
            Err(failure) if size.is_full() || failure.is_temporary() => return Err(failure),
            Ok(true) => self.before.size.max = self.terms.ceiling.unwrap_or(size.max),
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
        let Some(ceiling) = self.terms.ceiling.filter(|ceiling| *ceiling > size.max) else { return Ok(false) };
        let group = &self.target.group;
        let asked =
            self.client.update_auto_scaling_group().auto_scaling_group_name(group).max_size(ceiling).send().await;
        match asked {
            Ok(_) => Ok(true),
            Err(error) => Err(aws::failure(format!("unable to raise the maximum of {group} to {ceiling}"), error)),
        }
    }

    /// The group's figures now.
    ///
    /// # Errors
    /// It can't be read; or, permanent, its capacity has come to count something else than instances since the plan was made.
    async fn read(&mut self) -> Result<Size, Failure> {
        let reading = plan::read(self.client, &self.target.group).await?;
        self.counted = true;
        self.before = reading.now;
        match reading.units {
            Some(units) => Err(plan::in_units(&self.target.group, &units)),
            None => Ok(reading.now.size),
        }
    }

    fn full(&self, size: Size) -> Failure {
        Failure::permanent(format!("unable to raise {}: it is at its maximum of {}", self.target.group, size.max))
    }
}
