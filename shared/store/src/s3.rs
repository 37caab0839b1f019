//! A store in an S3 bucket, on AWS or on any server that keeps S3's rules for conditional writes.

use crate::objects::LONGEST_SMALL;
use crate::{
    Arrived, Attributes, Completion, Condition, Encryption, Head, Listed, Object, Objects, Part, PartBody, Put, Room,
    StoreError, Tag, Upload, Uploads,
};
use async_trait::async_trait;
use aws::AwsArgs;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
    StorageClass,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use failure::Failure;
use retry::Backoff;
use std::error::Error;
use std::fmt::Display;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

/// Metadata of an artifact: the build that uploaded it, so that a lost reply can be settled.
const BUILD: &str = "build-uuid";
/// Slowest link a part may be sent over before its request counts as stuck, in bytes a second.
const SLOWEST_LINK: u64 = 64 << 10;
/// Tries of one range whose answer breaks off.
const TRIES: u32 = 6;
/// Pauses between them.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// S3 may take minutes to join the parts of a large object.
const LONGEST_JOIN: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
    timeout: Duration,
    /// Off for stores that reject checksum headers (`AWS_REQUEST_CHECKSUM_CALCULATION=when_required`).
    checksums: bool,
}

impl S3Store {
    pub(crate) async fn new(args: &AwsArgs, bucket: String, prefix: String) -> Result<Self, Failure> {
        let access = args.access().await?;
        let shared = &access.sdk;
        let checksums = shared.request_checksum_calculation() != Some(RequestChecksumCalculation::WhenRequired);
        // Archives are verified as a whole, records by their own sum. Some servers send the whole object's checksum with a
        // range of it.
        let config = Builder::from(shared)
            .force_path_style(access.is_path_style())
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self { client: Client::from_conf(config), bucket, prefix, timeout: args.access.timeout, checksums })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// What is wrong with a HEAD, whose answer has no body to say so: a read of one byte fails for the same reason.
    async fn why_not(&self, key: &str, error: SdkError<HeadObjectError, HttpResponse>) -> StoreError {
        let what = format!("unable to look at {}", self.url(key));
        if let (SdkError::ServiceError(_), None) = (&error, error.code()) {
            let request = self.client.get_object().bucket(&self.bucket).key(self.key(key)).range("bytes=0-0");
            if let Err(told @ SdkError::ServiceError(_)) = request.send().await {
                return failed(what, told);
            }
        }
        failed(what, error)
    }

    fn own_key(&self, key: Option<&str>) -> Option<String> {
        key?.strip_prefix(&self.prefix).map(str::to_owned)
    }

    fn checksum(&self, crc64nvme: u64) -> Option<String> {
        self.checksums.then(|| BASE64_STANDARD.encode(crc64nvme.to_be_bytes()))
    }

    /// An answer must begin in time; while its bytes come it is not ended.
    fn first_byte(&self, length: u64) -> Builder {
        let attempt = self.timeout + Duration::from_secs(length / SLOWEST_LINK);
        let timeouts = TimeoutConfig::builder()
            .read_timeout(self.timeout)
            .operation_attempt_timeout(attempt)
            .disable_operation_timeout()
            .build();
        aws_sdk_s3::Config::builder().timeout_config(timeouts)
    }

    /// One request may take as long as a slow link needs for its bytes.
    fn transfer(&self, length: u64) -> Builder {
        let limit = self.timeout + Duration::from_secs(length / SLOWEST_LINK);
        limited(limit)
    }
}

fn limited(attempt: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt).disable_operation_timeout().build();
    aws_sdk_s3::Config::builder().timeout_config(timeouts)
}

#[async_trait]
impl Objects for S3Store {
    fn url(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.bucket, self.prefix)
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let what = || format!("unable to read {}", self.url(key));
        let sent = self.client.get_object().bucket(&self.bucket).key(self.key(key)).send().await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) if code_is(&error, &["NoSuchKey"]) => return Ok(None),
            Err(error) => return Err(failed(what(), error)),
        };
        let tag = Tag(answer.e_tag().unwrap_or_default().to_owned());
        let attributes = attributes_of(answer.storage_class(), answer.server_side_encryption(), answer.ssekms_key_id());
        let modified = time_of(answer.last_modified());
        // Not by the length it promises alone: an answer in chunks has none, and perhaps no end.
        let mut stream = answer.body;
        let collect = async {
            let mut body = Vec::new();
            while let Some(bytes) = stream.next().await {
                let broken = |error| StoreError::unavailable(format!("{}: the answer broke off: {error}", what()));
                let bytes = bytes.map_err(broken)?;
                if (body.len() + bytes.len()) as u64 > LONGEST_SMALL {
                    return Err(StoreError::refused(format!("{}: it is too large to be a record", what())));
                }
                body.extend_from_slice(&bytes);
            }
            Ok(body)
        };
        let in_time = tokio::time::timeout(self.timeout, collect).await;
        let body = in_time.map_err(|_| StoreError::unavailable(format!("{}: no answer in time", what())))??;
        Ok(Some(Object { body, tag, attributes, modified }))
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.key(key));
        let answer = match request.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(error)) if error.err().is_not_found() => return Ok(None),
            Err(error) => return Err(self.why_not(key, error).await),
        };
        let whole = answer.checksum_type().is_none_or(|kind| *kind == ChecksumType::FullObject);
        let sum = answer.checksum_crc64_nvme().filter(|_| whole).and_then(|text| BASE64_STANDARD.decode(text).ok());
        Ok(Some(Head {
            size: answer.content_length().and_then(|length| length.try_into().ok()).unwrap_or(0),
            tag: Tag(answer.e_tag().unwrap_or_default().to_owned()),
            crc64nvme: sum.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes),
            build: answer.metadata().and_then(|all| all.get(BUILD)).and_then(|uuid| uuid.parse().ok()),
            attributes: attributes_of(answer.storage_class(), answer.server_side_encryption(), answer.ssekms_key_id()),
            modified: time_of(answer.last_modified()),
        }))
    }

    async fn put(
        &self,
        key: &str,
        body: &[u8],
        when: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<Put, StoreError> {
        let (class, sse, kms_key) = headers_of(attributes);
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .set_checksum_crc64_nvme(self.checksum(crc64nvme(body)))
            .set_storage_class(class)
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(kms_key)
            .content_type("text/plain; charset=utf-8")
            .body(ByteStream::from(body.to_vec()));
        let mut refusals = vec!["PreconditionFailed", "ConditionalRequestConflict"];
        match when {
            Condition::Absent => request = request.if_none_match("*"),
            Condition::Unchanged(tag) => {
                request = request.if_match(&tag.0);
                // AWS says so when the object is gone altogether.
                refusals.push("NoSuchKey");
            }
        }
        match request.send().await {
            Ok(answer) => Ok(Put::Done(Tag(answer.e_tag().unwrap_or_default().to_owned()))),
            Err(error) if code_is(&error, &refusals) => Ok(Put::Refused),
            Err(error) => Err(failed(format!("unable to write {}", self.url(key)), error)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let sent = self.client.delete_object().bucket(&self.bucket).key(self.key(key)).send().await;
        sent.map(drop).map_err(|error| failed(format!("unable to remove {}", self.url(key)), error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.key(prefix));
        let mut pages = request.into_paginator().send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(format!("unable to list {}", self.url(prefix)), error))?;
            for object in page.contents() {
                if let Some(key) = self.own_key(object.key()) {
                    let size = object.size().and_then(|size| size.try_into().ok()).unwrap_or(0);
                    listed.push(Listed { key, size, modified: time_of(object.last_modified()) });
                }
            }
            if page.is_truncated() == Some(true) && page.next_continuation_token().is_none() {
                return Err(no_end(format!("unable to list {}", self.url(prefix))));
            }
        }
        Ok(listed)
    }

    async fn read(&self, key: &str, tag: &Tag, part: Range<u64>, room: &dyn Room) -> Result<Arrived, StoreError> {
        let what = || format!("unable to read {}", self.url(key));
        let length = part.end - part.start;
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut attempt = 0;
        loop {
            let began = Instant::now();
            let request =
                self.client.get_object().bucket(&self.bucket).key(self.key(key)).range(&range).if_match(&tag.0);
            let sent = request.customize().config_override(self.first_byte(length)).send().await;
            let mut body = match sent {
                Ok(answer) => answer.body,
                Err(error) if code_is(&error, &["PreconditionFailed"]) => return Err(StoreError::changed(what())),
                Err(error) => return Err(failed(what(), error)),
            };
            let first_byte = began.elapsed();
            room.wait().await;
            let began = Instant::now();
            let (mut pieces, mut came) = (Vec::new(), 0);
            let broken = loop {
                match body.next().await {
                    Some(Ok(piece)) => {
                        came += piece.len() as u64;
                        if came > length {
                            // Else an archive would stand in memory once for every range.
                            return Err(StoreError::refused(format!("{}: the store ignores ranges", what())));
                        }
                        pieces.push(piece);
                    }
                    Some(Err(error)) => break format!("the answer broke off: {error}"),
                    None if came == length => {
                        return Ok(Arrived { pieces, first_byte, transfer: began.elapsed() });
                    }
                    None => break format!("{came} of {length} bytes came"),
                }
            };
            // The SDK tries again until an answer begins; one that breaks off is ours to ask for again.
            attempt += 1;
            if attempt == TRIES {
                return Err(StoreError::unavailable(format!("{}: {broken}", what())));
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

#[async_trait]
impl Uploads for S3Store {
    fn completes_apart(&self) -> bool {
        true
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        let what = || format!("unable to list the uploads of {}", self.url(prefix));
        let mut uploads = Vec::new();
        let (mut key_marker, mut id_marker): (Option<String>, Option<String>) = (None, None);
        loop {
            let request = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(self.key(prefix));
            let sent = request.set_key_marker(key_marker.clone()).set_upload_id_marker(id_marker.clone()).send().await;
            let page = match sent {
                Ok(page) => page,
                // A server without this listing has nothing to sweep either, as far as anybody can tell. One that knows
                // no upload in the bucket may say so by an error.
                Err(error) if code_is(&error, &["NotImplemented", "NoSuchUpload"]) => return Ok(uploads),
                Err(error) => return Err(failed(what(), error)),
            };
            for upload in page.uploads() {
                if let (Some(key), Some(id)) = (self.own_key(upload.key()), upload.upload_id()) {
                    uploads.push(Upload { key, id: id.to_owned(), started: time_of(upload.initiated()) });
                }
            }
            if page.is_truncated() != Some(true) {
                return Ok(uploads);
            }
            let last = (key_marker, id_marker);
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
            if key_marker.is_none() || last == (key_marker.clone(), id_marker.clone()) {
                return Err(no_end(what()));
            }
        }
    }

    async fn last_part(&self, upload: &Upload) -> Result<SystemTime, StoreError> {
        let request = self.client.list_parts().bucket(&self.bucket).key(self.key(&upload.key)).upload_id(&upload.id);
        let mut pages = request.into_paginator().send();
        let mut last = upload.started;
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) if code_is(&error, &["NoSuchUpload"]) => break,
                Err(error) => {
                    return Err(failed(format!("unable to list the parts of {}", self.url(&upload.key)), error));
                }
            };
            if page.is_truncated() == Some(true) && page.next_part_number_marker().is_none() {
                return Err(no_end(format!("unable to list the parts of {}", self.url(&upload.key))));
            }
            let newest = page.parts().iter().map(|part| time_of(part.last_modified())).max();
            last = newest.map_or(last, |newest| newest.max(last));
        }
        Ok(last)
    }

    async fn begin(&self, key: &str, build: Uuid, attributes: &Attributes) -> Result<Upload, StoreError> {
        let (class, sse, kms_key) = headers_of(attributes);
        let mut request = self.client.create_multipart_upload().bucket(&self.bucket).key(self.key(key));
        if self.checksums {
            request = request.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme).checksum_type(ChecksumType::FullObject);
        }
        let request = request.metadata(BUILD, build.to_string()).set_storage_class(class);
        let sent = request.set_server_side_encryption(sse).set_ssekms_key_id(kms_key).send().await;
        let unable = || format!("unable to begin the upload of {}", self.url(key));
        let answer = sent.map_err(|error| failed(unable(), error))?;
        let id =
            answer.upload_id().ok_or_else(|| StoreError::unavailable(format!("{}: no upload id came", unable())))?;
        Ok(Upload { key: key.to_owned(), id: id.to_owned(), started: SystemTime::now() })
    }

    async fn send(&self, upload: &Upload, part: PartBody) -> Result<Part, StoreError> {
        let number = i32::try_from(part.number).unwrap_or(i32::MAX);
        let length = part.bytes.len() as u64;
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(self.key(&upload.key))
            .upload_id(&upload.id)
            .part_number(number)
            .set_checksum_crc64_nvme(self.checksum(part.crc64nvme))
            .body(ByteStream::from(part.bytes));
        // The checksum guards the bytes; a signature over them would hash them once more.
        let sent = request.customize().disable_payload_signing().config_override(self.transfer(length)).send().await;
        let what = || format!("unable to send part {number} of {}", self.url(&upload.key));
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) if code_is(&error, &["NoSuchUpload"]) => return Err(StoreError::swept(what())),
            Err(error) => return Err(failed(what(), error)),
        };
        let tag = answer.e_tag().unwrap_or_default().to_owned();
        Ok(Part { number: part.number, tag, crc64nvme: part.crc64nvme })
    }

    async fn complete(
        &self,
        upload: &Upload,
        mut parts: Vec<Part>,
        size: u64,
        crc64nvme: u64,
    ) -> Result<Completion, StoreError> {
        parts.sort_by_key(|part| part.number);
        let parts = parts.into_iter().map(|part| {
            CompletedPart::builder()
                .part_number(i32::try_from(part.number).unwrap_or(i32::MAX))
                .e_tag(part.tag)
                .set_checksum_crc64_nvme(self.checksum(part.crc64nvme))
                .build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let mut request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.key(&upload.key))
            .upload_id(&upload.id)
            .if_none_match("*")
            .multipart_upload(parts);
        if self.checksums {
            request = request
                .set_checksum_crc64_nvme(self.checksum(crc64nvme))
                .checksum_type(ChecksumType::FullObject)
                .mpu_object_size(i64::try_from(size).unwrap_or(i64::MAX));
        }
        match request.customize().config_override(limited(LONGEST_JOIN)).send().await {
            Ok(_) => Ok(Completion::Done),
            Err(error) if code_is(&error, &["PreconditionFailed"]) => Ok(Completion::Taken),
            Err(error) if code_is(&error, &["ConditionalRequestConflict", "NoSuchUpload"]) => Ok(Completion::Unclear),
            Err(error) => Err(failed(format!("unable to complete {}", self.url(&upload.key)), error)),
        }
    }

    async fn abort(&self, upload: &Upload) -> Result<(), StoreError> {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(self.key(&upload.key));
        match request.upload_id(&upload.id).send().await {
            Ok(_) => Ok(()),
            Err(error) if code_is(&error, &["NoSuchUpload"]) => Ok(()),
            Err(error) => Err(failed(format!("unable to abort the upload of {}", self.url(&upload.key)), error)),
        }
    }

    async fn send_whole(
        &self,
        key: &str,
        body: PartBody,
        build: Uuid,
        attributes: &Attributes,
    ) -> Result<Completion, StoreError> {
        let (class, sse, kms_key) = headers_of(attributes);
        let length = body.bytes.len() as u64;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .if_none_match("*")
            .set_checksum_crc64_nvme(self.checksum(body.crc64nvme))
            .metadata(BUILD, build.to_string())
            .set_storage_class(class)
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(kms_key)
            .body(ByteStream::from(body.bytes));
        let sent = request.customize().disable_payload_signing().config_override(self.transfer(length)).send().await;
        match sent {
            Ok(_) => Ok(Completion::Done),
            Err(error) if code_is(&error, &["PreconditionFailed"]) => Ok(Completion::Taken),
            Err(error) if code_is(&error, &["ConditionalRequestConflict"]) => Ok(Completion::Unclear),
            Err(error) => Err(failed(format!("unable to write {}", self.url(key)), error)),
        }
    }

    async fn settled(&self, _: &str, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn prepare(&self) -> Result<Vec<StoreError>, StoreError> {
        Ok(Vec::new())
    }
}

/// The failure of one request; `what` says verb and object.
fn failed<E>(what: impl Display, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    StoreError::of(aws::failure(what, error))
}

fn code_is<E, R>(error: &SdkError<E, R>, codes: &[&str]) -> bool
where
    SdkError<E, R>: ProvideErrorMetadata,
{
    error.code().is_some_and(|code| codes.contains(&code))
}

fn crc64nvme(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

/// Half a listing must not look like the whole, and asking for the same page again brings no other.
fn no_end(what: String) -> StoreError {
    StoreError::unavailable(format!("{what}: the store says that there is more, and not where"))
}

/// A time that a store leaves out must make nothing look old.
fn time_of(time: Option<&DateTime>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(*time).ok()).unwrap_or_else(SystemTime::now)
}

type AttributeHeaders = (Option<StorageClass>, Option<ServerSideEncryption>, Option<String>);

fn headers_of(attributes: &Attributes) -> AttributeHeaders {
    let class = attributes.storage_class.as_deref().map(StorageClass::from);
    match &attributes.encryption {
        None => (class, None, None),
        Some(Encryption::Aes256) => (class, Some(ServerSideEncryption::Aes256), None),
        Some(Encryption::Kms { key }) => (class, Some(ServerSideEncryption::AwsKms), key.clone()),
    }
}

fn attributes_of(class: Option<&StorageClass>, sse: Option<&ServerSideEncryption>, key: Option<&str>) -> Attributes {
    let encryption = match sse {
        Some(ServerSideEncryption::Aes256) => Some(Encryption::Aes256),
        Some(ServerSideEncryption::AwsKms) => Some(Encryption::Kms { key: key.map(str::to_owned) }),
        _ => None,
    };
    Attributes { storage_class: class.map(|class| class.as_str().to_owned()), encryption }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_time_is_not_an_old_one() {
        let before = SystemTime::now();
        assert!(time_of(None) >= before);
        assert_eq!(time_of(Some(&DateTime::from_secs(1))), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    }
}
