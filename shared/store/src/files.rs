//! A store in a directory: the same promises as on S3, for any number of processes on one host.
//!
//! Objects are plain files, as the original scripts lay them. Two hidden names are ours: `.lock`, held for the few
//! milliseconds of a write, and `.uploads/<key>.<build>`, the growing archive of a build. A complete archive is a second
//! hard link to its upload, so that the upload's name goes on telling whose archive it is until its record is sealed.

use crate::{
    Attributes, Completion, Condition, Head, Listed, Object, Objects, Part, PartBody, Put, StoreError, Tag, Upload,
    Uploads,
};
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use durable::{Lock, if_there};
use failure::Failure;
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
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

    fn upload_path(&self, key: &str, id: &str) -> PathBuf {
        self.dir.join(UPLOADS).join(format!("{key}.{id}"))
    }

    fn lock(&self) -> Result<Lock, StoreError> {
        Lock::acquire(&self.dir.join(LOCK), self.lock_limit).map_err(StoreError::of)
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
        let path = self.path(key);
        let _lock = self.lock()?;
        let written = match when {
            None => durable::create(&path, body).map_err(StoreError::of)?,
            Some(tag) => {
                let current = read_if_there(&path)?;
                let holds = current.is_some_and(|current| tag_of(&current) == *tag);
                if holds {
                    durable::replace(&path, body).map_err(StoreError::of)?;
                }
                holds
            }
        };
        Ok(if written { Put::Done(tag_of(body)) } else { Put::Refused })
    }

    fn uploads_now(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        let mut uploads = Vec::new();
        for (name, meta) in entries(&self.dir.join(UPLOADS))? {
            let Some((key, id)) = name.rsplit_once('.') else { continue };
            if key.starts_with(prefix) {
                let (key, id) = (key.to_owned(), id.to_owned());
                uploads.push(Upload { key, id, started: modified(&meta) });
            }
        }
        Ok(uploads)
    }

    /// Leaves an upload that is complete: its name proves whose archive it is, until [`Uploads::settled`].
    fn abort_now(&self, upload: &Upload) -> Result<(), StoreError> {
        let path = self.upload_path(&upload.key, &upload.id);
        let _lock = self.lock()?;
        let inode = |path: &Path| fs::metadata(path).map(|meta| meta.ino()).ok();
        let complete = inode(&path).is_some() && inode(&path) == inode(&self.path(&upload.key));
        if complete { Ok(()) } else { remove(&path) }
    }

    /// Gives a complete upload the name it is for. A sweep may have taken it up to the moment that the lock is ours.
    fn publish_now(&self, from: &Path, to: &Path) -> Result<Completion, StoreError> {
        let _lock = self.lock()?;
        fs::metadata(from).map_err(|error| swept_or("write", from, error))?;
        let made = durable::create_from(from, to).map_err(StoreError::of)?;
        Ok(if made { Completion::Done } else { Completion::Taken })
    }

    fn prepare_now(&self) -> Result<Vec<StoreError>, StoreError> {
        let uploads = self.dir.join(UPLOADS);
        fs::create_dir_all(&uploads).map_err(|error| unable("write", &uploads, error))?;
        let _lock = self.lock()?;
        // Temporary files are made under the lock alone, so whoever made these is dead.
        let names = entries(&self.dir)?.into_iter().map(|(name, _)| name);
        let left = names.filter(|name| name.starts_with(durable::TEMPORARY_PREFIX));
        Ok(left.filter_map(|name| remove(&self.path(&name)).err()).collect())
    }
}

#[async_trait]
impl Objects for FileStore {
    fn url(&self, key: &str) -> String {
        format!("file://{}", self.path(key).display())
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let path = self.path(key);
        self.blocking(move |_| {
            let Some(body) = read_if_there(&path)? else { return Ok(None) };
            let meta = fs::metadata(&path).map_err(|error| unable("read", &path, error))?;
            let tag = tag_of(&body);
            Ok(Some(Object { body, tag, attributes: Attributes::default(), modified: modified(&meta) }))
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let key = key.to_owned();
        self.blocking(move |store| {
            let path = store.path(&key);
            let meta = if_there(fs::metadata(&path)).map_err(|error| unable("read", &path, error))?;
            let Some(meta) = meta else { return Ok(None) };
            let mut build = None;
            for upload in store.uploads_now(&key)?.into_iter().filter(|upload| upload.key == key) {
                let linked = fs::metadata(store.upload_path(&key, &upload.id));
                if linked.is_ok_and(|linked| linked.ino() == meta.ino()) {
                    build = upload.id.parse().ok();
                }
            }
            Ok(Some(Head {
                size: meta.len(),
                tag: state_of(&meta),
                crc64nvme: None,
                build,
                attributes: Attributes::default(),
                modified: modified(&meta),
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
        let path = self.path(key);
        self.blocking(move |_| remove(&path)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |store| {
            let named = entries(&store.dir)?.into_iter().filter(|(name, _)| name.starts_with(&prefix));
            let listed = |(key, meta): (String, Metadata)| Listed { key, size: meta.len(), modified: modified(&meta) };
            Ok(named.map(listed).collect())
        })
        .await
    }

    async fn read(&self, key: &str, tag: &Tag, offset: u64, length: u64) -> Result<Vec<Bytes>, StoreError> {
        let (path, tag) = (self.path(key), tag.clone());
        self.blocking(move |_| {
            let unable = |error| unable("read", &path, error);
            let file = File::open(&path).map_err(unable)?;
            if state_of(&file.metadata().map_err(unable)?) != tag {
                return Err(StoreError::changed(format!("unable to read {}", path.display())));
            }
            let read = || -> io::Result<Vec<u8>> {
                let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            };
            Ok(vec![read().map_err(unable)?.into()])
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
        self.blocking(move |store| store.uploads_now(&prefix)).await
    }

    async fn last_part(&self, upload: &Upload) -> Result<SystemTime, StoreError> {
        // Listed uploads carry the time of their last write already.
        Ok(upload.started)
    }

    async fn begin(&self, key: &str, build: Uuid, _: &Attributes) -> Result<Upload, StoreError> {
        let upload = Upload { key: key.to_owned(), id: build.to_string(), started: SystemTime::now() };
        let path = self.upload_path(&upload.key, &upload.id);
        self.blocking(move |_| {
            let made = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
            made.map_err(|error| unable("write", &path, error))?;
            Ok(upload)
        })
        .await
    }

    async fn send(&self, upload: &Upload, part: PartBody) -> Result<Part, StoreError> {
        let path = self.upload_path(&upload.key, &upload.id);
        self.blocking(move |store| {
            let _writing = store.writes.read().unwrap_or_else(PoisonError::into_inner);
            let write = || OpenOptions::new().write(true).open(&path)?.write_all_at(&part.bytes, part.offset);
            write().map_err(|error| swept_or("write", &path, error))?;
            Ok(Part { number: part.number, tag: String::new(), crc64nvme: part.crc64nvme })
        })
        .await
    }

    async fn complete(&self, upload: &Upload, _: Vec<Part>, size: u64, _: u64) -> Result<Completion, StoreError> {
        let (from, to) = (self.upload_path(&upload.key, &upload.id), self.path(&upload.key));
        self.blocking(move |store| {
            let synced = || -> io::Result<u64> {
                let file = File::open(&from)?;
                file.sync_all()?;
                Ok(file.metadata()?.len())
            };
            let length = synced().map_err(|error| swept_or("write", &from, error))?;
            if length != size {
                let what = format!("unable to write {}: {length} of {size} bytes arrived", from.display());
                return Err(StoreError::unavailable(what));
            }
            store.publish_now(&from, &to)
        })
        .await
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
        let path = self.upload_path(key, &build.to_string());
        self.blocking(move |_| remove(&path)).await
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
fn state_of(meta: &Metadata) -> Tag {
    Tag(format!("{}-{}-{}.{}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

fn modified(meta: &Metadata) -> SystemTime {
    meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    if_there(fs::read(path)).map_err(|error| unable("read", path, error))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    if_there(fs::remove_file(path)).map(drop).map_err(|error| unable("remove", path, error))
}

/// Plain files of a directory with a UTF-8 name; an absent directory has none.
fn entries(dir: &Path) -> Result<Vec<(String, Metadata)>, StoreError> {
    let found = if_there(fs::read_dir(dir)).map_err(|error| unable("read", dir, error))?;
    let Some(found) = found else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for entry in found {
        let entry = entry.map_err(|error| unable("read", dir, error))?;
        // Another process may remove a file between its name being listed and asked for.
        if let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata())
            && meta.is_file()
        {
            entries.push((name, meta));
        }
    }
    Ok(entries)
}

fn swept_or(verb: &str, path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound => StoreError::swept(format!("unable to {verb} {}", path.display())),
        _ => unable(verb, path, error),
    }
}

fn unable(verb: &str, path: &Path, error: io::Error) -> StoreError {
    StoreError::of(Failure::io(format!("unable to {verb} {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, FileStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::new(dir.path().to_owned(), Duration::from_secs(30));
        store.prepare_now().unwrap();
        (dir, store)
    }

    #[test]
    fn an_upload_swept_at_the_last_moment_is_known_as_that() {
        let (_dir, store) = store();
        let (from, to) = (store.upload_path("a-1.tar", "x"), store.path("a-1.tar"));
        let swept = store.publish_now(&from, &to).unwrap_err();
        assert!(matches!(swept, StoreError::Swept(_)), "{swept:?}");
        assert!(Failure::from(swept).is_temporary(), "the next build may succeed");
        fs::write(&from, "x").unwrap();
        assert_eq!(store.publish_now(&from, &to).unwrap(), Completion::Done);
        assert_eq!(store.publish_now(&from, &to).unwrap(), Completion::Taken);
    }

    #[tokio::test]
    async fn an_object_replaced_between_two_reads_is_known_as_that() {
        let (_dir, store) = store();
        fs::write(store.path("a-1.tar"), "one").unwrap();
        let seen = store.head("a-1.tar").await.unwrap().unwrap();
        assert_eq!(store.read("a-1.tar", &seen.tag, 1, 2).await.unwrap(), ["ne"]);
        fs::write(store.path("new"), "two").unwrap();
        fs::rename(store.path("new"), store.path("a-1.tar")).unwrap();
        let changed = store.read("a-1.tar", &seen.tag, 1, 2).await.unwrap_err();
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
        let _lock = held.lock().unwrap();
        let store = FileStore::new(held.dir.clone(), Duration::ZERO);
        let plain = Attributes::default();
        let unavailable = store.put("a", b"", Condition::Absent, &plain).await.unwrap_err();
        assert!(matches!(unavailable, StoreError::Unavailable(_)), "{unavailable:?}");
    }
}
