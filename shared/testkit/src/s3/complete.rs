//! CompleteMultipartUpload: the one operation with more rules than all others together.

use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest as _, Md5};
use serde::Deserialize;

use super::checksums::{Algorithm, Coverage, base64, stated};
use super::conditions::{Condition, quoted};
use super::intake::document as read_document;
use super::objects::tell_checksum;
use super::reply::{Refusal, Reply, document, elements};
use super::service::Service;
use super::state::{Object, Part, Upload};
use super::uri::Target;
use crate::http::body::Body;
use crate::http::head::{Headers, RequestHead};

/// Every part but the last must have this size.
const SMALLEST_PART: u64 = 5 << 20;

#[derive(Debug, Deserialize)]
struct CompleteMultipartUpload {
    #[serde(rename = "Part", default)]
    parts: Vec<NamedPart>,
}

#[derive(Debug, Deserialize)]
struct NamedPart {
    #[serde(rename = "PartNumber")]
    number: u32,
    #[serde(rename = "ETag")]
    etag: String,
    #[serde(rename = "ChecksumCRC64NVME")]
    crc64nvme: Option<String>,
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    crc32c: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

impl NamedPart {
    fn checksum(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Crc64Nvme => self.crc64nvme.as_deref(),
            Algorithm::Crc32 => self.crc32.as_deref(),
            Algorithm::Crc32c => self.crc32c.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
        }
    }
}

pub(crate) fn complete(
    service: &Service,
    head: &RequestHead,
    target: &Target,
    body: &mut Body<'_>,
) -> Result<Reply, Refusal> {
    let condition = Condition::of_write(&head.headers)?;
    let named = parse(&read_document(body)?)?;
    let id = target.get("uploadId").unwrap_or_default().to_owned();

    let mut state = service.state();
    let bucket = state.bucket(&target.bucket)?;
    // A client that lost the first answer and asks again is told the same, as long as it is still true.
    if let Some((key, etag)) = bucket.completed.get(&id) {
        let object = bucket.objects.get(&target.key).filter(|object| *key == target.key && object.etag == *etag);
        return object.map(|object| answer(service, target, object)).ok_or_else(Refusal::no_such_upload);
    }
    let upload = bucket.upload(&target.key, &id)?;
    let parts = select(upload, &named)?;
    let size = parts.iter().map(|part| part.size).sum();
    if let Some(expected) = head.headers.get("x-amz-mp-object-size")
        && expected.parse() != Ok(size)
    {
        let message = "The provided 'x-amz-mp-object-size' header does not match what was computed.";
        return Err(Refusal::invalid_request(message));
    }
    let checksum = checksum(&head.headers, upload, &parts)?;
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(&part.md5));
    let body: Option<Vec<Vec<Bytes>>> = parts.iter().map(|part| part.body.clone()).collect();
    let object = Object {
        body: body.map(|chunks| chunks.concat()).filter(|_| service.keep.keeps(size)),
        size,
        etag: format!("\"{}-{}\"", hex::encode(md5.finalize()), parts.len()),
        modified: Timestamp::now(),
        checksum,
        coverage: upload.coverage,
        attributes: upload.attributes.clone(),
    };
    // Last, and under the same lock as the change it guards. A refused upload stays: its owner may still abort it.
    condition.check(bucket, &target.key, service.rules, None)?;
    let reply = answer(service, target, &object);
    bucket.uploads.remove(&(target.key.clone(), id.clone()));
    bucket.completed.insert(id, (target.key.clone(), object.etag.clone()));
    if !service.rules.ack_and_drop {
        bucket.store(target.key.clone(), object);
    }
    Ok(reply)
}

fn parse(bytes: &[u8]) -> Result<Vec<NamedPart>, Refusal> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let document =
        quick_xml::de::from_str::<CompleteMultipartUpload>(text).ok().filter(|document| !document.parts.is_empty());
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    document.map(|document| document.parts).ok_or_else(|| Refusal::new(400, "MalformedXML", message))
}

/// The named parts, all of them there, in order, as stated, and large enough.
fn select<'u>(upload: &'u Upload, named: &[NamedPart]) -> Result<Vec<&'u Part>, Refusal> {
    if !named.is_sorted_by(|one, next| one.number < next.number) {
        let message =
            "The list of parts was not in ascending order. The parts list must be specified in order by part number.";
        return Err(Refusal::new(400, "InvalidPartOrder", message));
    }
    let algorithm = upload.checksum_algorithm();
    let mut parts = Vec::with_capacity(named.len());
    for name in named {
        let stated = name.checksum(algorithm);
        if upload.coverage == Coverage::Composite && stated.is_none() {
            return Err(Refusal::invalid_request(format!(
                "The upload was created using a {} checksum. The complete request must include the checksum for each part. \
                 It was missing for part {} in the request.",
                algorithm.name().to_lowercase(),
                name.number
            )));
        }
        let part = upload.parts.get(&name.number).filter(|part| part.etag == quoted(&name.etag)).filter(|part| {
            let known = part.checksum.as_deref().map(base64);
            stated.is_none() || known.is_none() || known.as_deref() == stated
        });
        let message = "One or more of the specified parts could not be found. The part may not have been uploaded, \
                       or the specified entity tag may not match the part's entity tag.";
        parts.push(part.ok_or_else(|| Refusal::new(400, "InvalidPart", message))?);
    }
    if parts.split_last().is_some_and(|(_, others)| others.iter().any(|part| part.size < SMALLEST_PART)) {
        let message = "Your proposed upload is smaller than the minimum allowed size";
        return Err(Refusal::new(400, "EntityTooSmall", message));
    }
    Ok(parts)
}

/// The object's checksum, compared with the one the request states.
fn checksum(headers: &Headers, upload: &Upload, parts: &[&Part]) -> Result<Option<(Algorithm, String)>, Refusal> {
    if let Some(coverage) = headers.get("x-amz-checksum-type")
        && Coverage::parse(coverage)? != upload.coverage
    {
        return Err(Refusal::invalid_request(format!(
            "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
            upload.coverage.name()
        )));
    }
    let algorithm = upload.checksum_algorithm();
    let sums: Option<Vec<_>> = parts.iter().map(|part| part.checksum.clone().map(|sum| (sum, part.size))).collect();
    // A part that was thrown away unseen, with no checksum stated, leaves the object without one, unless the client says it.
    let computed = sums.and_then(|sums| match upload.coverage {
        Coverage::FullObject => algorithm.combine(&sums).map(|sum| base64(&sum)),
        Coverage::Composite => {
            let joined: Vec<u8> = sums.iter().flat_map(|(sum, _)| sum.clone()).collect();
            Some(format!("{}-{}", base64(&algorithm.of(&joined)), sums.len()))
        }
    });
    let Some(stated) = stated_of_whole(headers, upload, parts.len())? else {
        return Ok(computed.map(|sum| (algorithm, sum)));
    };
    match computed {
        Some(sum) if sum != stated => Err(Refusal::bad_digest(algorithm.header())),
        _ => Ok(Some((algorithm, stated))),
    }
}

fn stated_of_whole(headers: &Headers, upload: &Upload, count: usize) -> Result<Option<String>, Refusal> {
    let algorithm = upload.checksum_algorithm();
    if upload.coverage == Coverage::Composite {
        let stated = headers.get(algorithm.header());
        // The number of parts may be left out.
        return Ok(stated.map(|sum| if sum.contains('-') { sum.to_owned() } else { format!("{sum}-{count}") }));
    }
    match stated(headers)? {
        None => Ok(None),
        Some((named, sum)) if named == algorithm => Ok(Some(base64(&sum))),
        Some((named, _)) => Err(Refusal::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            algorithm.name().to_lowercase(),
            named.name().to_lowercase()
        ))),
    }
}

fn answer(service: &Service, target: &Target, object: &Object) -> Reply {
    let location = format!("http://s3/{}/{}", target.bucket, super::uri::encode(&target.key));
    let told = object.checksum.as_ref().filter(|_| !service.rules.no_checksums);
    let tag = told.map(|(algorithm, _)| algorithm.tag());
    let mut content = elements([
        ("Location", Some(location.as_str())),
        ("Bucket", Some(&target.bucket)),
        ("Key", Some(&target.key)),
        ("ETag", Some(&object.etag)),
    ]);
    if let (Some((_, sum)), Some(tag)) = (told, &tag) {
        content
            .push_str(&elements([(tag.as_str(), Some(sum.as_str())), ("ChecksumType", Some(object.coverage.name()))]));
    }
    let reply = object.attributes.echo_encryption(Reply::new(200));
    tell_checksum(service, object, reply).xml(&document("CompleteMultipartUploadResult", &content))
}
