//! Conditional writes whose outcome is certain, although replies get lost and stores answer "conflict".

use crate::pauses::Pauses;
use failure::Failure;
use store::{Attributes, Condition, Object, Objects, Put, StoreError, Tag};

/// What became of a conditional write, for certain.
#[derive(Debug)]
pub enum Settled {
    /// The object has our bytes.
    Ours(Tag),
    /// The condition did not hold: this is there instead (`None`: nothing).
    Theirs(Option<Object>),
}

/// Tries of a write that the store refuses although its condition holds.
const TRIES: u32 = 40;

/// Writes `body` under `key` if the condition holds, and finds out what really happened.
///
/// A retry after a lost reply meets its own write and is refused, so every refusal is settled by reading the object
/// back: our bytes are a success, bytes that break the condition are a loss, anything else is tried again. Bodies must
/// differ between writers for that, as claims, records and pointers do. A write that failed for a while, a lost
/// connection for instance, may have been done too, and is settled the same way.
///
/// # Errors
/// The store fails and nothing was seen of the write, or it keeps refusing while the condition holds (temporary).
pub async fn put(
    store: &dyn Objects,
    key: &str,
    body: &[u8],
    when: Condition<'_>,
    attributes: &Attributes,
) -> Result<Settled, Failure> {
    let mut pauses = Pauses::default();
    for _ in 0..TRIES {
        let failed = match store.put(key, body, when, attributes).await {
            Ok(Put::Done(tag)) => return Ok(Settled::Ours(tag)),
            Ok(Put::Refused) => None,
            Err(error @ StoreError::Unavailable(_)) => Some(error),
            Err(error) => return Err(error.into()),
        };
        let found = match store.get(key).await {
            Ok(found) => found,
            Err(unread) => return Err(failed.unwrap_or(unread).into()),
        };
        let holds = match (&when, &found) {
            (_, Some(object)) if object.body == body => return Ok(Settled::Ours(object.tag.clone())),
            (Condition::Absent, None) => true,
            (Condition::Unchanged(tag), Some(object)) => **tag == object.tag,
            _ => false,
        };
        if !holds {
            return Ok(Settled::Theirs(found));
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        pauses.pause().await;
    }
    Err(Failure::temporary(format!(
        "unable to write {}: the store keeps answering that others write it",
        store.url(key)
    )))
}
