//! What dead builders left behind: finding it, and turning it into "abandoned".

use crate::claim::{Builder, Claim, LONGEST_ABANDONED, LONGEST_CLAIM};
use crate::layout::{self, Key, Layout};
use crate::number::ReleaseNumber;
use crate::pointer;
use crate::record::Record;
use crate::settle::{self, Settled};
use crate::store::{Attributes, Condition, Object, Store, Tag, Upload};
use cli::Failure;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Requests under way at once while many small objects are read.
const AT_ONCE: usize = 16;

/// Everything in a store that is no sealed release, and the highest number in use.
#[derive(Debug)]
pub struct Survey {
    /// The highest number that a record, an archive or `latest.txt` names.
    pub highest: Option<ReleaseNumber>,
    /// Claims that are neither sealed nor abandoned.
    pub claims: Vec<OpenClaim>,
    /// Uploads and archives that belong to no release and to no open claim.
    pub orphans: Vec<Orphan>,
    /// Numbers used up without a release.
    pub abandoned: Vec<ReleaseNumber>,
    /// The highest sealed number, if `latest.txt` does not name it: its builder is about to, or died before it did.
    ahead: Option<ReleaseNumber>,
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
    /// When the builder was last heard of: its claim, or the newest part of an upload.
    pub last_seen: SystemTime,
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
        let silent = SystemTime::now().duration_since(self.last_seen).unwrap_or_default();
        self.builder.is_proven_dead() || silent > orphan_age
    }
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
        /// When it last saw a part.
        last_seen: SystemTime,
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
pub async fn survey(store: &dyn Store, layout: &Layout) -> Result<Survey, Failure> {
    let prefix = layout.prefix();
    let latest = layout::pointer(layout::LATEST);
    let (listed, uploads, latest) =
        tokio::try_join!(store.list(&prefix), store.uploads(&prefix), pointer::read(store, &latest))?;
    if let Some(pointer) = &latest {
        pointer::check_owner(store, layout, pointer).await?;
    }
    let mut numbers: BTreeSet<ReleaseNumber> = latest.iter().map(|pointer| pointer.record.number()).collect();
    let mut archives: BTreeMap<ReleaseNumber, Vec<String>> = BTreeMap::new();
    let mut unsealed = Vec::new();
    let mut abandoned = BTreeSet::new();
    let mut fates = BTreeMap::new();
    for entry in &listed {
        let Some(key) = layout.parse(&entry.key) else { continue };
        numbers.insert(key.number());
        match key {
            Key::Record(number) if entry.size <= LONGEST_CLAIM as u64 => unsealed.push((number, entry.size)),
            Key::Record(number) => {
                fates.insert(number, Fate::Sealed);
            }
            Key::Artifact(number, _) => archives.entry(number).or_default().push(entry.key.clone()),
        }
    }
    // An abandoned number with nothing left under it is history: it need not be read again at every build.
    unsealed.retain(|(number, size)| {
        let clean = *size <= LONGEST_ABANDONED as u64
            && !archives.contains_key(number)
            && !uploads.iter().any(|upload| number_of(layout, upload) == Some(*number));
        if clean {
            abandoned.insert(*number);
        }
        !clean
    });
    let read: Vec<(ReleaseNumber, Option<Object>)> = stream::iter(unsealed)
        .map(|(number, _)| async move { Ok::<_, Failure>((number, store.get(&layout.record(number)).await?)) })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut claims = Vec::new();
    let mut orphans = Vec::new();
    for (number, object) in read {
        let Some(object) = object else { continue };
        match Claim::parse(&object.body) {
            Some(Claim::Claimed { build, builder }) => claims.push(OpenClaim {
                number,
                build,
                builder,
                last_seen: object.modified,
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
    for upload in uploads {
        let Some(number) = number_of(layout, &upload) else { continue };
        let last_seen = store.last_part(&upload).await?;
        match claims.iter_mut().find(|claim| claim.number == number) {
            Some(claim) => {
                claim.last_seen = claim.last_seen.max(last_seen);
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
    Ok(Survey { highest: numbers.last().copied(), claims, orphans, abandoned: abandoned.into_iter().collect(), ahead })
}

/// Ends what nobody will finish. Returns what it did, a line each.
///
/// # Errors
/// The store fails; what is swept stays swept.
pub async fn sweep(
    store: &dyn Store,
    layout: &Layout,
    survey: &Survey,
    orphan_age: Duration,
    attributes: &Attributes,
) -> Result<Vec<String>, Failure> {
    let mut done = Vec::new();
    if let Some(number) = survey.ahead {
        // A damaged record stops no build; whoever asks for that release hears of it.
        if let Ok(Some(sealed)) = pointer::read_release(store, layout, number).await {
            pointer::advance(store, layout, &sealed.record, attributes).await?;
            done.push(format!("latest.txt names release {number}, whose builder did not get to it"));
        }
    }
    for claim in survey.claims.iter().filter(|claim| claim.is_dead(orphan_age)) {
        let own = Own { number: claim.number, build: claim.build, tag: claim.tag.clone() };
        // First what no record can ever name: on a full disk there is no room for "abandoned" before it is gone.
        for upload in claim.uploads.iter().filter(|upload| !claim.archives.contains(&upload.key)) {
            store.abort(upload).await?;
        }
        if abandon(store, layout, &own, attributes).await? {
            // Archives first: in a directory the upload's name is what proves whose archive it is.
            for key in &claim.archives {
                remove_archive_of(store, key, claim.build).await?;
            }
            for upload in &claim.uploads {
                store.abort(upload).await?;
            }
            done.push(format!("release {} is abandoned: its builder {} is gone", claim.number, claim.builder.place()));
        }
    }
    for orphan in &survey.orphans {
        match orphan {
            Orphan::Upload { upload, fate, last_seen } => {
                let silent = SystemTime::now().duration_since(*last_seen).unwrap_or_default();
                if *fate != Fate::Unknown || silent > orphan_age {
                    // A builder that lives may complete its archive at any moment, and in a directory nothing but the
                    // upload's name proves whose it is: that goes after the archive, or with the seal.
                    if let Fate::Abandoned(build) = *fate {
                        remove_archive_of(store, &upload.key, build).await?;
                    }
                    store.abort(upload).await?;
                    if let (Fate::Sealed, Ok(build)) = (*fate, upload.id.parse()) {
                        store.settled(&upload.key, build).await?;
                    }
                    done.push(format!("an orphan upload of {} is aborted", store.url(&upload.key)));
                }
            }
            Orphan::Archive { key, build } => {
                if remove_archive_of(store, key, *build).await? {
                    done.push(format!("{} of an abandoned build is removed", store.url(key)));
                }
            }
        }
    }
    Ok(done)
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
pub async fn abandon(store: &dyn Store, layout: &Layout, own: &Own, attributes: &Attributes) -> Result<bool, Failure> {
    let body = Claim::Abandoned { build: own.build }.to_bytes();
    let key = layout.record(own.number);
    let settled = settle::put(store, &key, &body, Condition::Unchanged(&own.tag), attributes).await?;
    Ok(matches!(settled, Settled::Ours(_)))
}

/// What a builder that gives up leaves: nothing but an abandoned number. Does nothing if the release got sealed.
///
/// # Errors
/// The store fails; the next build sweeps the rest.
pub async fn give_up(
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
            let (uploads, archives) = tokio::try_join!(store.uploads(&prefix), store.list(&prefix))?;
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
    for upload in store.uploads(&prefix).await? {
        store.abort(&upload).await?;
    }
    Ok(())
}

/// Removes an archive if that build uploaded it: an old script may have put one of its own under the same number.
async fn remove_archive_of(store: &dyn Store, key: &str, build: Uuid) -> Result<bool, Failure> {
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
    use clap::Parser;
    use std::fs;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        store: StoreArgs,
    }

    /// A builder that lives and was swept completes its archive while a second sweep runs.
    #[tokio::test]
    async fn an_archive_that_appears_during_a_sweep_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().display());
        let line = Line::try_parse_from(["test", "--artifact", "a", "--store", &url]).unwrap();
        let store = line.store.open().await.unwrap();
        let (store, layout) = (store.as_ref(), &line.store.artifact);
        store.prepare().await.unwrap();
        let build = Uuid::new_v4();
        let upload = store.begin("a-1.tar", build, &Attributes::default()).await.unwrap();
        fs::write(dir.path().join("a-1.release"), Claim::Abandoned { build }.to_bytes()).unwrap();
        let sweep_after = async |change: &dyn Fn()| {
            let survey = survey(store, layout).await.unwrap();
            change();
            sweep(store, layout, &survey, Duration::from_secs(3600), &Attributes::default()).await.unwrap()
        };
        let complete =
            || fs::hard_link(dir.path().join(".uploads").join(format!("a-1.tar.{build}")), dir.path().join("a-1.tar"));
        let _done = sweep_after(&|| complete().unwrap()).await;
        let _done = sweep_after(&|| ()).await;
        assert!(store.head("a-1.tar").await.unwrap().is_none(), "the archive of an abandoned build is removed");
        assert!(store.uploads(&upload.key).await.unwrap().is_empty());
    }
}
