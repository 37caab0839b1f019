//! A build from its first request to its last: claim, upload, seal, `latest.txt`, and cleaning up if it ends early.

use crate::args::{Args, Job, record};
use crate::held::Held;
use crate::source::{self, Provenance};
use crate::stream::{Packing, Piece};
use crate::tree::Tree;
use crate::upload::{self, Target};
use archive::Limits;
use cli::{Console, Interrupts, Output};
use failure::Failure;
use release::layout::{self, Key};
use release::pointer::{self, Advance};
use release::record::Artifact;
use release::settle::{self, Settled};
use release::sweep::{self, Look, Survey, Swept};
use release::{Record, ReleaseNumber, allocate};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Condition, Listed, Store, StoreUrl};
use uuid::Uuid;

/// Longest time that a signal leaves to a write that decides whose a number is, or whether a release is published.
const GRACE: Duration = Duration::from_secs(3);
/// Longest time that cleaning up may take before a signal ends the run all the same.
const LONGEST_CLEANUP: Duration = Duration::from_secs(20);

/// Packs and publishes one release.
///
/// # Errors
/// Nothing is published then, unless the message says so.
pub(crate) async fn run(args: &Args, job: Job, console: Console, out: Output) -> Result<(), Failure> {
    if let Some(warning) = &job.warning {
        console.warn(warning);
    }
    let paths = source::paths(args)?;
    let provenance = source::provenance(args, console).await?;
    // Only from here on: whoever waits for a list on stdin has nothing to clean up and must end by the first signal.
    let mut interrupts = Interrupts::catch()?;
    let (directory, mut exclude) = (args.directory.clone(), job.exclude.clone());
    let place = args.store.store.clone();
    let walk = tokio::task::spawn_blocking(move || {
        let tree = Tree::find(&directory, &paths, &mut exclude)?;
        if let StoreUrl::Files { dir } = place {
            tree.check_store(&dir, &mut exclude)?;
        }
        Ok((tree, exclude))
    });
    let walked = async { walk.await.map_err(|error| Failure::temporary(format!("the walk broke down: {error}")))? };
    let (tree, exclude) = interrupts.or(walked).await?;
    for pattern in exclude.unmatched() {
        console.warn(format!("--exclude {pattern:?} matched nothing"));
    }
    // A list is made by a program, and often longer than what is wanted of it.
    for path in tree.passed_over().iter().filter(|_| args.files_from.is_none()) {
        console.warn(format!("{} is excluded, so it is not packed", path.display()));
    }
    console.step(format!("{} members found", tree.entries().len()));
    let (holds, most) = (tree.contents(), Limits::default());
    if holds.members > most.members || holds.bytes > most.bytes {
        console.warn(format!(
            "{} members with {} bytes: artifact-fetch takes no more than {} with {} unless it is run with --max-entries and --max-size",
            holds.members, holds.bytes, most.members, most.bytes
        ));
    }
    let store = args.store.open().await?;
    let build = Build {
        args,
        job: &job,
        provenance: &provenance,
        store: &store,
        id: Uuid::new_v4(),
        claimed: Mutex::new(None),
        held: Held::default(),
        console,
    };
    if args.dry_run {
        let record = interrupts.or(build.rehearse(tree)).await?;
        out.write_and_close(&record.to_bytes())?;
        console.tell("dry run: nothing was published");
        return Ok(());
    }
    match build.publish(tree, &mut interrupts).await {
        Ok(record) => {
            let done = format!("release {} is published", record.number());
            out.report(&record.to_bytes(), &done)?;
            interrupts.check().await
        }
        Err(failure) => {
            build.clean_up().await;
            Err(failure)
        }
    }
}

struct Build<'a> {
    args: &'a Args,
    job: &'a Job,
    provenance: &'a Provenance,
    store: &'a Arc<dyn Store>,
    id: Uuid,
    /// The number whose claim may exist, noted before the store is asked for it.
    claimed: Mutex<Option<ReleaseNumber>>,
    held: Held,
    console: Console,
}

impl Build<'_> {
    async fn publish(&self, tree: Tree, interrupts: &mut Interrupts) -> Result<Record, Failure> {
        let (store, attributes, layout) = (self.store.as_ref(), &self.job.attributes, &self.args.store.artifact);
        // Nothing is ours yet, and each step of a sweep stands for itself: these may be dropped at any point.
        let survey = interrupts.or(self.survey_and_make_room()).await?;
        let first = self.first_number(&survey)?;
        let note = |number| *self.claimed.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
        let claiming = allocate::claim(store, layout, first, self.id, attributes, note);
        let own = interrupts.or_after(GRACE, claiming).await?;
        self.console.step(format!("release {} is claimed", own.number));
        self.check_attributes(&layout.record(own.number)).await?;
        // Only now: ending others' claims rests on conditions, which the store has shown to keep by our own.
        let ending = async {
            self.tell(sweep::end_claims(store, layout, &survey, self.args.orphan_age, attributes).await);
            Ok(())
        };
        interrupts.or(ending).await?;

        let unsealed = self.record(own.number)?;
        let packing = Arc::new(self.packing(tree, &unsealed));
        let (number, build, held) = (own.number, self.id, &self.held);
        let target = Target { store: self.store, layout, number, build, attributes, held };
        let artifact = upload::run(&target, &packing, self.console, interrupts).await?;
        self.console.step(format!("{} is uploaded, {} bytes", artifact.file, artifact.size));
        self.check_attributes(&artifact.file).await?;
        interrupts.check().await?;

        let sealed = self.seal(&unsealed, artifact)?;
        interrupts.or(self.check_number(&sealed)).await?;
        let when = Condition::Unchanged(&own.tag);
        let (key, bytes) = (layout.record(own.number), sealed.to_bytes());
        let sealing = settle::put(store, &key, &bytes, when, attributes);
        if let Settled::Theirs(_) = interrupts.or_after(GRACE, sealing).await? {
            return Err(Failure::temporary(format!(
                "release {} was swept by another build, which took this one for dead; nothing is published",
                own.number
            )));
        }
        self.finish(&sealed).await.map_err(|failure| {
            failure
                .context(format!("release {} is sealed and can be promoted, but latest.txt was not moved", own.number))
        })?;
        Ok(sealed)
    }

    /// Looks at what is in the store, and removes what can never become a release.
    async fn survey_and_make_room(&self) -> Result<Survey, Failure> {
        let store = self.store.as_ref();
        for error in store.prepare().await? {
            self.leave(error);
        }
        let survey = self.survey().await?;
        self.tell(sweep::make_room(store, &survey, self.args.orphan_age).await);
        Ok(survey)
    }

    async fn survey(&self) -> Result<Survey, Failure> {
        let look = Look::Build { orphan_age: self.args.orphan_age };
        let survey = sweep::survey(self.store.as_ref(), &self.args.store.artifact, look).await?;
        survey.troubles.iter().for_each(|trouble| self.leave(trouble));
        Ok(survey)
    }

    fn tell(&self, swept: Swept) {
        for line in swept.done {
            self.console.step(line);
        }
        swept.failed.iter().for_each(|failure| self.leave(failure));
    }

    /// Cleaning up after others failed: that is no failure of this build.
    fn leave(&self, failure: impl Display) {
        self.console.warn(format!("{failure}; this build goes on and leaves the cleaning up to a later one"));
    }

    /// Whether the number is still ours alone: an old script asks for none, and takes it by an archive in its own format
    /// or by `latest.txt`.
    async fn check_number(&self, sealed: &Record) -> Result<(), Failure> {
        let (store, layout, number) = (self.store.as_ref(), &self.args.store.artifact, sealed.number());
        let (prefix, latest) = (format!("{}.", layout.name(number)), layout::pointer(layout::LATEST));
        let listed = async { store.list(&prefix).await.map_err(Failure::from) };
        let (listed, latest) = tokio::try_join!(listed, pointer::read(store, &latest))?;
        let is_own =
            |entry: &Listed| sealed.artifact().is_some_and(|own| own.file == entry.key && own.size == entry.size);
        let strange = listed
            .into_iter()
            .find(|entry| matches!(layout.parse(&entry.key), Some(Key::Artifact(..))) && !is_own(entry))
            .map(|entry| entry.key);
        if let Some(pointer) = &latest {
            pointer::check_owner(store, layout, pointer).await?;
        }
        let moved = latest.is_some_and(|pointer| pointer.record.number() == number);
        match strange.or_else(|| moved.then(|| layout::pointer(layout::LATEST))) {
            None => Ok(()),
            Some(key) => {
                let url = store.url(&key);
                Err(Failure::temporary(format!("{url} was written by somebody else, who claimed no number")))
            }
        }
    }

    /// What may still be done once the record is sealed; the release exists whatever becomes of it.
    async fn finish(&self, sealed: &Record) -> Result<(), Failure> {
        if let Some(artifact) = sealed.artifact()
            && let Err(error) = self.store.settled(&artifact.file, self.id).await
        {
            self.leave(error);
        }
        match pointer::advance(self.store.as_ref(), &self.args.store.artifact, sealed, &self.job.attributes).await? {
            Advance::Moved => self.console.step(format!("latest.txt names release {}", sealed.number())),
            Advance::Later(number) => self.console.step(format!("latest.txt names the later release {number} already")),
        }
        Ok(())
    }

    /// Reads and hashes everything as a build would, and returns the record it would seal now.
    async fn rehearse(&self, tree: Tree) -> Result<Record, Failure> {
        let survey = self.survey().await?;
        let number = self.first_number(&survey)?;
        let unsealed = self.record(number)?;
        let packing = Arc::new(self.packing(tree, &unsealed));
        let mut pieces = packing.start()?;
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Part(_) => {}
                Piece::Failed(failure) => return Err(failure),
                Piece::End(sums) => {
                    return self.seal(
                        &unsealed,
                        Artifact {
                            file: self.args.store.artifact.archive(number, self.job.format),
                            size: sums.size,
                            sha256: sums.sha256,
                            crc64nvme: Some(sums.crc64nvme),
                            format: self.job.format,
                        },
                    );
                }
            }
        }
        Err(Failure::temporary("the packing thread broke down"))
    }

    fn first_number(&self, survey: &Survey) -> Result<ReleaseNumber, Failure> {
        if survey.highest.is_none() {
            let none = pointer::none_yet(self.store.as_ref(), &self.args.store.artifact);
            self.console.warn(format!("{none}: numbers start at 1"));
        }
        survey.highest.map_or(Ok(ReleaseNumber::FIRST), ReleaseNumber::next)
    }

    fn record(&self, number: ReleaseNumber) -> Result<Record, Failure> {
        let layout = &self.args.store.artifact;
        record(layout, number, &self.job.build, &self.provenance.commit, &self.provenance.timestamp)
    }

    fn packing(&self, tree: Tree, unsealed: &Record) -> Packing {
        let (mtime, format) = (self.provenance.mtime(unsealed.number()), self.job.format);
        Packing { tree, release: unsealed.original_lines(), mtime, format }
    }

    fn seal(&self, unsealed: &Record, artifact: Artifact) -> Result<Record, Failure> {
        unsealed.sealed(artifact).map_err(|error| Failure::usage(format!("unable to record this build: {error}")))
    }

    /// Reads back whether storage class and encryption are what was asked for.
    async fn check_attributes(&self, key: &str) -> Result<(), Failure> {
        let asked = &self.job.attributes;
        if asked.is_default() {
            return Ok(());
        }
        let found = self.store.head(key).await?.map(|head| head.attributes).unwrap_or_default();
        if asked.are_met_by(&found) {
            return Ok(());
        }
        let class = found.storage_class.as_deref().unwrap_or("STANDARD");
        let encryption = found.encryption.map_or_else(|| "no encryption".to_owned(), |sse| sse.to_string());
        let url = self.store.url(key);
        Err(Failure::permanent(format!("{url} was kept as {class} with {encryption}, which is not what was asked for")))
    }

    /// Leaves nothing but an abandoned number. What it can't do now, the next build does.
    async fn clean_up(&self) {
        let claimed = *self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(number) = claimed else { return };
        let layout = &self.args.store.artifact;
        let (held, attributes) = (self.held.all(), &self.job.attributes);
        let work = sweep::give_up(self.store.as_ref(), layout, number, self.id, &held, attributes);
        match tokio::time::timeout(LONGEST_CLEANUP, work).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.console.warn(format!("{failure}; the next build cleans up after this one")),
            Err(_) => self.console.warn("cleaning up takes too long; the next build does it"),
        }
    }
}
