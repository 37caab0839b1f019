//! An S3 in memory that follows AWS's documented rules, and answers questions about itself without HTTP.
//!
//! Every real server that can be had for tests departs from AWS somewhere: in racing conditional completes, in checksums,
//! in what it echoes. This one is the reference for what the tools must do on AWS; with [`Rules`] it becomes one of the
//! servers they must defend themselves against. Signatures are not verified; addressing is path-style.

mod attributes;
pub(crate) mod checksums;
mod chunked;
mod complete;
mod conditions;
mod intake;
mod listing;
mod multipart;
mod objects;
pub(crate) mod reply;
mod router;
mod rules;
mod service;
mod state;
pub(crate) mod uri;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest as _, Md5};

use router::Router;
pub(crate) use rules::Keep;
pub use rules::Rules;
use service::Service;

use self::attributes::Attributes;
use self::checksums::{Algorithm, Coverage, base64};
use self::state::{Bucket, Object};
use crate::http::server::Server;

/// A running S3 model; dropping it stops it.
pub struct S3Model {
    service: Arc<Service>,
    server: Server,
}

/// An object as it is stored.
#[derive(Debug, Clone)]
pub struct ObjectView {
    /// Its bytes; empty where the server threw them away.
    pub body: Bytes,
    /// Its size in bytes.
    pub size: u64,
    /// Its ETag, with quotation marks.
    pub etag: String,
    /// Its user metadata, names in lower case without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Its storage class.
    pub storage_class: String,
    /// The encryption asked for; None where none was.
    pub sse: Option<String>,
    /// The KMS key, for `aws:kms`.
    pub sse_key: Option<String>,
    /// Algorithm (`CRC64NVME`, …) and checksum in base64.
    pub checksum: Option<(String, String)>,
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub checksum_type: String,
    /// Content headers such as `content-type`, names in lower case.
    pub content: BTreeMap<String, String>,
    /// When it was last written.
    pub modified: Timestamp,
}

/// An upload that is neither completed nor aborted.
#[derive(Debug, Clone)]
pub struct UploadView {
    /// The key it would become.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// When it was created.
    pub initiated: Timestamp,
    /// Its parts in order.
    pub parts: Vec<PartView>,
}

/// A part of an open upload.
#[derive(Debug, Clone)]
pub struct PartView {
    /// Its number.
    pub number: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Its ETag, with quotation marks.
    pub etag: String,
}

impl S3Model {
    /// Starts a server that follows AWS's rules, on a free loopback port.
    pub fn start() -> Self {
        Self::start_with(Rules::default())
    }

    /// Starts a server that breaks some rules.
    pub fn start_with(rules: Rules) -> Self {
        Self::start_keeping(rules, Keep::All)
    }

    pub(crate) fn start_keeping(rules: Rules, keep: Keep) -> Self {
        let service = Arc::new(Service::new(rules, keep));
        let router = Router::new(Arc::clone(&service));
        let server = Server::start("s3-model", move |stream| router.serve(stream));
        Self { service, server }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Creates a bucket; one that exists stays as it is.
    pub fn create_bucket(&self, name: &str) {
        self.service.state().buckets.entry(name.to_owned()).or_default();
    }

    /// Every object of a bucket; none for a bucket that does not exist.
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, ObjectView> {
        let state = self.service.state();
        let objects = state.buckets.get(bucket).into_iter().flat_map(|bucket| &bucket.objects);
        objects.map(|(key, object)| (key.clone(), view(object))).collect()
    }

    /// One object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<ObjectView> {
        self.service.state().buckets.get(bucket)?.objects.get(key).map(view)
    }

    /// Every open upload of a bucket, by key and then by age.
    pub fn uploads(&self, bucket: &str) -> Vec<UploadView> {
        let state = self.service.state();
        let uploads = state.buckets.get(bucket).into_iter().flat_map(|bucket| &bucket.uploads);
        let views = uploads.map(|((key, upload_id), upload)| UploadView {
            key: key.clone(),
            upload_id: upload_id.clone(),
            initiated: upload.initiated,
            parts: upload
                .parts
                .iter()
                .map(|(number, part)| PartView { number: *number, size: part.size, etag: part.etag.clone() })
                .collect(),
        });
        views.collect()
    }

    /// Stores an object behind every condition's back, creating the bucket if need be, and returns its ETag.
    pub fn put_raw(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let etag = format!("\"{}\"", hex::encode(Md5::digest(&bytes)));
        let object = Object {
            size: bytes.len() as u64,
            etag: etag.clone(),
            modified: Timestamp::now(),
            checksum: Some((Algorithm::Crc64Nvme, base64(&Algorithm::Crc64Nvme.of(&bytes)))),
            coverage: Coverage::FullObject,
            attributes: Attributes { storage_class: "STANDARD".to_owned(), ..Attributes::default() },
            body: Some(vec![bytes]),
        };
        self.service.state().buckets.entry(bucket.to_owned()).or_default().store(key.to_owned(), object);
        etag
    }

    /// Removes an object behind every condition's back; true if it was there.
    pub fn delete_raw(&self, bucket: &str, key: &str) -> bool {
        let mut state = self.service.state();
        state.buckets.get_mut(bucket).is_some_and(|bucket| bucket.objects.remove(key).is_some())
    }

    /// Moves everything that exists now, objects, uploads and parts, into the past by `age`.
    pub fn age_uploads(&self, age: Duration) {
        let age = SignedDuration::try_from(age).expect("an age within the calendar");
        let earlier = |at: &mut Timestamp| *at = at.checked_sub(age).expect("a time within the calendar");
        let mut state = self.service.state();
        for Bucket { objects, uploads, .. } in state.buckets.values_mut() {
            objects.values_mut().for_each(|object| earlier(&mut object.modified));
            for upload in uploads.values_mut() {
                earlier(&mut upload.initiated);
                upload.parts.values_mut().for_each(|part| earlier(&mut part.modified));
            }
        }
    }
}

fn view(object: &Object) -> ObjectView {
    let attributes = &object.attributes;
    ObjectView {
        body: objects::joined(object).unwrap_or_default(),
        size: object.size,
        etag: object.etag.clone(),
        metadata: attributes.metadata.clone(),
        storage_class: attributes.storage_class.clone(),
        sse: attributes.sse.clone(),
        sse_key: attributes.sse_key.clone(),
        checksum: object.checksum.as_ref().map(|(algorithm, sum)| (algorithm.name().to_owned(), sum.clone())),
        checksum_type: object.coverage.name().to_owned(),
        content: attributes.content.iter().cloned().collect(),
        modified: object.modified,
    }
}
