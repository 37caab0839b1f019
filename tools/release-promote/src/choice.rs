//! Which release is asked for.

use crate::channel::Channel;
use failure::Failure;
use release::history::History;
use release::pointer;
use release::{Record, ReleaseNumber, Selector, layout};

/// What was typed, and the record that came with it.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) channel: &'a Channel<'a>,
    pub(crate) selector: Selector,
    /// The record on stdin.
    pub(crate) given: Option<Record>,
}

/// What that means in the store.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) number: ReleaseNumber,
    /// The record that named it, and where that was.
    named: Option<(Record, String)>,
}

impl Choice<'_> {
    /// Whether it is the release that was promoted before.
    pub(crate) fn is_previous(&self) -> bool {
        self.selector == Selector::Previous
    }

    /// What a person who asked for the release before must know of a run that finished another promotion instead.
    pub(crate) fn stopped(&self) -> &'static str {
        if self.is_previous() { "; this run did not go back: run it again to do so" } else { "" }
    }

    /// The release that is asked for.
    ///
    /// # Errors
    /// There is none, or the store fails.
    pub(crate) async fn resolve(&self, history: &History) -> Result<Asked, Failure> {
        let store = self.channel.store;
        match &self.selector {
            Selector::Number(number) => Ok(Asked::by_number(*number)),
            Selector::Pointer(name) => {
                let key = layout::pointer(name);
                let found = pointer::read(store, &key).await?;
                let record = found.ok_or_else(|| pointer::missing(store, name))?.record;
                Ok(Asked { number: record.number(), named: Some((record, store.url(&key))) })
            }
            Selector::Previous => self.before(history),
            Selector::Stdin => {
                let record = self.given.as_ref().ok_or_else(|| Failure::temporary("no release record on stdin"))?;
                Ok(Asked { number: record.number(), named: Some((record.clone(), "the record on stdin".to_owned())) })
            }
        }
    }

    fn before(&self, history: &History) -> Result<Asked, Failure> {
        let (channel, place) = (self.channel.name, self.channel.store.url(""));
        let none = || {
            Failure::permanent(if history.rows().is_empty() {
                format!("no release before: nothing was ever promoted to {channel} in {place}")
            } else {
                format!("there is no release before the one that is {channel} in {place}")
            })
        };
        let last = history.rows().iter().rev().find(|row| row.moved()).ok_or_else(none)?;
        if last.from.is_empty() && last.n > 1 {
            return Err(Failure::permanent(format!(
                "{} has lost what was {channel} before promotion {}; run again with its number",
                self.channel.promotions_url(),
                last.n
            )));
        }
        last.before().map(Asked::by_number).ok_or_else(none)
    }
}

impl Asked {
    fn by_number(number: ReleaseNumber) -> Self {
        Self { number, named: None }
    }

    /// The record that named it.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.named.as_ref().map(|(record, _)| record)
    }

    /// Whether `found` is what was named.
    ///
    /// # Errors
    /// It is another release of that number (permanent).
    pub(crate) fn check(&self, channel: &Channel<'_>, found: &Record) -> Result<(), Failure> {
        match &self.named {
            Some((record, origin)) if !record.is_of(found) => {
                let (number, place) = (self.number, channel.store.url(&channel.layout.record(self.number)));
                Err(Failure::permanent(format!("{origin} is not the one of release {number} in {place}")))
            }
            _ => Ok(()),
        }
    }
}
