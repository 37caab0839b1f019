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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreArgs;
    use async_trait::async_trait;
    use std::ops::Range;
    use std::sync::{Arc, Mutex};
    use store::{Arrived, Head, Listed, Room, Store};

    /// A store that does what it is asked, and answers a write with the error that it was given.
    #[derive(Debug)]
    struct Denying {
        store: Arc<dyn Store>,
        answer: Mutex<Option<StoreError>>,
    }

    #[async_trait]
    impl Objects for Denying {
        fn url(&self, key: &str) -> String {
            self.store.url(key)
        }

        async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
            self.store.get(key).await
        }

        async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
            self.store.head(key).await
        }

        async fn put(
            &self,
            key: &str,
            body: &[u8],
            when: Condition<'_>,
            plain: &Attributes,
        ) -> Result<Put, StoreError> {
            let done = self.store.put(key, body, when, plain).await;
            self.answer.lock().unwrap().take().map_or(done, Err)
        }

        async fn delete(&self, key: &str) -> Result<(), StoreError> {
            self.store.delete(key).await
        }

        async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
            self.store.list(prefix).await
        }

        async fn read(&self, key: &str, tag: &Tag, part: Range<u64>, room: &dyn Room) -> Result<Arrived, StoreError> {
            self.store.read(key, tag, part, room).await
        }
    }

    async fn put_answered_by(error: StoreError) -> Result<Settled, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreArgs::in_directory(dir.path()).open().await.unwrap();
        let store = Denying { store, answer: Mutex::new(Some(error)) };
        put(&store, "latest.txt", b"42", Condition::Absent, &Attributes::default()).await
    }

    #[tokio::test]
    async fn a_write_without_an_answer_is_looked_for() {
        let settled = put_answered_by(StoreError::Unavailable(Failure::temporary("no answer in time"))).await;
        assert!(matches!(settled, Ok(Settled::Ours(_))), "{settled:?}");
    }

    #[tokio::test]
    async fn a_write_that_was_refused_is_not() {
        let settled = put_answered_by(StoreError::Refused(Failure::permanent("access denied"))).await;
        assert_eq!(settled.unwrap_err().to_string(), "access denied");
    }
}
