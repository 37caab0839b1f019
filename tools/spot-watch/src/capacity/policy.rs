//! The second rung: a simple scaling policy that adds one. AWS carries it out as often as it is asked, and cuts it off at the
//! group's maximum without a word.

use super::{Grant, Rise, Step, refusal};
use crate::answer::progress::Progress;
use crate::answer::reclaim::Reply;
use crate::args::Rung;
use crate::plan::{self, Size};
use cli::Failure;
use std::time::Duration;

/// No more instances than this get their notice at one moment, it is assumed: more room than that is not used up.
const HERD: i32 = 100;
/// How often the figures are looked at before they are given up.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

impl Rise<'_> {
    pub(super) async fn execute(&mut self, progress: &Progress) -> Step {
        let before = match self.look_first().await {
            Ok(before) => before,
            Err(failure) => return Step::Refused(failure),
        };
        let mut from = self.looked.then_some(before.desired);
        if let Some(earlier) = progress.raise().to_look_for() {
            let Some(size) = self.look_for_rise(earlier).await else {
                return Step::Refused(Failure::temporary(
                    "no answer came, and the group can't be read to see whether it rose",
                ));
            };
            if earlier.is_some_and(|earlier| size.desired > earlier) {
                let note = "no answer came, and the group has risen since the first request".to_owned();
                progress.settle(progress.raise().seen()).await;
                return Step::Granted(Grant { note: Some(note), doubtful: true, ..Grant::default() });
            }
            from = Some(size.desired);
        }
        let (group, policy) = (&self.target.group, self.policy);
        progress.asking(Rung::Policy, group, None, from).await;
        self.attempts += 1;
        let request = self.client.execute_policy().auto_scaling_group_name(group).policy_name(policy);
        if let Err(error) = request.honor_cooldown(false).send().await {
            return refusal::step(format!("unable to execute the policy {policy} of {group}"), error);
        }
        let asked = progress.raise();
        progress.answered(Reply::Granted, true).await;
        if before.max - before.desired > HERD {
            return Step::Granted(Grant::default());
        }
        // AWS cuts a policy off at the maximum without a word, so the figures afterwards are worth several looks.
        let doubtful = |note: String| Step::Granted(Grant { note: Some(note), doubtful: true, ..Grant::default() });
        match self.look_often().await {
            Some(after) if after.is_full() && after.desired == before.desired => {
                self.looked = false;
                progress.settle(asked).await;
                Step::Refused(Failure::temporary(format!("{group} stayed at its maximum of {}", after.max)))
            }
            Some(after) if after.is_full() => {
                doubtful(format!("the group is at its maximum of {} now: others' rises may be part of that", after.max))
            }
            Some(_) => Step::Granted(Grant::default()),
            None => doubtful("the group could not be read afterwards: it may have been at its maximum".to_owned()),
        }
    }

    /// The figures once the capacity is above what it was, or after a while, since AWS tells of changes a little later.
    async fn look_for_rise(&self, from: Option<i32>) -> Option<Size> {
        let mut last = None;
        for _ in 0..LOOKS / 4 {
            last = plan::size(self.client, &self.target.group).await.ok().or(last);
            if last.is_some_and(|size| from.is_some_and(|from| size.desired > from)) {
                break;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        last
    }

    async fn look_often(&self) -> Option<Size> {
        for _ in 0..LOOKS {
            if let Ok(size) = plan::size(self.client, &self.target.group).await {
                return Some(size);
            }
            tokio::time::sleep(BETWEEN_LOOKS.mul_f64(rand::random_range(0.5..1.5))).await;
        }
        None
    }
}
