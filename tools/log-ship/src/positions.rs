//! What is remembered of every file, and the two slots in which it is kept on disk.

use crate::contents::Mark;
use crate::hours::Hours;
use durable::{Dir, Lock, Slots, Version};
use failure::Failure;
use records::FileId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::UNIX_EPOCH;

/// Everything that is remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    #[serde(default)]
    pub(crate) version: Version<1>,
    /// When log-ship was first started here, in nanoseconds since 1970: files made later are never too old to be shipped.
    pub(crate) since: u64,
    /// Where everything that is acknowledged was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// In which cluster that is: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// The files.
    pub(crate) files: Vec<Remembered>,
}

/// One file, or one stream from stdin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Its id, random.
    #[serde(with = "file_id")]
    pub(crate) id: FileId,
    /// The name under which it was first seen.
    pub(crate) path: PathBuf,
    /// Where it was last seen.
    pub(crate) place: PathBuf,
    /// The pattern that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<String>,
    pub(crate) inode: u64,
    pub(crate) born: u64,
    /// Everything before this offset is acknowledged.
    pub(crate) acked: u64,
    /// Nothing from this offset on has ever been sent.
    pub(crate) sent: u64,
    /// Largest size seen.
    pub(crate) seen: u64,
    /// First bytes.
    #[serde(with = "bytes")]
    pub(crate) head: Vec<u8>,
    /// The bytes before an acknowledged offset.
    pub(crate) mark: Mark,
    /// A record ends here although no line does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cut: Option<u64>,
    /// What was read last had been written by then, in milliseconds since 1970.
    #[serde(default)]
    pub(crate) written: i64,
    /// When its lines were first read.
    pub(crate) hours: Hours,
}

/// The state directory, held by one process at a time.
#[derive(Debug)]
pub(crate) struct Positions {
    writer: Writer,
    dir: Dir,
    spool: Dir,
    _lock: Lock,
}

/// Writes on a thread of its own: the wait for the disk holds up no line.
#[derive(Debug)]
struct Writer {
    /// `None` when it ends.
    memories: Option<Sender<Memory>>,
    outcomes: Receiver<Result<(), Failure>>,
    thread: Option<JoinHandle<()>>,
}

impl Positions {
    /// Opens the directory, or makes it.
    ///
    /// # Errors
    /// Another log-ship holds it (temporary), it can't be made, or what it holds can't be read.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Option<Memory>), Failure> {
        let dir = Dir::make(dir)?;
        let spool = dir.child("spool")?;
        let Some(lock) = dir.try_lock("lock")? else {
            return Err(Failure::temporary(format!("another log-ship holds {}", dir.path().display())));
        };
        let (slots, payload) = Slots::open(&dir, "positions")?;
        let memory = payload.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(|error| {
            Failure::permanent(format!("unable to read {}: {error}", dir.path().join("positions").display()))
        })?;
        Ok((Self { writer: Writer::start(slots)?, dir, spool, _lock: lock }, memory))
    }

    /// Begins to write everything down: there is one outcome for each call.
    pub(crate) fn save(&self, memory: Memory) {
        if let Some(memories) = &self.writer.memories {
            // Without a writer, the outcome says so.
            let _ = memories.send(memory);
        }
    }

    /// Whether it is on disk, once that is known.
    pub(crate) fn outcome(&self) -> Option<Result<(), Failure>> {
        match self.writer.outcomes.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(no_writer())),
        }
    }

    /// Waits until that is known.
    ///
    /// # Errors
    /// The disk did not take it.
    pub(crate) fn wait(&self) -> Result<(), Failure> {
        self.writer.outcomes.recv().unwrap_or_else(|_| Err(no_writer()))
    }

    /// What a file made right now would be stamped with, in nanoseconds since 1970: the kernel's clock for that runs in
    /// steps, so it is asked by making one.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn file_time(&self) -> Result<u64, Failure> {
        const CLOCK: &str = "clock";
        self.dir.remove(CLOCK)?;
        let stamp = self.dir.new_file(CLOCK, 0o600).and_then(|file| file.metadata()?.modified());
        let time = stamp.map_err(|error| self.dir.failed("make", CLOCK, error))?;
        self.dir.remove(CLOCK)?;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Where streams from stdin are kept.
    pub(crate) fn spool(&self) -> &Dir {
        &self.spool
    }
}

impl Writer {
    fn start(mut slots: Slots) -> Result<Self, Failure> {
        let (memories, orders) = channel::<Memory>();
        let (told, outcomes) = channel();
        let mut buffer = Vec::new();
        let work = move || {
            for memory in orders {
                buffer.clear();
                let written = serde_json::to_writer(&mut buffer, &memory);
                let outcome = written.map_err(|error| Failure::permanent(error.to_string()));
                if told.send(outcome.and_then(|()| slots.save(&buffer))).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("positions".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Failure::io("unable to start a thread", error))?;
        Ok(Self { memories: Some(memories), outcomes, thread: Some(thread) })
    }
}

impl Drop for Writer {
    /// What was begun is written, and only then may another process have the directory.
    fn drop(&mut self) {
        self.memories = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

fn no_writer() -> Failure {
    Failure::permanent("unable to save positions: their thread has ended")
}

mod file_id {
    use records::FileId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &FileId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<FileId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut hours = Hours::default();
        hours.mark(0, 7 * 3_600_000);
        let file = Remembered {
            id: FileId(0xabc),
            path: "/a".into(),
            place: "/b".into(),
            asked: Some("/*".into()),
            inode: 1,
            born: 2,
            acked: 3,
            sent: 4,
            seen: 5,
            head: b"\x00head\xff".to_vec(),
            mark: Mark::of(3, b"abc"),
            cut: None,
            written: 6,
            hours,
        };
        let (positions, none) = Positions::open(dir.path()).unwrap();
        assert!(none.is_none());
        let (topic, cluster) = (Some("t".to_owned()), Some("c".to_owned()));
        let files = vec![file.clone()];
        positions.save(Memory { version: Version, since: 9, topic: topic.clone(), cluster: cluster.clone(), files });
        positions.wait().unwrap();
        assert!(Positions::open(dir.path()).unwrap_err().is_temporary());
        drop(positions);
        let (_, memory) = Positions::open(dir.path()).unwrap();
        let memory = memory.unwrap();
        assert_eq!((memory.since, memory.topic, memory.cluster, memory.files), (9, topic, cluster, vec![file]));
    }

    #[test]
    fn state_of_a_later_version() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = Slots::open(&Dir::open(dir.path()).unwrap(), "positions").unwrap().0;
        slots.save(br#"{"version":2,"since":9,"files":[]}"#).unwrap();
        let failure = Positions::open(dir.path()).unwrap_err();
        let words = "positions: another version wrote it (format 2, this one knows up to 1)";
        assert!(failure.to_string().contains(words) && !failure.is_temporary(), "{failure}");
    }

    /// What earlier versions wrote: it belongs to no topic and no cluster yet, and no file knows its pattern.
    #[test]
    fn state_of_an_earlier_version() {
        let file = r#"{"id":"0000000000000abc","path":"/a","place":"/a","inode":1,"born":2,"acked":3,"sent":4,"seen":5,
            "head":"","mark":{"at":3,"length":0,"crc":0},"hours":[]}"#;
        let memory: Memory = serde_json::from_str(&format!(r#"{{"since":9,"files":[{file}]}}"#)).unwrap();
        assert_eq!((memory.topic, memory.cluster), (None, None));
        assert_eq!((memory.files[0].asked.as_deref(), memory.files[0].acked), (None, 3));
    }
}
