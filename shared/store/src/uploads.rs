//! Uploads: an object that comes in parts, and is visible at once and only whole.

use crate::{Attributes, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::SystemTime;
use uuid::Uuid;

/// An upload that has begun and is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Key of the object to be, without the store's prefix.
    pub key: String,
    /// The store's id of the upload.
    pub id: String,
    /// When it began, by the store's clock.
    pub started: SystemTime,
}

/// One part as it was sent.
#[derive(Clone, Debug)]
pub struct Part {
    /// 1, 2, 3, …
    pub number: u32,
    /// What the store answered for it.
    pub tag: String,
    /// CRC-64/NVME of its bytes.
    pub crc64nvme: u64,
}

/// The bytes of a part and where they belong.
#[derive(Clone, Debug)]
pub struct PartBody {
    /// 1, 2, 3, …
    pub number: u32,
    /// Offset of its first byte in the object.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Bytes,
    /// CRC-64/NVME of its bytes.
    pub crc64nvme: u64,
}

/// What became of the last step of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The object is there.
    Done,
    /// The condition did not hold: the key is taken. A lost reply may hide that it is by this very upload; the object
    /// itself tells.
    Taken,
    /// Not by this answer, for another reason than the condition: a conflict, or the upload is gone. The object itself
    /// tells.
    Unclear,
}

/// Uploads of a store.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Whether completing an upload is an operation of its own, whose condition may be ignored although others are kept.
    fn completes_apart(&self) -> bool;

    /// All uploads not complete whose key starts with `prefix`.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError>;

    /// When the upload last saw a part, by the store's clock.
    async fn last_part(&self, upload: &Upload) -> Result<SystemTime, StoreError>;

    /// Begins an upload of a build; nothing is visible under `key` until it is complete.
    async fn begin(&self, key: &str, build: Uuid, attributes: &Attributes) -> Result<Upload, StoreError>;

    /// Sends one part; parts may be sent in any order and at the same time.
    async fn send(&self, upload: &Upload, part: PartBody) -> Result<Part, StoreError>;

    /// Makes the object of all parts visible, unless its key is taken.
    async fn complete(
        &self,
        upload: &Upload,
        parts: Vec<Part>,
        size: u64,
        crc64nvme: u64,
    ) -> Result<Completion, StoreError>;

    /// Gives an upload that is not complete up and removes its parts; it may be gone already.
    async fn abort(&self, upload: &Upload) -> Result<(), StoreError>;

    /// Uploads a whole small object in one request, unless its key is taken.
    async fn send_whole(
        &self,
        key: &str,
        body: PartBody,
        build: Uuid,
        attributes: &Attributes,
    ) -> Result<Completion, StoreError>;

    /// Removes what proves who uploaded the object of that key, once its record is sealed.
    async fn settled(&self, key: &str, build: Uuid) -> Result<(), StoreError>;

    /// Makes the store ready to take its first release, and removes what dead writers left under no name. Returns what
    /// could not be removed.
    async fn prepare(&self) -> Result<Vec<StoreError>, StoreError>;
}
