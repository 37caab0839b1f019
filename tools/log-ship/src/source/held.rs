//! What the file of a source held where it was read, by which the file is known again, and so are its copies.

use super::{Cover, OVERLAP, Source, Standing};
use crate::contents::{self, HEAD, Mark};
use std::fs::File;
use std::io;

impl Source {
    /// Learns more of the first bytes of a short file as it grows; false if they have changed.
    pub(super) fn learn(&mut self) -> io::Result<bool> {
        let short = self.memory.head.len() < HEAD && self.size > self.memory.head.len() as u64;
        let Some(file) = self.file.as_ref().filter(|_| short) else { return Ok(true) };
        let head = contents::head(file)?;
        if !head.starts_with(&self.memory.head) {
            return Ok(false);
        }
        // On disk before a line is sent: a file that is rewritten while nobody looks must not be taken for this one.
        if head.len() > self.memory.head.len() {
            self.cover = Cover::None;
        }
        self.memory.head = head;
        Ok(true)
    }

    /// Whether the first bytes and those before the position are still there.
    pub(crate) fn is_same(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let mut bytes = [0; HEAD];
        let mut holds = |known: &[u8], at: u64| -> io::Result<bool> {
            let bytes = &mut bytes[..known.len()];
            Ok(contents::read_at(file, bytes, at)? == known.len() && bytes == known)
        };
        Ok(holds(&self.memory.head, 0)? && holds(&self.tail, self.read - self.tail.len() as u64)?)
    }

    /// Reads the bytes before the position again.
    pub(super) fn recall(&mut self) {
        let length = self.read.min(OVERLAP as u64);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = self.file.as_ref().map(|file| contents::read_at(file, &mut bytes, self.read - length));
        let read = if self.stream.is_some() || self.standing == Standing::Stream { None } else { read };
        self.tail = if matches!(read, Some(Ok(count)) if count as u64 == length) { bytes } else { Vec::new() };
    }

    /// The bytes before the position, to find them in a copy.
    pub(crate) fn tail(&self) -> Mark {
        if self.tail.is_empty() { self.memory.mark } else { Mark::of(self.read, &self.tail) }
    }

    /// What stood before the last known offset that a file of `size` bytes reaches.
    pub(crate) fn mark_within(&self, size: u64) -> Option<Mark> {
        let own = Some(self.memory.mark).filter(|mark| mark.length > 0 && mark.at <= size);
        own.into_iter().chain(self.trail.last_within(size)).max_by_key(|mark| mark.at)
    }

    /// Goes on in a copy of `size` bytes.
    pub(crate) fn move_to(&mut self, file: File, size: u64) {
        self.file = Some(file);
        self.standing = Standing::Renamed;
        self.rewritten = false;
        self.ahead = size < self.read;
        if self.ahead {
            self.end_at(size);
        }
        self.memory.seen = size;
        self.stuck = self.read;
        self.recall();
        self.look();
    }

    /// Goes back to the end of a copy that is shorter than what was read.
    fn end_at(&mut self, size: u64) {
        self.resent = self.resent.max(self.read);
        (self.read, self.size, self.whole) = (size, size, size);
        self.skipping = false;
        self.memory.acked = self.memory.acked.min(size);
        self.marks.retain(|mark| mark.at <= size);
        self.memory.mark = self.mark_within(size).unwrap_or_default();
        self.memory.head.truncate(usize::try_from(size).unwrap_or(HEAD));
        self.memory.cut = self.memory.cut.filter(|cut| *cut <= size);
    }
}
