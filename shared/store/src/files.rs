//! A store in a directory: the same promises as on S3, for any number of processes on one host.
//!
//! Objects are plain files, as the original scripts lay them. Two hidden names are ours: `.lock`, held for the few
//! milliseconds of a write, and `.uploads/<key>.<build>`, the growing archive of a build. A complete archive is a second
//! hard link to its upload, so that the upload's name goes on telling whose archive it is until its record is sealed.

use crate::objects::LONGEST_SMALL;
use crate::{
    Arrived, Attributes, Completion, Condition, Head, Listed, Object, Objects, Part, PartBody, Put, Room, StoreError,
    Tag, Upload, Uploads,
};
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use durable::{Dir, Entry, Lock, if_there};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

const UPLOADS: &str = ".uploads";
const LOCK: &str = ".lock";

#[derive(Clone, Debug)]
pub(crate) struct FileStore {
    dir: PathBuf,
    lock_limit: Duration,
    /// Held by every write to an upload: one that was given up goes on, and its bytes take room although their name is gone.
    writes: Arc<RwLock<()>>,
}

impl FileStore {
    pub(crate) fn new(dir: PathBuf, lock_limit: Duration) -> Self {
        Self { dir, lock_limit, writes: Arc::default() }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key)
    }

    fn held(&self) -> Result<Dir, StoreError> {
        Dir::open(&self.dir).map_err(StoreError::of)
    }

    /// The store's directory and that of its uploads, which [`Uploads::prepare`] has made.
    fn both(&self) -> Result<(Dir, Dir), StoreError> {
        let dir = self.held()?;
        let uploads = dir.child(UPLOADS).map_err(StoreError::of)?;
        Ok((dir, uploads))
    }

    fn lock(&self, dir: &Dir) -> Result<Lock, StoreError> {
        dir.lock(LOCK, self.lock_limit).map_err(StoreError::of)
    }

    /// Runs file work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || work(store)).await;
        done.map_err(|error| StoreError::unavailable(format!("file work was given up: {error}")))?
    }

    fn put_now(&self, key: &str, body: &[u8], when: Option<&Tag>) -> Result<Put, StoreError> {
        let dir = self.held()?;
        let _lock = self.lock(&dir)?;
        let put = || match when {
            None => dir.create(key, body),
            Some(tag) => {
                let holds = dir.read(key, LONGEST_SMALL)?.is_some_and(|current| tag_of(&current) == *tag);
                if holds {
                    dir.replace(key, body)?;
                }
                Ok(holds)
            }
        };
        Ok(if put().map_err(StoreError::of)? { Put::Done(tag_of(body)) } else { Put::Refused })
    }

    fn uploads_now(&self, prefix: &str) -> Result<Vec<(Upload, Entry)>, StoreError> {
        let Some(dir) = Dir::open_if_there(&self.dir).map_err(StoreError::of)? else { return Ok(Vec::new()) };
        let Some(dir) = dir.child_if_there(UPLOADS).map_err(StoreError::of)? else { return Ok(Vec::new()) };
        let mut uploads = Vec::new();
        for (name, entry) in files(&dir)? {
            let Some((key, id)) = name.rsplit_once('.') else { continue };
            if key.starts_with(prefix) {
                let (key, id) = (key.to_owned(), id.to_owned());
                uploads.push((Upload { key, id, started: entry.modified() }, entry));
            }
        }
        Ok(uploads)
    }

    /// Leaves an upload that is complete: its name proves whose archive it is, until [`Uploads::settled`].
    fn abort_now(&self, upload: &Upload) -> Result<(), StoreError> {
        let (dir, uploads) = self.both()?;
        let _lock = self.lock(&dir)?;
        let name = name_of(&upload.key, &upload.id);
        let inode = |dir: &Dir, name: &str| dir.entry(name).ok().flatten().map(|entry| entry.inode());
        let begun = inode(&uploads, &name);
        let complete = begun.is_some() && begun == inode(&dir, &upload.key);
        if complete { Ok(()) } else { remove(&uploads, &name) }
    }

    /// Gives a complete upload the name it is for. A sweep may have taken it up to the moment that the lock is ours.
    fn complete_now(&self, upload: &Upload, size: u64) -> Result<Completion, StoreError> {
        let (dir, uploads) = self.both()?;
        let name = name_of(&upload.key, &upload.id);
        let swept = |error| swept_or("write", &uploads, &name, error);
        let synced = || -> io::Result<u64> {
            let file = uploads.file(&name)?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        };
        let length = synced().map_err(swept)?;
        if length != size {
            let path = uploads.path().join(&name);
            let what = format!("unable to write {}: {length} of {size} bytes arrived", path.display());
            return Err(StoreError::unavailable(what));
        }
        let _lock = self.lock(&dir)?;
        uploads.entry(&name).and_then(|there| there.ok_or_else(|| ErrorKind::NotFound.into())).map_err(swept)?;
        let made = dir.link(&uploads, &name, &upload.key).map_err(StoreError::of)?;
        Ok(if made { Completion::Done } else { Completion::Taken })
    }

    fn prepare_now(&self) -> Result<Vec<StoreError>, StoreError> {
        let dir = Dir::make(&self.dir).map_err(StoreError::of)?;
        dir.child(UPLOADS).map_err(StoreError::of)?;
        let _lock = self.lock(&dir)?;
        // Temporary files are made under the lock alone, so whoever made these is dead.
        let names = files(&dir)?.into_iter().map(|(name, _)| name);
        let left = names.filter(|name| name.starts_with(durable::TEMPORARY_PREFIX));
        Ok(left.filter_map(|name| remove(&dir, &name).err()).collect())
    }
}

#[async_trait]
impl Objects for FileStore {
    fn url(&self, key: &str) -> String {
        format!("file://{}", self.path(key).display())
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let key = key.to_owned();
        self.blocking(move |store| {
            let Some(dir) = Dir::open_if_there(&store.dir).map_err(StoreError::of)? else { return Ok(None) };
            let Some(body) = dir.read(&key, LONGEST_SMALL).map_err(StoreError::of)? else { return Ok(None) };
            let entry = dir.entry(&key).map_err(|error| unable("read", &dir, &key, error))?;
            let (tag, modified) = (tag_of(&body), entry.map_or(SystemTime::UNIX_EPOCH, |entry| entry.modified()));
            Ok(Some(Object { body, tag, attributes: Attributes::default(), modified }))
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let key = key.to_owned();
        self.blocking(move |store| {
            let Some(dir) = Dir::open_if_there(&store.dir).map_err(StoreError::of)? else { return Ok(None) };
            let unable = |error| unable("read", &dir, &key, error);
            let Some(file) = if_there(dir.file(&key)).map_err(unable)? else { return Ok(None) };
            let entry = Entry::of(&file).map_err(unable)?;
            let linked = store.uploads_now(&key)?.into_iter();
            let linked = linked.filter(|(upload, of)| upload.key == key && of.inode() == entry.inode());
            Ok(Some(Head {
                size: entry.size(),
                tag: state_of(&entry),
                crc64nvme: None,
                build: linked.filter_map(|(upload, _)| upload.id.parse().ok()).next_back(),
                attributes: Attributes::default(),
                modified: entry.modified(),
            }))
        })
        .await
    }

    async fn put(&self, key: &str, body: &[u8], when: Condition<'_>, _: &Attributes) -> Result<Put, StoreError> {
        let (key, body) = (key.to_owned(), body.to_vec());
        let when = match when {
            Condition::Absent => None,
            Condition::Unchanged(tag) => Some(tag.clone()),
        };
        self.blocking(move |store| store.put_now(&key, &body, when.as_ref())).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.blocking(move |store| remove(&store.held()?, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |store| {
            let Some(dir) = Dir::open_if_there(&store.dir).map_err(StoreError::of)? else { return Ok(Vec::new()) };
            let named = files(&dir)?.into_iter().filter(|(name, _)| name.starts_with(&prefix));
            let listed = |(key, entry): (String, Entry)| Listed { key, size: entry.size(), modified: entry.modified() };
            Ok(named.map(listed).collect())
        })
        .await
    }

    async fn read(&self, key: &str, tag: &Tag, part: Range<u64>, room: &dyn Room) -> Result<Arrived, StoreError> {
        room.wait().await;
        let began = Instant::now();
        let (key, tag) = (key.to_owned(), tag.clone());
        self.blocking(move |store| {
            let dir = store.held()?;
            let unable = |error| unable("read", &dir, &key, error);
            let file = dir.file(&key).map_err(unable)?;
            if state_of(&Entry::of(&file).map_err(unable)?) != tag {
                return Err(StoreError::changed(format!("unable to read {}", store.path(&key).display())));
            }
            let read = || -> io::Result<Vec<u8>> {
                let length = usize::try_from(part.end - part.start).map_err(io::Error::other)?;
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, part.start)?;
                Ok(bytes)
            };
            let pieces = vec![read().map_err(unable)?.into()];
            Ok(Arrived { pieces, first_byte: Duration::ZERO, transfer: began.elapsed() })
        })
        .await
    }
}

#[async_trait]
impl Uploads for FileStore {
    /// A link under the same lock as every other write.
    fn completes_apart(&self) -> bool {
        false
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |store| Ok(store.uploads_now(&prefix)?.into_iter().map(|(upload, _)| upload).collect()))
            .await
    }

    async fn last_part(&self, upload: &Upload) -> Result<SystemTime, StoreError> {
        // Listed uploads carry the time of their last write already.
        Ok(upload.started)
    }

    async fn begin(&self, key: &str, build: Uuid, _: &Attributes) -> Result<Upload, StoreError> {
        let upload = Upload { key: key.to_owned(), id: build.to_string(), started: SystemTime::now() };
        self.blocking(move |store| {
            let (_, uploads) = store.both()?;
            let name = name_of(&upload.key, &upload.id);
            // A build that tries again begins anew.
            let made = match uploads.new_file(&name, 0o666) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    uploads.file_to_write(&name).and_then(|file| file.set_len(0))
                }
                made => made.map(drop),
            };
            made.map_err(|error| unable("write", &uploads, &name, error))?;
            Ok(upload)
        })
        .await
    }

    async fn send(&self, upload: &Upload, part: PartBody) -> Result<Part, StoreError> {
        let name = name_of(&upload.key, &upload.id);
        self.blocking(move |store| {
            let _writing = store.writes.read().unwrap_or_else(PoisonError::into_inner);
            let (_, uploads) = store.both()?;
            let write = || uploads.file_to_write(&name)?.write_all_at(&part.bytes, part.offset);
            write().map_err(|error| swept_or("write", &uploads, &name, error))?;
            Ok(Part { number: part.number, tag: String::new(), crc64nvme: part.crc64nvme })
        })
        .await
    }

    async fn complete(&self, upload: &Upload, _: Vec<Part>, size: u64, _: u64) -> Result<Completion, StoreError> {
        let upload = upload.clone();
        self.blocking(move |store| store.complete_now(&upload, size)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<(), StoreError> {
        let upload = upload.clone();
        self.blocking(move |store| {
            store.abort_now(&upload)?;
            // Whoever aborts counts on the room.
            drop(store.writes.write().unwrap_or_else(PoisonError::into_inner));
            Ok(())
        })
        .await
    }

    async fn send_whole(
        &self,
        key: &str,
        body: PartBody,
        build: Uuid,
        attributes: &Attributes,
    ) -> Result<Completion, StoreError> {
        let size = body.bytes.len() as u64;
        let crc64nvme = body.crc64nvme;
        let upload = self.begin(key, build, attributes).await?;
        let part = self.send(&upload, body).await?;
        self.complete(&upload, vec![part], size, crc64nvme).await
    }

    async fn settled(&self, key: &str, build: Uuid) -> Result<(), StoreError> {
        let name = name_of(key, &build.to_string());
        self.blocking(move |store| remove(&store.both()?.1, &name)).await
    }

    async fn prepare(&self) -> Result<Vec<StoreError>, StoreError> {
        self.blocking(|store| store.prepare_now()).await
    }
}

/// Small objects are told apart by their content, so that the tag says the same to whoever reads it.
fn tag_of(body: &[u8]) -> Tag {
    Tag(BASE64_STANDARD.encode(Sha256::digest(body)))
}

/// Archives are written once; inode, length and time tell one from a later one without reading it.
fn state_of(entry: &Entry) -> Tag {
    let (seconds, nanoseconds) = entry.changed();
    Tag(format!("{}-{}-{seconds}.{nanoseconds}", entry.inode(), entry.size()))
}

/// Of an upload among the others.
fn name_of(key: &str, id: &str) -> String {
    format!("{key}.{id}")
}

fn remove(dir: &Dir, name: &str) -> Result<(), StoreError> {
    dir.remove(name).map(drop).map_err(StoreError::of)
}

/// Plain files of a directory with a UTF-8 name.
fn files(dir: &Dir) -> Result<Vec<(String, Entry)>, StoreError> {
    let names = dir.names().map_err(|error| unable("read", dir, "", error))?;
    // Another process may remove a file between its name being listed and asked for.
    let found = |name: String| dir.entry(&name).ok().flatten().map(|entry| (name, entry));
    let found = names.into_iter().filter_map(|name| name.into_string().ok()).filter_map(found);
    Ok(found.filter(|(_, entry)| entry.is_file()).collect())
}

fn swept_or(verb: &str, dir: &Dir, name: &str, error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound => StoreError::swept(format!("unable to {verb} {}", dir.path().join(name).display())),
        _ => unable(verb, dir, name, error),
    }
}

fn unable(verb: &str, dir: &Dir, name: impl AsRef<OsStr>, error: io::Error) -> StoreError {
    StoreError::of(dir.failed(verb, name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of memory there always is.
    struct Enough;

    #[async_trait]
    impl Room for Enough {
        async fn wait(&self) {}
    }
    use failure::Failure;
    use std::fs;

    fn store() -> (tempfile::TempDir, FileStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::new(dir.path().to_owned(), Duration::from_secs(30));
        store.prepare_now().unwrap();
        (dir, store)
    }

    #[test]
    fn an_upload_swept_at_the_last_moment_is_known_as_that() {
        let (_dir, store) = store();
        let upload = Upload { key: "a-1.tar".to_owned(), id: "x".to_owned(), started: SystemTime::now() };
        let swept = store.complete_now(&upload, 1).unwrap_err();
        assert!(matches!(swept, StoreError::Swept(_)), "{swept:?}");
        assert!(Failure::from(swept).is_temporary(), "the next build may succeed");
        fs::write(store.dir.join(UPLOADS).join("a-1.tar.x"), "x").unwrap();
        assert_eq!(store.complete_now(&upload, 1).unwrap(), Completion::Done);
        assert_eq!(store.complete_now(&upload, 1).unwrap(), Completion::Taken);
    }

    #[tokio::test]
    async fn an_object_replaced_between_two_reads_is_known_as_that() {
        let (_dir, store) = store();
        fs::write(store.path("a-1.tar"), "one").unwrap();
        let seen = store.head("a-1.tar").await.unwrap().unwrap();
        assert_eq!(store.read("a-1.tar", &seen.tag, 1..3, &Enough).await.unwrap().pieces, ["ne"]);
        fs::write(store.path("new"), "two").unwrap();
        fs::rename(store.path("new"), store.path("a-1.tar")).unwrap();
        let changed = store.read("a-1.tar", &seen.tag, 1..3, &Enough).await.unwrap_err();
        assert!(matches!(changed, StoreError::Changed(_)), "{changed:?}");
    }

    #[tokio::test]
    async fn what_no_retry_mends_is_refused() {
        let store = FileStore::new("/dev/null/x".into(), Duration::ZERO);
        let plain = Attributes::default();
        let refused = store.put("a", b"", Condition::Absent, &plain).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
        assert!(!Failure::from(refused).is_temporary());
    }

    #[tokio::test]
    async fn a_lock_that_others_hold_is_no_refusal() {
        let (_dir, held) = store();
        let _lock = held.lock(&held.held().unwrap()).unwrap();
        let store = FileStore::new(held.dir.clone(), Duration::ZERO);
        let plain = Attributes::default();
        let unavailable = store.put("a", b"", Condition::Absent, &plain).await.unwrap_err();
        assert!(matches!(unavailable, StoreError::Unavailable(_)), "{unavailable:?}");
    }
}
