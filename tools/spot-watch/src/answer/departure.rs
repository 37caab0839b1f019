//! The end that the instance's own group brings about: the program runs, then the group is told to go on.

use crate::answer::hook::{Hook, Verdict};
use crate::answer::means::{Means, is_told};
use crate::answer::reclaim::{self, Reclaim, Report};
use crate::answer::respond::Ending;
use crate::event::{Event, Lifecycle};
use crate::metadata::identity::Identity;
use crate::metadata::lifecycle::Change;
use crate::records::Record;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use failure::Failure;
use retry::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a lifecycle hook waits if it says nothing.
const USUAL_WAIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);
const ENDING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// Runs the program, unless a notice has had it run for this start of the instance, and completes the lifecycle actions.
/// What came of either is told before it counts as done.
pub(crate) async fn depart(means: Arc<Means>, identity: Identity, change: Change) -> Ending {
    let id = identity.document.reclaim_id();
    let known = means.records.load(Record::Departure).ok().flatten().filter(|departure| departure.id == id);
    if known.as_ref().is_some_and(|departure| departure.done) {
        return Ending::default();
    }
    let Some((client, group)) = group(&means).await else {
        return Ending {
            failure: Some(Failure::temporary("unable to complete a lifecycle action: AWS can't be asked")),
        };
    };
    let new = || Reclaim::new(id.clone(), "terminate", "", false, true);
    let mut departure = known.unwrap_or_else(new);
    let until = Instant::now() + USUAL_WAIT;
    let hooks = insist(until, || hooks(&client, &group)).await;
    let deadline = hooks.as_ref().map_or(until, |(_, wait)| until.min(Instant::now() + *wait));
    let ran = run(&means, &identity, &change, &mut departure, deadline).await;
    let (completed, failed) = match (ran, hooks) {
        // The next start runs it again: an instance that goes now would go in the middle of it.
        (Ran::Interrupted, _) => {
            let why = "the program for notices was interrupted: the lifecycle hooks are left to the next start";
            (Err(Failure::temporary(why)), None)
        }
        (Ran::Through(failed), Ok((names, _))) => {
            (complete(&client, &group, &identity.document.instance_id, names, deadline).await, failed)
        }
        (Ran::Through(failed), Err(failure)) => (Err(failure), failed),
    };
    let error = completed.as_ref().err().map(ToString::to_string);
    let told = Event::Lifecycle(Lifecycle {
        from: change.from.as_deref(),
        to: &change.to,
        completed: Some(completed.as_deref().unwrap_or_default()),
        error: error.as_deref(),
    });
    let (_, receipt) = means.report(&identity, None, &told);
    // Told late, it is told again by the next start, to which AWS says that nothing is left to complete.
    if completed.is_ok() && is_told(receipt.is_written()).await {
        departure.done = true;
        remember(&means, &departure).await;
    }
    Ending { failure: completed.err().or(failed) }
}

async fn group(means: &Means) -> Option<(Client, String)> {
    let mut plans = means.plan.clone();
    let plan = plans.wait_for(Option::is_some).await.ok()?.clone()?.ok()?;
    Some((plan.client?, plan.own?))
}

/// The names of the hooks for the end of an instance, and the shortest time that one of them waits.
async fn hooks(client: &Client, group: &str) -> Result<(Vec<String>, Duration), Failure> {
    let asked = client.describe_lifecycle_hooks().auto_scaling_group_name(group).send().await;
    let answer =
        asked.map_err(|error| aws::failure(format!("unable to read the lifecycle hooks of {group}"), error))?;
    let hooks = answer.lifecycle_hooks().iter().filter(|hook| hook.lifecycle_transition() == Some(ENDING));
    let (mut names, mut wait) = (Vec::new(), USUAL_WAIT);
    for hook in hooks {
        names.extend(hook.lifecycle_hook_name().map(str::to_owned));
        let seconds = hook.heartbeat_timeout().and_then(|seconds| u64::try_from(seconds).ok());
        wait = seconds.map_or(wait, |seconds| wait.min(Duration::from_secs(seconds)));
    }
    Ok((names, wait))
}

/// How far the program came.
enum Ran {
    /// To its end, or there is none to run; with a failure that this run tells.
    Through(Option<Failure>),
    /// This process has to end.
    Interrupted,
}

async fn run(means: &Means, identity: &Identity, change: &Change, departure: &mut Reclaim, deadline: Instant) -> Ran {
    let telling = &means.args.telling;
    let Some(command) = telling.on_notice.as_deref() else { return Ran::Through(None) };
    let _running = means.running.lock().await;
    let reclaim = means.records.load(Record::Reclaim).ok().flatten();
    let by_notice = reclaim.is_some_and(|one| one.id == departure.id && one.hook == reclaim::Hook::Ended);
    if by_notice {
        return Ran::Through(None);
    }
    let report = match departure.program.clone() {
        Some(report) => report,
        None if departure.hook == reclaim::Hook::Ended => return Ran::Through(None),
        None => {
            let event = Lifecycle { from: change.from.as_deref(), to: &change.to, completed: None, error: None };
            let id = &identity.document.instance_id;
            let stdin = Event::Lifecycle(event).line(Some(id), means.clock.timestamp(), None);
            let environment = means.environment(identity, "terminate", "");
            let hook = Hook { command, shell: telling.shell, environment, stdin };
            let outcome = hook.run(means.end_of_run(deadline), means.ending.clone()).await;
            if outcome.outcome == Verdict::Interrupted {
                means.tell(Some(identity), None, &Event::Hook(&outcome));
                return Ran::Interrupted;
            }
            departure.hook = reclaim::Hook::Ended;
            let report = Report::untold(outcome);
            departure.program = Some(report.clone());
            remember(means, departure).await;
            report
        }
    };
    if report.told {
        return Ran::Through(None);
    }
    let Report { outcome, .. } = report;
    let (_, receipt) = means.report(identity, None, &Event::Hook(&outcome));
    if is_told(receipt.is_written()).await {
        departure.program = Some(Report { outcome: outcome.clone(), told: true });
        remember(means, departure).await;
    }
    let failed = || Failure::permanent(format!("the program for notices failed: {}", outcome.outcome));
    Ran::Through((!outcome.is_good()).then(failed))
}

/// Writes down how far it has come.
async fn remember(means: &Means, departure: &Reclaim) {
    if let Err(failure) = means.records.save(Record::Departure, departure).await {
        means.console.warn(failure);
    }
}

async fn complete(
    client: &Client,
    group: &str,
    instance: &str,
    names: Vec<String>,
    deadline: Instant,
) -> Result<Vec<String>, Failure> {
    for name in &names {
        insist(deadline, || go_on(client, group, instance, name)).await?;
    }
    Ok(names)
}

async fn go_on(client: &Client, group: &str, instance: &str, name: &str) -> Result<(), Failure> {
    let request = client.complete_lifecycle_action().auto_scaling_group_name(group).lifecycle_hook_name(name);
    let sent = request.instance_id(instance).lifecycle_action_result("CONTINUE").send().await;
    match sent {
        // An earlier run was faster than its memory.
        Err(error) if error.message().is_some_and(|message| message.contains("No active Lifecycle Action")) => Ok(()),
        Err(error) => Err(aws::failure(format!("unable to complete the lifecycle hook {name} of {group}"), error)),
        Ok(_) => Ok(()),
    }
}

/// Asks again, while that can help and there is time.
async fn insist<T, F>(deadline: Instant, mut ask: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    // Instances that their group ends together must not ask together for ever.
    let mut backoff = Backoff::new(PAUSE, PAUSE);
    loop {
        let asked = ask().await;
        if !asked.as_ref().is_err_and(Failure::is_temporary) {
            return asked;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(pause) = backoff.pause_within(left) else { return asked };
        tokio::time::sleep(pause).await;
    }
}
