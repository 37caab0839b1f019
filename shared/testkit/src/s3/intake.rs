//! Taking in the body of an upload: decoded, hashed, verified, and kept or thrown away.

use std::io::{self, BufRead};

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::checksums::{self, Algorithm, Hasher, from_base64};
use super::chunked::AwsChunked;
use super::reply::Refusal;
use super::rules::Keep;
use crate::http::body::{Body, Skip};
use crate::http::head::RequestHead;

/// The largest body of one PutObject or UploadPart.
const LARGEST: u64 = 5 << 30;
/// The largest document a request may carry (a Complete of 10,000 parts with checksums is about 2 MB).
const LARGEST_DOCUMENT: u64 = 8 << 20;

/// A body that has arrived and is what its sender said it is.
pub(crate) struct Received {
    /// None where the storage policy throws it away.
    pub body: Option<Vec<Bytes>>,
    pub size: u64,
    /// The MD5, or what stands for it where the body was not looked at.
    pub md5: Vec<u8>,
    /// The checksum the client sent, verified unless the body was thrown away.
    pub sent: Option<(Algorithm, Vec<u8>)>,
    /// Every checksum known of it.
    pub checksums: Vec<(Algorithm, Vec<u8>)>,
}

impl Received {
    pub fn checksum(&self, algorithm: Algorithm) -> Option<&Vec<u8>> {
        self.checksums.iter().find(|(known, _)| *known == algorithm).map(|(_, sum)| sum)
    }
}

/// What the request says of its body.
struct Promise {
    stated: Option<(Algorithm, Vec<u8>)>,
    promised: Option<Algorithm>,
    md5: Option<Vec<u8>>,
    sha256: Option<String>,
    aws_chunked: bool,
    size: u64,
}

impl Promise {
    fn read(head: &RequestHead) -> Result<Self, Refusal> {
        let headers = &head.headers;
        let stated = checksums::stated(headers)?;
        let promised = checksums::promised(headers)?;
        if stated.is_some() && promised.is_some() {
            return Err(Refusal::invalid_request("Expecting a single x-amz-checksum- header"));
        }
        let md5 = headers.get("content-md5").map(|text| {
            let sum = from_base64(text).filter(|sum| sum.len() == 16);
            sum.ok_or_else(|| Refusal::new(400, "InvalidDigest", "The Content-MD5 you specified was invalid."))
        });
        let payload = headers.get("x-amz-content-sha256").unwrap_or_default();
        let aws_chunked = payload.starts_with("STREAMING-") || headers.lists("content-encoding", "aws-chunked");
        let length_required =
            || Refusal::new(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
        let size = if aws_chunked {
            headers.number("x-amz-decoded-content-length").ok_or_else(length_required)?
        } else if headers.lists("transfer-encoding", "chunked") {
            return Err(Refusal::not_implemented("Transfer-Encoding"));
        } else {
            headers.number("content-length").ok_or_else(length_required)?
        };
        if size > LARGEST {
            return Err(Refusal::new(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"));
        }
        let sha256 = Some(payload).filter(|text| text.len() == 64).map(str::to_ascii_lowercase);
        Ok(Self { stated, promised, md5: md5.transpose()?, sha256, aws_chunked, size })
    }
}

/// Reads and verifies the body of a PutObject or UploadPart. `also` is computed whatever the client sent.
pub(crate) fn receive(
    head: &RequestHead,
    body: &mut Body<'_>,
    keep: Keep,
    also: Option<Algorithm>,
) -> Result<Received, Refusal> {
    let promise = Promise::read(head)?;
    if promise.aws_chunked {
        let mut chunked = AwsChunked::new(&mut *body);
        let received = take(&mut chunked, &promise, keep, also);
        let received = received.map_err(incomplete)?;
        // A decoder that stopped at the promised length has not seen the trailer yet.
        if !chunked.fill_buf().map_err(incomplete_io)?.is_empty() {
            return Err(incomplete(Refusal::Gone));
        }
        let trailers = std::mem::take(&mut chunked.trailers);
        return verify(received, &promise, &trailers);
    }
    let received = take(body, &promise, keep, also)?;
    verify(received, &promise, &[])
}

impl Skip for &mut Body<'_> {
    fn skip(&mut self, limit: u64) -> io::Result<u64> {
        (**self).skip(limit)
    }
}

/// What was hashed on the way in.
struct Taken {
    received: Received,
    looked_at: bool,
    sha256: Option<Vec<u8>>,
}

fn take(body: &mut impl Skip, promise: &Promise, keep: Keep, also: Option<Algorithm>) -> Result<Taken, Refusal> {
    if !keep.keeps(promise.size) {
        let mut size = 0;
        while size < promise.size {
            match body.skip(promise.size - size)? {
                0 => return Err(Refusal::Gone),
                count => size += count,
            }
        }
        let received = Received { body: None, size, md5: Vec::new(), sent: None, checksums: Vec::new() };
        return Ok(Taken { received, looked_at: false, sha256: None });
    }
    let mut wanted = vec![Algorithm::Crc64Nvme];
    wanted.extend(
        [also, promise.promised, promise.stated.as_ref().map(|(algorithm, _)| *algorithm)].into_iter().flatten(),
    );
    wanted.sort_unstable();
    wanted.dedup();
    let mut hashers: Vec<(Algorithm, Hasher)> =
        wanted.into_iter().map(|algorithm| (algorithm, algorithm.hasher())).collect();
    let mut md5 = Md5::new();
    let mut sha256 = promise.sha256.as_ref().map(|_| Sha256::new());
    let mut chunks = Vec::new();
    let mut size = 0;
    loop {
        let seen = body.fill_buf()?;
        if seen.is_empty() {
            break;
        }
        let count = seen.len();
        md5.update(seen);
        hashers.iter_mut().for_each(|(_, hasher)| hasher.update(seen));
        if let Some(sha256) = &mut sha256 {
            sha256.update(seen);
        }
        chunks.push(Bytes::copy_from_slice(seen));
        body.consume(count);
        size += count as u64;
    }
    let checksums = hashers.into_iter().map(|(algorithm, hasher)| (algorithm, hasher.finish())).collect();
    let received = Received { body: Some(chunks), size, md5: md5.finalize().to_vec(), sent: None, checksums };
    Ok(Taken { received, looked_at: true, sha256: sha256.map(|sha256| sha256.finalize().to_vec()) })
}

fn verify(taken: Taken, promise: &Promise, trailers: &[(String, String)]) -> Result<Received, Refusal> {
    let Taken { mut received, looked_at, sha256 } = taken;
    if received.size != promise.size {
        return Err(incomplete(Refusal::Gone));
    }
    let mut sent = promise.stated.clone();
    if let Some(algorithm) = promise.promised {
        let trailer = trailers.iter().find(|(name, _)| name == algorithm.header());
        let (_, text) = trailer.ok_or_else(|| {
            Refusal::new(400, "MalformedTrailerError", "The request contained trailing data that was not well-formed")
        })?;
        sent = Some((algorithm, algorithm.decode(text)?));
    }
    if !looked_at {
        // Nothing to compare with: what the client says of its body is all that is known of it.
        received.md5 = promise.md5.clone().unwrap_or_default();
        received.checksums = sent.iter().cloned().collect();
        received.sent = sent;
        return Ok(received);
    }
    if let (Some(stated), Some(computed)) = (&promise.sha256, sha256)
        && *stated != hex::encode(computed)
    {
        let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return Err(Refusal::new(400, "XAmzContentSHA256Mismatch", message));
    }
    if promise.md5.as_ref().is_some_and(|md5| *md5 != received.md5) {
        return Err(Refusal::bad_digest("Content-MD5"));
    }
    if let Some((algorithm, sum)) = &sent
        && received.checksum(*algorithm) != Some(sum)
    {
        return Err(Refusal::bad_digest(algorithm.name()));
    }
    received.sent = sent;
    Ok(received)
}

/// A body that ends early inside its own coding is the client's error, not its death.
fn incomplete(_: Refusal) -> Refusal {
    Refusal::new(400, "IncompleteBody", "The request body terminated unexpectedly")
}

fn incomplete_io(_: io::Error) -> Refusal {
    incomplete(Refusal::Gone)
}

/// Reads a request's XML document.
pub(crate) fn document(body: &mut Body<'_>) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    loop {
        let seen = body.fill_buf()?;
        if seen.is_empty() {
            return Ok(bytes);
        }
        let count = seen.len();
        bytes.extend_from_slice(seen);
        body.consume(count);
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            return Err(Refusal::new(400, "MaxMessageLengthExceeded", "Your request was too big."));
        }
    }
}
