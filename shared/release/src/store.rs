//! A place that keeps releases: what the tools ask of it, on S3 and on a plain directory alike.

mod files;
mod s3;

use crate::record::Artifact;
use async_trait::async_trait;
use aws::AwsArgs;
use bytes::Bytes;
use failure::Failure;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;
use uuid::Uuid;

/// Which store, as every release tool takes it.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreArgs {
    /// Name of the artifact
    #[arg(long, env = "ARTIFACT", value_name = "NAME")]
    pub artifact: crate::Layout,
    /// Store of the releases: s3://bucket/prefix or file:///directory
    #[arg(long, value_name = "URL")]
    pub store: StoreUrl,
    #[command(flatten)]
    aws: AwsArgs,
}

impl StoreArgs {
    /// Longest wait for one answer.
    #[must_use]
    pub fn timeout(&self) -> std::time::Duration {
        self.aws.access.timeout
    }

    /// The store, ready for requests; nothing has been asked of it yet.
    ///
    /// # Errors
    /// The directory's path can't be used.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        Ok(match &self.store {
            StoreUrl::S3 { bucket, prefix } => {
                Arc::new(s3::S3Store::new(&self.aws, bucket.clone(), prefix.clone()).await)
            }
            StoreUrl::Files { dir } => Arc::new(files::FileStore::new(dir.clone(), self.aws.access.timeout)),
        })
    }
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// Objects of a bucket under a prefix, which is empty or ends with a slash.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
    /// Files of a directory.
    Files {
        /// Its absolute path.
        dir: std::path::PathBuf,
    },
}

/// The text is no store URL.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("write s3://bucket/prefix or file:///absolute/directory")]
pub struct NotAStore;

impl FromStr for StoreUrl {
    type Err = NotAStore;

    fn from_str(text: &str) -> Result<Self, NotAStore> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            let doubled = prefix.split('/').any(|part| part.is_empty() || part == "." || part == "..");
            if bucket.is_empty() || (!prefix.is_empty() && doubled) || text.chars().any(char::is_control) {
                return Err(NotAStore);
            }
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix });
        }
        // The standard reads file:x and file: as paths from the root, which nobody means who writes them.
        if !text.starts_with("file:///") {
            return Err(NotAStore);
        }
        let url = url::Url::parse(text).map_err(|_| NotAStore)?;
        let local = url.query().is_none() && url.fragment().is_none();
        let dir = url.to_file_path().map_err(|()| NotAStore)?;
        if local { Ok(Self::Files { dir }) } else { Err(NotAStore) }
    }
}

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
    /// A retry after a lost reply ends here too, so whoever must know reads the object back ([`crate::settle`]).
    Refused,
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

/// Storage class and encryption, as asked for at writing and as read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// S3's name of the class; `None` is the store's default.
    pub storage_class: Option<String>,
    /// Server-side encryption; `None` is the bucket's default.
    pub encryption: Option<Encryption>,
}

impl Attributes {
    /// Whether anything particular was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an object with attributes `found` has what these ask for. A KMS key may be given by alias and come
    /// back as an ARN, so the key itself is not compared.
    #[must_use]
    pub fn are_met_by(&self, found: &Self) -> bool {
        let class_of = |a: &Self| a.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned());
        let class_met = self.storage_class.is_none() || class_of(self) == class_of(found);
        let kind = |e: &Encryption| matches!(e, Encryption::Kms { .. });
        let encryption_met = match (&self.encryption, &found.encryption) {
            (None, _) => true,
            (Some(asked), Some(found)) => kind(asked) == kind(found),
            (Some(_), None) => false,
        };
        class_met && encryption_met
    }
}

/// Server-side encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// `AES256`: the store's own keys.
    Aes256,
    /// `aws:kms`, with a key or the account's default one.
    Kms {
        /// Key id, ARN or alias.
        key: Option<String>,
    },
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aes256 => f.write_str("AES256"),
            Self::Kms { key: None } => f.write_str("aws:kms"),
            Self::Kms { key: Some(key) } => write!(f, "aws:kms:{key}"),
        }
    }
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

/// A store of releases. Keys are plain names; the store puts its own prefix before them.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// How messages name the object of that key.
    fn url(&self, key: &str) -> String;

    /// Whether the store has storage classes and encryption to ask for.
    fn has_attributes(&self) -> bool;

    /// Whether completing an upload is an operation of its own, whose condition may be ignored although others are kept.
    fn completes_apart(&self) -> bool;

    /// Reads a small object whole; `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Object>, Failure>;

    /// Asks for an object without reading it; `None` if there is none.
    async fn head(&self, key: &str) -> Result<Option<Head>, Failure>;

    /// Writes a small object if the condition holds.
    async fn put(&self, key: &str, body: &[u8], when: Condition<'_>, attributes: &Attributes) -> Result<Put, Failure>;

    /// Removes an object; it may be gone already.
    async fn delete(&self, key: &str) -> Result<(), Failure>;

    /// All objects whose key starts with `prefix`.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure>;

    /// `length` bytes from `offset` of the object in the state `tag`, in the pieces they came in: joined, they would
    /// stand in memory twice.
    async fn read(&self, key: &str, tag: &Tag, offset: u64, length: u64) -> Result<Vec<Bytes>, Failure>;

    /// All uploads not complete whose key starts with `prefix`.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Failure>;

    /// When the upload last saw a part, by the store's clock.
    async fn last_part(&self, upload: &Upload) -> Result<SystemTime, Failure>;

    /// Begins an upload of a build; nothing is visible under `key` until it is complete.
    async fn begin(&self, key: &str, build: Uuid, attributes: &Attributes) -> Result<Upload, Failure>;

    /// Sends one part; parts may be sent in any order and at the same time.
    async fn send(&self, upload: &Upload, part: PartBody) -> Result<Part, Failure>;

    /// Makes the object of all parts visible, unless its key is taken.
    async fn complete(
        &self,
        upload: &Upload,
        parts: Vec<Part>,
        size: u64,
        crc64nvme: u64,
    ) -> Result<Completion, Failure>;

    /// Gives an upload that is not complete up and removes its parts; it may be gone already.
    async fn abort(&self, upload: &Upload) -> Result<(), Failure>;

    /// Uploads a whole small object in one request, unless its key is taken.
    async fn send_whole(
        &self,
        key: &str,
        body: PartBody,
        build: Uuid,
        attributes: &Attributes,
    ) -> Result<Completion, Failure>;

    /// Removes what proves who uploaded the object of that key, once its record is sealed.
    async fn settled(&self, key: &str, build: Uuid) -> Result<(), Failure>;

    /// Makes the store ready to take its first release, and removes what dead writers left under no name. Returns what
    /// could not be removed.
    async fn prepare(&self) -> Result<Vec<Failure>, Failure>;
}

/// Whether `head` shows the artifact of a build, whole.
#[must_use]
pub fn is_upload_of(head: &Head, build: Uuid, artifact: &Artifact) -> bool {
    let same_sum = match (head.crc64nvme, artifact.crc64nvme) {
        (Some(stored), Some(sent)) => stored == sent,
        _ => true,
    };
    head.build == Some(build) && head.size == artifact.size && same_sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let s3 = |bucket: &str, prefix: &str| StoreUrl::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!("s3://build/obelix/prod".parse::<StoreUrl>().ok(), Some(s3("build", "obelix/prod/")));
        assert_eq!("s3://build/".parse::<StoreUrl>().ok(), Some(s3("build", "")));
        assert_eq!("s3://build".parse::<StoreUrl>().ok(), Some(s3("build", "")));
        assert_eq!(
            "file:///srv/my%20store".parse::<StoreUrl>().ok(),
            Some(StoreUrl::Files { dir: "/srv/my store".into() })
        );
        for wrong in [
            "s3://",
            "build/x",
            "file://srv/x",
            "file:/srv/x",
            "file:srv",
            "file://",
            "http://x/y",
            "s3://b/a//c",
            "s3://b/../c",
        ] {
            assert!(wrong.parse::<StoreUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn attributes_are_compared_as_asked() {
        let asked = Attributes { storage_class: Some("STANDARD".into()), encryption: Some(Encryption::Aes256) };
        let plain = Attributes::default();
        assert!(plain.are_met_by(&asked));
        assert!(!asked.are_met_by(&plain));
        assert!(asked.are_met_by(&Attributes { storage_class: None, encryption: Some(Encryption::Aes256) }));
    }
}
