//! The plan over time: made until AWS answers, then made anew at a slow beat, and told when it says something new.

use crate::answer::means::Means;
use crate::args::Args;
use crate::event::Ready;
use crate::metadata::identity::Identity;
use crate::plan::{Plan, Planless};
use failure::Failure;
use retry::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The plan is made anew this often, which keeps credentials and connections warm too.
const REPLAN: Duration = Duration::from_secs(300);
/// Between two tries to make the first one: from this,
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Makes the plan, again and again: the first time until AWS answers, then at a slow beat.
pub(crate) async fn keep_planned(
    means: Arc<Means>,
    identity: Identity,
    plans: watch::Sender<Option<Result<Plan, Arc<Failure>>>>,
    unasked: watch::Sender<String>,
) {
    let mut told = false;
    // Instances that start together must not ask together for ever.
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).at_least_half();
    let mut beat = Backoff::new(REPLAN, REPLAN).at_least_half();
    loop {
        let pause = match Plan::make(&means.args, &identity, &means.clock).await {
            Err(Planless::Unasked(failure)) => {
                let _ = unasked.send(failure.to_string());
                match std::mem::replace(&mut told, true) {
                    false => means.console.warn(format!("{failure}: asking again, the watch goes on")),
                    true => means.console.step(format!("asking again: {failure}")),
                }
                backoff.pause()
            }
            // A plan that was good once is better than none: what is denied or gone now may concern one way only.
            Err(Planless::Refused(failure)) if matches!(&*plans.borrow(), Some(Ok(_))) => {
                means.console.warn(format!("{failure}; the plan made before it stands"));
                beat.pause()
            }
            Err(Planless::Refused(failure) | Planless::InUnits(failure)) => {
                let _ = plans.send(Some(Err(Arc::new(failure))));
                beat.pause()
            }
            Ok(plan) => {
                let _ = plans.send(Some(Ok(plan)));
                beat.pause()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What the plan means for a reader, but for figures that change by themselves.
pub(crate) fn ready<'a>(args: &Args, identity: &'a Identity, plan: &'a Plan, error: Option<&'a str>) -> Ready<'a> {
    let target = plan.target.as_ref();
    let mut watching = if identity.is_on_demand() { vec![] } else { vec!["instance-action"] };
    watching.push("target-lifecycle-state");
    if args.watching.rebalance && !identity.is_on_demand() {
        watching.push("rebalance");
    }
    Ready {
        life_cycle: identity.life_cycle.as_deref(),
        lifecycle_state: None,
        group: plan.own.as_deref(),
        target: target.map(|target| target.group.as_str()),
        rungs: target.map(|target| target.rungs.clone()).unwrap_or_default(),
        size: None,
        watching,
        interval_ms: crate::duration::millis(args.watching.interval),
        error,
        dry_run: args.watching.dry_run,
        warnings: plan.warnings.clone(),
    }
}
