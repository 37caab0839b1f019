//! The directory in which spot-watch remembers what it has done, and what it could not deliver.

use crate::answer::reclaim::Reclaim;
use durable::{Dir, Lock};
use failure::Failure;
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// A disk that takes longer must not hold capacity up.
const LONGEST_WRITE: Duration = Duration::from_secs(1);
/// Messages kept for a webhook that is not there.
const MOST_MESSAGES: usize = 100;
/// Bytes of the longest record or message that is read.
const LONGEST: u64 = 16 << 20;

/// What is remembered, each in a file of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record {
    /// The answer to a notice.
    Reclaim,
    /// The answer to an end that the instance's own group brings about.
    Departure,
}

#[derive(Clone, Debug)]
struct Dirs {
    state: Dir,
    unsent: Dir,
}

/// The directory, held by one process at a time; or nothing, for a run that changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    dirs: Option<Dirs>,
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
        let state = Dir::make(dir)?;
        let unsent = state.child("unsent")?;
        let Some(lock) = state.try_lock("lock")? else { return Ok(None) };
        Ok(Some(Self::of(Some(Dirs { state, unsent }), Some(lock))))
    }

    fn of(dirs: Option<Dirs>, lock: Option<Lock>) -> Self {
        Self {
            dirs,
            turn: Arc::default(),
            answering: Arc::default(),
            unreadable: Arc::default(),
            _lock: Arc::new(lock),
        }
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
        self.dirs.is_some() && !self.unreadable.load(Ordering::Relaxed)
    }

    /// What was last written down.
    ///
    /// # Errors
    /// There is something and it can't be read.
    pub(crate) fn load(&self, record: Record) -> Result<Option<Reclaim>, Failure> {
        let Some(dirs) = &self.dirs else { return Ok(None) };
        let loaded = read(&dirs.state, record.name());
        self.unreadable.fetch_or(loaded.is_err(), Ordering::Relaxed);
        loaded
    }

    /// Writes something down, so that it survives a power cut.
    ///
    /// # Errors
    /// The disk did not take it, or not within a second.
    pub(crate) async fn save(&self, record: Record, reclaim: &Reclaim) -> Result<(), Failure> {
        let Some(Dirs { state, .. }) = self.dirs.clone() else { return Ok(()) };
        let bytes = serde_json::to_vec(reclaim).map_err(|error| Failure::permanent(error.to_string()))?;
        let turn = Arc::clone(&self.turn).lock_owned();
        let shown = state.path().join(record.name()).display().to_string();
        let write = async move {
            let turn = turn.await;
            if self.is_over(record, &reclaim.id) {
                return Ok(());
            }
            let written = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                state.replace(record.name(), &bytes)
            });
            written.await.unwrap_or_else(|error| Err(Failure::temporary(error.to_string())))
        };
        let late = || Failure::temporary(format!("unable to write {shown}: the disk takes longer than a second"));
        tokio::time::timeout(LONGEST_WRITE, write).await.unwrap_or_else(|_| Err(late()))
    }

    /// Begins to keep a message until it is delivered, without waiting for the disk; comes to nothing where it can't be kept.
    pub(crate) fn keep(&self, name: &str, message: &[u8]) -> JoinHandle<Option<OsString>> {
        let (records, message) = (self.clone(), message.to_owned());
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        tokio::task::spawn_blocking(move || {
            let unsent = &records.dirs.as_ref()?.unsent;
            let name = OsString::from(format!("{name}.json"));
            let room = records.unsent().len() < MOST_MESSAGES;
            (room && unsent.replace_private(&name, &message).is_ok()).then_some(name)
        })
    }

    /// The names of the messages that wait for delivery.
    fn unsent(&self) -> Vec<OsString> {
        let names = self.dirs.as_ref().and_then(|Dirs { unsent, .. }| unsent.names().ok()).unwrap_or_default();
        names.into_iter().filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "json")).collect()
    }

    /// The messages that wait for delivery, in the order in which what they tell of happened. The files' own times do not
    /// show it: the clock of a file system ticks slowly, and two are written at the same moment.
    pub(crate) fn messages(&self) -> Vec<(OsString, Vec<u8>)> {
        let Some(Dirs { unsent, .. }) = &self.dirs else { return Vec::new() };
        // What is no file, such as a link that somebody else has put there, is none.
        let read = |name: OsString| unsent.read(&name, LONGEST).ok().flatten().map(|message| (name, message));
        let mut messages: Vec<_> = self.unsent().into_iter().filter_map(read).collect();
        messages.sort_by_cached_key(|(_, message)| happened(message));
        messages
    }

    /// A message needs no more delivery.
    pub(crate) fn forget(&self, name: &OsStr) {
        if let Some(Dirs { unsent, .. }) = &self.dirs {
            // If it stays, it is sent once more, which a reader sees by its notice_id.
            let _ = unsent.remove(name);
        }
    }
}

/// What of a message shows when that happened which it tells of.
#[derive(Default, Deserialize)]
struct Told {
    /// RFC 3339 in UTC with three digits of a second: its order is that of time.
    time: String,
    event: String,
}

/// Nothing of a notice comes after its `done`.
fn happened(message: &[u8]) -> (String, bool) {
    let Told { time, event } = serde_json::from_slice(message).unwrap_or_default();
    (time, event == "done")
}

impl Record {
    fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaim.json",
            Self::Departure => "departure.json",
        }
    }
}

fn read(dir: &Dir, name: &str) -> Result<Option<Reclaim>, Failure> {
    let Some(bytes) = dir.read(name, LONGEST)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    let path = dir.path().join(name);
    parsed.map(Some).map_err(|error| Failure::permanent(format!("unable to read {}: {error}", path.display())))
}
