//! What is said about an object beside its bytes: metadata, storage class, encryption, content headers.

use std::collections::BTreeMap;

use super::reply::{Refusal, Reply};
use super::rules::Rules;
use crate::http::head::Headers;

/// What a general purpose bucket accepts.
const STORAGE_CLASSES: [&str; 7] =
    ["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE"];
/// The same, of the class that came last and is read like STANDARD.
const GLACIER_IR: &str = "GLACIER_IR";
/// Headers that are kept and given back as they came.
const CONTENT_HEADERS: [&str; 6] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];
/// All names and values of a request's metadata together.
const LARGEST_METADATA: usize = 2 * 1024;

#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub metadata: BTreeMap<String, String>,
    pub storage_class: String,
    /// What was asked for; every object is encrypted with AES256 otherwise.
    pub sse: Option<String>,
    pub sse_key: Option<String>,
    pub content: Vec<(String, String)>,
    pub forget_encryption: bool,
}

impl Attributes {
    /// Reads and checks what a PutObject or CreateMultipartUpload says.
    pub fn read(headers: &Headers, rules: Rules) -> Result<Self, Refusal> {
        let mut metadata = BTreeMap::new();
        for (name, value) in headers.iter() {
            if let Some(name) = name.strip_prefix("x-amz-meta-") {
                metadata.insert(name.to_owned(), value.to_owned());
            }
        }
        if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > LARGEST_METADATA {
            let message = "Your metadata headers exceed the maximum allowed metadata size";
            return Err(Refusal::new(400, "MetadataTooLarge", message));
        }
        let class = headers.get("x-amz-storage-class").unwrap_or("STANDARD");
        if !STORAGE_CLASSES.contains(&class) && class != GLACIER_IR {
            return Err(Refusal::new(400, "InvalidStorageClass", "The storage class you specified is not valid"));
        }
        let (sse, sse_key) = encryption(headers)?;
        let content = CONTENT_HEADERS.into_iter().filter_map(|name| {
            let value = headers.get(name)?;
            // aws-chunked is how the body travelled, not what the object is.
            let kept: Vec<_> =
                value.split(',').map(str::trim).filter(|one| *one != "aws-chunked" && !one.is_empty()).collect();
            let value = if name == "content-encoding" { kept.join(",") } else { value.to_owned() };
            (!value.is_empty()).then(|| (name.to_owned(), value))
        });
        let forget = rules.forget_encryption;
        Ok(Self {
            metadata,
            storage_class: if rules.forget_storage_class { "STANDARD" } else { class }.to_owned(),
            sse: sse.filter(|_| !forget),
            sse_key: sse_key.filter(|_| !forget),
            content: content.collect(),
            forget_encryption: forget,
        })
    }

    /// True for classes whose objects must be restored before they can be read.
    pub fn is_archived(&self) -> bool {
        matches!(self.storage_class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
    }

    /// Adds the headers that every answer about the object carries.
    pub fn echo_encryption(&self, reply: Reply) -> Reply {
        if self.forget_encryption {
            return reply;
        }
        let reply = reply.header("x-amz-server-side-encryption", self.sse.as_deref().unwrap_or("AES256"));
        match &self.sse_key {
            Some(key) => reply.header("x-amz-server-side-encryption-aws-kms-key-id", key),
            None => reply,
        }
    }

    /// Adds the headers of GET and HEAD.
    pub fn tell(&self, reply: Reply) -> Reply {
        let mut reply = self.echo_encryption(reply);
        for (name, value) in &self.content {
            reply = reply.header(name, value);
        }
        if !self.content.iter().any(|(name, _)| name == "content-type") {
            reply = reply.header("content-type", "binary/octet-stream");
        }
        for (name, value) in &self.metadata {
            reply = reply.header(&format!("x-amz-meta-{name}"), value);
        }
        // STANDARD is what the absence of this header means.
        if self.storage_class != "STANDARD" {
            reply = reply.header("x-amz-storage-class", &self.storage_class);
        }
        reply
    }
}

fn encryption(headers: &Headers) -> Result<(Option<String>, Option<String>), Refusal> {
    if headers.iter().any(|(name, _)| name.starts_with("x-amz-server-side-encryption-customer-")) {
        return Err(Refusal::not_implemented("SSE-C"));
    }
    let sse = headers.get("x-amz-server-side-encryption");
    let key = headers.get("x-amz-server-side-encryption-aws-kms-key-id");
    match (sse, key) {
        (None | Some("AES256"), None) => Ok((sse.map(str::to_owned), None)),
        (Some("aws:kms" | "aws:kms:dsse"), key) => {
            // Without a key the account's own is used, and named.
            let key = key.unwrap_or("arn:aws:kms:us-east-1:000000000000:key/aws-s3");
            Ok((sse.map(str::to_owned), Some(key.to_owned())))
        }
        (None | Some("AES256"), Some(_)) => Err(Refusal::invalid_argument(
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
        )),
        (Some(_), _) => Err(Refusal::invalid_argument("The encryption method specified is not supported")),
    }
}
