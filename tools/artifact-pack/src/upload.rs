//! Sending an archive: parts in parallel, made visible at once and only whole, and certain about a lost reply.

use crate::stream::{Packing, Piece, Sums};
use cli::{Console, Failure, Interrupts, Progress};
use release::backoff::pause;
use release::record::Artifact;
use release::store::{Completion, Part, PartBody, Store, Upload, is_upload_of};
use release::{Attributes, Layout, ReleaseNumber};
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Passes over the tree before giving up: S3 may ask for all parts again after a conflict.
const PASSES: u32 = 8;

/// What is uploaded where.
pub(crate) struct Target<'a> {
    pub(crate) store: &'a Arc<dyn Store>,
    pub(crate) layout: &'a Layout,
    pub(crate) number: ReleaseNumber,
    pub(crate) build: Uuid,
    pub(crate) attributes: &'a Attributes,
}

/// Uploads the archive and returns what the record says of it.
///
/// # Errors
/// The tree changed or can't be read, the store fails, or the run was interrupted. An upload may then be left, which
/// the caller's clean-up finds by the number.
pub(crate) async fn run(
    target: &Target<'_>,
    packing: &Arc<Packing>,
    console: Console,
    interrupts: &mut Interrupts,
) -> Result<Artifact, Failure> {
    let key = target.layout.archive(target.number, packing.format);
    for pass in 0..PASSES {
        let progress = console.progress(packing.total());
        let (sums, completion) = pass_once(target, &key, packing, &progress, interrupts).await?;
        let artifact = Artifact {
            file: key.clone(),
            size: sums.size,
            sha256: sums.sha256,
            crc64nvme: Some(sums.crc64nvme),
            format: packing.format,
        };
        if completion == Completion::Done {
            return Ok(artifact);
        }
        match target.store.head(&key).await? {
            Some(head) if is_upload_of(&head, target.build, &artifact) => return Ok(artifact),
            Some(_) => {
                let url = target.store.url(&key);
                return Err(Failure::temporary(format!("{url} was written by somebody else, who claimed no number")));
            }
            None => console.step(format!("{key}: the store asks for all parts again")),
        }
        pause(pass).await;
    }
    Err(Failure::temporary(format!(
        "unable to complete {}: the store keeps asking for all parts again",
        target.store.url(&key)
    )))
}

async fn pass_once(
    target: &Target<'_>,
    key: &str,
    packing: &Arc<Packing>,
    progress: &Progress,
    interrupts: &mut Interrupts,
) -> Result<(Sums, Completion), Failure> {
    let mut pieces = packing.start()?;
    let first = match interrupts.or(next(&mut pieces)).await? {
        Piece::Part(part) => part,
        Piece::End(_) => return Err(Failure::temporary("the archive ended before it began")),
        Piece::Failed(failure) => return Err(failure),
    };
    let second = match interrupts.or(next(&mut pieces)).await? {
        Piece::Part(part) => part,
        Piece::End(sums) => {
            let sending = target.store.send_whole(key, first, target.build, target.attributes);
            return Ok((sums, interrupts.or(sending).await?));
        }
        Piece::Failed(failure) => return Err(failure),
    };
    let upload = Arc::new(target.store.begin(key, target.build, target.attributes).await?);
    let sending = send_all(target.store, &upload, [first, second], pieces, progress);
    let (sums, parts) = interrupts.or(sending).await?;
    // May be dropped like any other step, and must be: it can take minutes. Should the archive appear all the same, its
    // number is abandoned by then, and the clean-up or the next build removes it.
    let completing = target.store.complete(&upload, parts, sums.size, sums.crc64nvme);
    let completion = interrupts.or(completing).await?;
    if completion == Completion::Unclear {
        target.store.abort(&upload).await?;
    }
    Ok((sums, completion))
}

/// Sends all parts, as many at once as there are buffers.
async fn send_all(
    store: &Arc<dyn Store>,
    upload: &Arc<Upload>,
    begun: [PartBody; 2],
    mut pieces: Receiver<Piece>,
    progress: &Progress,
) -> Result<(Sums, Vec<Part>), Failure> {
    // Dropping the set ends the requests under way.
    let mut sending: JoinSet<Result<Part, Failure>> = JoinSet::new();
    let mut sent = Vec::new();
    let mut sums = None;
    let start = |sending: &mut JoinSet<_>, part: PartBody| {
        let (store, upload) = (Arc::clone(store), Arc::clone(upload));
        progress.add(part.bytes.len() as u64);
        sending.spawn(async move { store.send(&upload, part).await });
    };
    for part in begun {
        start(&mut sending, part);
    }
    while sums.is_none() || !sending.is_empty() {
        tokio::select! {
            Some(done) = sending.join_next() => {
                sent.push(done.map_err(|error| Failure::temporary(format!("an upload task broke down: {error}")))??);
            }
            piece = next(&mut pieces), if sums.is_none() => match piece? {
                Piece::Part(part) => start(&mut sending, part),
                Piece::End(end) => sums = Some(end),
                Piece::Failed(failure) => return Err(failure),
            },
        }
    }
    sums.map(|sums| (sums, sent)).ok_or_else(broken)
}

async fn next(pieces: &mut Receiver<Piece>) -> Result<Piece, Failure> {
    pieces.recv().await.ok_or_else(broken)
}

fn broken() -> Failure {
    Failure::temporary("the packing thread broke down")
}
