//! The id of a document. What a record's own id says is anybody's to write; the hash beside it makes a forged record another
//! document than the line whose id it bears.

use super::origin::header;
use crate::args::Ids;
use crate::headers;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rdkafka::Message;
use rdkafka::message::Headers;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Longest id that the servers take, in bytes.
const LONGEST: usize = 512;
/// Bytes of the hash: nobody finds two records with the same.
const HASH: usize = 24;
/// The same, as it is written.
const HASH_TEXT: usize = 32;

/// Writes the id of a record's document.
pub(super) fn name(ids: Ids, record: &impl Message, id: &mut String) {
    id.clear();
    let own = header(record, records::ID_HEADER).filter(|own| !own.is_empty());
    match (ids, own) {
        (Ids::V1, Some(own)) => put(own, LONGEST, id),
        (Ids::V2, Some(own)) if is_of_a_letter(record, own) => put(own, LONGEST, id),
        (Ids::V2, Some(own)) => {
            put(own, LONGEST - 1 - HASH_TEXT, id);
            id.push('/');
            BASE64_URL_SAFE_NO_PAD.encode_string(&hash(record)[..HASH], id);
        }
        // Writing to a String can't fail.
        (_, None) => {
            let _ = write!(id, "{}-{}-{}", record.topic(), record.partition(), record.offset());
            if ids == Ids::V2 {
                // A recreated topic has the same offsets once more.
                let _ = write!(id, "-{}", record.timestamp().to_millis().unwrap_or(-1));
            }
        }
    }
}

/// The id as it is, or, where that can't be one, its hash.
fn put(own: &[u8], longest: usize, id: &mut String) {
    match std::str::from_utf8(own) {
        Ok(text) if text.len() <= longest => id.push_str(text),
        _ => id.push_str(&hex::encode(Sha256::digest(own))),
    }
}

/// Over all that log-ship sends again as it was: value, key and headers, but not the timestamp, which it keeps to the hour. Each
/// part goes in with its length, so that no two records look alike; the headers of dead letters do not go in.
fn hash(record: &impl Message) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: Option<&[u8]>| {
        hash.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hash.update(bytes.unwrap_or_default());
    };
    part(record.key());
    part(record.payload());
    for header in record.headers().iter().flat_map(|headers| headers.iter()) {
        if !header.key.starts_with(headers::OF_DEAD_LETTERS) {
            part(Some(header.key.as_bytes()));
            part(header.value);
        }
    }
    hash.finalize().into()
}

/// Whether a record is the dead letter of one without an id, which then has the id of its document from when it was read first.
/// A letter of the topic that is read can't be in it; and no id with a hash has only characters of a topic's name, so that nobody
/// takes one in this way.
fn is_of_a_letter(record: &impl Message, own: &[u8]) -> bool {
    let of_another_topic = || {
        let position = std::str::from_utf8(header(record, headers::POSITION)?).ok()?;
        let (topic, _) = position.rsplit_once('-')?.0.rsplit_once('-')?;
        Some(topic != record.topic())
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    header(record, headers::ID) == Some(own) && own.iter().all(plain) && of_another_topic() == Some(true)
}
