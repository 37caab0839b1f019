//! An S3 for benchmarks: it throws bodies away as fast as the kernel can, so that what is measured is the client.

use crate::s3::{Keep, ObjectView, Rules, S3Model, UploadView};

/// Objects up to this size are kept, so that small records can be read back.
const KEPT: u64 = 64 * 1024;

/// A running null sink; dropping it stops it.
///
/// Bodies over 64 KiB are counted and dropped unverified, inside the kernel; everything else is [`S3Model`]'s behaviour.
/// An object's ETag is the Content-MD5 its client sent, or else made up.
pub struct NullSink {
    model: S3Model,
}

impl NullSink {
    /// Starts a sink on a free loopback port.
    pub fn start() -> Self {
        Self { model: S3Model::start_keeping(Rules::default(), Keep::UpTo(KEPT)) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.model.endpoint()
    }

    /// Creates a bucket; one that exists stays as it is. Clients may also create buckets themselves.
    pub fn create_bucket(&self, name: &str) {
        self.model.create_bucket(name);
    }

    /// One object; its body is empty if it was thrown away.
    pub fn object(&self, bucket: &str, key: &str) -> Option<ObjectView> {
        self.model.object(bucket, key)
    }

    /// Every open upload of a bucket.
    pub fn uploads(&self, bucket: &str) -> Vec<UploadView> {
        self.model.uploads(bucket)
    }
}
