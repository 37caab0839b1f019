//! A promotion: pointer, row, tag, in this order, each step repaired by whoever comes next.
//!
//! The pointer is the truth. It is swapped first and carries the promotion's number; the list of promotions and the tag
//! follow it. A run that finds them behind brings them up before it does anything of its own.

use crate::args::Args;
use crate::channel::{Channel, ROUNDS};
use crate::choice::{Asked, Choice};
use crate::follower::Follower;
use crate::ledger::{Ledger, Standings};
use crate::rehearsal::Rehearsal;
use crate::seal::{self, Candidate, Known};
use crate::tag::Tag;
use cli::{Console, Interrupts, Output};
use failure::{Class, Failure};
use jiff::Timestamp;
use release::git::Git;
use release::history::History;
use release::layout;
use release::pointer::{self, Pointer};
use release::record::Promotion;
use release::settle::Settled;
use release::{Pauses, Record, Selector};
use store::Attributes;

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
    let store = args.store.open().await?;
    // Jenkins sets a parameter that was left blank to nothing.
    let tag = match args.tag.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            let git = Git::new(&args.repo, args.store.timeout());
            Some(interrupts.or(Tag::open(name, &args.remote, git)).await?)
        }
        None => None,
    };
    let (dry_run, channel) = (args.dry_run, &Channel::new(store.as_ref(), &args.store.artifact, &args.channel));
    let run = Run {
        channel,
        choice: Choice { channel, selector, given },
        ledger: Ledger::new(channel, dry_run, console),
        follower: tag.map(|tag| Follower { channel, tag, dry_run, console }),
        reason: &args.reason,
        dry_run,
        console,
    };
    let promoted = interrupts.or(run.promote()).await?;
    if dry_run {
        return out.write_and_close(&promoted.to_bytes());
    }
    out.report(&promoted.to_bytes(), &format!("release {} is {}", promoted.number(), args.channel))
}

/// Prints all promotions of the channel.
///
/// # Errors
/// The store fails or is another artifact's, or stdout fails.
pub(crate) async fn print_history(args: &Args, console: Console, out: Output) -> Result<(), Failure> {
    let store = args.store.open().await?;
    let channel = Channel::new(store.as_ref(), &args.store.artifact, &args.channel);
    let standing = channel.own_pointer().await?;
    let (history, object) = Ledger::new(&channel, args.dry_run, console).read().await?;
    let latest = layout::pointer(layout::LATEST);
    if standing.is_none() && object.is_none() && pointer::read(channel.store, &latest).await?.is_none() {
        console.tell(pointer::none_yet(channel.store, channel.layout));
    }
    out.write_and_close(&history.to_bytes())
}

/// One run of the tool.
struct Run<'a> {
    channel: &'a Channel<'a>,
    choice: Choice<'a>,
    ledger: Ledger<'a>,
    /// If a tag is to be moved.
    follower: Option<Follower<'a>>,
    reason: &'a str,
    dry_run: bool,
    console: Console,
}

/// What the rounds before have settled.
#[derive(Default)]
struct Settlement {
    /// Settled once: `previous` must not come to mean another release because somebody else promoted meanwhile.
    asked: Option<Asked>,
    /// The record of a swap that seemed to be lost.
    attempted: Option<Record>,
}

impl Run<'_> {
    /// Promotes, and returns the record that the pointer carries then.
    async fn promote(&self) -> Result<Record, Failure> {
        let mut settled = Settlement::default();
        let mut pauses = Pauses::default();
        for _ in 0..ROUNDS {
            if let Some(promoted) = self.round(&mut settled).await? {
                return Ok(promoted);
            }
            pauses.pause().await;
        }
        Err(Failure::temporary(format!("unable to move {}: others keep moving it", self.channel.url())))
    }

    /// One round against others. `None`: somebody moved the pointer meanwhile.
    async fn round(&self, settled: &mut Settlement) -> Result<Option<Record>, Failure> {
        let standing = self.standing().await?;
        let Some(history) = self.ledger.bring_up(standing.as_ref()).await? else { return Ok(None) };
        // A lost reply can hide a swap that others have built upon since. Its row is there then, and it counts.
        if let Some(mine) = settled.attempted.take().filter(|mine| history.has_row_of(mine)) {
            if self.follower.is_none() {
                self.console.warn(format!("overtaken: another release was promoted after release {}", mine.number()));
            }
            return self.follow(mine).await.map(Some);
        }
        if let Some(unfinished) = self.finish(standing.as_ref(), &history).await? {
            return Ok(Some(unfinished));
        }
        let asked = match &settled.asked {
            Some(asked) => asked,
            None => settled.asked.insert(self.choice.resolve(&history.list).await?),
        };
        let number = asked.number;
        let candidate = self.candidate(asked, standing.as_ref(), &history).await?;
        self.console.step(format!("release {number} is there and fits its record"));
        let stands = |pointer: &&Pointer| history.current && same_release(&pointer.record, &candidate.record);
        if let Some(pointer) = standing.as_ref().filter(stands) {
            self.console.step(format!("release {number} is {} already", self.channel.name));
            if self.dry_run {
                self.rehearsal().foretell(Some(pointer), &pointer.record).await?;
            }
            return self.follow(pointer.record.clone()).await.map(Some);
        }
        if let (Some(follower), Some(commit)) = (&self.follower, candidate.record.git_commit()) {
            follower.tag.rehearse(commit).await?;
        }
        let (promoted, promotion) = self.next_pointer(&candidate, &history.list)?;
        if self.dry_run {
            self.rehearsal().foretell(standing.as_ref(), &promoted).await?;
            return Ok(Some(promoted));
        }
        self.ledger.prove(history.object.as_ref(), &candidate.attributes).await?;
        if let Settled::Theirs(_) = self.channel.swap(standing.as_ref(), &promoted, &candidate.attributes).await? {
            settled.attempted = Some(promoted);
            return Ok(None);
        }
        self.console.step(format!("{} names release {number} now", self.channel.url()));
        self.ledger.add(&promoted, &promotion, &candidate.attributes).await.map_err(|failure| {
            let what = format!(
                "release {number} is {} now, but its promotion is not finished; run again with --release {number} to finish it",
                self.channel.name
            );
            failure.with_class(Class::Temporary).context(what)
        })?;
        self.follow(promoted).await.map(Some)
    }

    async fn standing(&self) -> Result<Option<Pointer>, Failure> {
        let standing = self.channel.own_pointer().await?;
        let url = self.channel.url();
        self.console.step(match &standing {
            Some(pointer) => format!("{url} names release {}", pointer.record.number()),
            None => format!("{url} does not exist yet"),
        });
        Ok(standing)
    }

    /// Ends a promotion that was cut off. Whoever asks for the release before gets no more than that: the record of what
    /// was finished.
    async fn finish(&self, standing: Option<&Pointer>, history: &Standings) -> Result<Option<Record>, Failure> {
        let finished = match &self.follower {
            Some(follower) => follower.finish(&self.choice, standing, history).await,
            None => Ok(None),
        };
        let finished = match finished {
            Ok(finished) => finished,
            Err(failure) => return Err(self.not_promoted(history, failure).await),
        };
        if !self.choice.is_previous() {
            return Ok(None);
        }
        let repaired = standing.filter(|_| history.repaired).map(|pointer| &pointer.record);
        let Some(unfinished) = finished.as_ref().or(repaired) else { return Ok(None) };
        if self.dry_run {
            self.rehearsal().foretell_end(standing, unfinished).await?;
        } else if finished.is_none() {
            self.console.warn(format!(
                "finished the promotion of release {}, which had been cut off{}",
                unfinished.number(),
                self.choice.stopped()
            ));
        }
        Ok(Some(unfinished.clone()))
    }

    /// What kept an earlier promotion from being finished kept the one that was asked for from being begun, which its
    /// message alone does not tell.
    async fn not_promoted(&self, history: &Standings, failure: Failure) -> Failure {
        let Some(standing) = history.list.last() else { return failure };
        match self.choice.resolve(&history.list).await {
            Ok(asked) if standing.is_to(asked.number) => failure,
            Ok(asked) => failure.context(format!("release {} was not promoted", asked.number)),
            Err(_) => failure.context("nothing was promoted"),
        }
    }

    /// The release that is asked for, if it may be promoted.
    async fn candidate(
        &self,
        asked: &Asked,
        standing: Option<&Pointer>,
        history: &Standings,
    ) -> Result<Candidate, Failure> {
        let Channel { store, layout, .. } = *self.channel;
        let number = asked.number;
        let artifact = [asked.record(), standing.map(|pointer| &pointer.record)].into_iter().flatten();
        let known = Known {
            promoted: history.list.rows().iter().any(|row| row.is_to(number)),
            artifact: artifact.filter(|record| record.number() == number).find_map(Record::artifact),
        };
        let ready =
            async |attributes: &Attributes| self.ledger.prove(history.object.as_ref(), attributes).await.map(drop);
        let candidate = seal::candidate(store, layout, number, known, self.dry_run, ready, self.console).await?;
        asked.check(self.channel, &candidate.record)?;
        if let Some(follower) = &self.follower {
            let commit = candidate.record.git_commit();
            let commit =
                commit.ok_or_else(|| Failure::permanent(format!("release {number} names no commit to tag")))?;
            follower.tag.check(commit).await?;
        }
        Ok(candidate)
    }

    /// The record that the pointer is to carry, and what it says of its promotion.
    fn next_pointer(&self, candidate: &Candidate, history: &History) -> Result<(Record, Promotion), Failure> {
        let promotion = Promotion {
            n: self.ledger.next_number(history)?,
            at: Timestamp::now().to_string(),
            by: who(),
            reason: self.reason.to_owned(),
        };
        let promoted = candidate.record.promoted(&promotion);
        let promoted = promoted.map_err(|error| Failure::usage(format!("unable to record this promotion: {error}")))?;
        Ok((promoted, promotion))
    }

    /// Lets the tag follow, if there is one and anything may be changed.
    async fn follow(&self, promoted: Record) -> Result<Record, Failure> {
        if let Some(follower) = self.follower.as_ref().filter(|_| !self.dry_run) {
            follower.follow(&promoted).await?;
        }
        Ok(promoted)
    }

    fn rehearsal(&self) -> Rehearsal<'_> {
        let tag = self.follower.as_ref().map(|follower| &follower.tag);
        Rehearsal { channel: self.channel.name, tag, console: self.console }
    }
}

/// Whether both records speak of the same release and the same bytes.
fn same_release(a: &Record, b: &Record) -> bool {
    a.artifact().is_some() && a.artifact() == b.artifact() && a.number() == b.number()
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
