//! The answer to a notice: its intent is written down, then the team is told, capacity is raised and the program runs, all at
//! once; at the end one event says what came of it.

use crate::answer::hook::{self, Hook};
use crate::answer::means::Means;
use crate::answer::progress::Progress;
use crate::answer::reclaim::{self, Reclaim};
use crate::capacity::{self, Outcome};
use crate::event::{About, Done, Event};
use crate::metadata::identity::{Identity, client_token};
use crate::metadata::notice::Notice;
use crate::plan::{self, Size};
use cli::{Class, Failure};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The figures afterwards are worth so much waiting.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How the answer to a notice ended, as far as the exit code goes.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) failure: Option<Failure>,
}

/// Does everything that is due about a notice.
pub(crate) async fn respond(means: Arc<Means>, identity: Identity, notice: Notice, found: Option<Reclaim>) -> Ending {
    let started = Instant::now();
    let deadline = started + notice.left(&means.clock);
    let id = identity.document.reclaim_id();
    let resumed = found.is_some();
    let reclaim = found.unwrap_or_else(|| {
        let hooks = means.args.telling.on_notice.is_some();
        Reclaim::new(id.clone(), &notice.action, &notice.time, means.raises(&notice.action), hooks)
    });
    let progress = Progress::new(reclaim, means.records.clone(), means.console);
    if !means.args.watching.dry_run {
        let target = means.planned().and_then(|plan| plan.target);
        progress.begin(target.as_ref()).await;
    }

    let left = || crate::event::millis(deadline.saturating_duration_since(Instant::now()));
    let about = || Some(About { notice_id: &id, deadline_ms: left() });
    let group = means.own_group(&identity);
    let said = Event::Notice { action: &notice.action, action_time: &notice.time, group: group.as_deref(), resumed };
    let line = means.tell(Some(&identity), about(), &said);

    // Whoever began this has told the beginning, or left it to be told.
    let telling = async {
        if !resumed {
            tell_webhook(&means, &identity, "notice", line.clone(), deadline).await;
        }
    };
    let acting = async {
        let raising = async {
            let outcome = raise(&means, &progress, &id, deadline).await?;
            means.tell(Some(&identity), about(), &Event::Capacity(&outcome));
            Some(outcome)
        };
        let running = async {
            let outcome = run_hook(&means, &identity, &notice, &progress, line.clone(), deadline).await?;
            means.tell(Some(&identity), about(), &Event::Hook(&outcome));
            Some(outcome)
        };
        let (capacity, hook) = tokio::join!(raising, running);
        let after = match &capacity {
            Some(outcome) if outcome.outcome == "raised" => look_again(&means, deadline).await,
            _ => None,
        };
        let group = means.own_group(&identity);
        let done = Event::Done(Done {
            action: &notice.action,
            action_time: &notice.time,
            group: group.as_deref(),
            capacity: capacity.as_ref(),
            after,
            hook: hook.as_ref(),
            elapsed_ms: crate::event::millis(started.elapsed()),
        });
        let line = means.tell(Some(&identity), about(), &done);
        let failed_again = progress.now().told && !progress.now().raise.is_settled();
        let written = async {
            if !means.args.watching.dry_run {
                progress.change(|reclaim| reclaim.told = true).await;
            }
            let now = progress.now();
            // What is left undone is left to the next start.
            if !means.args.watching.dry_run && now.raise.is_settled() && now.hook != reclaim::Hook::Due {
                progress.change(|reclaim| reclaim.done = true).await;
            }
        };
        let told = async {
            if !failed_again {
                tell_webhook(&means, &identity, "done", line, deadline).await;
            }
        };
        tokio::join!(written, told);
        worst(capacity.as_ref(), hook.as_ref())
    };
    // The end is told when the work is done, whether or not the webhook has taken the beginning.
    let ((), failure) = tokio::join!(telling, acting);
    Ending { failure }
}

async fn tell_webhook(means: &Means, identity: &Identity, about: &'static str, line: Vec<u8>, deadline: Instant) {
    let Some(webhook) = means.webhook.as_ref().filter(|_| !means.args.watching.dry_run) else { return };
    let notice_id = identity.document.reclaim_id();
    let name = format!("{notice_id}-{about}");
    let delivering = webhook.deliver(about, &name, line, &means.records, deadline);
    let Some(delivery) = means.unless_ending(delivering).await else { return };
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    let about = About { notice_id: &notice_id, deadline_ms: u64::try_from(left).unwrap_or(u64::MAX) };
    means.tell(Some(identity), Some(about), &Event::Notify(&delivery));
}

async fn raise(means: &Means, progress: &Progress, id: &str, deadline: Instant) -> Option<Outcome> {
    if progress.raise().is_settled() {
        return None;
    }
    let raise = &means.args.raise;
    let plan = match means.plan(deadline).await {
        Ok(plan) => plan,
        // Not settled: the next start may find what is missing now.
        Err(failure) => {
            let doubts = progress.raise().doubts();
            return Some(Outcome::without_plan(raise.group.as_deref(), &failure, doubts));
        }
    };
    if means.args.watching.dry_run {
        return Outcome::dry_run(&plan);
    }
    capacity::raise(&plan, &raise.policy, raise.max_size_ceiling, client_token(id), progress, deadline).await
}

async fn run_hook(
    means: &Means,
    identity: &Identity,
    notice: &Notice,
    progress: &Progress,
    event: Vec<u8>,
    deadline: Instant,
) -> Option<hook::Outcome> {
    let telling = &means.args.telling;
    let command = telling.on_notice.as_deref().filter(|_| progress.now().hook == reclaim::Hook::Due)?;
    if means.args.watching.dry_run {
        return Some(hook::Outcome::dry_run());
    }
    let _running = means.running.lock().await;
    let end = means.end_of_run(deadline);
    let environment = means.environment(identity, &notice.action, &notice.time);
    let hook = Hook { command, shell: telling.shell, environment, stdin: event };
    let outcome = hook.run(end, means.ending.clone()).await;
    if outcome.outcome != "interrupted" {
        progress.change(|reclaim| reclaim.hook = reclaim::Hook::Ended).await;
    }
    Some(outcome)
}

/// The raised group's figures afterwards.
async fn look_again(means: &Means, deadline: Instant) -> Option<Size> {
    let plan = means.plan(deadline).await.ok()?;
    let (client, target) = (plan.client?, plan.target?);
    let end = deadline.min(Instant::now() + LAST_LOOK);
    let look = async {
        loop {
            if let Ok(size) = plan::size(&client, &target.group).await {
                return size;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(500..1500))).await;
        }
    };
    tokio::time::timeout_at(end, look).await.ok()
}

fn worst(capacity: Option<&Outcome>, hook: Option<&hook::Outcome>) -> Option<Failure> {
    if let Some(outcome) = capacity
        && let (Some(class), Some(error)) = (outcome.class, &outcome.error)
    {
        let what = format!("capacity was not raised: {error}");
        return Some(Failure::temporary(what).with_class(class));
    }
    let hook = hook.filter(|hook| !hook.is_good())?;
    let why = match (hook.exit_code, &hook.error) {
        (Some(code), _) if hook.outcome == "failed" => format!("exit code {code}"),
        (_, Some(error)) => error.clone(),
        _ => hook
            .signal
            .filter(|_| hook.outcome == "failed")
            .map_or_else(|| hook.outcome.replace('_', " "), |signal| format!("ended by signal {signal}")),
    };
    Some(Failure::permanent(format!("the program for notices failed: {why}")).with_class(Class::Permanent))
}
