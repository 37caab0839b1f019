//! The second rung: a simple scaling policy that adds one. AWS carries it out as often as it is asked, and cuts it off at the
//! group's maximum without a word, so what it came to is looked for in the group.

use super::{Grant, Rise, Step, refusal};
use crate::answer::progress::Progress;
use crate::args::Rung;
use crate::capacity::state::{Raise, Request, Sight};
use crate::plan::{self, Size};
use failure::Failure;
use retry::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// How often the figures are looked at for a rise that no answer told of.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const LONGEST_BETWEEN: Duration = Duration::from_secs(2);
/// A group that can't be read is given up after this time.
const UNREADABLE: Duration = Duration::from_secs(30);
/// An instance is in its group within seconds of the rise, unless AWS has none of its kind.
const LONGEST_START: Duration = Duration::from_secs(10);

/// What the group shows of an execution that AWS has accepted.
enum Shown {
    /// It has risen, and so have its instances.
    Instance,
    /// It did not rise, and is at its maximum: the policy was cut off.
    CutOff { max: i32 },
    /// What AWS did can't be told, for this reason.
    Unclear(String),
}

impl Rise<'_> {
    pub(super) async fn execute(&mut self, progress: &Progress) -> Step {
        let before = match self.look_first().await {
            Ok(before) => before,
            Err(failure) => return Step::Refused(failure),
        };
        let mut from = self.looked.then_some(before.size.desired);
        if let Some(earlier) = progress.raise().to_look_for() {
            let Some(size) = self.look_for_rise(earlier).await else {
                return Step::Refused(Failure::temporary(
                    "no answer came, and the group can't be read to see whether it rose",
                ));
            };
            if earlier.is_some_and(|earlier| size.desired > earlier) {
                return Step::Granted(Grant::unseen("no answer came, and the group has risen since the first request"));
            }
            from = Some(size.desired);
        }
        let (group, policy) = (&self.target.group, self.terms.policy);
        progress.asking(Rung::Policy, group, None, from, before).await;
        self.attempts += 1;
        let sent = self.client.execute_policy().auto_scaling_group_name(group).policy_name(policy);
        if let Err(error) = sent.honor_cooldown(false).send().await {
            return refusal::step(format!("unable to execute the policy {policy} of {group}"), error);
        }
        progress.accepted().await;
        match progress.raise() {
            Raise::Raised { request, .. } => self.confirm(&request, progress).await,
            _ => Step::Lost(Failure::temporary("the request is not known any more")),
        }
    }

    /// What became of a request that AWS has accepted.
    pub(super) async fn confirm(&mut self, request: &Request, progress: &Progress) -> Step {
        match self.look_for_instance(request).await {
            Shown::Instance => Step::Granted(Grant { instances: Vec::new(), note: None, sight: Sight::Seen }),
            Shown::CutOff { max } => {
                self.looked = false;
                progress.cut_off().await;
                Step::Refused(Failure::temporary(format!("{} stayed at its maximum of {max}", request.group)))
            }
            Shown::Unclear(why) => Step::Granted(Grant::unseen(why)),
        }
    }

    async fn look_for_instance(&self, request: &Request) -> Shown {
        let desired_before = request.before.map(|before| before.size.desired).or(request.from);
        let mut ending = self.terms.ending.clone();
        let (started, mut readable) = (Instant::now(), None);
        // A herd that looks together is throttled together.
        let mut backoff = Backoff::new(BETWEEN_LOOKS, LONGEST_BETWEEN).at_least_half();
        loop {
            if let Ok(reading) = plan::read(self.client, &request.group).await {
                let (now, since) = (reading.now, *readable.get_or_insert_with(Instant::now));
                if let Some(units) = reading.units {
                    return Shown::Unclear(plan::in_units(&request.group, &units).to_string());
                }
                let max = now.size.max;
                if now.size.is_full() {
                    return match desired_before {
                        Some(before) if now.size.desired <= before => Shown::CutOff { max },
                        _ => Shown::Unclear(format!(
                            "the group is at its maximum of {max} now: others may have taken the room, and this request \
                             nothing"
                        )),
                    };
                }
                // Below the maximum nothing was cut off. It is not certain anyway after a lost answer.
                if request.doubts > 0 || request.before.is_some_and(|before| now.has_grown_since(&before)) {
                    return Shown::Instance;
                }
                if reading.suspended {
                    return Shown::Unclear("the group's Launch process is suspended: no instance starts".to_owned());
                }
                if since.elapsed() >= LONGEST_START {
                    return Shown::Unclear("no new instance was seen in the group yet".to_owned());
                }
            }
            let unread = "the group could not be read afterwards: it may have been at its maximum";
            if readable.is_none() && started.elapsed() >= UNREADABLE {
                return Shown::Unclear(unread.to_owned());
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                _ = ending.wait_for(|ending| *ending) => {
                    let seen = readable.map_or(unread, |_| "this run had to end before a new instance was seen");
                    return Shown::Unclear(seen.to_owned());
                }
            }
        }
    }

    /// The figures once the capacity is above what it was, or after a while, since AWS tells of changes a little later.
    async fn look_for_rise(&self, from: Option<i32>) -> Option<Size> {
        let mut last = None;
        for _ in 0..LOOKS {
            last = plan::size(self.client, &self.target.group).await.ok().or(last);
            if last.is_some_and(|size| from.is_some_and(|from| size.desired > from)) {
                break;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        last
    }
}
