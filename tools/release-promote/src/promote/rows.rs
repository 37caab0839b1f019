//! The list of promotions, which follows the pointer.

use super::{ROUNDS, Run};
use failure::Failure;
use jiff::Timestamp;
use release::history::{History, Row};
use release::pointer::Pointer;
use release::probe::{self, Verdict};
use release::record::Promotion;
use release::settle::{self, Settled};
use release::{Pauses, Record};
use store::{Attributes, Condition, Object, Objects, Tag};

impl Run<'_> {
    pub(super) fn next_number(&self, history: &History) -> Result<u64, Failure> {
        let next = history.last().map_or(0, |row| row.n).checked_add(1);
        next.ok_or_else(|| Failure::permanent(format!("{} counts no further", self.store.url(&self.history_key))))
    }

    /// Makes sure that the present pointer has its row. `None`: the pointer has moved on meanwhile.
    pub(super) async fn bring_row_up(&self, standing: Option<&Pointer>) -> Result<Option<Standings>, Failure> {
        let (mut list, object) = read_history(self.store, &self.history_key).await?;
        let Some(pointer) = standing else {
            return Ok(Some(Standings { list, object, repaired: false, current: false }));
        };
        let newest = list.last().map_or(0, |row| row.n);
        if let Some(own) = pointer.record.promotion().filter(|own| own.n >= newest) {
            let repaired = list.row(own.n).is_none();
            if repaired && self.args.dry_run {
                list.add(row_of(&pointer.record, &own, &list));
            } else if repaired {
                list = self.add_row(&pointer.record, &own, &pointer.object.attributes).await?;
            }
            return Ok(Some(Standings { list, object, repaired, current: true }));
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
        Ok(Some(Standings { list, object, repaired: false, current: false }))
    }

    /// Makes sure, once and before this run's first write, that the store keeps conditions: promotions would take each
    /// other's numbers and rows on one that ignores them. What is tried is the list of promotions, of which `read` was
    /// read: a run may write it, and the pointer can tell again what it would lose. If there is none, an empty one is
    /// begun, and its tag returned.
    pub(super) async fn prove(&self, read: Option<&Object>, attributes: &Attributes) -> Result<Option<Tag>, Failure> {
        if self.proven.get().is_some() {
            return Ok(None);
        }
        let (store, key) = (self.store, &self.history_key);
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
    pub(super) async fn add_row(
        &self,
        record: &Record,
        promotion: &Promotion,
        attributes: &Attributes,
    ) -> Result<History, Failure> {
        let mut pauses = Pauses::default();
        for _ in 0..ROUNDS {
            let (mut list, object) = read_history(self.store, &self.history_key).await?;
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
                Settled::Theirs(_) => pauses.pause().await,
            }
        }
        Err(Failure::temporary(format!(
            "unable to write {}: others keep writing it",
            self.store.url(&self.history_key)
        )))
    }

    pub(super) async fn put_history(
        &self,
        list: &History,
        read: Option<&Object>,
        attributes: &Attributes,
    ) -> Result<Settled, Failure> {
        let begun = self.prove(read, attributes).await?;
        let standing = read.map(|object| &object.tag).or(begun.as_ref());
        let when = standing.map_or(Condition::Absent, Condition::Unchanged);
        settle::put(self.store, &self.history_key, &list.to_bytes(), when, attributes).await
    }
}

/// The list of promotions as the pointer needs it.
pub(super) struct Standings {
    pub(super) list: History,
    /// The list as it was read, without what this run has added.
    pub(super) object: Option<Object>,
    /// A row had to be added that a dead run left out.
    pub(super) repaired: bool,
    /// The pointer carries the number of the newest row; one that an old script wrote does not.
    pub(super) current: bool,
}

/// The row of a promotion in `list`.
pub(super) fn row_of(record: &Record, promotion: &Promotion, list: &History) -> Row {
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

pub(super) fn has_row_of(list: &History, record: &Record) -> bool {
    let Some(promotion) = record.promotion() else { return false };
    let is_own =
        |row: &Row| row.time == promotion.at && row.who == promotion.by && row.to == record.number().to_string();
    list.row(promotion.n).is_some_and(is_own)
}

pub(super) async fn read_history(store: &dyn Objects, key: &str) -> Result<(History, Option<Object>), Failure> {
    let Some(object) = store.get(key).await? else { return Ok((History::default(), None)) };
    let list = History::parse(&object.body)
        .map_err(|error| Failure::permanent(format!("{} is not a list of promotions: {error}", store.url(key))))?;
    Ok((list, Some(object)))
}
