//! Pointers: `latest.txt`, which only moves forward, and the channels' records; resolving what `--release` asks for.

use crate::layout::{self, Layout};
use crate::number::ReleaseNumber;
use crate::pauses::Pauses;
use crate::record::Record;
use crate::settle::{self, Settled};
use archive::Format;
use failure::Failure;
use store::{Attributes, Condition, Object, Objects};

/// Tries to move `latest.txt` before giving up: more builders than that never end at the same moment.
const TRIES: u32 = 100;

/// A pointer as it stands in the store.
#[derive(Debug)]
pub struct Pointer {
    /// The record it carries.
    pub record: Record,
    /// The object it was read from.
    pub object: Object,
}

/// Reads a record or pointer; `None` if there is none.
///
/// # Errors
/// The store fails, or what is there is no record.
pub async fn read(store: &dyn Objects, key: &str) -> Result<Option<Pointer>, Failure> {
    store.get(key).await?.map(|object| parse(store, key, object)).transpose()
}

fn parse(store: &dyn Objects, key: &str, object: Object) -> Result<Pointer, Failure> {
    // The old scripts' shell empties a file before it writes it.
    if object.body.is_empty() {
        return Err(Failure::temporary(format!(
            "{} is empty: it is being written, or its write failed",
            store.url(key)
        )));
    }
    let record = Record::parse(&object.body)
        .map_err(|error| Failure::permanent(format!("{} is not a release record: {error}", store.url(key))))?;
    Ok(Pointer { record, object })
}

/// Reads the record of a release, whole and checked. `None` if there is none: an old release without a record, or no
/// release at all.
///
/// # Errors
/// The store fails, the number is claimed or abandoned, or the record is damaged or another release's.
pub async fn read_release(
    store: &dyn Objects,
    layout: &Layout,
    number: ReleaseNumber,
) -> Result<Option<Pointer>, Failure> {
    let key = layout.record(number);
    let Some(object) = store.get(&key).await? else { return Ok(None) };
    match crate::Claim::parse(&object.body) {
        Some(crate::Claim::Claimed { .. }) => {
            let what = format!("release {number} of {layout} is not finished: a build has claimed it");
            return Err(Failure::permanent(what));
        }
        Some(crate::Claim::Abandoned { .. }) => {
            return Err(Failure::permanent(format!("release {number} of {layout} was abandoned by its build")));
        }
        None => {}
    }
    let damaged = |why: String| Failure::permanent(format!("{} is not a release record: {why}", store.url(&key)));
    let record = Record::parse(&object.body).map_err(|error| damaged(error.to_string()))?;
    check(layout, &record).map_err(|why| damaged(why.clone()))?;
    if record.number() != number {
        return Err(damaged(format!("its VERSION is {}", record.number())));
    }
    if record.artifact().is_none() {
        return Err(damaged("it is not sealed".to_owned()));
    }
    Ok(Some(Pointer { record, object }))
}

/// Whether a record belongs to the artifact: its file must be the one that its number names.
///
/// # Errors
/// Says what does not fit.
pub fn check(layout: &Layout, record: &Record) -> Result<(), String> {
    match record.artifact() {
        Some(artifact) if artifact.file != layout.archive(record.number(), artifact.format) => {
            Err(format!("its FILE {:?} is not release {} of {layout}", artifact.file, record.number()))
        }
        _ => Ok(()),
    }
}

/// Refuses a store whose pointers another artifact uses: both would count in one sequence and move each other's pointers.
///
/// A pointer of the old scripts tells no file; one of another module is taken for ours only if the archive is there.
///
/// # Errors
/// The pointer names a release of another artifact, or the store fails.
pub async fn check_owner(store: &dyn Objects, layout: &Layout, pointer: &Pointer) -> Result<(), Failure> {
    let record = &pointer.record;
    let mut fits = check(layout, record);
    let module = record.get("MODULE").filter(|module| !module.is_empty() && *module != layout.artifact());
    if let (None, Some(module)) = (record.artifact(), module) {
        let archive = layout.archive(record.number(), Format::Tar);
        if store.head(&archive).await?.is_none() {
            fits = Err(format!("its MODULE is {module:?}, and there is no {archive}"));
        }
    }
    fits.map_err(|why| Failure::permanent(format!("{} keeps the releases of another artifact: {why}", store.url(""))))
}

/// The failure of asking for what a pointer names when there is no pointer of that name.
pub fn missing(store: &dyn Objects, name: &str) -> Failure {
    let place = store.url(&layout::pointer(name));
    Failure::permanent(match name {
        layout::LATEST | layout::LATEST_STABLE => format!("no release is {name}: {place} does not exist"),
        channel => format!("there is no channel {channel}: {place} does not exist"),
    })
}

/// What is said of a store that no build of the artifact has published in, which a mistyped URL looks like too.
#[must_use]
pub fn none_yet(store: &dyn Objects, layout: &Layout) -> String {
    format!("no release of {layout} in {} yet", store.url(""))
}

/// Where `latest.txt` stands after [`advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// It names this release now.
    Moved,
    /// It names a later release already.
    Later(ReleaseNumber),
}

/// Moves `latest.txt` to a sealed record, never back.
///
/// # Errors
/// The store fails, the pointer is another artifact's, or it keeps changing (temporary).
pub async fn advance(
    store: &dyn Objects,
    layout: &Layout,
    record: &Record,
    attributes: &Attributes,
) -> Result<Advance, Failure> {
    let key = layout::pointer(layout::LATEST);
    let body = record.to_bytes();
    let mut current = store.get(&key).await?;
    let mut pauses = Pauses::default();
    for _ in 0..TRIES {
        let standing = match current {
            Some(object) if object.body == body => return Ok(Advance::Moved),
            Some(object) => Some(parse(store, &key, object)?),
            None => None,
        };
        if let Some(standing) = &standing {
            // Builds of two artifacts may have begun together in an empty store.
            check_owner(store, layout, standing).await?;
            let number = standing.record.number();
            if number > record.number() {
                return Ok(Advance::Later(number));
            }
        }
        let when = standing.as_ref().map_or(Condition::Absent, |standing| Condition::Unchanged(&standing.object.tag));
        match settle::put(store, &key, &body, when, attributes).await? {
            Settled::Ours(_) => return Ok(Advance::Moved),
            Settled::Theirs(found) => current = found,
        }
        pauses.pause().await;
    }
    Err(Failure::temporary(format!("unable to move {}: others keep moving it", store.url(&key))))
}
