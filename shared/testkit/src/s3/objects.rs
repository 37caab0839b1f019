//! PutObject, GetObject, HeadObject, DeleteObject.

use bytes::Bytes;
use jiff::Timestamp;

use super::attributes::Attributes;
use super::checksums::{Algorithm, Coverage, base64};
use super::conditions::{Condition, check_delete, check_read};
use super::intake::receive;
use super::reply::{Refusal, Reply, http_date};
use super::service::Service;
use super::state::Object;
use super::uri::Target;
use crate::http::body::Body;
use crate::http::head::RequestHead;

pub(crate) fn put(
    service: &Service,
    head: &RequestHead,
    target: &Target,
    body: &mut Body<'_>,
) -> Result<Reply, Refusal> {
    if head.headers.get("x-amz-copy-source").is_some() {
        return Err(Refusal::not_implemented("CopyObject"));
    }
    let condition = Condition::of_write(&head.headers)?;
    let attributes = Attributes::read(&head.headers, service.rules)?;
    let received = receive(head, body, service.keep, None)?;

    let mut state = service.state();
    let digest = state.digest(&received);
    let etag = format!("\"{}\"", hex::encode(digest));
    // S3 computes a CRC-64/NVME of its own where the client states nothing.
    let algorithm = received.sent.as_ref().map_or(Algorithm::Crc64Nvme, |(algorithm, _)| *algorithm);
    let checksum = received.checksum(algorithm).map(|sum| (algorithm, base64(sum)));
    let object = Object {
        body: received.body,
        size: received.size,
        etag,
        modified: Timestamp::now(),
        checksum,
        coverage: Coverage::FullObject,
        attributes,
    };
    let bucket = state.bucket(&target.bucket)?;
    let is_stored = |stored: &Object| object.body.is_some() && joined(stored) == joined(&object);
    condition.check(bucket, &target.key, service.rules, Some(&is_stored))?;
    let reply = tell_checksum(service, &object, Reply::new(200).header("ETag", &object.etag));
    let reply = object.attributes.echo_encryption(reply);
    if !service.rules.ack_and_drop {
        bucket.store(target.key.clone(), object);
    }
    Ok(reply)
}

pub(crate) fn get(service: &Service, head: &RequestHead, target: &Target) -> Result<Reply, Refusal> {
    // A clone shares the bytes, so the lock is not held while they are sent.
    let object = find(service, target)?;
    check_read(&head.headers, &object, service.rules)?;
    if object.attributes.is_archived() {
        let message = "The operation is not valid for the object's storage class";
        return Err(Refusal::new(403, "InvalidObjectState", message));
    }
    let Some(body) = &object.body else {
        return Err(Refusal::new(501, "NotImplemented", "This server threw the body of the object away"));
    };
    let reply = describe(&object);
    let asked = head.headers.get("range").filter(|_| !service.rules.ignore_ranges);
    match asked.and_then(|range| Range::parse(range, object.size)) {
        None => {
            let reply = if wants_checksum(head) { tell_checksum(service, &object, reply) } else { reply };
            Ok(Reply { body: body.clone(), ..reply })
        }
        Some(Range::Bytes { first, last }) => {
            let content_range = format!("bytes {first}-{last}/{}", object.size);
            let reply = reply.header("Content-Range", content_range);
            let whole = service.rules.range_checksums && wants_checksum(head);
            let reply = if whole { tell_checksum(service, &object, reply) } else { reply };
            Ok(Reply { status: 206, body: cut(body, first, last), ..reply })
        }
        Some(Range::Unsatisfiable) => Err(Refusal::new(416, "InvalidRange", "The requested range is not satisfiable")),
    }
}

pub(crate) fn head(service: &Service, head: &RequestHead, target: &Target) -> Result<Reply, Refusal> {
    let object = find(service, target)?;
    check_read(&head.headers, &object, service.rules)?;
    let reply = describe(&object);
    match head.headers.get("range").and_then(|range| Range::parse(range, object.size)) {
        None => {
            let reply = if wants_checksum(head) { tell_checksum(service, &object, reply) } else { reply };
            Ok(Reply { length: Some(object.size), ..reply })
        }
        Some(Range::Bytes { first, last }) => {
            let reply = reply.header("Content-Range", format!("bytes {first}-{last}/{}", object.size));
            Ok(Reply { status: 206, length: Some(last - first + 1), ..reply })
        }
        Some(Range::Unsatisfiable) => Err(Refusal::new(416, "InvalidRange", "The requested range is not satisfiable")),
    }
}

pub(crate) fn delete(service: &Service, head: &RequestHead, target: &Target) -> Result<Reply, Refusal> {
    let mut state = service.state();
    let bucket = state.bucket(&target.bucket)?;
    check_delete(&head.headers, bucket.objects.get(&target.key), service.rules)?;
    bucket.objects.remove(&target.key);
    Ok(Reply::new(204))
}

fn find(service: &Service, target: &Target) -> Result<Object, Refusal> {
    let mut state = service.state();
    let bucket = state.bucket(&target.bucket)?;
    bucket.objects.get(&target.key).cloned().ok_or_else(Refusal::no_such_key)
}

fn describe(object: &Object) -> Reply {
    let reply = Reply::new(200)
        .header("ETag", &object.etag)
        .header("Last-Modified", http_date(object.modified))
        .header("Accept-Ranges", "bytes");
    object.attributes.tell(reply)
}

fn wants_checksum(head: &RequestHead) -> bool {
    head.headers.get("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"))
}

pub(crate) fn tell_checksum(service: &Service, object: &Object, reply: Reply) -> Reply {
    match &object.checksum {
        Some((algorithm, sum)) if !service.rules.no_checksums => {
            reply.header(algorithm.header(), sum).header("x-amz-checksum-type", object.coverage.name())
        }
        _ => reply,
    }
}

/// The whole body in one piece; nothing where it was thrown away.
pub(crate) fn joined(object: &Object) -> Option<Bytes> {
    let chunks = object.body.as_ref()?;
    if let [only] = chunks.as_slice() {
        return Some(only.clone());
    }
    Some(chunks.concat().into())
}

enum Range {
    Bytes { first: u64, last: u64 },
    Unsatisfiable,
}

impl Range {
    /// Reads `bytes=a-b`, `bytes=a-` and `bytes=-n`; anything else is ignored, as HTTP asks.
    fn parse(text: &str, size: u64) -> Option<Self> {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        if first.is_empty() {
            let count: u64 = last.parse().ok()?;
            if count == 0 || size == 0 {
                return Some(Self::Unsatisfiable);
            }
            return Some(Self::Bytes { first: size.saturating_sub(count), last: size - 1 });
        }
        let first: u64 = first.parse().ok()?;
        let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
        if last < first {
            return None;
        }
        if first >= size {
            return Some(Self::Unsatisfiable);
        }
        Some(Self::Bytes { first, last: last.min(size - 1) })
    }
}

fn cut(chunks: &[Bytes], first: u64, last: u64) -> Vec<Bytes> {
    let mut kept = Vec::new();
    let mut start = 0;
    for chunk in chunks {
        let end = start + chunk.len() as u64;
        let (from, to) = (first.max(start), (last + 1).min(end));
        if from < to {
            let inside = |at: u64| usize::try_from(at - start).expect("an offset within a chunk");
            kept.push(chunk.slice(inside(from)..inside(to)));
        }
        start = end;
    }
    kept
}
