//! The watch: polls at a steady beat, and hands what it sees to whoever answers it, without waiting for the answer.

use crate::answer::departure::depart;
use crate::answer::means::Means;
use crate::answer::reclaim::Reclaim;
use crate::answer::respond::{Ending, respond};
use crate::answer::webhook::Webhook;
use crate::args::Args;
use crate::capacity::state::Raise;
use crate::event::{About, Event, Lifecycle as Told};
use crate::metadata::aws_clock::AwsClock;
use crate::metadata::health::{Edge, Health};
use crate::metadata::identity::{Document, Identity};
use crate::metadata::imds::{Budget, Imds, Miss};
use crate::metadata::lifecycle::Lifecycle;
use crate::metadata::notice::Notice;
use crate::permissions;
use crate::plan::Plan;
use crate::records::Record;
use crate::{planning, standby};
use cli::{Console, Interrupts, Stream};
use failure::Failure;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

const ACTION: &str = "meta-data/spot/instance-action";
const STATE: &str = "meta-data/autoscaling/target-lifecycle-state";
const REBALANCE: &str = "meta-data/events/recommendations/rebalance";

/// One recommendation in so long is told.
const REBALANCE_EVERY: Duration = Duration::from_secs(600);
/// What is under way when this process has to end may take so long still.
const GRACE: Duration = Duration::from_secs(10);
/// How long undelivered messages are tried at the start.
const UNSENT: Duration = Duration::from_secs(60);

/// Watches until the time is up, a signal comes, or capacity turns out to be impossible to raise.
///
/// # Errors
/// Wrong arguments, a plan that can't work, a signal; with an end: what a notice's answer failed with.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    args.check()?;
    if args.raise.iam_policy {
        return permissions::print(&args);
    }
    cli::block_on(1, start(args))
}

async fn start(args: Args) -> Result<(), Failure> {
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity).impatient();
    let mut interrupts = Interrupts::catch()?;
    let clock = AwsClock::default();
    let imds = Imds::from_env(clock.clone())?;
    let webhook = args.webhook()?.map(Webhook::new).transpose()?;
    let end = args.watching.watch_for.map(|time| Instant::now() + time);
    let (records, unkept) = interrupts.or(standby::records(&args, console, end)).await?;
    let (plans, plan) = watch::channel(None);
    let (ending, ending_seen) = watch::channel(false);
    let stream = Stream::start(console)?;
    let means = Arc::new(Means {
        args,
        clock,
        console,
        stream,
        records,
        webhook,
        plan,
        ending: ending_seen,
        running: tokio::sync::Mutex::default(),
    });
    let (unasked_told, unasked) = watch::channel("no answer yet, from the instance metadata or from AWS".to_owned());
    let watch = Watch {
        imds,
        identity: None,
        health: Health::default(),
        lifecycle: Lifecycle::default(),
        noticed: None,
        answered: None,
        recommended: None,
        seen_any: false,
        plans,
        planning: None,
        unasked,
        unasked_told,
        ready: None,
        answers: JoinSet::new(),
        failure: None,
        impossible: None,
        unkept,
        means,
    };
    watch.run(&mut interrupts, &ending, end).await
}

/// The item `events/recommendations/rebalance`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recommendation {
    notice_time: String,
}

struct Watch {
    imds: Imds,
    identity: Option<Identity>,
    health: Health,
    lifecycle: Lifecycle,
    /// The action of the notice that was last seen, if it needs no further look.
    noticed: Option<String>,
    /// The reclaim that has been answered, or is being.
    answered: Option<String>,
    /// The last recommendation, and when it was told.
    recommended: Option<(String, Instant)>,
    seen_any: bool,
    plans: watch::Sender<Option<Result<Plan, Arc<Failure>>>>,
    planning: Option<tokio::task::JoinHandle<()>>,
    /// Why there is no plan yet.
    unasked: watch::Receiver<String>,
    unasked_told: watch::Sender<String>,
    /// The last `ready`, but for figures that change by themselves.
    ready: Option<Vec<u8>>,
    answers: JoinSet<Ending>,
    /// What the run will end with, unless by a signal.
    failure: Option<Failure>,
    /// Why capacity can't be raised at all: the run ends with it, once what is due about a notice is done.
    impossible: Option<Failure>,
    /// Why nothing can be remembered.
    unkept: Option<String>,
    means: Arc<Means>,
}

impl Watch {
    async fn run(
        mut self,
        interrupts: &mut Interrupts,
        ending: &watch::Sender<bool>,
        end: Option<Instant>,
    ) -> Result<(), Failure> {
        let result = self.watch(interrupts, end).await;
        if let Some(planning) = self.planning.take() {
            planning.abort();
        }
        if result.is_err() {
            // A request that is under way is worth waiting for; a program is ended with its group.
            let _ = ending.send(true);
            let finish = async { while self.answers.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(GRACE, finish).await;
        }
        result
    }

    async fn watch(&mut self, interrupts: &mut Interrupts, end: Option<Instant>) -> Result<(), Failure> {
        let once = self.means.args.watching.once;
        let mut ticks = tokio::time::interval(self.means.args.watching.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut plan = self.means.plan.clone();
        let mut tries = 0;
        // A run that is to ask once waits for AWS as long as any request may take.
        let limit = Instant::now() + self.means.args.aws.access.timeout;
        loop {
            tokio::select! {
                signal = interrupts.next() => return Err(Failure::interrupted(signal)),
                Some(answer) = self.answers.join_next() => self.settle(answer.unwrap_or_default()),
                Ok(()) = plan.changed() => self.planned(),
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() && self.answers.is_empty() => {
                    return self.close();
                }
                _ = ticks.tick() => {
                    interrupts.or(async { self.poll().await; Ok(()) }).await?;
                    tries += 1;
                    if once && !self.seen_any && tries >= 3 {
                        return self.close();
                    }
                    if once && self.ready.is_none() && self.answers.is_empty() && Instant::now() >= limit {
                        let why = self.unasked.borrow().clone();
                        return Err(Failure::temporary(format!("unable to make ready: {why}")));
                    }
                }
            }
            // A notice may be there that a missed poll did not show: its program runs first.
            if self.answers.is_empty()
                && self.seen_any
                && let Some(failure) = self.impossible.take()
            {
                return Err(failure);
            }
            if once && self.seen_any && self.answers.is_empty() && self.ready.is_some() {
                return self.close();
            }
        }
    }

    /// The end of a run that was to end.
    fn close(&mut self) -> Result<(), Failure> {
        match self.impossible.take().or_else(|| self.failure.take()) {
            Some(failure) => Err(failure),
            None if !self.seen_any => Err(Failure::temporary("unable to read the instance metadata")),
            None => Ok(()),
        }
    }

    fn settle(&mut self, ending: Ending) {
        if let Some(failure) = ending.failure {
            let watching = &self.means.args.watching;
            // A run that ends by itself says it at its end.
            if !watching.once && watching.watch_for.is_none() {
                self.means.console.warn(&failure);
            }
            self.failure = Some(failure);
        }
    }

    /// One beat: everything that is watched is read once.
    async fn poll(&mut self) {
        let read = self.read().await;
        let now = std::time::Instant::now();
        let edge = match &read {
            Ok(()) => {
                self.seen_any = true;
                self.health.good(now)
            }
            Err(miss) => {
                self.means.console.step(format!("a poll was missed: {miss}"));
                self.health.missed(miss, now)
            }
        };
        match edge {
            Some(Edge::Degraded { reason, detail, missed }) => {
                self.means.console.warn(format!("the instance metadata can't be read: {detail}"));
                self.tell(&Event::Degraded { reason, detail: &detail, missed });
            }
            Some(Edge::Recovered { missed, lasted }) => {
                self.means.console.warn("the instance metadata can be read again");
                self.tell(&Event::Recovered { missed, lasted_ms: crate::duration::millis(lasted) });
            }
            None => {}
        }
    }

    async fn read(&mut self) -> Result<(), Miss> {
        let budget = Budget::of(self.means.args.watching.interval);
        let identity = match &self.identity {
            Some(identity) => identity.clone(),
            None => {
                let identity = Identity::read(&mut self.imds, budget).await?;
                self.identity = Some(identity.clone());
                self.begin(&identity);
                identity
            }
        };
        // One item that can't be had hides none of the others.
        let action = match identity.is_on_demand() {
            true => Ok(()),
            false => self.read_action(identity.clone(), budget.part(0.6)).await,
        };
        let state = self.read_state(identity.clone(), budget.part(0.6)).await;
        let rebalance = match self.means.args.watching.rebalance && !identity.is_on_demand() {
            true => self.read_rebalance(budget).await,
            false => Ok(()),
        };
        action.and(state).and(rebalance)
    }

    async fn read_action(&mut self, identity: Identity, budget: Budget) -> Result<(), Miss> {
        match self.imds.read(ACTION, budget, Notice::parse).await? {
            Some(notice) => self.notice(identity, notice, budget).await,
            None => self.noticed = None,
        }
        Ok(())
    }

    async fn read_state(&mut self, identity: Identity, budget: Budget) -> Result<(), Miss> {
        let state = self.imds.get(STATE, budget).await?;
        let Some(change) = self.lifecycle.seen(state.as_deref()) else { return Ok(()) };
        let (from, to) = (change.from.as_deref(), change.to.as_str());
        self.tell(&Event::Lifecycle(Told { from, to, completed: None, error: None }));
        if change.is_the_end() && self.means.args.telling.complete_lifecycle && !self.means.args.watching.dry_run {
            let (identity, _) = self.start_of(identity, budget).await;
            self.answers.spawn(depart(Arc::clone(&self.means), identity, change));
        }
        Ok(())
    }

    async fn read_rebalance(&mut self, budget: Budget) -> Result<(), Miss> {
        let told = self.imds.read(REBALANCE, budget, |body| serde_json::from_str(body).ok()).await?;
        if let Some(Recommendation { notice_time }) = told {
            self.recommended(notice_time);
        }
        Ok(())
    }

    /// The instance as it was started last, and whether that could be read: after a hibernation this is the same process,
    /// but another start.
    async fn start_of(&mut self, identity: Identity, budget: Budget) -> (Identity, bool) {
        match Document::read(&mut self.imds, budget).await {
            Ok(document) => {
                let identity = Identity { document, ..identity };
                self.identity = Some(identity.clone());
                (identity, true)
            }
            Err(_) => (identity, false),
        }
    }

    /// What can start once it is known which instance this is.
    fn begin(&mut self, identity: &Identity) {
        let (means, identity, plans) = (Arc::clone(&self.means), identity.clone(), self.plans.clone());
        let unfinished = means.records.load(Record::Reclaim).unwrap_or_else(|failure| {
            means.console.warn(failure);
            None
        });
        let id = identity.document.reclaim_id();
        let goes_on = |reclaim: &Reclaim| reclaim.id == id && !reclaim.done && !reclaim.is_past(&means.clock);
        if let Some(reclaim) = unfinished.filter(goes_on) {
            // Its notice may not be readable at the moment: what is written down is enough to go on.
            let notice = Notice { action: reclaim.action.clone(), time: reclaim.time.clone() };
            self.answer(identity.clone(), notice, Some(reclaim.found()));
        }
        if let Some(webhook) = means.webhook.clone().filter(|_| !means.args.watching.dry_run) {
            let (means, identity) = (Arc::clone(&means), identity.clone());
            self.answers.spawn(async move {
                let delivering = webhook.deliver_unsent(&means.records, Instant::now() + UNSENT);
                for delivery in means.unless_ending(delivering).await.unwrap_or_default() {
                    means.tell(Some(&identity), None, &Event::Notify(&delivery));
                }
                Ending::default()
            });
        }
        self.planning = Some(tokio::spawn(planning::keep_planned(means, identity, plans, self.unasked_told.clone())));
    }

    /// A notice that is new, or whose action is.
    async fn notice(&mut self, identity: Identity, notice: Notice, budget: Budget) {
        if self.noticed.as_ref() == Some(&notice.action) {
            return;
        }
        let (identity, sure) = self.start_of(identity, budget).await;
        let id = identity.document.reclaim_id();
        let found = self.means.records.load(Record::Reclaim).unwrap_or_default().filter(|reclaim| reclaim.id == id);
        match found {
            // A stop that was not to raise may have become a termination, which is.
            Some(reclaim) if reclaim.done && reclaim.raise == Raise::Unwanted && self.means.raises(&notice.action) => {
                self.noticed = Some(notice.action.clone());
                self.answered = None;
                self.answer(identity, notice, Some(Reclaim { raise: Raise::Due, done: false, ..reclaim }));
            }
            // Answered. Unless it could not be read which start this is: then the next poll looks again.
            Some(reclaim) if reclaim.done => self.noticed = sure.then_some(notice.action),
            found => {
                let under_way = self.answered.as_ref() == Some(&id) && found.is_some();
                self.noticed = (!under_way).then(|| notice.action.clone());
                self.answer(identity, notice, found.map(Reclaim::found));
            }
        }
    }

    fn answer(&mut self, identity: Identity, notice: Notice, found: Option<Reclaim>) {
        let id = Some(identity.document.reclaim_id());
        if self.answered != id {
            self.answered = id;
            self.answers.spawn(respond(Arc::clone(&self.means), identity, notice, found));
        }
    }

    fn recommended(&mut self, notice_time: String) {
        let now = Instant::now();
        let repeated = |(time, at): &(String, Instant)| *time == notice_time || now < *at + REBALANCE_EVERY;
        if !self.recommended.as_ref().is_some_and(repeated) {
            self.tell(&Event::Rebalance { notice_time: &notice_time });
            self.recommended = Some((notice_time, now));
        }
    }

    /// The plan is new: said, if it says anything new.
    fn planned(&mut self) {
        let plan = self.means.plan.borrow().clone();
        let (plan, failure) = match plan {
            None => return,
            Some(Ok(plan)) => (plan, None),
            Some(Err(failure)) => (Plan::default(), Some(failure)),
        };
        let Some(identity) = self.identity.clone() else { return };
        let error = failure.as_ref().map(ToString::to_string);
        let mut ready = planning::ready(&self.means.args, &identity, &plan, error.as_deref());
        ready.warnings.extend(self.unkept.clone());
        let constant = serde_json::to_vec(&ready).unwrap_or_default();
        let first = self.ready.is_none();
        if self.ready.replace(constant.clone()) != Some(constant) {
            ready.lifecycle_state = self.lifecycle.state();
            ready.size = plan.target.as_ref().map(|target| target.now.size);
            for warning in &ready.warnings {
                self.means.console.warn(warning);
            }
            self.tell(&Event::Ready(ready));
        }
        match failure {
            Some(failure) if first => self.impossible = Some(Failure::permanent(failure.to_string())),
            Some(failure) => self.means.console.warn(failure),
            None => {}
        }
    }

    fn tell(&self, event: &Event<'_>) {
        self.means.tell(self.identity.as_ref(), None::<About<'_>>, event);
    }
}
