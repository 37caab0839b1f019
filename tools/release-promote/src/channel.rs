//! The channel that is promoted to: its pointer, and where its list of promotions is.

use failure::Failure;
use release::pointer::{self, Pointer};
use release::settle::{self, Settled};
use release::{Layout, Record, layout};
use store::{Attributes, Condition, Objects, StoreError};

/// Rounds against others who promote at the same moment.
pub(crate) const ROUNDS: u32 = 200;

/// A channel of one artifact in its store.
#[derive(Debug)]
pub(crate) struct Channel<'a> {
    pub(crate) store: &'a dyn Objects,
    pub(crate) layout: &'a Layout,
    pub(crate) name: &'a str,
    /// Key of its pointer.
    pointer: String,
    /// Key of its list of promotions.
    pub(crate) promotions: String,
}

impl<'a> Channel<'a> {
    pub(crate) fn new(store: &'a dyn Objects, layout: &'a Layout, name: &'a str) -> Self {
        Self { store, layout, name, pointer: layout::pointer(name), promotions: layout::promotions(name) }
    }

    /// The pointer's place, for messages.
    pub(crate) fn url(&self) -> String {
        self.store.url(&self.pointer)
    }

    /// The place of the list of promotions, for messages.
    pub(crate) fn promotions_url(&self) -> String {
        self.store.url(&self.promotions)
    }

    /// The pointer as it stands, whosever it is.
    ///
    /// # Errors
    /// The store fails, or what is there is no record.
    pub(crate) async fn pointer(&self) -> Result<Option<Pointer>, Failure> {
        pointer::read(self.store, &self.pointer).await
    }

    /// The pointer as it stands.
    ///
    /// # Errors
    /// As [`Channel::pointer`], or it names another artifact's release.
    pub(crate) async fn own_pointer(&self) -> Result<Option<Pointer>, Failure> {
        let standing = self.pointer().await?;
        if let Some(pointer) = &standing {
            pointer::check_owner(self.store, self.layout, pointer).await?;
        }
        Ok(standing)
    }

    /// Whether the pointer is still the one that was read.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn still_has(&self, read: &Pointer) -> Result<bool, StoreError> {
        Ok(self.store.get(&self.pointer).await?.is_some_and(|now| now.tag == read.object.tag))
    }

    /// Lets the pointer name the release that was promoted, if it still is what was read.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn swap(
        &self,
        read: Option<&Pointer>,
        promoted: &Record,
        attributes: &Attributes,
    ) -> Result<Settled, Failure> {
        let when = read.map_or(Condition::Absent, |pointer| Condition::Unchanged(&pointer.object.tag));
        settle::put(self.store, &self.pointer, &promoted.to_bytes(), when, attributes).await
    }
}
