//! A promotion: pointer, row, tag, in this order, each step repaired by whoever comes next.
//!
//! The pointer is the truth. It is swapped first and carries the promotion's number; the list of promotions and the tag
//! follow it. A run that finds them behind brings them up before it does anything of its own.

use crate::args::Args;
use crate::seal::{self, Candidate};
use crate::tag::{Push, Standing, Tag, Words};
use cli::{Class, Console, Failure, Interrupts, Output};
use jiff::Timestamp;
use release::backoff::pause;
use release::git::Git;
use release::history::{History, Row};
use release::layout;
use release::pointer::{self, Pointer};
use release::record::Promotion;
use release::settle::{self, Settled};
use release::store::{Attributes, Condition, Object, Store};
use release::{Layout, Record, ReleaseNumber, Selector};
use std::sync::Arc;

/// Rounds against others who promote at the same moment.
const ROUNDS: u32 = 200;

/// Pushes lost in a row against a tag that does not move.
const LOSSES: u32 = 10;

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
    let run = Run {
        args,
        layout: &args.store.artifact,
        store: &store,
        pointer_key: layout::pointer(&args.channel),
        history_key: layout::promotions(&args.channel),
        tag,
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
    let (store, layout) = (args.store.open().await?, &args.store.artifact);
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
    store: &'a Arc<dyn Store>,
    pointer_key: String,
    history_key: String,
    tag: Option<Tag>,
    console: Console,
}

impl Run<'_> {
    async fn promote(&self, selector: &Selector, given: Option<&Record>) -> Result<Record, Failure> {
        let mut target: Option<ReleaseNumber> = None;
        let mut attempted: Option<Record> = None;
        for round in 0..ROUNDS {
            let standing = pointer::read(self.store.as_ref(), &self.pointer_key).await?;
            if let Some(pointer) = &standing {
                pointer::check_owner(self.store.as_ref(), self.layout, pointer).await?;
                self.console.step(format!("{} names release {}", self.url(), pointer.record.number()));
            } else {
                self.console.step(format!("{} does not exist yet", self.url()));
            }
            let Some(history) = self.bring_row_up(standing.as_ref()).await? else {
                pause(round).await;
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
            let number = match target {
                Some(number) => number,
                None => *target.insert(self.resolve(selector, given, &history.list).await?),
            };
            let candidate = self.candidate(number, given, &history.list).await?;
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
            match self.swap(standing.as_ref(), &promoted, &candidate.attributes).await? {
                Settled::Ours(_) => self.console.step(format!("{} names release {number} now", self.url())),
                Settled::Theirs(_) => {
                    attempted = Some(promoted);
                    pause(round).await;
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

    /// The number that is asked for.
    async fn resolve(
        &self,
        selector: &Selector,
        given: Option<&Record>,
        history: &History,
    ) -> Result<ReleaseNumber, Failure> {
        match selector {
            Selector::Number(number) => Ok(*number),
            Selector::Pointer(name) => {
                let key = layout::pointer(name);
                let found = pointer::read(self.store.as_ref(), &key).await?;
                let number = found.map(|pointer| pointer.record.number());
                number.ok_or_else(|| pointer::missing(self.store.as_ref(), name))
            }
            Selector::Previous => {
                let (channel, place) = (&self.args.channel, self.store.url(""));
                let none = || {
                    Failure::permanent(if history.rows().is_empty() {
                        format!("no release before: nothing was ever promoted to {channel} in {place}")
                    } else {
                        format!("there is no release before the one that is {channel} in {place}")
                    })
                };
                // A release promoted over itself, to renew an old script's pointer, left nothing behind.
                let last = history.rows().iter().rev().find(|row| row.from != row.to).ok_or_else(none)?;
                if last.from.is_empty() && last.n > 1 {
                    let list = self.store.url(&self.history_key);
                    return Err(Failure::permanent(format!(
                        "{list} has lost what was {channel} before promotion {}; run again with its number",
                        last.n
                    )));
                }
                last.from.parse().map_err(|_| none())
            }
            Selector::Stdin => {
                given.map(Record::number).ok_or_else(|| Failure::temporary("no release record on stdin"))
            }
        }
    }

    async fn candidate(
        &self,
        number: ReleaseNumber,
        given: Option<&Record>,
        history: &History,
    ) -> Result<Candidate, Failure> {
        let known = history.rows().iter().any(|row| row.to == number.to_string());
        let candidate =
            seal::candidate(self.store, self.layout, number, known, self.args.dry_run, self.console).await?;
        let same = |given: &Record| match given.artifact() {
            Some(_) => same_release(given, &candidate.record),
            None => given.original_lines() == candidate.record.original_lines(),
        };
        if given.is_some_and(|given| !same(given)) {
            let place = self.store.url(&self.layout.record(number));
            return Err(Failure::permanent(format!(
                "the record on stdin is not the one of release {number} in {place}"
            )));
        }
        if let Some(tag) = &self.tag {
            let commit = candidate.record.git_commit();
            let commit =
                commit.ok_or_else(|| Failure::permanent(format!("release {number} names no commit to tag")))?;
            tag.check(commit).await?;
        }
        Ok(candidate)
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
        settle::put(self.store.as_ref(), &self.pointer_key, &promoted.to_bytes(), when, attributes).await
    }

    fn next_number(&self, history: &History) -> Result<u64, Failure> {
        let next = history.last().map_or(0, |row| row.n).checked_add(1);
        next.ok_or_else(|| Failure::permanent(format!("{} counts no further", self.store.url(&self.history_key))))
    }

    /// Says exactly what a run would change on the way to a pointer with the record `next`.
    async fn foretell(&self, standing: Option<&Pointer>, next: &Record) -> Result<(), Failure> {
        let (channel, number) = (&self.args.channel, next.number());
        let now = standing.map(|pointer| &pointer.record);
        let stays = now.is_some_and(|now| now.promotion() == next.promotion());
        if stays {
            self.console.warn(format!("dry run: {channel} is {number} already"));
        } else {
            let now = now.map_or_else(|| "no release".to_owned(), |now| now.number().to_string());
            self.console.warn(format!("dry run: {channel} would change from {now} to {number}"));
        }
        let (Some(tag), Some(commit)) = (&self.tag, next.git_commit()) else { return Ok(()) };
        let (commit, read) = (tag.check(commit).await?, tag.read().await?);
        let shown = next.promotion().is_some_and(|promotion| read.promotion == Some(promotion.n));
        self.console.warn(match read.place() {
            Some(place) if shown && place == commit => format!("dry run: the tag {} is at {commit} already", tag.name),
            Some(place) => format!("dry run: the tag {} would move from {place} to {commit}", tag.name),
            None => format!("dry run: the tag {} would be made at {commit}", tag.name),
        });
        Ok(())
    }

    /// The same of `previous` where a promotion is not finished.
    async fn foretell_end(&self, standing: Option<&Pointer>, unfinished: &Record) -> Result<(), Failure> {
        let number = unfinished.number();
        self.console.warn(format!(
            "dry run: the promotion of release {number} is not finished: a run would finish it and not go back"
        ));
        self.foretell(standing, unfinished).await
    }

    /// Makes sure that the present pointer has its row. `None`: the pointer has moved on meanwhile.
    async fn bring_row_up(&self, standing: Option<&Pointer>) -> Result<Option<Standings>, Failure> {
        let (mut list, object) = read_history(self.store.as_ref(), &self.history_key).await?;
        let Some(pointer) = standing else { return Ok(Some(Standings { list, repaired: false, current: false })) };
        let newest = list.last().map_or(0, |row| row.n);
        if let Some(own) = pointer.record.promotion().filter(|own| own.n >= newest) {
            let repaired = list.row(own.n).is_none();
            if repaired && self.args.dry_run {
                list.add(row_of(&pointer.record, &own, &list));
            } else if repaired {
                list = self.add_row(&pointer.record, &own, &pointer.object.attributes).await?;
            }
            return Ok(Some(Standings { list, repaired, current: true }));
        }
        // No number, or an old one: something else than this tool wrote the pointer, or it moved on since it was read.
        // Only a pointer that still stands after the list was read tells the one from the other.
        let now = self.store.get(&self.pointer_key).await?;
        if now.is_none_or(|now| now.tag != pointer.object.tag) {
            return Ok(None);
        }
        if list.last().is_none_or(|row| row.to != pointer.record.number().to_string()) {
            let at = Timestamp::try_from(pointer.object.modified).map(|at| at.to_string()).unwrap_or_default();
            let taken = Promotion { n: self.next_number(&list)?, at, by: String::new(), reason: String::new() };
            list.add(row_of(&pointer.record, &taken, &list));
            if !self.args.dry_run
                && let Settled::Theirs(_) = self.put_history(&list, object.as_ref(), &pointer.object.attributes).await?
            {
                return Ok(None);
            }
        }
        // An old script's promotion was whole in itself.
        Ok(Some(Standings { list, repaired: false, current: false }))
    }

    /// Adds the row of a pointer's record, wherever the list stands by now.
    async fn add_row(
        &self,
        record: &Record,
        promotion: &Promotion,
        attributes: &Attributes,
    ) -> Result<History, Failure> {
        for round in 0..ROUNDS {
            let (mut list, object) = read_history(self.store.as_ref(), &self.history_key).await?;
            if list.row(promotion.n).is_some() {
                return Ok(list);
            }
            list.add(row_of(record, promotion, &list));
            match self.put_history(&list, object.as_ref(), attributes).await? {
                Settled::Ours(_) => {
                    let place = self.store.url(&self.history_key);
                    self.console.step(format!("{place} has the row of promotion {}", promotion.n));
                    return Ok(list);
                }
                Settled::Theirs(_) => pause(round).await,
            }
        }
        Err(Failure::temporary(format!(
            "unable to write {}: others keep writing it",
            self.store.url(&self.history_key)
        )))
    }

    async fn put_history(
        &self,
        list: &History,
        read: Option<&Object>,
        attributes: &Attributes,
    ) -> Result<Settled, Failure> {
        let when = read.map_or(Condition::Absent, |object| Condition::Unchanged(&object.tag));
        settle::put(self.store.as_ref(), &self.history_key, &list.to_bytes(), when, attributes).await
    }

    /// Brings the tag up to the present pointer, if it is behind; the pointer's record if there was something to do.
    async fn finish_tag(
        &self,
        selector: &Selector,
        standing: Option<&Pointer>,
        history: &Standings,
    ) -> Result<Option<Record>, Failure> {
        let Some(tag) = &self.tag else { return Ok(None) };
        // Also tells that the remote answers, while nothing is changed yet.
        let read = tag.read().await?;
        let (Some(pointer), Some(row)) = (standing, history.list.last()) else { return Ok(None) };
        if pointer.record.git_commit().is_none() {
            return Ok(None);
        }
        // A tag that shows no promotion yet is one of the old job's, or none: the next promotion moves it. Only the
        // row of this promotion missing as well says that somebody was cut off.
        let behind = history.current && read.promotion.map_or(history.repaired, |shown| shown < row.n);
        if behind && self.args.dry_run {
            return Ok(Some(pointer.record.clone()));
        }
        if behind {
            let record = self.follow_tag(pointer.record.clone()).await?;
            self.console.warn(format!(
                "finished the promotion of release {}, whose tag had not been moved{}",
                record.number(),
                stopped(selector)
            ));
            return Ok(Some(record));
        }
        if read.promotion.is_none() && *selector == Selector::Previous && !self.args.dry_run {
            self.mark(tag, &read, pointer, row).await?;
        }
        Ok(None)
    }

    /// What kept an earlier promotion from being finished kept the one that was asked for from being begun, which its
    /// message alone does not tell.
    async fn not_promoted(
        &self,
        selector: &Selector,
        given: Option<&Record>,
        history: &Standings,
        failure: Failure,
    ) -> Failure {
        let Some(standing) = history.list.last() else { return failure };
        match self.resolve(selector, given, &history.list).await {
            Ok(asked) if asked.to_string() == standing.to => failure,
            Ok(asked) => failure.context(format!("release {asked} was not promoted")),
            Err(_) => failure.context("nothing was promoted"),
        }
    }

    /// Lets a tag that shows no promotion show the present one before `previous` leaves it. Cut off after that, it is
    /// seen to be behind; a tag that shows nothing would let the same `previous`, run again, go back to what it left.
    async fn mark(&self, tag: &Tag, read: &Standing, pointer: &Pointer, row: &Row) -> Result<(), Failure> {
        let Some(commit) = pointer.record.git_commit() else { return Ok(()) };
        if let Err(failure) = tag.check(commit).await {
            self.console.step(format!("the tag {} can't show the present release: {failure}", tag.name));
            return Ok(());
        }
        let release = format!("{}-{}", self.layout, row.to);
        let words = Words { commit, promotion: row.n, release, promoted_at: &row.time, reason: &row.reason };
        // Overtaken: somebody else made it show a promotion.
        tag.push(read, &words).await.map(drop)
    }

    /// Moves the tag until it names the pointer's promotion, whoever moved the pointer last.
    async fn follow_tag(&self, promoted: Record) -> Result<Record, Failure> {
        let Some(tag) = &self.tag else { return Ok(promoted) };
        if self.args.dry_run {
            return Ok(promoted);
        }
        let behind = |failure: Failure| {
            // By number: where the end of a push could not be seen, `previous` may mean another release by now.
            let (number, channel, tag) = (promoted.number(), &self.args.channel, &tag.name);
            let what = format!(
                "release {number} is {channel}, but the tag {tag} was not moved; run again with --release {number} to move it"
            );
            failure.with_class(Class::Temporary).context(what)
        };
        let mut stuck: Option<(Standing, u32)> = None;
        for round in 0..ROUNDS {
            // The tag first, then the pointer: a lease on an older tag fails, one on a newer can't carry an older pointer.
            let read = tag.read().await.map_err(behind)?;
            let now = pointer::read(self.store.as_ref(), &self.pointer_key).await.map_err(behind)?;
            let now = now.ok_or_else(|| behind(Failure::temporary("the pointer vanished")))?.record;
            let Some(promotion) = now.promotion() else {
                return Err(behind(Failure::temporary("an old script moved the pointer meanwhile")));
            };
            let commit = now
                .git_commit()
                .ok_or_else(|| behind(Failure::permanent(format!("release {} names no commit", now.number()))))?;
            let full = tag.check(commit).await.map_err(behind)?;
            if read.promotion == Some(promotion.n) && read.commit.as_ref() == Some(&full) {
                if now.promotion() != promoted.promotion() {
                    self.console.warn(format!(
                        "overtaken: release {} was promoted after release {}",
                        now.number(),
                        promoted.number()
                    ));
                }
                return Ok(promoted);
            }
            let words = Words {
                commit: &full,
                promotion: promotion.n,
                release: format!("{}-{}", self.layout, now.number()),
                promoted_at: &promotion.at,
                reason: &promotion.reason,
            };
            match tag.push(&read, &words).await.map_err(behind)? {
                Push::Done => self.console.step(format!("the tag {} is at {full} on {}", tag.name, tag.remote)),
                Push::Overtaken(words) => {
                    // Who is overtaken sees the tag move. A lock that a dead push left behind looks the same but for that.
                    let losses = stuck.filter(|(seen, _)| *seen == read).map_or(1, |(_, losses)| losses + 1);
                    if losses == LOSSES {
                        return Err(behind(words));
                    }
                    stuck = Some((read, losses));
                    pause(round).await;
                }
            }
        }
        Err(behind(Failure::temporary("others keep moving it")))
    }
}

/// What a person who asked for the release before must know of a run that finished another promotion instead.
fn stopped(selector: &Selector) -> &'static str {
    match selector {
        Selector::Previous => "; this run did not go back: run it again to do so",
        _ => "",
    }
}

/// The list of promotions as the pointer needs it.
struct Standings {
    list: History,
    /// A row had to be added that a dead run left out.
    repaired: bool,
    /// The pointer carries the number of the newest row; one that an old script wrote does not.
    current: bool,
}

/// The row of a promotion in `list`.
fn row_of(record: &Record, promotion: &Promotion, list: &History) -> Row {
    let before = list.rows().iter().rev().find(|row| row.n < promotion.n);
    Row {
        n: promotion.n,
        time: promotion.at.clone(),
        who: promotion.by.clone(),
        from: before.map(|row| row.to.clone()).unwrap_or_default(),
        to: record.number().to_string(),
        commit: record.git_commit().unwrap_or_default().to_owned(),
        reason: promotion.reason.clone(),
    }
}

fn has_row_of(list: &History, record: &Record) -> bool {
    let Some(promotion) = record.promotion() else { return false };
    let is_own =
        |row: &Row| row.time == promotion.at && row.who == promotion.by && row.to == record.number().to_string();
    list.row(promotion.n).is_some_and(is_own)
}

async fn read_history(store: &dyn Store, key: &str) -> Result<(History, Option<Object>), Failure> {
    let Some(object) = store.get(key).await? else { return Ok((History::default(), None)) };
    let list = History::parse(&object.body)
        .map_err(|error| Failure::permanent(format!("{} is not a list of promotions: {error}", store.url(key))))?;
    Ok((list, Some(object)))
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
