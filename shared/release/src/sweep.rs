//! What dead builders left behind: finding it, and turning it into "abandoned".

use crate::claim::{Builder, Claim, LONGEST_ABANDONED, LONGEST_CLAIM};
use crate::layout::{self, Key, Layout};
use crate::number::ReleaseNumber;
use crate::pointer;
use crate::record::Record;
use crate::settle::{self, Settled};
use failure::Failure;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use store::{Attributes, Condition, Object, Objects, Store, StoreError, Tag, Upload, Uploads};
use uuid::Uuid;

/// Requests under way at once while many small objects are read.
const AT_ONCE: usize = 16;

/// Everything in a store that is no sealed release, and the highest number in use.
#[derive(Debug)]
pub struct Survey {
    /// The highest number that a record, an archive or `latest.txt` names.
    pub highest: Option<ReleaseNumber>,
    /// Numbers that have a record, whatever it is.
    pub records: Vec<ReleaseNumber>,
    /// Claims that are neither sealed nor abandoned.
    pub claims: Vec<OpenClaim>,
    /// Uploads and archives that belong to no release and to no open claim.
    pub orphans: Vec<Orphan>,
    /// Numbers used up without a release.
    pub abandoned: Vec<ReleaseNumber>,
    /// What could not be read and only matters for cleaning up. None under [`Look::Audit`], but for parts of uploads.
    pub troubles: Vec<StoreError>,
    /// The highest sealed number, if `latest.txt` does not name it: its builder is about to, or died before it did.
    ahead: Option<ReleaseNumber>,
}

/// How closely a survey looks.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// As a build needs it: what does not decide its number may be unreadable, and uploads are asked for key by key only
    /// where a claim looks dead.
    Build {
        /// Age after which a silent builder counts as dead.
        orphan_age: Duration,
    },
    /// Everything, or a failure.
    Audit,
}

impl Look {
    /// What came of a question. A failure ends an audit; for a build it is one more trouble.
    fn spared<T>(self, asked: Result<T, StoreError>, troubles: &mut Vec<StoreError>) -> Result<Option<T>, StoreError> {
        match (self, asked) {
            (_, Ok(found)) => Ok(Some(found)),
            (Self::Audit, Err(error)) => Err(error),
            (Self::Build { .. }, Err(error)) => {
                troubles.push(error);
                Ok(None)
            }
        }
    }
}

/// A number that a builder has claimed and not finished.
#[derive(Debug)]
pub struct OpenClaim {
    /// The number.
    pub number: ReleaseNumber,
    /// Names the build.
    pub build: Uuid,
    /// Who builds.
    pub builder: Builder,
    /// When the builder was last heard of: its claim, or the newest part of an upload. `None` if that can't be read.
    pub last_seen: Option<SystemTime>,
    /// Its uploads.
    pub uploads: Vec<Upload>,
    /// Archives with its number.
    archives: Vec<String>,
    tag: Tag,
}

impl OpenClaim {
    /// Whether its builder will never finish it: proven dead on this host, or not heard of for `orphan_age`.
    #[must_use]
    pub fn is_dead(&self, orphan_age: Duration) -> bool {
        self.builder.is_proven_dead() || is_silent(self.last_seen, orphan_age)
    }
}

/// What can't be told must make nothing look old.
fn is_silent(last_seen: Option<SystemTime>, orphan_age: Duration) -> bool {
    last_seen.is_some_and(|seen| SystemTime::now().duration_since(seen).unwrap_or_default() > orphan_age)
}

/// Something nobody will ever finish.
#[derive(Debug)]
pub enum Orphan {
    /// An upload for a number that is sealed or abandoned, or that was never claimed.
    Upload {
        /// The upload.
        upload: Upload,
        /// What the number's record says of its build.
        fate: Fate,
        /// When it last saw a part; `None` if that can't be read.
        last_seen: Option<SystemTime>,
    },
    /// The archive of an abandoned build.
    Archive {
        /// Its key.
        key: String,
        /// Its build.
        build: Uuid,
    },
}

/// What became of the build of a number that no open claim has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing says so: only age tells.
    Unknown,
    /// The record is sealed.
    Sealed,
    /// The number is abandoned, and was that build's.
    Abandoned(Uuid),
}

/// Looks at all records, archives and uploads of an artifact.
///
/// # Errors
/// The store fails, or `latest.txt` is damaged: then no number is safe to take.
pub async fn survey(store: &dyn Store, layout: &Layout, look: Look) -> Result<Survey, Failure> {
    let prefix = layout.prefix();
    let latest = layout::pointer(layout::LATEST);
    let (listed, begun, latest) =
        tokio::join!(store.list(&prefix), store.uploads(&prefix), pointer::read(store, &latest));
    let (listed, latest) = (listed?, latest?);
    if let Some(pointer) = &latest {
        pointer::check_owner(store, layout, pointer).await?;
    }
    let mut troubles = Vec::new();
    let mut uploads = Begun { by_key: begun.is_ok(), found: Vec::new() };
    uploads.found = look.spared(begun, &mut troubles)?.unwrap_or_default();
    let mut numbers: BTreeSet<ReleaseNumber> = latest.iter().map(|pointer| pointer.record.number()).collect();
    let mut archives: BTreeMap<ReleaseNumber, Vec<String>> = BTreeMap::new();
    let (mut records, mut unsealed) = (Vec::new(), Vec::new());
    let mut abandoned = BTreeSet::new();
    let mut fates = BTreeMap::new();
    for entry in &listed {
        let Some(key) = layout.parse(&entry.key) else { continue };
        numbers.insert(key.number());
        if let Key::Record(number) = key {
            records.push(number);
        }
        match key {
            Key::Record(number) if entry.size <= LONGEST_CLAIM as u64 => unsealed.push((number, entry.size)),
            Key::Record(number) => {
                fates.insert(number, Fate::Sealed);
            }
            Key::Artifact(number, _) => archives.entry(number).or_default().push(entry.key.clone()),
        }
    }
    if matches!(look, Look::Audit) {
        let claimed = unsealed.iter().map(|(number, _)| *number);
        uploads.add_of(store, layout, claimed, look, &mut troubles).await?;
    }
    // An abandoned number with nothing left under it is history: it need not be read again at every build.
    unsealed.retain(|(number, size)| {
        let clean = *size <= LONGEST_ABANDONED as u64
            && !archives.contains_key(number)
            && !uploads.found.iter().any(|upload| number_of(layout, upload) == Some(*number));
        if clean {
            abandoned.insert(*number);
        }
        !clean
    });
    let read: Vec<(ReleaseNumber, Result<Option<Object>, StoreError>)> = stream::iter(unsealed)
        .map(|(number, _)| async move { (number, store.get(&layout.record(number)).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut claims = Vec::new();
    let mut orphans = Vec::new();
    for (number, object) in read {
        let Some(object) = look.spared(object, &mut troubles)?.flatten() else { continue };
        match Claim::parse(&object.body) {
            Some(Claim::Claimed { build, builder }) => claims.push(OpenClaim {
                number,
                build,
                builder,
                last_seen: Some(object.modified),
                uploads: Vec::new(),
                archives: archives.get(&number).cloned().unwrap_or_default(),
                tag: object.tag,
            }),
            Some(Claim::Abandoned { build }) => {
                fates.insert(number, Fate::Abandoned(build));
                abandoned.insert(number);
                let keys = archives.get(&number).into_iter().flatten();
                orphans.extend(keys.map(|key| Orphan::Archive { key: key.clone(), build }));
            }
            // Sealed between the listing and this read.
            None => {
                fates.insert(number, Fate::Sealed);
            }
        }
    }
    if let Look::Build { orphan_age } = look {
        let dead = claims.iter().filter(|claim| claim.is_dead(orphan_age)).map(|claim| claim.number);
        uploads.add_of(store, layout, dead, look, &mut troubles).await?;
    }
    for upload in uploads.found {
        let Some(number) = number_of(layout, &upload) else { continue };
        // Its parts tell no more than its age, and it can be aborted without them.
        let last_seen = store.last_part(&upload).await.map_err(|error| troubles.push(error)).ok();
        match claims.iter_mut().find(|claim| claim.number == number) {
            Some(claim) => {
                claim.last_seen = claim.last_seen.zip(last_seen).map(|(claim, part)| claim.max(part));
                claim.uploads.push(upload);
            }
            None => {
                let fate = fates.get(&number).copied().unwrap_or(Fate::Unknown);
                orphans.push(Orphan::Upload { upload, fate, last_seen });
            }
        }
    }
    claims.sort_by_key(|claim| claim.number);
    let named = latest.map(|pointer| pointer.record.number());
    let sealed = fates.iter().rev().find(|(_, fate)| **fate == Fate::Sealed).map(|(number, _)| *number);
    let ahead = sealed.filter(|sealed| named.is_none_or(|named| named < *sealed));
    let (highest, abandoned) = (numbers.last().copied(), abandoned.into_iter().collect());
    Ok(Survey { highest, records, claims, orphans, abandoned, troubles, ahead })
}

/// Uploads that are known to have begun.
struct Begun {
    /// Whether it is any use to ask for them key by key: not where the store lists none at all.
    by_key: bool,
    found: Vec<Upload>,
}

impl Begun {
    /// Adds those of these numbers, asked for by their keys: some servers list no uploads but those of one key.
    async fn add_of(
        &mut self,
        store: &dyn Uploads,
        layout: &Layout,
        numbers: impl Iterator<Item = ReleaseNumber>,
        look: Look,
        troubles: &mut Vec<StoreError>,
    ) -> Result<(), StoreError> {
        let keys: Vec<String> = numbers.filter(|_| self.by_key).flat_map(|number| layout.keys(number)).collect();
        let asked: Vec<Result<Vec<Upload>, StoreError>> = stream::iter(keys)
            .map(|key| async move { store.uploads(&key).await })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for asked in asked {
            let begun = look.spared(asked, troubles)?.unwrap_or_default();
            for upload in begun {
                if !self.found.iter().any(|known| (&known.key, &known.id) == (&upload.key, &upload.id)) {
                    self.found.push(upload);
                }
            }
        }
        Ok(())
    }
}

/// What a sweep came to. No failure of it is one of the build that sweeps.
#[derive(Debug, Default)]
pub struct Swept {
    /// What was done, a line each.
    pub done: Vec<String>,
    /// What was not.
    pub failed: Vec<Failure>,
}

impl Swept {
    fn note(&mut self, step: Result<Option<String>, impl Into<Failure>>) {
        match step {
            Ok(done) => self.done.extend(done),
            Err(error) => self.failed.push(error.into()),
        }
    }
}

/// Removes what no record can ever name. It needs no conditional write, so it may come before the store has shown to keep
/// conditions, and must: on a full disk there is no room for a claim before.
pub async fn make_room(store: &dyn Store, survey: &Survey, orphan_age: Duration) -> Swept {
    let mut swept = Swept::default();
    for claim in survey.claims.iter().filter(|claim| claim.is_dead(orphan_age)) {
        for upload in claim.uploads.iter().filter(|upload| !claim.archives.contains(&upload.key)) {
            // Tried again, and its failure told, when the claim is ended.
            let _ = store.abort(upload).await;
        }
    }
    for orphan in &survey.orphans {
        swept.note(end_orphan(store, orphan, orphan_age).await);
    }
    swept
}

async fn end_orphan(store: &dyn Store, orphan: &Orphan, orphan_age: Duration) -> Result<Option<String>, StoreError> {
    match orphan {
        Orphan::Upload { upload, fate, last_seen } => {
            if *fate == Fate::Unknown && !is_silent(*last_seen, orphan_age) {
                return Ok(None);
            }
            // A builder that lives may complete its archive at any moment, and in a directory nothing but the
            // upload's name proves whose it is: that goes after the archive, or with the seal.
            if let Fate::Abandoned(build) = *fate {
                remove_archive_of(store, &upload.key, build).await?;
            }
            store.abort(upload).await?;
            if let (Fate::Sealed, Ok(build)) = (*fate, upload.id.parse()) {
                store.settled(&upload.key, build).await?;
            }
            Ok(Some(format!("an orphan upload of {} is aborted", store.url(&upload.key))))
        }
        Orphan::Archive { key, build } => {
            let removed = remove_archive_of(store, key, *build).await?;
            Ok(removed.then(|| format!("{} of an abandoned build is removed", store.url(key))))
        }
    }
}

/// Ends the claims of dead builders, and moves `latest.txt` for one that died after its seal. Both are conditional writes:
/// on a store that ignores conditions the first could overwrite a release that was sealed meanwhile.
pub async fn end_claims(
    store: &dyn Store,
    layout: &Layout,
    survey: &Survey,
    orphan_age: Duration,
    attributes: &Attributes,
) -> Swept {
    let mut swept = Swept::default();
    if let Some(number) = survey.ahead {
        swept.note(move_latest(store, layout, number, attributes).await);
    }
    for claim in survey.claims.iter().filter(|claim| claim.is_dead(orphan_age)) {
        swept.note(end_claim(store, layout, claim, attributes).await);
    }
    swept
}

async fn move_latest(
    store: &dyn Store,
    layout: &Layout,
    number: ReleaseNumber,
    attributes: &Attributes,
) -> Result<Option<String>, Failure> {
    // A damaged record stops no build; whoever asks for that release hears of it.
    let Ok(Some(sealed)) = pointer::read_release(store, layout, number).await else { return Ok(None) };
    pointer::advance(store, layout, &sealed.record, attributes).await?;
    Ok(Some(format!("latest.txt names release {number}, whose builder did not get to it")))
}

async fn end_claim(
    store: &dyn Store,
    layout: &Layout,
    claim: &OpenClaim,
    attributes: &Attributes,
) -> Result<Option<String>, Failure> {
    let own = Own { number: claim.number, build: claim.build, tag: claim.tag.clone() };
    if !abandon(store, layout, &own, attributes).await? {
        return Ok(None);
    }
    // Archives first: in a directory the upload's name is what proves whose archive it is.
    for key in &claim.archives {
        remove_archive_of(store, key, claim.build).await?;
    }
    for upload in &claim.uploads {
        store.abort(upload).await?;
    }
    Ok(Some(format!("release {} is abandoned: its builder {} is gone", claim.number, claim.builder.place())))
}

/// A claim as its holder, or whoever sweeps it, knows it.
#[derive(Clone, Debug)]
pub struct Own {
    /// The claimed number.
    pub number: ReleaseNumber,
    /// Names the build.
    pub build: Uuid,
    /// The claim's state in the store.
    pub tag: Tag,
}

/// Swaps a claim for "abandoned", so that its builder can't seal it any more. False if the claim had changed.
///
/// # Errors
/// The store fails.
pub async fn abandon(
    store: &dyn Objects,
    layout: &Layout,
    own: &Own,
    attributes: &Attributes,
) -> Result<bool, Failure> {
    let body = Claim::Abandoned { build: own.build }.to_bytes();
    let key = layout.record(own.number);
    let settled = settle::put(store, &key, &body, Condition::Unchanged(&own.tag), attributes).await?;
    Ok(matches!(settled, Settled::Ours(_)))
}

/// What a builder that gives up leaves: nothing but an abandoned number. Does nothing but abort the uploads that it still
/// `held` if the release got sealed.
///
/// # Errors
/// The store fails; the next build sweeps the rest.
pub async fn give_up(
    store: &dyn Store,
    layout: &Layout,
    number: ReleaseNumber,
    build: Uuid,
    held: &[Upload],
    attributes: &Attributes,
) -> Result<(), Failure> {
    // By their ids, and before anything is asked: not every server lists uploads, and on a full disk the claim can't be
    // ended before there is room.
    let mut done = Ok(());
    for upload in held {
        done = done.and(store.abort(upload).await);
    }
    done.map_err(Failure::from).and(give_number_up(store, layout, number, build, attributes).await)
}

async fn give_number_up(
    store: &dyn Store,
    layout: &Layout,
    number: ReleaseNumber,
    build: Uuid,
    attributes: &Attributes,
) -> Result<(), Failure> {
    let key = layout.record(number);
    let Some(object) = store.get(&key).await? else { return Ok(()) };
    if Record::parse(&object.body).is_ok() {
        return Ok(());
    }
    let prefix = format!("{}.", layout.name(number));
    match Claim::parse(&object.body) {
        Some(Claim::Claimed { build: claimed, .. }) if claimed == build => {
            // As in a sweep: room first. An upload whose archive is complete is left, for the record may yet be sealed.
            let (uploads, archives) = tokio::join!(uploads_of(store, layout, number), store.list(&prefix));
            let archives = archives?;
            // Where they can't be listed the number is given up all the same, and the failure told at the end.
            let uploads = uploads.unwrap_or_default();
            for upload in uploads.iter().filter(|upload| !archives.iter().any(|entry| entry.key == upload.key)) {
                store.abort(upload).await?;
            }
            let own = Own { number, build, tag: object.tag };
            if !abandon(store, layout, &own, attributes).await? {
                return Ok(());
            }
        }
        Some(Claim::Abandoned { build: abandoned }) if abandoned == build => {}
        _ => return Ok(()),
    }
    for entry in store.list(&prefix).await? {
        if matches!(layout.parse(&entry.key), Some(Key::Artifact(..))) {
            remove_archive_of(store, &entry.key, build).await?;
        }
    }
    for upload in uploads_of(store, layout, number).await? {
        store.abort(&upload).await?;
    }
    Ok(())
}

/// Uploads of a number, whose ids a lost reply may have kept from their builder.
async fn uploads_of(store: &dyn Uploads, layout: &Layout, number: ReleaseNumber) -> Result<Vec<Upload>, StoreError> {
    let keys = layout.keys(number);
    let asked = futures_util::future::try_join_all(keys.iter().map(|key| store.uploads(key))).await?;
    Ok(asked.into_iter().flatten().collect())
}

/// Removes an archive if that build uploaded it: an old script may have put one of its own under the same number.
async fn remove_archive_of(store: &dyn Store, key: &str, build: Uuid) -> Result<bool, StoreError> {
    let own = store.head(key).await?.is_some_and(|head| head.build == Some(build));
    if own {
        store.delete(key).await?;
        store.settled(key, build).await?;
    }
    Ok(own)
}

fn number_of(layout: &Layout, upload: &Upload) -> Option<ReleaseNumber> {
    layout.parse(&upload.key).map(Key::number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreArgs;
    use std::fs;

    /// A builder that lives and was swept completes its archive while a second sweep runs.
    #[tokio::test]
    async fn an_archive_that_appears_during_a_sweep_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let args = StoreArgs::in_directory(dir.path());
        let store = args.open().await.unwrap();
        let (store, layout) = (store.as_ref(), &args.artifact);
        store.prepare().await.unwrap();
        let build = Uuid::new_v4();
        let upload = store.begin("a-1.tar", build, &Attributes::default()).await.unwrap();
        fs::write(dir.path().join("a-1.release"), Claim::Abandoned { build }.to_bytes()).unwrap();
        let sweep_after = async |change: &dyn Fn()| {
            let orphan_age = Duration::from_secs(3600);
            let survey = survey(store, layout, Look::Build { orphan_age }).await.unwrap();
            change();
            let freed = make_room(store, &survey, orphan_age).await;
            let ended = end_claims(store, layout, &survey, orphan_age, &Attributes::default()).await;
            assert!(freed.failed.is_empty() && ended.failed.is_empty(), "{freed:?} {ended:?}");
        };
        let complete =
            || fs::hard_link(dir.path().join(".uploads").join(format!("a-1.tar.{build}")), dir.path().join("a-1.tar"));
        sweep_after(&|| complete().unwrap()).await;
        sweep_after(&|| ()).await;
        assert!(store.head("a-1.tar").await.unwrap().is_none(), "the archive of an abandoned build is removed");
        assert!(store.uploads(&upload.key).await.unwrap().is_empty());
    }
}
