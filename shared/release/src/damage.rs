//! What an audit finds wrong with releases that are finished: records that are none, archives that are not what theirs say.

use crate::claim::Claim;
use crate::layout::Layout;
use crate::number::ReleaseNumber;
use crate::record::{Artifact, Record};
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{Head, Objects, StoreError};

/// Requests under way at once.
const AT_ONCE: usize = 16;

/// An object that somebody else than a tool changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its key.
    pub key: String,
    /// The release it belongs to.
    pub number: ReleaseNumber,
    /// Whether it is not there at all.
    pub missing: bool,
    /// What differs from what should be.
    pub difference: String,
}

/// Compares each of these `records` with itself, and each archive with its record, as far as that goes without reading archives: by
/// length, and by the checksum that the store keeps. Sorted by release.
///
/// # Errors
/// The store fails.
pub async fn look(store: &dyn Objects, layout: &Layout, records: &[ReleaseNumber]) -> Result<Vec<Damage>, StoreError> {
    let found: Vec<Option<Damage>> = stream::iter(records)
        .map(|number| of_release(store, layout, *number))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut found: Vec<Damage> = found.into_iter().flatten().collect();
    found.sort_by_key(|damage| damage.number);
    Ok(found)
}

async fn of_release(store: &dyn Objects, layout: &Layout, number: ReleaseNumber) -> Result<Option<Damage>, StoreError> {
    let key = layout.record(number);
    let Some(object) = store.get(&key).await? else { return Ok(None) };
    let damaged = |key, difference| Some(Damage { key, number, missing: false, difference });
    let record = match Record::parse(&object.body) {
        Ok(record) => record,
        Err(_) if Claim::parse(&object.body).is_some() => return Ok(None),
        Err(error) => return Ok(damaged(key, format!("it is no record: {error}"))),
    };
    if record.number() != number {
        return Ok(damaged(key, format!("it is the record of release {}", record.number())));
    }
    let Some(artifact) = record.artifact() else { return Ok(None) };
    let Some(head) = store.head(&artifact.file).await? else {
        let difference = "there is no archive".to_owned();
        return Ok(Some(Damage { key: artifact.file.clone(), number, missing: true, difference }));
    };
    let difference = difference(artifact, &head);
    Ok(difference.and_then(|difference| damaged(artifact.file.clone(), difference)))
}

fn difference(artifact: &Artifact, found: &Head) -> Option<String> {
    if found.size != artifact.size {
        return Some(format!("it has {} bytes instead of {}", found.size, artifact.size));
    }
    let (stored, sealed) = found.crc64nvme.zip(artifact.crc64nvme)?;
    (stored != sealed).then(|| format!("its CRC-64/NVME is {stored:016x} instead of {sealed:016x}"))
}
