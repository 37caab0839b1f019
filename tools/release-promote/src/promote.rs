//! A promotion: pointer, row, tag, in this order, each step repaired by whoever comes next.
//!
//! The pointer is the truth. It is swapped first and carries the promotion's number; the list of promotions and the tag
//! follow it. A run that finds them behind brings them up before it does anything of its own.

mod choice;
mod follow;
mod rehearsal;
mod rows;

use self::choice::{Asked, same_release};
use self::rows::{has_row_of, read_history};
use crate::args::Args;
use crate::seal::{self, Candidate};
use crate::tag::Tag;
use cli::{Console, Interrupts, Output};
use failure::{Class, Failure};
use jiff::Timestamp;
use release::git::Git;
use release::history::History;
use release::layout;
use release::pointer::{self, Pointer};
use release::record::Promotion;
use release::settle::{self, Settled};
use release::{Layout, Pauses, Record, Selector};
use std::sync::OnceLock;
use store::{Attributes, Condition, Objects};

/// Rounds against others who promote at the same moment.
const ROUNDS: u32 = 200;

/// Promotes what `selector` asks for.
///
/// # Errors
/// Nothing was changed, or the message says what was.
pub(crate) async fn run(args: &Args, selector: Selector, console: Console, out: Output) -> Result<(), Failure> {
    // Before signals are caught: whoever waits for a stdin that never ends must be able to stop this.
    let given = match selector {
        Selector::Stdin => Some(seal::from_stdin(&args.store.artifact)?),
        _ => None,
    };
    let mut interrupts = Interrupts::catch()?;
    let store = args.store.open().await;
    // Jenkins sets a parameter that was left blank to nothing.
    let tag = match args.tag.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            let git = Git::new(&args.repo, args.store.timeout());
            Some(interrupts.or(Tag::open(name, &args.remote, git)).await?)
        }
        None => None,
    };
    let run = Run {
        args,
        layout: &args.store.artifact,
        store: store.as_ref(),
        pointer_key: layout::pointer(&args.channel),
        history_key: layout::promotions(&args.channel),
        tag,
        proven: OnceLock::new(),
        console,
    };
    let promoted = interrupts.or(run.promote(&selector, given.as_ref())).await?;
    if args.dry_run {
        return out.write_and_close(&promoted.to_bytes());
    }
    out.report(&promoted.to_bytes(), &format!("release {} is {}", promoted.number(), args.channel))
}

/// Prints all promotions of the channel.
///
/// # Errors
/// The store fails or is another artifact's, or stdout fails.
pub(crate) async fn print_history(args: &Args, console: Console, out: Output) -> Result<(), Failure> {
    let (store, layout) = (args.store.open().await, &args.store.artifact);
    let standing = pointer::read(store.as_ref(), &layout::pointer(&args.channel)).await?;
    if let Some(pointer) = &standing {
        pointer::check_owner(store.as_ref(), layout, pointer).await?;
    }
    let key = layout::promotions(&args.channel);
    let (history, object) = read_history(store.as_ref(), &key).await?;
    let latest = layout::pointer(layout::LATEST);
    if standing.is_none() && object.is_none() && pointer::read(store.as_ref(), &latest).await?.is_none() {
        console.warn(pointer::none_yet(store.as_ref(), layout));
    }
    out.write_and_close(&history.to_bytes())
}

struct Run<'a> {
    args: &'a Args,
    layout: &'a Layout,
    store: &'a dyn Objects,
    pointer_key: String,
    history_key: String,
    tag: Option<Tag>,
    /// Set once the store has shown to keep conditions.
    proven: OnceLock<()>,
    console: Console,
}

impl Run<'_> {
    async fn promote(&self, selector: &Selector, given: Option<&Record>) -> Result<Record, Failure> {
        let mut target: Option<Asked> = None;
        let mut attempted: Option<Record> = None;
        let mut pauses = Pauses::default();
        for _ in 0..ROUNDS {
            let standing = pointer::read(self.store, &self.pointer_key).await?;
            if let Some(pointer) = &standing {
                pointer::check_owner(self.store, self.layout, pointer).await?;
                self.console.step(format!("{} names release {}", self.url(), pointer.record.number()));
            } else {
                self.console.step(format!("{} does not exist yet", self.url()));
            }
            let Some(history) = self.bring_row_up(standing.as_ref()).await? else {
                pauses.pause().await;
                continue;
            };
            // A lost reply can hide a swap that others have built upon since. Its row is there then, and it counts.
            if let Some(mine) = attempted.take().filter(|mine| has_row_of(&history.list, mine)) {
                if self.tag.is_none() {
                    self.console
                        .warn(format!("overtaken: another release was promoted after release {}", mine.number()));
                }
                return self.follow_tag(mine).await;
            }
            let finished = match self.finish_tag(selector, standing.as_ref(), &history).await {
                Ok(finished) => finished,
                Err(failure) => return Err(self.not_promoted(selector, given, &history, failure).await),
            };
            if let Some(unfinished) = finished.filter(|_| *selector == Selector::Previous) {
                if self.args.dry_run {
                    self.foretell_end(standing.as_ref(), &unfinished).await?;
                }
                return Ok(unfinished);
            }
            if let (true, Selector::Previous, Some(pointer)) = (history.repaired, selector, &standing) {
                if self.args.dry_run {
                    self.foretell_end(standing.as_ref(), &pointer.record).await?;
                    return Ok(pointer.record.clone());
                }
                let number = pointer.record.number();
                self.console.warn(format!(
                    "finished the promotion of release {number}, which had been cut off{}",
                    stopped(selector)
                ));
                return Ok(pointer.record.clone());
            }
            // Settled once: `previous` must not come to mean another release because somebody else promoted meanwhile.
            let asked = match &target {
                Some(asked) => asked,
                None => target.insert(self.resolve(selector, given, &history.list).await?),
            };
            let number = asked.number;
            let candidate = self.candidate(asked, standing.as_ref(), &history).await?;
            self.console.step(format!("release {number} is there and fits its record"));
            let stands = |pointer: &&Pointer| history.current && same_release(&pointer.record, &candidate.record);
            if let Some(pointer) = standing.as_ref().filter(stands) {
                self.console.step(format!("release {number} is {} already", self.args.channel));
                if self.args.dry_run {
                    self.foretell(Some(pointer), &pointer.record).await?;
                }
                return self.follow_tag(pointer.record.clone()).await;
            }
            if let (Some(tag), Some(commit)) = (&self.tag, candidate.record.git_commit()) {
                tag.rehearse(commit).await?;
            }
            let promoted = self.next_pointer(&candidate, &history.list)?;
            if self.args.dry_run {
                self.foretell(standing.as_ref(), &promoted).await?;
                return Ok(promoted);
            }
            self.prove(history.object.as_ref(), &candidate.attributes).await?;
            match self.swap(standing.as_ref(), &promoted, &candidate.attributes).await? {
                Settled::Ours(_) => self.console.step(format!("{} names release {number} now", self.url())),
                Settled::Theirs(_) => {
                    attempted = Some(promoted);
                    pauses.pause().await;
                    continue;
                }
            }
            let moved = |failure: Failure| {
                let what = format!(
                    "release {number} is {} now, but its promotion is not finished; run again with --release {number} to finish it",
                    self.args.channel
                );
                failure.with_class(Class::Temporary).context(what)
            };
            if let Some(promotion) = promoted.promotion() {
                self.add_row(&promoted, &promotion, &candidate.attributes).await.map_err(moved)?;
            }
            return self.follow_tag(promoted).await;
        }
        Err(Failure::temporary(format!("unable to move {}: others keep moving it", self.url())))
    }

    /// The pointer's place, for messages.
    fn url(&self) -> String {
        self.store.url(&self.pointer_key)
    }

    fn next_pointer(&self, candidate: &Candidate, history: &History) -> Result<Record, Failure> {
        let promotion = Promotion {
            n: self.next_number(history)?,
            at: Timestamp::now().to_string(),
            by: who(),
            reason: self.args.reason.clone(),
        };
        let promoted = candidate.record.promoted(&promotion);
        promoted.map_err(|error| Failure::usage(format!("unable to record this promotion: {error}")))
    }

    async fn swap(
        &self,
        standing: Option<&Pointer>,
        promoted: &Record,
        attributes: &Attributes,
    ) -> Result<Settled, Failure> {
        let when = standing.map_or(Condition::Absent, |pointer| Condition::Unchanged(&pointer.object.tag));
        settle::put(self.store, &self.pointer_key, &promoted.to_bytes(), when, attributes).await
    }
}

/// What a person who asked for the release before must know of a run that finished another promotion instead.
fn stopped(selector: &Selector) -> &'static str {
    match selector {
        Selector::Previous => "; this run did not go back: run it again to do so",
        _ => "",
    }
}

/// user@host, as people look for it in the history.
fn who() -> String {
    // Under sudo the person, not root.
    let person = std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty());
    let user = person.or_else(|| whoami::username().ok()).unwrap_or_else(|| "unknown".to_owned());
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    format!("{}@{}", plain(&user), plain(&node))
}
