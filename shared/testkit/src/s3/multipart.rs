//! CreateMultipartUpload, UploadPart, AbortMultipartUpload.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::attributes::Attributes;
use super::checksums::{Algorithm, Coverage, base64};
use super::intake::receive;
use super::reply::{Refusal, Reply, document, elements};
use super::service::Service;
use super::state::{Part, Upload};
use super::uri::Target;
use crate::http::body::Body;
use crate::http::head::RequestHead;

/// The largest number of parts, which is also the largest part number.
const MOST_PARTS: u32 = 10_000;

pub(crate) fn create(service: &Service, head: &RequestHead, target: &Target) -> Result<Reply, Refusal> {
    let attributes = Attributes::read(&head.headers, service.rules)?;
    let algorithm = head.headers.get("x-amz-checksum-algorithm").map(Algorithm::parse).transpose()?;
    let coverage = head.headers.get("x-amz-checksum-type").map(Coverage::parse).transpose()?;
    let coverage = match (algorithm, coverage) {
        (None, None) => Coverage::FullObject,
        (None, Some(_)) => {
            let message = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            return Err(Refusal::invalid_request(message));
        }
        (Some(algorithm), coverage) => {
            let coverage = coverage.unwrap_or(algorithm.usual_coverage());
            if !algorithm.allows(coverage) {
                let (coverage, algorithm) = (coverage.name(), algorithm.name().to_lowercase());
                let message =
                    format!("The {coverage} checksum type cannot be used with the {algorithm} checksum algorithm.");
                return Err(Refusal::invalid_request(message));
            }
            coverage
        }
    };
    let reply = attributes.echo_encryption(Reply::new(200));
    let reply = match algorithm {
        Some(algorithm) => {
            reply.header("x-amz-checksum-algorithm", algorithm.name()).header("x-amz-checksum-type", coverage.name())
        }
        None => reply,
    };
    let mut state = service.state();
    let serial = state.next_serial();
    // Rises with time, and gives the markers of a listing something to be compared with.
    let id = format!("upload-{serial:012}");
    let upload = Upload { initiated: Timestamp::now(), attributes, algorithm, coverage, parts: BTreeMap::new() };
    state.bucket(&target.bucket)?.uploads.insert((target.key.clone(), id.clone()), upload);
    let fields = [("Bucket", Some(target.bucket.as_str())), ("Key", Some(&target.key)), ("UploadId", Some(&id))];
    Ok(reply.xml(&document("InitiateMultipartUploadResult", &elements(fields))))
}

pub(crate) fn upload_part(
    service: &Service,
    head: &RequestHead,
    target: &Target,
    body: &mut Body<'_>,
) -> Result<Reply, Refusal> {
    if head.headers.get("x-amz-copy-source").is_some() {
        return Err(Refusal::not_implemented("UploadPartCopy"));
    }
    let number =
        target.get("partNumber").and_then(|text| text.parse().ok()).filter(|number| (1..=MOST_PARTS).contains(number));
    let Some(number) = number else {
        return Err(Refusal::invalid_argument("Part number must be an integer between 1 and 10000, inclusive"));
    };
    let id = target.get("uploadId").unwrap_or_default();
    let (algorithm, declared, coverage) = {
        let mut state = service.state();
        let upload = state.bucket(&target.bucket)?.upload(&target.key, id)?;
        (upload.checksum_algorithm(), upload.algorithm, upload.coverage)
    };
    let received = receive(head, body, service.keep, Some(algorithm))?;
    // A composite checksum is made of what the client stated of each part; without an algorithm none may be stated but
    // the one S3 computes anyway.
    let stated = received.sent.as_ref().map(|(algorithm, _)| *algorithm);
    let fits = match stated {
        Some(stated) => stated == algorithm,
        None => declared.is_none() || coverage == Coverage::FullObject,
    };
    if !fits {
        let spell = |one: Option<Algorithm>| one.map_or("null".to_owned(), |one| one.name().to_lowercase());
        return Err(Refusal::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            spell(declared),
            spell(stated)
        )));
    }

    let mut state = service.state();
    let md5 = state.digest(&received);
    let etag = format!("\"{}\"", hex::encode(&md5));
    // Looked up again: the upload may have been aborted or completed while the body was on its way.
    let upload = state.bucket(&target.bucket)?.upload(&target.key, id)?;
    let checksum = received.checksum(algorithm).cloned();
    let mut reply = upload.attributes.echo_encryption(Reply::new(200).header("ETag", &etag));
    if let Some(sum) = checksum.as_ref().filter(|_| !service.rules.no_checksums) {
        reply = reply.header(algorithm.header(), base64(sum));
    }
    let part = Part { body: received.body, size: received.size, etag, md5, modified: Timestamp::now(), checksum };
    upload.parts.insert(number, part);
    Ok(reply)
}

pub(crate) fn abort(service: &Service, target: &Target) -> Result<Reply, Refusal> {
    let mut state = service.state();
    let bucket = state.bucket(&target.bucket)?;
    let id = target.get("uploadId").unwrap_or_default().to_owned();
    bucket.uploads.remove(&(target.key.clone(), id)).ok_or_else(Refusal::no_such_upload)?;
    Ok(Reply::new(204))
}
