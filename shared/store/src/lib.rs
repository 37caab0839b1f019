//! Objects in a place that many processes write at once: an S3 bucket, or a plain directory, with the same promises.

mod attributes;
mod error;
mod files;
mod objects;
mod s3;
mod uploads;
mod url;

pub use attributes::{Attributes, Encryption};
pub use error::StoreError;
pub use objects::{Arrived, Condition, Head, Listed, Object, Objects, Put, Room, Tag};
pub use uploads::{Completion, Part, PartBody, Upload, Uploads};
pub use url::{NotAStore, StoreUrl};

use aws::AwsArgs;
use failure::Failure;
use files::FileStore;
use s3::S3Store;
use std::sync::Arc;

/// A store, for whoever reads, writes and uploads.
pub trait Store: Objects + Uploads {}

impl<T: Objects + Uploads> Store for T {}

/// The store at `url`, ready for requests; nothing has been asked of it yet.
///
/// # Errors
/// A setting of AWS is wrong in itself.
pub async fn open(url: &StoreUrl, aws: &AwsArgs) -> Result<Arc<dyn Store>, Failure> {
    Ok(match url {
        StoreUrl::S3 { bucket, prefix } => Arc::new(S3Store::new(aws, bucket.clone(), prefix.clone()).await?),
        StoreUrl::Files { dir } => Arc::new(FileStore::new(dir.clone(), aws.access.timeout)),
    })
}
