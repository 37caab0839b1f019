//! The answer to a notice: its intent is written down, then the team is told, capacity is raised and the program runs, all at
//! once; at the end one event says what came of it.

use crate::answer::hook::{self, Hook};
use crate::answer::means::{Means, is_told};
use crate::answer::progress::Progress;
use crate::answer::reclaim::{self, Reclaim, Report};
use crate::capacity::outcome::{Outcome, Verdict};
use crate::capacity::state::Raise;
use crate::capacity::{self, Terms};
use crate::event::{About, Done, Event};
use crate::metadata::identity::{Identity, client_token};
use crate::metadata::notice::Notice;
use crate::plan::{self, Size};
use cli::Receipt;
use failure::{Class, Failure};
use retry::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The figures afterwards are worth so much waiting.
const LAST_LOOK: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1500);

/// How the answer to a notice ended, as far as the exit code goes.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) failure: Option<Failure>,
}

/// What came of one part of the answer.
struct News<T> {
    outcome: T,
    telling: Telling,
}

/// How it is told.
enum Telling {
    /// An earlier run has told it.
    Told,
    /// It is on the disk, and this run tells it.
    Kept,
    /// It is told now, and what was not done is left to the next start.
    Passing,
}

impl<T> News<T> {
    fn kept(outcome: T) -> Self {
        Self { outcome, telling: Telling::Kept }
    }

    fn passing(outcome: T) -> Self {
        Self { outcome, telling: Telling::Passing }
    }

    /// As an earlier run left it.
    fn found(report: Report<T>) -> Self {
        let telling = if report.told { Telling::Told } else { Telling::Kept };
        Self { outcome: report.outcome, telling }
    }

    /// What this run tells.
    fn fresh(&self) -> Option<&T> {
        (!matches!(self.telling, Telling::Told)).then_some(&self.outcome)
    }
}

/// Writes down that something was told, once stdout has it.
type Noting = JoinHandle<bool>;

/// Does everything that is due about a notice.
pub(crate) async fn respond(means: Arc<Means>, identity: Identity, notice: Notice, found: Option<Reclaim>) -> Ending {
    let started = Instant::now();
    let deadline = started + notice.left(&means.clock);
    let id = identity.document.reclaim_id();
    let resumed = found.is_some();
    // Nothing is left but the telling, which the run before this one did not live to finish.
    let through = found.as_ref().is_some_and(Reclaim::is_through);
    let reclaim = found.unwrap_or_else(|| {
        let hooks = means.args.telling.on_notice.is_some();
        Reclaim::new(id.clone(), &notice.action, &notice.time, means.raises(&notice.action), hooks)
    });
    let told_before = reclaim.told;
    let progress = Arc::new(Progress::new(reclaim, means.records.clone(), means.console));
    if !means.args.watching.dry_run {
        let target = means.planned().and_then(|plan| plan.target);
        progress.begin(target.as_ref()).await;
    }

    let left = || crate::duration::millis(deadline.saturating_duration_since(Instant::now()));
    let about = || Some(About { notice_id: &id, deadline_ms: left() });
    let group = means.own_group(&identity);
    let said = Event::Notice { action: &notice.action, action_time: &notice.time, group: group.as_deref(), resumed };
    let line = means.tell(Some(&identity), about(), &said);

    let telling = async {
        if !progress.now().noticed {
            let safe = progress.change(|reclaim| reclaim.noticed = true);
            tell_webhook(&means, &identity, "notice", line.clone(), deadline, safe).await;
        }
    };
    let acting = async {
        let raising = async {
            let news = raise(&means, &progress, &id, deadline).await?;
            let noting = news.fresh().map(|outcome| {
                let (_, receipt) = means.report(&identity, about(), &Event::Capacity(outcome));
                note(&progress, receipt, |reclaim| reclaim.capacity.as_mut().map(|report| &mut report.told))
            });
            Some((news, noting))
        };
        let running = async {
            let news = run_hook(&means, &identity, &notice, &progress, line.clone(), deadline).await?;
            let noting = news.fresh().map(|outcome| {
                let (_, receipt) = means.report(&identity, about(), &Event::Hook(outcome));
                note(&progress, receipt, |reclaim| reclaim.program.as_mut().map(|report| &mut report.told))
            });
            Some((news, noting))
        };
        let (capacity, hook) = tokio::join!(raising, running);
        let (capacity, capacity_noting) = capacity.unzip();
        let (hook, hook_noting) = hook.unzip();
        let after = match &capacity {
            Some(news) if news.outcome.outcome == Verdict::Raised => look_again(&means, deadline).await,
            _ => None,
        };
        let group = means.own_group(&identity);
        let done = Event::Done(Done {
            action: &notice.action,
            action_time: &notice.time,
            group: group.as_deref(),
            capacity: capacity.as_ref().map(|news| &news.outcome),
            after,
            hook: hook.as_ref().map(|news| &news.outcome),
            elapsed_ms: crate::duration::millis(started.elapsed()),
        });
        let (line, receipt) = means.report(&identity, about(), &done);
        let (posted, is_posted) = oneshot::channel();
        let posting = async {
            let safe = async {
                progress.change(|reclaim| reclaim.told = true).await;
                let _ = posted.send(());
            };
            // A start that fails again, or has nothing new to tell, does not tell it again.
            if told_before && (through || !progress.now().is_settled()) {
                safe.await;
            } else {
                tell_webhook(&means, &identity, "done", line, deadline, safe).await;
            }
        };
        let closing = async {
            let notings = [capacity_noting, hook_noting].into_iter().flatten().flatten();
            let told = all_told(notings, receipt).await;
            // What is left undone or untold is left to the next start.
            if is_posted.await.is_ok() && told && progress.now().is_through() {
                progress.change(|reclaim| reclaim.done = true).await;
            }
        };
        tokio::join!(posting, closing);
        worst(capacity.as_ref().and_then(News::fresh), hook.as_ref().and_then(News::fresh))
    };
    // The end is told when the work is done, whether or not the webhook has taken the beginning.
    let ((), failure) = tokio::join!(telling, acting);
    Ending { failure }
}

/// Writes down in the background that something was told, once stdout has it: a reader that stalls holds nothing up.
fn note(
    progress: &Arc<Progress>,
    receipt: Receipt,
    told: impl FnOnce(&mut Reclaim) -> Option<&mut bool> + Send + 'static,
) -> Noting {
    let progress = Arc::clone(progress);
    tokio::spawn(async move {
        let written = receipt.is_written().await;
        if written {
            progress
                .change(|reclaim| {
                    if let Some(told) = told(reclaim) {
                        *told = true;
                    }
                })
                .await;
        }
        written
    })
}

/// Whether stdout has everything, as far as that shows soon.
async fn all_told(notings: impl Iterator<Item = Noting>, done: Receipt) -> bool {
    let all = async {
        for noting in notings {
            if !noting.await.unwrap_or(false) {
                return false;
            }
        }
        done.is_written().await
    };
    is_told(all).await
}

/// Posts an event to the webhook, if there is one. `safe` runs once it can't be lost any more.
async fn tell_webhook(
    means: &Means,
    identity: &Identity,
    about: &'static str,
    line: Vec<u8>,
    deadline: Instant,
    safe: impl Future<Output = ()>,
) {
    let Some(webhook) = means.webhook.as_ref().filter(|_| !means.args.watching.dry_run) else {
        safe.await;
        return;
    };
    let notice_id = identity.document.reclaim_id();
    let name = format!("{notice_id}-{about}");
    let delivering = webhook.deliver(about, &name, line, &means.records, deadline, safe);
    let Some(delivery) = means.unless_ending(delivering).await else { return };
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    let about = About { notice_id: &notice_id, deadline_ms: u64::try_from(left).unwrap_or(u64::MAX) };
    means.tell(Some(identity), Some(about), &Event::Notify(&delivery));
}

async fn raise(means: &Means, progress: &Progress, id: &str, deadline: Instant) -> Option<News<Outcome>> {
    let now = progress.now();
    if let Some(report) = now.capacity {
        return Some(News::found(report));
    }
    let raise = &means.args.raise;
    let group = raise.group.as_deref().unwrap_or_default();
    match now.raise {
        Raise::Unwanted => return None,
        // Settled by a version that kept no report of it.
        Raise::Failed => {
            let failure = Failure::temporary("an earlier run was granted nothing before the instance's end");
            let outcome = Outcome::failed(group, None, &failure, &now.raise);
            progress.conclude(now.raise, outcome.clone()).await;
            return Some(News::kept(outcome));
        }
        _ => {}
    }
    let plan = match means.plan(deadline).await {
        Ok(plan) => plan,
        Err(_) if matches!(now.raise, Raise::Raised { .. }) => {
            return capacity::conclude_unasked(progress).await.map(News::kept);
        }
        // Not settled: the next start may find what is missing now.
        Err(failure) => {
            return Some(News::passing(Outcome::failed(group, None, &failure, &now.raise)));
        }
    };
    if means.args.watching.dry_run {
        return Outcome::dry_run(&plan).map(News::passing);
    }
    let terms = Terms {
        policy: &raise.policy,
        ceiling: raise.max_size_ceiling,
        token: client_token(id),
        deadline,
        ending: means.ending.clone(),
    };
    let outcome = match capacity::raise(&plan, &terms, progress).await {
        Some(outcome) => outcome,
        // This run raises nothing, as it was started.
        None => capacity::conclude_unasked(progress).await?,
    };
    Some(if progress.now().capacity.is_some() { News::kept(outcome) } else { News::passing(outcome) })
}

async fn run_hook(
    means: &Means,
    identity: &Identity,
    notice: &Notice,
    progress: &Progress,
    event: Vec<u8>,
    deadline: Instant,
) -> Option<News<hook::Outcome>> {
    let now = progress.now();
    if let Some(report) = now.program {
        return Some(News::found(report));
    }
    let telling = &means.args.telling;
    let command = telling.on_notice.as_deref().filter(|_| now.hook == reclaim::Hook::Due)?;
    if means.args.watching.dry_run {
        return Some(News::passing(hook::Outcome::dry_run()));
    }
    let _running = means.running.lock().await;
    let end = means.end_of_run(deadline);
    let environment = means.environment(identity, &notice.action, &notice.time);
    let hook = Hook { command, shell: telling.shell, environment, stdin: event };
    let outcome = hook.run(end, means.ending.clone()).await;
    if outcome.outcome == hook::Verdict::Interrupted {
        return Some(News::passing(outcome));
    }
    progress.ended(outcome.clone()).await;
    Some(News::kept(outcome))
}

/// The raised group's figures afterwards.
async fn look_again(means: &Means, deadline: Instant) -> Option<Size> {
    let plan = means.plan(deadline).await.ok()?;
    let (client, target) = (plan.client?, plan.target?);
    let end = deadline.min(Instant::now() + LAST_LOOK);
    let mut backoff = Backoff::new(BETWEEN_LOOKS, BETWEEN_LOOKS).at_least_half();
    let look = async {
        loop {
            if let Ok(size) = plan::size(&client, &target.group).await {
                return size;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    };
    tokio::time::timeout_at(end, look).await.ok()
}

fn worst(capacity: Option<&Outcome>, hook: Option<&hook::Outcome>) -> Option<Failure> {
    if let Some(outcome) = capacity
        && let Some(error) = &outcome.error
    {
        let what = format!("capacity was not raised: {error}");
        // One that an earlier run kept has failed by its deadline.
        return Some(Failure::temporary(what).with_class(outcome.class.unwrap_or(Class::Temporary)));
    }
    let hook = hook.filter(|hook| !hook.is_good())?;
    let failed = hook.outcome == hook::Verdict::Failed;
    let why = match (hook.exit_code, &hook.error) {
        (Some(code), _) if failed => format!("exit code {code}"),
        (_, Some(error)) => error.clone(),
        _ => hook
            .signal
            .filter(|_| failed)
            .map_or_else(|| hook.outcome.to_string(), |signal| format!("ended by signal {signal}")),
    };
    Some(Failure::permanent(format!("the program for notices failed: {why}")).with_class(Class::Permanent))
}
