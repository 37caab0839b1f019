//! Sending an archive: parts in parallel, made visible at once and only whole, and certain about a lost reply.

use crate::held::Held;
use crate::stream::{Packing, Piece, Sums};
use cli::{Console, Interrupts, Progress};
use failure::Failure;
use release::probe::{self, Verdict};
use release::record::Artifact;
use release::{Claim, Layout, Pauses, ReleaseNumber};
use std::sync::Arc;
use std::time::Duration;
use store::{Attributes, Completion, Part, PartBody, Store, StoreError, Upload};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Passes over the tree before giving up: S3 may ask for all parts again after a conflict.
const PASSES: u32 = 8;
/// Longest time that a signal leaves to the answer that names an upload: without its id only a listing finds it.
const GRACE: Duration = Duration::from_secs(5);

/// What is uploaded where.
pub(crate) struct Target<'a> {
    pub(crate) store: &'a Arc<dyn Store>,
    pub(crate) layout: &'a Layout,
    pub(crate) number: ReleaseNumber,
    pub(crate) build: Uuid,
    pub(crate) attributes: &'a Attributes,
    /// Hears of every upload that begins, so that whoever cleans up knows it.
    pub(crate) held: &'a Held,
}

/// Whether the store keeps the condition of CompleteMultipartUpload, as far as this run knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Untried,
    Kept,
}

/// How an archive was sent.
enum Sent {
    /// By one write, which carried its condition.
    Whole(Completion),
    /// In parts.
    Parts(Completion),
}

/// Uploads the archive and returns what the record says of it.
///
/// # Errors
/// The tree changed or can't be read, the store fails or ignores the condition that guards an archive of several parts, or
/// the run was interrupted. The uploads that are then left are held.
pub(crate) async fn run(
    target: &Target<'_>,
    packing: &Arc<Packing>,
    console: Console,
    interrupts: &mut Interrupts,
) -> Result<Artifact, Failure> {
    let key = target.layout.archive(target.number, packing.format);
    let url = target.store.url(&key);
    let mut condition = Condition::Untried;
    let mut pauses = Pauses::default();
    for _ in 0..PASSES {
        let progress = console.progress(packing.total());
        let mut attempt = Pass { target, key: &key, packing, condition, console };
        let (sums, sent) = attempt.run(&progress, interrupts).await?;
        condition = attempt.condition;
        let artifact = Artifact {
            file: key.clone(),
            size: sums.size,
            sha256: sums.sha256,
            crc64nvme: Some(sums.crc64nvme),
            format: packing.format,
        };
        if let Sent::Whole(Completion::Done) = sent {
            return Ok(artifact);
        }
        // Parts are read back in any case: servers that keep the condition one by one let two of them pass at once.
        match target.store.head(&key).await? {
            Some(head) if artifact.is_shown_by(&head, target.build) => return Ok(artifact),
            Some(_) => {
                return Err(Failure::temporary(format!("{url} was written by somebody else, who claimed no number")));
            }
            None if matches!(sent, Sent::Parts(Completion::Done)) => {
                return Err(Failure::temporary(format!("{url} is complete, as the store says, and not there")));
            }
            None => console.step(format!("{key}: the store asks for all parts again")),
        }
        pauses.pause().await;
    }
    Err(Failure::temporary(format!("unable to complete {url}: the store keeps asking for all parts again")))
}

/// One pass over the tree.
struct Pass<'a> {
    target: &'a Target<'a>,
    key: &'a str,
    packing: &'a Arc<Packing>,
    condition: Condition,
    console: Console,
}

impl Pass<'_> {
    async fn run(&mut self, progress: &Progress, interrupts: &mut Interrupts) -> Result<(Sums, Sent), Failure> {
        let Target { store, build, attributes, held, .. } = *self.target;
        let mut pieces = self.packing.start()?;
        let first = match interrupts.or(next(&mut pieces)).await? {
            Piece::Part(part) => part,
            Piece::End(_) => return Err(Failure::temporary("the archive ended before it began")),
            Piece::Failed(failure) => return Err(failure),
        };
        let second = match interrupts.or(next(&mut pieces)).await? {
            Piece::Part(part) => part,
            Piece::End(sums) => {
                let sending = async { Ok(store.send_whole(self.key, first, build, attributes).await?) };
                return Ok((sums, Sent::Whole(interrupts.or(sending).await?)));
            }
            Piece::Failed(failure) => return Err(failure),
        };
        let (upload, trial) = interrupts.or_after(GRACE, self.begin()).await?;
        let upload = Arc::new(upload);
        let sending = send_all(store, &upload, [first, second], pieces, progress);
        // Beside the parts, so that it costs no time; and a store that fails it gets no more of them.
        let both = async { tokio::try_join!(sending, self.try_condition(trial.as_ref())) };
        let ((sums, parts), ()) = interrupts.or(both).await?;
        self.condition = Condition::Kept;
        // May be dropped like any other step, and must be: it can take minutes. Should the archive appear all the same, its
        // number is abandoned by then, and the clean-up or the next build removes it.
        let completing = async { Ok(store.complete(&upload, parts, sums.size, sums.crc64nvme).await?) };
        let completion = interrupts.or(completing).await?;
        if completion == Completion::Done {
            held.ended(&upload);
        } else {
            self.abort(&upload).await;
        }
        Ok((sums, Sent::Parts(completion)))
    }

    /// Begins the upload of the archive, and that of the trial, if it is still to come.
    async fn begin(&self) -> Result<(Upload, Option<Upload>), Failure> {
        let Target { store, layout, number, build, attributes, held } = *self.target;
        let noted = |upload: Result<Upload, StoreError>| upload.inspect(|upload| held.begun(upload));
        let archive = async { noted(store.begin(self.key, build, attributes).await) };
        let trial = async {
            if self.condition == Condition::Kept || !store.completes_apart() {
                return Ok(None);
            }
            noted(probe::begin(store.as_ref(), &layout.record(number), attributes).await).map(Some)
        };
        // Both to their ends: one that begins while the other fails has an id as well.
        let (archive, trial) = tokio::join!(archive, trial);
        Ok((archive?, trial?))
    }

    /// Tries the condition on our own claim, which a completed upload must not replace. A store that ignores it has
    /// replaced the claim by the same bytes then, and gets no archive: it would overwrite whatever is there.
    async fn try_condition(&self, trial: Option<&Upload>) -> Result<(), Failure> {
        let Target { store, number, build, attributes, held, .. } = *self.target;
        let Some(trial) = trial else { return Ok(()) };
        let claim = Claim::of_this_process(build).to_bytes();
        let begun = |upload: &Upload| held.begun(upload);
        let verdict = probe::completions(store.as_ref(), trial, &claim, attributes, begun).await?;
        for upload in held.all().iter().filter(|upload| upload.key == trial.key) {
            self.abort(upload).await;
        }
        match verdict {
            Verdict::Kept => Ok(()),
            Verdict::Ignored(header) => {
                let consequence =
                    format!("an archive in parts could overwrite another one, so release {number} is not completed");
                Err(probe::refusal(store.as_ref(), header, &consequence))
            }
        }
    }

    /// Aborts an upload of our own. If that fails, it is left to whoever sweeps.
    async fn abort(&self, upload: &Upload) {
        match self.target.store.abort(upload).await {
            Ok(()) => self.target.held.ended(upload),
            Err(error) => self.console.warn(format!("{error}; the next build cleans up after this one")),
        }
    }
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
    let mut sending: JoinSet<Result<Part, StoreError>> = JoinSet::new();
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
