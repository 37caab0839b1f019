//! What the model holds: buckets, objects, uploads and their parts, all behind one lock that gives every key one order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::attributes::Attributes;
use super::checksums::{Algorithm, Coverage};
use super::intake::Received;
use super::reply::Refusal;

#[derive(Default)]
pub(crate) struct State {
    pub buckets: BTreeMap<String, Bucket>,
    serial: u64,
}

#[derive(Default)]
pub(crate) struct Bucket {
    pub objects: BTreeMap<String, Object>,
    /// By key, then by id; ids rise with time, which makes this the order AWS lists uploads in.
    pub uploads: BTreeMap<(String, String), Upload>,
    /// Completed uploads by id: key and ETag of what they became.
    pub completed: BTreeMap<String, (String, String)>,
    /// Every ETag any object of this bucket ever had.
    pub etags_ever: BTreeSet<String>,
}

#[derive(Clone)]
pub(crate) struct Object {
    /// None where the storage policy threw it away.
    pub body: Option<Vec<Bytes>>,
    pub size: u64,
    /// With its quotation marks.
    pub etag: String,
    pub modified: Timestamp,
    pub checksum: Option<(Algorithm, String)>,
    pub coverage: Coverage,
    pub attributes: Attributes,
}

pub(crate) struct Upload {
    pub initiated: Timestamp,
    pub attributes: Attributes,
    /// What CreateMultipartUpload named; without it CRC-64/NVME is computed and parts may state no other.
    pub algorithm: Option<Algorithm>,
    pub coverage: Coverage,
    pub parts: BTreeMap<u32, Part>,
}

impl Upload {
    pub fn checksum_algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or(Algorithm::Crc64Nvme)
    }
}

pub(crate) struct Part {
    pub body: Option<Vec<Bytes>>,
    pub size: u64,
    pub etag: String,
    pub md5: Vec<u8>,
    pub modified: Timestamp,
    /// Of the upload's algorithm.
    pub checksum: Option<Vec<u8>>,
}

impl State {
    pub fn bucket(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        let missing = || Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist");
        self.buckets.get_mut(name).ok_or_else(missing)
    }

    /// A number never given before.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The MD5 of a received body, or, where the body was thrown away unseen, a value no other body has.
    pub fn digest(&mut self, received: &Received) -> Vec<u8> {
        if received.md5.is_empty() {
            return Md5::digest(format!("body {}", self.next_serial())).to_vec();
        }
        received.md5.clone()
    }
}

impl Bucket {
    pub fn store(&mut self, key: String, object: Object) {
        self.etags_ever.insert(object.etag.clone());
        self.objects.insert(key, object);
    }

    pub fn upload(&mut self, key: &str, id: &str) -> Result<&mut Upload, Refusal> {
        self.uploads.get_mut(&(key.to_owned(), id.to_owned())).ok_or_else(Refusal::no_such_upload)
    }
}
