//! The list of promotions, which follows the pointer.

use crate::channel::{Channel, ROUNDS};
use cli::Console;
use failure::Failure;
use jiff::Timestamp;
use release::history::{History, Row};
use release::pointer::Pointer;
use release::probe::{self, Verdict};
use release::record::Promotion;
use release::settle::{self, Settled};
use release::{Pauses, Record};
use std::sync::OnceLock;
use store::{Attributes, Condition, Object, Tag};

/// A channel's list of promotions in the store.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    channel: &'a Channel<'a>,
    dry_run: bool,
    /// Set once the store has shown to keep conditions.
    proven: OnceLock<()>,
    console: Console,
}

/// The list as the pointer needs it.
#[derive(Debug)]
pub(crate) struct Standings {
    pub(crate) list: History,
    /// The list as it was read, without what this run has added.
    pub(crate) object: Option<Object>,
    /// A row had to be added that a dead run left out.
    pub(crate) repaired: bool,
    /// The pointer carries the number of the newest row; one that an old script wrote does not.
    pub(crate) current: bool,
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(channel: &'a Channel<'a>, dry_run: bool, console: Console) -> Self {
        Self { channel, dry_run, proven: OnceLock::new(), console }
    }

    /// The list, and the object that it was read from.
    ///
    /// # Errors
    /// The store fails, or what is there is no list.
    pub(crate) async fn read(&self) -> Result<(History, Option<Object>), Failure> {
        let Some(object) = self.channel.store.get(&self.channel.promotions).await? else {
            return Ok((History::default(), None));
        };
        let list = History::parse(&object.body).map_err(|error| {
            Failure::permanent(format!("{} is not a list of promotions: {error}", self.channel.promotions_url()))
        })?;
        Ok((list, Some(object)))
    }

    /// The number of the promotion after the last one.
    ///
    /// # Errors
    /// There is none (permanent).
    pub(crate) fn next_number(&self, list: &History) -> Result<u64, Failure> {
        let next = list.last().map_or(0, |row| row.n).checked_add(1);
        next.ok_or_else(|| Failure::permanent(format!("{} counts no further", self.channel.promotions_url())))
    }

    /// Makes sure that the present pointer has its row. `None`: the pointer has moved on meanwhile.
    ///
    /// # Errors
    /// The store fails or ignores conditions.
    pub(crate) async fn bring_up(&self, standing: Option<&Pointer>) -> Result<Option<Standings>, Failure> {
        let (mut list, object) = self.read().await?;
        let Some(pointer) = standing else {
            return Ok(Some(Standings { list, object, repaired: false, current: false }));
        };
        let newest = list.last().map_or(0, |row| row.n);
        if let Some(own) = pointer.record.promotion().filter(|own| own.n >= newest) {
            let repaired = list.row(own.n).is_none();
            if repaired && self.dry_run {
                list.add(row_of(&pointer.record, &own, &list));
            } else if repaired {
                list = self.add(&pointer.record, &own, &pointer.object.attributes).await?;
            }
            return Ok(Some(Standings { list, object, repaired, current: true }));
        }
        // No number, or an old one: something else than this tool wrote the pointer, or it moved on since it was read.
        // Only a pointer that still stands after the list was read tells the one from the other.
        if !self.channel.still_has(pointer).await? {
            return Ok(None);
        }
        if list.last().is_none_or(|row| !row.is_to(pointer.record.number())) {
            let at = Timestamp::try_from(pointer.object.modified).map(|at| at.to_string()).unwrap_or_default();
            let taken = Promotion { n: self.next_number(&list)?, at, by: String::new(), reason: String::new() };
            list.add(row_of(&pointer.record, &taken, &list));
            if !self.dry_run
                && let Settled::Theirs(_) = self.put(&list, object.as_ref(), &pointer.object.attributes).await?
            {
                return Ok(None);
            }
        }
        // An old script's promotion was whole in itself.
        Ok(Some(Standings { list, object, repaired: false, current: false }))
    }

    /// Makes sure, once and before this run's first write, that the store keeps conditions: promotions would take each
    /// other's numbers and rows on one that ignores them. What is tried is the list of promotions, of which `read` was
    /// read: a run may write it, and the pointer can tell again what it would lose. If there is none, an empty one is
    /// begun, and its tag returned.
    ///
    /// # Errors
    /// The store fails or ignores conditions.
    pub(crate) async fn prove(&self, read: Option<&Object>, attributes: &Attributes) -> Result<Option<Tag>, Failure> {
        if self.proven.get().is_some() {
            return Ok(None);
        }
        let (store, key) = (self.channel.store, &self.channel.promotions);
        let mut begun = None;
        let body = match read {
            Some(object) => object.body.clone(),
            None => {
                let empty = History::default().to_bytes();
                match settle::put(store, key, &empty, Condition::Absent, attributes).await? {
                    Settled::Ours(tag) => {
                        begun = Some(tag);
                        empty
                    }
                    Settled::Theirs(found) => found.map_or(empty, |object| object.body),
                }
            }
        };
        match probe::writes(store, key, &body, attributes).await? {
            Verdict::Kept => {
                let _ = self.proven.set(());
                Ok(begun)
            }
            Verdict::Ignored(header) => {
                if begun.is_some() {
                    // As if it had never been there; if that fails too, the reason is still the one below.
                    let _ = store.delete(key).await;
                }
                let consequence = "two promotions could take the same number, so nothing is promoted";
                Err(probe::refusal(store, header, consequence))
            }
        }
    }

    /// Adds the row of a pointer's record, wherever the list stands by now.
    ///
    /// # Errors
    /// The store fails or ignores conditions, or others keep writing the list (temporary).
    pub(crate) async fn add(
        &self,
        record: &Record,
        promotion: &Promotion,
        attributes: &Attributes,
    ) -> Result<History, Failure> {
        let place = self.channel.promotions_url();
        let mut pauses = Pauses::default();
        for _ in 0..ROUNDS {
            let (mut list, object) = self.read().await?;
            if list.row(promotion.n).is_some() {
                return Ok(list);
            }
            list.add(row_of(record, promotion, &list));
            match self.put(&list, object.as_ref(), attributes).await? {
                Settled::Ours(_) => {
                    self.console.step(format!("{place} has the row of promotion {}", promotion.n));
                    return Ok(list);
                }
                Settled::Theirs(_) => pauses.pause().await,
            }
        }
        Err(Failure::temporary(format!("unable to write {place}: others keep writing it")))
    }

    async fn put(&self, list: &History, read: Option<&Object>, attributes: &Attributes) -> Result<Settled, Failure> {
        let begun = self.prove(read, attributes).await?;
        let standing = read.map(|object| &object.tag).or(begun.as_ref());
        let when = standing.map_or(Condition::Absent, Condition::Unchanged);
        settle::put(self.channel.store, &self.channel.promotions, &list.to_bytes(), when, attributes).await
    }
}

impl Standings {
    /// Whether the list has the row of the promotion that `record` carries.
    pub(crate) fn has_row_of(&self, record: &Record) -> bool {
        let Some(promotion) = record.promotion() else { return false };
        let is_own = |row: &Row| row.time == promotion.at && row.who == promotion.by && row.is_to(record.number());
        self.list.row(promotion.n).is_some_and(is_own)
    }
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
