//! What everybody who acts on a notice shares: arguments, clock, ways to tell, memory, and the plan.

use crate::answer::webhook::Webhook;
use crate::args::Args;
use crate::event::{About, Event};
use crate::metadata::aws_clock::AwsClock;
use crate::metadata::identity::Identity;
use crate::plan::Plan;
use crate::records::Records;
use cli::{Console, Receipt, Stream};
use failure::Failure;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A program gets at least this long.
const LEAST_RUN: Duration = Duration::from_secs(1);
/// What a message still gets when this process has to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What everybody who acts needs.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) args: Args,
    pub(crate) clock: AwsClock,
    pub(crate) console: Console,
    pub(crate) stream: Stream,
    pub(crate) records: Records,
    pub(crate) webhook: Option<Webhook>,
    /// The plan, once there is one; the failure, where there can be none.
    pub(crate) plan: watch::Receiver<Option<Result<Plan, Arc<Failure>>>>,
    /// Set when this process has to end.
    pub(crate) ending: watch::Receiver<bool>,
    /// Held while the program for notices runs: one at a time.
    pub(crate) running: tokio::sync::Mutex<()>,
}

impl Means {
    /// Sends an event to stdout, and gives its line back.
    pub(crate) fn tell(&self, identity: Option<&Identity>, about: Option<About<'_>>, event: &Event<'_>) -> Vec<u8> {
        let line = self.line(identity, about, event);
        self.stream.send(line.clone());
        line
    }

    /// The same for an event that the next run tells if this one can't; the receipt says whether stdout has it.
    pub(crate) fn report(
        &self,
        identity: &Identity,
        about: Option<About<'_>>,
        event: &Event<'_>,
    ) -> (Vec<u8>, Receipt) {
        let line = self.line(Some(identity), about, event);
        let receipt = self.stream.send_with_receipt(line.clone());
        (line, receipt)
    }

    fn line(&self, identity: Option<&Identity>, about: Option<About<'_>>, event: &Event<'_>) -> Vec<u8> {
        let id = identity.map(|identity| identity.document.instance_id.as_str());
        event.line(id, self.clock.timestamp(), about)
    }

    /// Does what can be done by the next run as well, unless this process has to end.
    pub(crate) async fn unless_ending<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut ending = self.ending.clone();
        let ended = async {
            // A sender that is gone says the same.
            let _ = ending.wait_for(|ending| *ending).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            done = work => Some(done),
            () = ended => None,
        }
    }

    pub(crate) fn raises(&self, action: &str) -> bool {
        let raise = &self.args.raise;
        // An action that nobody has heard of ends the instance too, as far as anybody knows.
        let known = ["terminate", "stop", "hibernate"].contains(&action);
        raise.is_asked_for() && (!known || raise.actions.iter().any(|chosen| chosen == action))
    }

    /// When a program has to be over, if the instance ends at `deadline`.
    pub(crate) fn end_of_run(&self, deadline: Instant) -> Instant {
        let least = Instant::now() + LEAST_RUN;
        deadline.checked_sub(self.args.telling.margin).map_or(least, |end| end.max(least))
    }

    /// The plan; while there is none, until the deadline.
    pub(crate) async fn plan(&self, deadline: Instant) -> Result<Plan, Arc<Failure>> {
        let mut plans = self.plan.clone();
        let plan = match tokio::time::timeout_at(deadline, plans.wait_for(Option::is_some)).await {
            Ok(Ok(plan)) => plan.clone(),
            _ => None,
        };
        plan.unwrap_or_else(|| Err(Arc::new(Failure::temporary("AWS could not be asked before the instance's end"))))
    }

    /// The plan, if there is a good one now.
    pub(crate) fn planned(&self) -> Option<Plan> {
        self.plan.borrow().as_ref()?.as_ref().ok().cloned()
    }

    /// The instance's own group, as the metadata or Auto Scaling name it.
    pub(crate) fn own_group(&self, identity: &Identity) -> Option<String> {
        identity.group.clone().or_else(|| self.planned()?.own)
    }

    /// What a program finds in its environment, beside this process's own.
    pub(crate) fn environment(&self, identity: &Identity, action: &str, time: &str) -> Vec<(&'static str, String)> {
        // The program does not wait for AWS.
        let target = self.args.raise.group.clone().or_else(|| Some(self.planned()?.target?.group));
        vec![
            ("SPOT_WATCH_INSTANCE_ID", identity.document.instance_id.clone()),
            ("SPOT_WATCH_GROUP", self.own_group(identity).unwrap_or_default()),
            ("SPOT_WATCH_TARGET", target.unwrap_or_default()),
            ("SPOT_WATCH_ACTION", action.to_owned()),
            ("SPOT_WATCH_TIME", time.to_owned()),
        ]
    }
}

/// Whether stdout has what an event's receipt is of, as far as that shows soon: a reader that is slower leaves it untold, and
/// the next start tells it.
pub(crate) async fn is_told(written: impl Future<Output = bool>) -> bool {
    const LONGEST_TELLING: Duration = Duration::from_secs(2);
    tokio::time::timeout(LONGEST_TELLING, written).await.unwrap_or(false)
}
