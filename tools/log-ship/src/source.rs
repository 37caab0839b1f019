//! One file that is followed, or one stream from stdin: what was read of it, what is acknowledged, and what comes next.

mod ends;
mod held;
mod turn;

pub(crate) use turn::{Desk, Turn};

use crate::contents::Mark;
use crate::positions::Remembered;
use crate::sender::{Settled, for_good};
use crate::trail::Trail;
use rdkafka::error::RDKafkaErrorCode as Code;
use records::FileId;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes before the position that are compared at each read.
const OVERLAP: usize = 64;

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Under a name that was asked for.
    Wanted,
    /// Under another name in the folder.
    Renamed,
    /// Under no name there.
    Gone,
    /// It is a stream from stdin.
    Stream,
}

/// Whether what is remembered of a source on disk covers what is sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// It has to be saved first.
    None,
    /// It is being saved.
    Underway,
    /// It is on disk.
    Saved,
}

/// How far the writer of a stream has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// So many bytes are on disk.
    pub(crate) synced: AtomicU64,
    /// There will be no more.
    pub(crate) ended: AtomicBool,
    /// What ended it, if that was not its writer.
    pub(crate) broken: Mutex<Option<io::Error>>,
}

/// A file and the way through it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) memory: Remembered,
    pub(crate) file: Option<File>,
    pub(crate) standing: Standing,
    pub(crate) stream: Option<Arc<Progress>>,
    /// Size when last looked at.
    pub(crate) size: u64,
    /// When it was last seen to have grown.
    pub(crate) grown: Instant,
    /// Everything before this offset was handed to the sender.
    pub(crate) read: u64,
    pub(crate) cover: Cover,
    /// Its id and its first bytes are on disk.
    pub(crate) known: bool,
    /// Lines that the sender has not settled.
    pub(crate) waiting: usize,
    /// What it held has been replaced under it.
    pub(crate) rewritten: bool,
    /// It goes on in a copy that was made before all of this was read: `read` lies beyond its end.
    pub(crate) ahead: bool,
    /// The bytes before `read`.
    tail: Vec<u8>,
    /// What stood before earlier offsets, to know a shorter copy.
    trail: Trail,
    /// Up to here nothing more can be taken for now.
    stuck: u64,
    /// After the last newline of what could not be taken.
    whole: u64,
    /// In a line that is too long.
    skipping: bool,
    /// Nothing before this offset is surely new: it may have been sent before, without an acknowledgement.
    pub(crate) resent: u64,
    marks: VecDeque<Mark>,
    /// A line was not taken, and why.
    refused: Option<Code>,
    /// After a pause, at the earliest.
    not_before: Option<Instant>,
    /// Up to here lines are sent one by one, to find the one that is refused.
    single: u64,
    /// The record that ends here is the one.
    condemned: Option<u64>,
    /// Ranges of a stream that its disk has damaged: passed over.
    pub(crate) lost: Vec<Range<u64>>,
    prefix: String,
    path: String,
}

impl Source {
    /// At the position that is remembered.
    pub(crate) fn new(memory: Remembered, file: Option<File>, standing: Standing, host: &str) -> Self {
        let prefix = format!("{host}/{}/", memory.id);
        // What was not there yet was not sent either.
        let size = file.as_ref().and_then(|file| file.metadata().ok()).map_or(u64::MAX, |meta| meta.len());
        let path = memory.path.to_string_lossy().into_owned();
        let mut source = Self {
            read: memory.acked,
            size: memory.acked,
            resent: memory.sent.min(size),
            cover: Cover::None,
            known: false,
            stuck: memory.acked,
            whole: memory.acked,
            memory,
            file,
            standing,
            stream: None,
            grown: Instant::now(),
            waiting: 0,
            rewritten: false,
            ahead: false,
            tail: Vec::new(),
            trail: Trail::default(),
            skipping: false,
            marks: VecDeque::new(),
            refused: None,
            not_before: None,
            single: 0,
            condemned: None,
            lost: Vec::new(),
            prefix,
            path,
        };
        source.recall();
        source
    }

    /// Takes the size that the file has now.
    pub(crate) fn saw(&mut self, size: u64) {
        if size > self.size {
            self.grown = Instant::now();
        }
        self.size = size;
    }

    /// Whether its file has no name any more.
    pub(crate) fn is_deleted(&self) -> bool {
        self.file.as_ref().and_then(|file| file.metadata().ok()).is_some_and(|meta| meta.nlink() == 0)
    }

    /// Asks the open file for its size. It counts as seen only if the file is still the one that was read: of a file that
    /// was rewritten, nothing more than was there can have been destroyed.
    pub(crate) fn look(&mut self) {
        if let Some(stream) = &self.stream {
            let synced = stream.synced.load(Ordering::Acquire);
            self.memory.seen = self.memory.seen.max(synced);
            return self.saw(synced);
        }
        // The size first: what is compared after it was there when it was that size.
        let Some(Ok(meta)) = self.file.as_ref().map(File::metadata) else { return };
        self.saw(meta.len());
        if self.ahead || self.rewritten || self.size == self.memory.seen.max(self.read) {
            return;
        }
        match self.learn().and_then(|same| Ok(same && self.is_same()?)) {
            Ok(true) => self.memory.seen = self.memory.seen.max(self.size),
            Ok(false) => self.rewritten = true,
            // Told when it is read.
            Err(_) => {}
        }
    }

    /// Whether there may be something to send.
    pub(crate) fn is_ready(&self) -> bool {
        let limit = self.memory.cut.filter(|cut| *cut > self.read).unwrap_or(self.size);
        let paused = self.not_before.is_some_and(|then| Instant::now() < then);
        let lone = self.is_lone();
        let more = limit > self.stuck || (self.memory.cut == Some(limit) && limit > self.read);
        (more || self.size < self.read)
            && !self.ahead
            && self.refused.is_none()
            && !paused
            && !lone
            && self.file.is_some()
    }

    /// Takes what became of a line of this source.
    pub(crate) fn settle(&mut self, settled: &Settled) {
        self.waiting = self.waiting.saturating_sub(1);
        let alone = settled.end <= self.single;
        if settled.error.is_some_and(for_good) {
            self.single = self.single.max(settled.end);
        }
        if self.refused.is_none() {
            match settled.error {
                None => {
                    // Beyond the end of a copy that is shorter, nothing is read again.
                    let end = settled.end.min(self.read);
                    self.memory.acked =
                        Some(self.behind_lost(end)).filter(|behind| *behind <= self.read).unwrap_or(end);
                    while let Some(mark) = self.marks.front().filter(|mark| mark.at <= settled.end) {
                        self.memory.mark = *mark;
                        self.marks.pop_front();
                    }
                    if self.memory.cut.is_some_and(|cut| cut <= settled.end) {
                        self.memory.cut = None;
                    }
                }
                Some(code) => {
                    if for_good(code) && alone {
                        self.condemned = Some(settled.end);
                    }
                    self.refused = Some(code);
                }
            }
        }
    }

    /// Where it goes on at `offset`: behind what is lost there.
    fn behind_lost(&self, offset: u64) -> u64 {
        self.lost.iter().find(|lost| lost.contains(&offset)).map_or(offset, |lost| lost.end)
    }

    /// Passes over what is lost at the position.
    fn pass_lost(&mut self) {
        let behind = self.behind_lost(self.read);
        if behind > self.read {
            if self.waiting == 0 && self.memory.acked == self.read {
                self.memory.acked = behind;
            }
            (self.read, self.stuck, self.whole) = (behind, behind, behind);
        }
    }

    /// Goes back to what is acknowledged, once everything after it is settled; tells the reason.
    pub(crate) fn go_back(&mut self, pause: Duration) -> Option<Code> {
        if self.waiting > 0 {
            return None;
        }
        let code = self.refused.take()?;
        // What has been sent keeps its hour.
        self.resent = self.resent.max(self.read);
        self.read = self.memory.acked;
        self.stuck = self.read;
        self.whole = self.read;
        self.skipping = false;
        self.marks.clear();
        self.ahead &= self.read == self.size;
        self.recall();
        // What is read again must be what was read before.
        let same = |file: &File| self.memory.mark.holds(file).unwrap_or(true);
        self.rewritten |= !self.ahead && self.stream.is_none() && !self.file.as_ref().is_none_or(same);
        self.not_before = (!for_good(code)).then(|| Instant::now() + pause);
        Some(code)
    }

    /// Whether nothing of it waits for the broker, or has to be sent again.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting == 0 && self.refused.is_none()
    }

    /// Whether all of it is acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting == 0 && self.refused.is_none() && self.memory.acked >= self.size && self.read == self.memory.acked
    }

    /// Whether it is a stream that has come to its end, acknowledged.
    pub(crate) fn is_over(&self) -> bool {
        let ended = self.stream.as_ref().is_some_and(|stream| stream.ended.load(Ordering::Acquire));
        let synced = self.stream.as_ref().map_or(0, |stream| stream.synced.load(Ordering::Acquire));
        ended && self.is_done() && self.memory.acked >= synced
    }

    /// Tries again later; tells whether that is new.
    pub(crate) fn pause(&mut self, pause: Duration) -> bool {
        self.not_before.replace(Instant::now() + pause).is_none()
    }

    /// Whether nothing more can be sent of it for now: what is left has no end yet.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.waiting == 0 && self.refused.is_none() && (self.stuck >= self.size || self.read >= self.size)
    }

    /// Whether a line is under way that has to be alone.
    fn is_lone(&self) -> bool {
        self.memory.acked < self.single && self.waiting > 0
    }

    /// What is remembered of it, for the disk. `reach`: what may be sent until the next time.
    pub(crate) fn remembered(&self, reach: u64) -> Remembered {
        let mut memory = self.memory.clone();
        memory.sent = self.read.max(memory.acked.saturating_add(reach)).max(self.resent);
        memory.hours.forget(memory.acked);
        memory
    }

    /// Number of the source for the sender: a short form of its id.
    pub(crate) fn key(&self) -> u32 {
        key(self.memory.id)
    }
}

/// Number of a file for the sender.
pub(crate) fn key(id: FileId) -> u32 {
    // The low half: no two sources have the same, since ids are drawn so.
    (id.0 & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hours::Hours;

    fn source(acked: u64, sent: u64) -> Source {
        let memory = Remembered {
            id: FileId(1),
            path: "/a".into(),
            place: "/a".into(),
            asked: None,
            inode: 1,
            born: 1,
            acked,
            sent,
            seen: sent,
            head: Vec::new(),
            mark: Mark::default(),
            cut: None,
            hours: Hours::default(),
            written: 0,
        };
        Source::new(memory, None, Standing::Wanted, "h")
    }

    #[test]
    fn what_is_sent_again_needs_no_mark() {
        let mut source = source(300, 300);
        assert!(source.must_mark(11 * 3_600_000));
        source.read = 100;
        assert!(!source.must_mark(11 * 3_600_000));
    }

    #[test]
    fn what_is_remembered_covers_what_may_be_sent() {
        let source = source(100, 300);
        assert_eq!(source.remembered(1000).sent, 1100);
        assert_eq!(source.remembered(u64::MAX).sent, u64::MAX, "a window without end");
        assert_eq!(source.remembered(0).sent, 300, "not sent again yet");
    }
}
