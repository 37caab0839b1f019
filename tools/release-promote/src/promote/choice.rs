//! Which release is promoted, and whether it may be.

use super::Run;
use crate::seal::{self, Candidate};
use cli::Failure;
use release::history::History;
use release::layout;
use release::pointer;
use release::{Record, ReleaseNumber, Selector};

impl Run<'_> {
    /// The number that is asked for.
    pub(super) async fn resolve(
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

    pub(super) async fn candidate(
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
}

/// Whether both records speak of the same release and the same bytes.
pub(super) fn same_release(a: &Record, b: &Record) -> bool {
    a.artifact().is_some() && a.artifact() == b.artifact() && a.number() == b.number()
}
