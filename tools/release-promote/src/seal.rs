//! The release to promote: found, checked against its artifact, and sealed if an old script built it.

use archive::{Format, Limits, UnpackError, inspect};
use cli::Console;
use failure::Failure;
use release::pointer;
use release::record::{Artifact, MAX_BYTES};
use release::settle::{self, Settled};
use release::transfer::{Sums, read_through};
use release::{Layout, Record, ReleaseNumber};
use store::{Attributes, Condition, Head, Objects};

/// A release that may be promoted, and how its record is kept.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) record: Record,
    pub(crate) attributes: Attributes,
}

/// The record on stdin, and the number that it names.
///
/// # Errors
/// Nothing on stdin, or no record.
pub(crate) fn from_stdin(layout: &Layout) -> Result<Record, Failure> {
    let bytes = cli::read_input("release record", MAX_BYTES as u64)?;
    let record =
        Record::parse(&bytes).map_err(|error| Failure::permanent(format!("stdin is not a release record: {error}")))?;
    pointer::check(layout, &record)
        .map_err(|why| Failure::permanent(format!("stdin is not a record of {layout}: {why}")))?;
    Ok(record)
}

/// What is known of a release before its record is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// It was promoted before, so that going back to it needs no second look at its bytes.
    pub(crate) promoted: bool,
    /// What another record said that its archive is.
    pub(crate) artifact: Option<&'a Artifact>,
}

/// Finds release `number` and makes sure that its artifact is there, is what its record says, and, where its bytes are
/// read, that hosts will unpack it. `ready` comes before the only write, the seal of an old script's release.
///
/// # Errors
/// There is no such release, it is not whole, or artifact-fetch would refuse it.
pub(crate) async fn candidate(
    store: &dyn Objects,
    layout: &Layout,
    number: ReleaseNumber,
    known: Known<'_>,
    dry_run: bool,
    ready: impl AsyncFnOnce(&Attributes) -> Result<(), Failure>,
    console: Console,
) -> Result<Candidate, Failure> {
    let Some(found) = pointer::read_release(store, layout, number).await? else {
        return seal_old(store, layout, number, known.artifact, dry_run, ready, console).await;
    };
    let artifact =
        found.record.artifact().ok_or_else(|| Failure::permanent(format!("release {number} is not sealed")))?;
    let head = look(store, layout, number, &artifact.file).await?;
    if head.size != artifact.size {
        return Err(mismatch(store, artifact, &format!("it has {} bytes instead of {}", head.size, artifact.size)));
    }
    match (head.crc64nvme, artifact.crc64nvme) {
        (Some(kept), Some(recorded)) if kept == recorded => {}
        (Some(_), Some(_)) => return Err(mismatch(store, artifact, "its CRC-64/NVME differs")),
        _ if known.promoted => {}
        // A store that keeps no checksum vouches for nothing, so the bytes themselves are looked at once.
        _ => {
            console.step(format!("{} keeps no checksum, reading it in full", store.url(&artifact.file)));
            let (sums, inside) = read_release_file(store, &artifact.file, &head, artifact.format, console).await?;
            if !sums.are_of(artifact) {
                return Err(mismatch(store, artifact, "its SHA-256 differs"));
            }
            inside.map_err(|error| refused(store, &artifact.file, &error))?;
        }
    }
    Ok(Candidate { record: found.record.without_promotion(), attributes: found.object.attributes })
}

/// Seals a release of the old scripts: its archive is read once, and verified from then on. If it is not what `artifact`
/// says, its record was no old script's: it had one, which is gone, and its archive is another now.
async fn seal_old(
    store: &dyn Objects,
    layout: &Layout,
    number: ReleaseNumber,
    artifact: Option<&Artifact>,
    dry_run: bool,
    ready: impl AsyncFnOnce(&Attributes) -> Result<(), Failure>,
    console: Console,
) -> Result<Candidate, Failure> {
    let format = artifact.map_or(Format::Tar, |artifact| artifact.format);
    let key = layout.archive(number, format);
    let head = look(store, layout, number, &key).await?;
    console.step(format!("{} has no record of its own, reading it in full", store.url(&key)));
    let (sums, inside) = read_release_file(store, &key, &head, format, console).await?;
    if let Some(artifact) = artifact.filter(|artifact| artifact.size != head.size || !sums.are_of(artifact)) {
        let record = store.url(&layout.record(number));
        return Err(mismatch(store, artifact, &format!("{record} is gone, and the archive is another than it was")));
    }
    let damaged = |why: String| Failure::permanent(format!("{}: {why}", store.url(&key)));
    let inside = inside.map_err(|error| refused(store, &key, &error))?;
    let inside = inside.ok_or_else(|| damaged("there is no RELEASE in it".to_owned()))?;
    let old = Record::parse(&inside).map_err(|error| damaged(format!("its RELEASE is not a record: {error}")))?;
    if old.number() != number {
        return Err(damaged(format!("its RELEASE names release {}", old.number())));
    }
    let artifact =
        Artifact { file: key.clone(), size: head.size, sha256: sums.sha256, crc64nvme: Some(sums.crc64nvme), format };
    let sealed = old.sealed(artifact).map_err(|error| damaged(format!("its RELEASE can't be sealed: {error}")))?;
    let candidate = Candidate { record: sealed, attributes: head.attributes };
    if dry_run {
        return Ok(candidate);
    }
    ready(&candidate.attributes).await?;
    let body = candidate.record.to_bytes();
    let record_key = layout.record(number);
    match settle::put(store, &record_key, &body, Condition::Absent, &candidate.attributes).await? {
        Settled::Ours(_) => Ok(candidate),
        // Another promote sealed it from the same bytes, or somebody claimed it: the record tells.
        Settled::Theirs(_) => match pointer::read_release(store, layout, number).await? {
            Some(found) => Ok(Candidate { record: found.record, attributes: found.object.attributes }),
            None => Err(Failure::temporary(format!("{} comes and goes", store.url(&record_key)))),
        },
    }
}

type Inside = Result<Option<Vec<u8>>, UnpackError>;

/// Reads an archive from end to end: its checksums, whether a host would unpack it, and the `RELEASE` inside.
async fn read_release_file(
    store: &dyn Objects,
    key: &str,
    head: &Head,
    format: Format,
    console: Console,
) -> Result<(Sums, Inside), Failure> {
    let progress = console.progress(Some(head.size));
    let consume =
        move |packed| inspect(format.reader(packed).map_err(UnpackError::Read)?, b"RELEASE", Limits::default());
    read_through(store, key, head, |bytes| progress.add(bytes), consume).await
}

async fn look(store: &dyn Objects, layout: &Layout, number: ReleaseNumber, key: &str) -> Result<Head, Failure> {
    let head = store.head(key).await?;
    head.ok_or_else(|| {
        Failure::permanent(format!("there is no release {number} of {layout}: {} does not exist", store.url(key)))
    })
}

/// What no host could fetch, no host is pointed at.
fn refused(store: &dyn Objects, key: &str, error: &UnpackError) -> Failure {
    Failure::permanent(format!("{}: no host would unpack it: {error}", store.url(key)))
}

fn mismatch(store: &dyn Objects, artifact: &Artifact, why: &str) -> Failure {
    Failure::permanent(format!("{} does not match its record: {why}", store.url(&artifact.file)))
}
