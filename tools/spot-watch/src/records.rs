//! The directory in which spot-watch remembers what it has done, and what it could not deliver.

use crate::answer::reclaim::Reclaim;
use durable::Lock;
use failure::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// A disk that takes longer must not hold capacity up.
const LONGEST_WRITE: Duration = Duration::from_secs(1);
/// Messages kept for a webhook that is not there.
const MOST_MESSAGES: usize = 100;

/// What is remembered, each in a file of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record {
    /// The answer to a notice.
    Reclaim,
    /// The answer to an end that the instance's own group brings about.
    Departure,
}

/// The directory, held by one process at a time; or nothing, for a run that changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    dir: Option<PathBuf>,
    /// One write after the other: a newer state is never overtaken by an older one.
    turn: Arc<Mutex<()>>,
    /// The reclaim that is being answered: what is still noted of an earlier one must not take its place.
    answering: Arc<std::sync::Mutex<Option<String>>>,
    /// Something was written down and can't be read.
    unreadable: Arc<AtomicBool>,
    _lock: Arc<Option<Lock>>,
}

impl Records {
    /// Remembers nothing.
    pub(crate) fn none() -> Self {
        Self::of(None, None)
    }

    /// The directory, unless another process holds it.
    ///
    /// # Errors
    /// It can't be made or written.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>, Failure> {
        let unable = |error| Failure::io(format!("unable to make {}", dir.display()), error);
        fs::create_dir_all(dir.join("unsent")).map_err(unable)?;
        let Some(lock) = Lock::try_acquire(&dir.join("lock"))? else { return Ok(None) };
        Ok(Some(Self::of(Some(dir.to_owned()), Some(lock))))
    }

    fn of(dir: Option<PathBuf>, lock: Option<Lock>) -> Self {
        Self { dir, turn: Arc::default(), answering: Arc::default(), unreadable: Arc::default(), _lock: Arc::new(lock) }
    }

    /// From now on, of all reclaims this one is written down.
    pub(crate) fn answer(&self, id: &str) {
        *self.answering.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
    }

    fn is_over(&self, record: Record, id: &str) -> bool {
        let answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(record, Record::Reclaim) && answering.as_deref() != Some(id)
    }

    /// Whether what earlier runs did is known.
    pub(crate) fn know_the_past(&self) -> bool {
        self.dir.is_some() && !self.unreadable.load(Ordering::Relaxed)
    }

    /// What was last written down.
    ///
    /// # Errors
    /// There is something and it can't be read.
    pub(crate) fn load(&self, record: Record) -> Result<Option<Reclaim>, Failure> {
        let Some(path) = self.path(record) else { return Ok(None) };
        let loaded = read(&path);
        self.unreadable.fetch_or(loaded.is_err(), Ordering::Relaxed);
        loaded
    }

    /// Writes something down, so that it survives a power cut.
    ///
    /// # Errors
    /// The disk did not take it, or not within a second.
    pub(crate) async fn save(&self, record: Record, reclaim: &Reclaim) -> Result<(), Failure> {
        let Some(path) = self.path(record) else { return Ok(()) };
        let bytes = serde_json::to_vec(reclaim).map_err(|error| Failure::permanent(error.to_string()))?;
        let turn = Arc::clone(&self.turn).lock_owned();
        let shown = path.display().to_string();
        let write = async move {
            let turn = turn.await;
            if self.is_over(record, &reclaim.id) {
                return Ok(());
            }
            let written = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                durable::replace(&path, &bytes)
            });
            written.await.unwrap_or_else(|error| Err(Failure::temporary(error.to_string())))
        };
        let late = || Failure::temporary(format!("unable to write {shown}: the disk takes longer than a second"));
        tokio::time::timeout(LONGEST_WRITE, write).await.unwrap_or_else(|_| Err(late()))
    }

    /// Begins to keep a message until it is delivered, without waiting for the disk; comes to nothing where it can't be kept.
    pub(crate) fn keep(&self, name: &str, message: &[u8]) -> JoinHandle<Option<PathBuf>> {
        let (records, message) = (self.clone(), message.to_owned());
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        tokio::task::spawn_blocking(move || {
            let path = records.dir.as_ref()?.join("unsent").join(format!("{name}.json"));
            let room = records.unsent().len() < MOST_MESSAGES;
            (room && durable::replace_private(&path, &message).is_ok()).then_some(path)
        })
    }

    /// The messages that wait for delivery, oldest first.
    pub(crate) fn unsent(&self) -> Vec<PathBuf> {
        let Some(dir) = &self.dir else { return Vec::new() };
        let entries = fs::read_dir(dir.join("unsent")).into_iter().flatten().flatten();
        let files =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "json"));
        let mut files: Vec<_> =
            files.map(|path| (path.metadata().and_then(|meta| meta.modified()).ok(), path)).collect();
        files.sort();
        files.into_iter().map(|(_, path)| path).collect()
    }

    fn path(&self, record: Record) -> Option<PathBuf> {
        let name = match record {
            Record::Reclaim => "reclaim.json",
            Record::Departure => "departure.json",
        };
        self.dir.as_ref().map(|dir| dir.join(name))
    }
}

fn read(path: &Path) -> Result<Option<Reclaim>, Failure> {
    let read = durable::if_there(fs::read(path));
    let read = read.map_err(|error| Failure::io(format!("unable to read {}", path.display()), error))?;
    let Some(bytes) = read else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| Failure::permanent(format!("unable to read {}: {error}", path.display())))
}
