//! Whether a store keeps the conditions of writes: found out by writes that it must refuse.
//!
//! All that these tools promise of many processes at once rests on conditions, and there are servers that take a
//! condition's header and ignore it. Each probe writes what stands under its key anyway, so that a server that does not
//! refuse it has changed nothing.

use crate::pauses::Pauses;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use failure::Failure;
use store::{Attributes, Completion, Condition, Objects, PartBody, Put, Store, StoreError, Tag, Upload, Uploads};
use uuid::Uuid;

/// Tries of a probe that the store does not decide.
const TRIES: u32 = 8;

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The store refused what it had to.
    Kept,
    /// It did not: the header that it ignores.
    Ignored(&'static str),
}

/// Why nothing is done on a store that ignores `header`: what could come of it, and what is therefore left undone.
#[must_use]
pub fn refusal(store: &dyn Objects, header: &str, consequence: &str) -> Failure {
    Failure::permanent(format!("{} ignores conditional writes ({header}): {consequence}", store.url("")))
}

/// Tries the conditions of PutObject: two writes of `body`, which stands under `key`, that a store refuses if it keeps
/// them.
///
/// # Errors
/// The store fails.
pub async fn writes(
    store: &dyn Objects,
    key: &str,
    body: &[u8],
    attributes: &Attributes,
) -> Result<Verdict, StoreError> {
    let wrong = Tag::of_nothing();
    for (when, header) in [(Condition::Absent, "If-None-Match"), (Condition::Unchanged(&wrong), "If-Match")] {
        if let Put::Done(_) = store.put(key, body, when, attributes).await? {
            return Ok(Verdict::Ignored(header));
        }
    }
    Ok(Verdict::Kept)
}

/// Begins the upload that [`completions`] needs, under the key of an object that is there.
///
/// # Errors
/// The store fails.
pub async fn begin(store: &dyn Uploads, key: &str, attributes: &Attributes) -> Result<Upload, StoreError> {
    // A build's own id would make this upload the proof of whose archive the object is.
    store.begin(key, Uuid::new_v4(), attributes).await
}

/// Tries the condition of CompleteMultipartUpload, which some servers ignore although they keep those of PutObject: an
/// upload of `body`, which stands under the key of `first`, must not be completed. `begun` hears of every further upload
/// that the store makes necessary. Whoever holds the uploads aborts them.
///
/// # Errors
/// The store fails, or does not decide (temporary).
pub async fn completions(
    store: &dyn Store,
    first: &Upload,
    body: &[u8],
    attributes: &Attributes,
    begun: impl Fn(&Upload) + Send,
) -> Result<Verdict, Failure> {
    let crc64nvme = checksum(CrcAlgorithm::Crc64Nvme, body);
    let mut upload = first.clone();
    let mut pauses = Pauses::default();
    for _ in 0..TRIES {
        let part = PartBody { number: 1, offset: 0, bytes: Bytes::copy_from_slice(body), crc64nvme };
        let part = store.send(&upload, part).await?;
        match store.complete(&upload, vec![part], body.len() as u64, crc64nvme).await? {
            Completion::Done => return Ok(Verdict::Ignored("If-None-Match of CompleteMultipartUpload")),
            Completion::Taken => return Ok(Verdict::Kept),
            // A conflict, or an upload that is gone, says nothing of the condition.
            Completion::Unclear => {}
        }
        pauses.pause().await;
        upload = begin(store, &first.key, attributes).await?;
        begun(&upload);
    }
    let url = store.url(&first.key);
    Err(Failure::temporary(format!("unable to find out whether the store keeps conditions: {url} is in conflict")))
}
