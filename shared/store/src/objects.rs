//! Objects by their keys: read, written under a condition, listed, removed.

use crate::{Attributes, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Bytes of the largest object that is read as a record or a list.
pub(crate) const LONGEST_SMALL: u64 = 64 << 20;

/// Names one state of one object: it changes whenever the object's bytes do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub(crate) String);

impl Tag {
    /// A tag that no object ever has.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self("\"00000000000000000000000000000000\"".to_owned())
    }
}

/// What must hold at the moment an object is written.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// No object has this key.
    Absent,
    /// The object is in the state that the tag names.
    Unchanged(&'a Tag),
}

/// What became of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// Written; the object's new tag.
    Done(Tag),
    /// Nothing was written by this answer: the condition did not hold, or the store could not decide.
    /// A retry after a lost reply ends here too, so whoever must know reads the object back.
    Refused,
}

/// A small object, read whole.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its state.
    pub tag: Tag,
    /// How it is kept.
    pub attributes: Attributes,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// What a store knows of an object without reading it.
#[derive(Clone, Debug)]
pub struct Head {
    /// Length in bytes.
    pub size: u64,
    /// Its state.
    pub tag: Tag,
    /// Checksum over the whole object, if the store keeps one.
    pub crc64nvme: Option<u64>,
    /// The build that uploaded it.
    pub build: Option<Uuid>,
    /// How it is kept.
    pub attributes: Attributes,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// An object in a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its key, without the store's prefix.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// A part of an object, as it came.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its bytes, in pieces: joined, they would stand in memory twice.
    pub pieces: Vec<Bytes>,
    /// How long the store took to begin its answer.
    pub first_byte: Duration,
    /// How long the bytes took from when there was room for them.
    pub transfer: Duration,
}

/// Memory for what is read.
#[async_trait]
pub trait Room: Sync {
    /// Waits until there is some. Asked when an answer has begun, before its bytes are taken.
    async fn wait(&self);
}

/// Objects of a store. Keys are plain names; the store puts its own prefix before them.
#[async_trait]
pub trait Objects: fmt::Debug + Send + Sync {
    /// How messages name the object of that key.
    fn url(&self, key: &str) -> String;

    /// Reads a small object whole; `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError>;

    /// Asks for an object without reading it; `None` if there is none.
    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError>;

    /// Writes a small object if the condition holds.
    async fn put(
        &self,
        key: &str,
        body: &[u8],
        when: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<Put, StoreError>;

    /// Removes an object; it may be gone already.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// All objects whose key starts with `prefix`.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;

    /// The bytes `part` of the object in the state `tag`, when there is `room` for them.
    async fn read(&self, key: &str, tag: &Tag, part: Range<u64>, room: &dyn Room) -> Result<Arrived, StoreError>;
}
