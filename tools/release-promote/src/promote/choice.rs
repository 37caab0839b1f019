//! Which release is promoted, and whether it may be.

use super::Run;
use super::rows::Standings;
use crate::seal::{self, Candidate, Known};
use failure::Failure;
use release::history::History;
use release::layout;
use release::pointer::{self, Pointer};
use release::{Record, ReleaseNumber, Selector};
use store::Attributes;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) number: ReleaseNumber,
    /// The record that named it, and where that was.
    named: Option<(Record, String)>,
}

impl Asked {
    fn by_number(number: ReleaseNumber) -> Self {
        Self { number, named: None }
    }
}

impl Run<'_> {
    /// The release that is asked for.
    pub(super) async fn resolve(
        &self,
        selector: &Selector,
        given: Option<&Record>,
        history: &History,
    ) -> Result<Asked, Failure> {
        match selector {
            Selector::Number(number) => Ok(Asked::by_number(*number)),
            Selector::Pointer(name) => {
                let key = layout::pointer(name);
                let found = pointer::read(self.store, &key).await?;
                let record = found.ok_or_else(|| pointer::missing(self.store, name))?.record;
                Ok(Asked { number: record.number(), named: Some((record, self.store.url(&key))) })
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
                last.from.parse().map(Asked::by_number).map_err(|_| none())
            }
            Selector::Stdin => {
                let record = given.ok_or_else(|| Failure::temporary("no release record on stdin"))?;
                Ok(Asked { number: record.number(), named: Some((record.clone(), "the record on stdin".to_owned())) })
            }
        }
    }

    pub(super) async fn candidate(
        &self,
        asked: &Asked,
        standing: Option<&Pointer>,
        history: &Standings,
    ) -> Result<Candidate, Failure> {
        let number = asked.number;
        let named = asked.named.as_ref().map(|(record, _)| record);
        let artifact = [named, standing.map(|pointer| &pointer.record)].into_iter().flatten();
        let known = Known {
            promoted: history.list.rows().iter().any(|row| row.to == number.to_string()),
            artifact: artifact.filter(|record| record.number() == number).find_map(Record::artifact),
        };
        let ready = async |attributes: &Attributes| self.prove(history.object.as_ref(), attributes).await.map(drop);
        let candidate =
            seal::candidate(self.store, self.layout, number, known, self.args.dry_run, ready, self.console).await?;
        if let Some((record, origin)) = &asked.named
            && !record.is_of(&candidate.record)
        {
            let place = self.store.url(&self.layout.record(number));
            return Err(Failure::permanent(format!("{origin} is not the one of release {number} in {place}")));
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
