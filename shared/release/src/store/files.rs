//! A store in a directory: the same promises as on S3, for any number of processes on one host.
//!
//! Objects are plain files, as the original scripts lay them. Two hidden names are ours: `.lock`, held for the few
//! milliseconds of a write, and `.uploads/<key>.<build>`, the growing archive of a build. A complete archive is a second
//! hard link to its upload, so that the upload's name goes on telling whose archive it is until its record is sealed.

use super::{Attributes, Completion, Condition, Head, Listed, Object, Part, PartBody, Put, Store, Tag, Upload};
use crate::record::{hex, sha256};
use async_trait::async_trait;
use bytes::Bytes;
use durable::Lock;
use failure::Failure;
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
pub(super) struct FileStore {
    dir: PathBuf,
    lock_limit: Duration,
    /// Held by every write to an upload: one that was given up goes on, and its bytes take room although their name is gone.
    writes: Arc<RwLock<()>>,
}

impl FileStore {
    pub(super) fn new(dir: PathBuf, lock_limit: Duration) -> Self {
        Self { dir, lock_limit, writes: Arc::default() }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key)
    }

    fn upload_path(&self, key: &str, id: &str) -> PathBuf {
        self.dir.join(UPLOADS).join(format!("{key}.{id}"))
    }

    fn lock(&self) -> Result<Lock, Failure> {
        Lock::acquire(&self.dir.join(LOCK), self.lock_limit)
    }

    /// Runs file work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || work(store)).await;
        done.map_err(|error| Failure::temporary(format!("file work was given up: {error}")))?
    }

    fn put_now(&self, key: &str, body: &[u8], when: Option<&Tag>) -> Result<Put, Failure> {
        let path = self.path(key);
        let _lock = self.lock()?;
        let written = match when {
            None => durable::create(&path, body)?,
            Some(tag) => {
                let current = read_if_there(&path)?;
                let holds = current.is_some_and(|current| tag_of(&current) == *tag);
                if holds {
                    durable::replace(&path, body)?;
                }
                holds
            }
        };
        Ok(if written { Put::Done(tag_of(body)) } else { Put::Refused })
    }

    fn uploads_now(&self, prefix: &str) -> Result<Vec<Upload>, Failure> {
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

    /// Leaves an upload that is complete: its name proves whose archive it is, until [`Store::settled`].
    fn abort_now(&self, upload: &Upload) -> Result<(), Failure> {
        let path = self.upload_path(&upload.key, &upload.id);
        let _lock = self.lock()?;
        let inode = |path: &Path| fs::metadata(path).map(|meta| meta.ino()).ok();
        let complete = inode(&path).is_some() && inode(&path) == inode(&self.path(&upload.key));
        if complete { Ok(()) } else { remove(&path) }
    }

    /// Gives a complete upload the name it is for. A sweep may have taken it up to the moment that the lock is ours.
    fn publish_now(&self, from: &Path, to: &Path) -> Result<Completion, Failure> {
        let _lock = self.lock()?;
        fs::metadata(from).map_err(|error| swept_or("write", from, error))?;
        Ok(if durable::create_from(from, to)? { Completion::Done } else { Completion::Taken })
    }

    fn prepare_now(&self) -> Result<Vec<Failure>, Failure> {
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
impl Store for FileStore {
    fn url(&self, key: &str) -> String {
        format!("file://{}", self.path(key).display())
    }

    fn has_attributes(&self) -> bool {
        false
    }

    /// A link under the same lock as every other write.
    fn completes_apart(&self) -> bool {
        false
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let path = self.path(key);
        self.blocking(move |_| {
            let Some(body) = read_if_there(&path)? else { return Ok(None) };
            let meta = fs::metadata(&path).map_err(|error| unable("read", &path, error))?;
            let tag = tag_of(&body);
            Ok(Some(Object { body, tag, attributes: Attributes::default(), modified: modified(&meta) }))
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, Failure> {
        let key = key.to_owned();
        self.blocking(move |store| {
            let path = store.path(&key);
            let meta = match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unable("read", &path, error)),
            };
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

    async fn put(&self, key: &str, body: &[u8], when: Condition<'_>, _: &Attributes) -> Result<Put, Failure> {
        let (key, body) = (key.to_owned(), body.to_vec());
        let when = match when {
            Condition::Absent => None,
            Condition::Unchanged(tag) => Some(tag.clone()),
        };
        self.blocking(move |store| store.put_now(&key, &body, when.as_ref())).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let path = self.path(key);
        self.blocking(move |_| remove(&path)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let prefix = prefix.to_owned();
        self.blocking(move |store| {
            let named = entries(&store.dir)?.into_iter().filter(|(name, _)| name.starts_with(&prefix));
            let listed = |(key, meta): (String, Metadata)| Listed { key, size: meta.len(), modified: modified(&meta) };
            Ok(named.map(listed).collect())
        })
        .await
    }

    async fn read(&self, key: &str, tag: &Tag, offset: u64, length: u64) -> Result<Vec<Bytes>, Failure> {
        let (path, tag) = (self.path(key), tag.clone());
        self.blocking(move |_| {
            let read = || -> io::Result<Vec<u8>> {
                let file = File::open(&path)?;
                if state_of(&file.metadata()?) != tag {
                    return Err(io::Error::other("it was replaced while it was read"));
                }
                let size = usize::try_from(length).map_err(io::Error::other)?;
                let mut bytes = vec![0; size];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            };
            read().map(|bytes| vec![bytes.into()]).map_err(|error| unable("read", &path, error))
        })
        .await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Failure> {
        let prefix = prefix.to_owned();
        self.blocking(move |store| store.uploads_now(&prefix)).await
    }

    async fn last_part(&self, upload: &Upload) -> Result<SystemTime, Failure> {
        // Listed uploads carry the time of their last write already.
        Ok(upload.started)
    }

    async fn begin(&self, key: &str, build: Uuid, _: &Attributes) -> Result<Upload, Failure> {
        let upload = Upload { key: key.to_owned(), id: build.to_string(), started: SystemTime::now() };
        let path = self.upload_path(&upload.key, &upload.id);
        self.blocking(move |_| {
            let made = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
            made.map_err(|error| unable("write", &path, error))?;
            Ok(upload)
        })
        .await
    }

    async fn send(&self, upload: &Upload, part: PartBody) -> Result<Part, Failure> {
        let path = self.upload_path(&upload.key, &upload.id);
        self.blocking(move |store| {
            let _writing = store.writes.read().unwrap_or_else(PoisonError::into_inner);
            let write = || OpenOptions::new().write(true).open(&path)?.write_all_at(&part.bytes, part.offset);
            write().map_err(|error| swept_or("write", &path, error))?;
            Ok(Part { number: part.number, tag: String::new(), crc64nvme: part.crc64nvme })
        })
        .await
    }

    async fn complete(&self, upload: &Upload, _: Vec<Part>, size: u64, _: u64) -> Result<Completion, Failure> {
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
                return Err(Failure::temporary(what));
            }
            store.publish_now(&from, &to)
        })
        .await
    }

    async fn abort(&self, upload: &Upload) -> Result<(), Failure> {
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
    ) -> Result<Completion, Failure> {
        let size = body.bytes.len() as u64;
        let crc64nvme = body.crc64nvme;
        let upload = self.begin(key, build, attributes).await?;
        let part = self.send(&upload, body).await?;
        self.complete(&upload, vec![part], size, crc64nvme).await
    }

    async fn settled(&self, key: &str, build: Uuid) -> Result<(), Failure> {
        let path = self.upload_path(key, &build.to_string());
        self.blocking(move |_| remove(&path)).await
    }

    async fn prepare(&self) -> Result<Vec<Failure>, Failure> {
        self.blocking(|store| store.prepare_now()).await
    }
}

/// Small objects are told apart by their content, so that the tag says the same to whoever reads it.
fn tag_of(body: &[u8]) -> Tag {
    Tag(hex(&sha256(body)))
}

/// Archives are written once; inode, length and time tell one from a later one without reading it.
fn state_of(meta: &Metadata) -> Tag {
    Tag(format!("{}-{}-{}.{}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

fn modified(meta: &Metadata) -> SystemTime {
    meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unable("read", path, error)),
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unable("remove", path, error)),
        _ => Ok(()),
    }
}

/// Plain files of a directory with a UTF-8 name; an absent directory has none.
fn entries(dir: &Path) -> Result<Vec<(String, Metadata)>, Failure> {
    let found = match fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unable("read", dir, error)),
    };
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

/// An upload that is gone was swept: the build is over, a new one may succeed.
fn swept_or(verb: &str, path: &Path, error: io::Error) -> Failure {
    if error.kind() == ErrorKind::NotFound {
        return Failure::temporary(format!("unable to {verb} {}: another build swept this upload", path.display()));
    }
    unable(verb, path, error)
}

fn unable(verb: &str, path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("unable to {verb} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_swept_at_the_last_moment_is_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::new(dir.path().to_owned(), Duration::from_secs(30));
        store.prepare_now().unwrap();
        let (from, to) = (store.upload_path("a-1.tar", "x"), store.path("a-1.tar"));
        let failure = store.publish_now(&from, &to).unwrap_err();
        assert!(failure.is_temporary() && failure.to_string().contains("swept"), "{failure}");
        fs::write(&from, "x").unwrap();
        assert_eq!(store.publish_now(&from, &to).unwrap(), Completion::Done);
        assert_eq!(store.publish_now(&from, &to).unwrap(), Completion::Taken);
    }
}
