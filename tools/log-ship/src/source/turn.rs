//! A turn of a source: a chunk is read, checked against what was read before, and sent line by line.

use super::{Cover, OVERLAP, Source};
use crate::contents::{self, Mark};
use crate::folder::milliseconds;
use crate::lines::{Cut, Cutter};
use crate::sender::{Line, Sender};
use memchr::{memchr, memrchr};
use std::fmt::Write;
use std::io;
use std::os::unix::fs::MetadataExt;

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something was sent.
    Sent,
    /// There is nothing to send.
    Idle,
    /// No room in the window.
    Full,
    /// What is remembered has to be saved first.
    Unsure,
    /// The file is not the one that was read.
    Rewritten,
}

/// Everything that a turn needs besides the source.
pub(crate) struct Desk<'a> {
    pub(crate) sender: &'a mut Sender,
    pub(crate) cutter: &'a Cutter,
    pub(crate) buffer: &'a mut Vec<u8>,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    /// What lines may take in memory.
    pub(crate) room: usize,
    /// Positions can't be saved.
    pub(crate) unsaved: bool,
    /// Lines that are too long or refused, to be said: path, offset, why.
    pub(crate) rejected: &'a mut Vec<(String, u64, String)>,
}

impl Source {
    /// Sends a chunk's worth of lines.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn turn(&mut self, desk: &mut Desk<'_>) -> io::Result<Turn> {
        if self.stream.is_none() && !self.learn()? {
            return Ok(Turn::Rewritten);
        }
        self.pass_lost();
        if self.must_mark(desk.now) {
            self.memory.hours.mark(self.read, desk.now);
            self.cover = Cover::None;
        }
        // Where nothing can be saved, a file that is known goes on: sent again after a kill, its lines may get another hour.
        let lenient = desk.unsaved && self.known && self.memory.cut.is_none();
        if self.cover != Cover::Saved && !lenient {
            return Ok(Turn::Unsure);
        }
        let Some(file) = &self.file else { return Ok(Turn::Idle) };
        let lost = self.lost.iter().map(|lost| lost.start).find(|start| *start > self.read);
        let limit = self.memory.cut.filter(|cut| *cut > self.read).into_iter().chain(lost).min().unwrap_or(u64::MAX);
        let limit = if self.stream.is_some() { limit.min(self.size) } else { limit };
        let before = self.tail.len();
        // What the disk may not give back is not asked for.
        let most = lost.map_or(usize::MAX, |_| usize::try_from(limit.saturating_sub(self.read)).unwrap_or(usize::MAX));
        desk.buffer.resize(desk.buffer.len().max(CHUNK).min(most), 0);
        let mut count = contents::read_at(file, desk.buffer, self.read - before as u64)?;
        if desk.buffer.len() == count && self.is_long(&desk.buffer[before..count], desk.cutter) {
            desk.buffer.resize((desk.cutter.max + OVERLAP + CHUNK).min(most), 0);
            count = contents::read_at(file, desk.buffer, self.read - before as u64)?;
        }
        if count < before || desk.buffer[..before] != self.tail {
            return Ok(Turn::Rewritten);
        }
        let there = self.read + (count - before) as u64;
        if self.stream.is_none() {
            // Truncated or rewritten while it was read: some of these bytes may be the kernel's zeros, or others.
            let meta = file.metadata()?;
            if meta.len() < there || !self.is_same()? {
                return Ok(Turn::Rewritten);
            }
            self.memory.written = milliseconds(meta.mtime(), meta.mtime_nsec());
        }
        if self.stream.is_none() {
            self.saw(self.size.max(there));
            self.memory.seen = self.memory.seen.max(there);
        }
        let length = usize::try_from(there.min(limit).saturating_sub(self.read)).unwrap_or(0);
        let end = Some(self.read + length as u64);
        let ends = self.memory.cut == end || lost == end;
        let buffer = std::mem::take(desk.buffer);
        let turn = self.send(&buffer[before..before + length], ends, desk);
        let (taken, turn) = turn;
        self.remember(&buffer[..before + taken]);
        *desk.buffer = buffer;
        Ok(turn)
    }

    /// Sends the records of `bytes`; tells how many bytes they took.
    fn send(&mut self, bytes: &[u8], ends: bool, desk: &mut Desk<'_>) -> (usize, Turn) {
        let mut at = 0;
        let start = self.read;
        let mut id = self.prefix.clone();
        let turn = loop {
            let rest = &bytes[at..];
            let here = start + at as u64;
            if desk.sender.charge() >= desk.room || self.is_lone() {
                break Turn::Full;
            }
            if self.skipping {
                let Some(newline) = memchr(b'\n', rest) else {
                    at = bytes.len();
                    self.read = start + at as u64;
                    self.stuck = self.read;
                    break Turn::Idle;
                };
                self.skipping = false;
                at += newline + 1;
                self.reject(desk.sender, start + at as u64);
                continue;
            }
            if here >= self.resent && self.must_mark(desk.now) {
                break if at > 0 { Turn::Sent } else { Turn::Unsure };
            }
            let (length, taken) = match desk.cutter.cut(rest, ends) {
                Cut::Record { length, taken } => (length, taken),
                Cut::Piece { length } => (length, length),
                Cut::Reject { taken, whole } => {
                    let why = format!("longer than {} bytes", desk.cutter.max);
                    desk.rejected.push((self.path.clone(), here, why));
                    at += taken;
                    if whole {
                        self.reject(desk.sender, start + at as u64)
                    } else {
                        self.skipping = true
                    };
                    self.read = start + at as u64;
                    continue;
                }
                Cut::More => {
                    self.stuck = start + bytes.len() as u64;
                    self.whole = memrchr(b'\n', rest).map_or(here, |newline| here + newline as u64 + 1);
                    break if at > 0 { Turn::Sent } else { Turn::Idle };
                }
            };
            let end = here + taken as u64;
            if self.condemned == Some(end) {
                self.condemned = None;
                desk.rejected.push((self.path.clone(), here, "the broker does not take it".to_owned()));
                at += taken;
                self.reject(desk.sender, end);
                continue;
            }
            id.truncate(self.prefix.len());
            let _ = write!(id, "{here}");
            let value = &rest[..length];
            let timestamp = if here < self.resent { self.memory.hours.of(here, desk.now) } else { desk.now };
            let line = Line { source: self.key(), end, id: &id, timestamp, path: &self.path, value };
            match desk.sender.send(&line) {
                Ok(true) => self.waiting += 1,
                Ok(false) => break Turn::Full,
                Err(code) => {
                    desk.rejected.push((self.path.clone(), here, code.to_string()));
                    self.reject(desk.sender, end);
                }
            }
            at += taken;
            self.read = end;
        };
        (at, turn)
    }

    pub(super) fn reject(&mut self, sender: &mut Sender, end: u64) {
        sender.skip(self.key(), end);
        self.waiting += 1;
        self.read = end;
    }

    /// Whether lines that are sent for the first time need the mark of a new hour before them.
    pub(super) fn must_mark(&self, now: i64) -> bool {
        self.read >= self.resent && self.memory.hours.must_mark(now)
    }

    /// Whether the first record needs a larger buffer.
    fn is_long(&self, bytes: &[u8], cutter: &Cutter) -> bool {
        !self.skipping && bytes.len() <= cutter.max && cutter.cut(bytes, false) == Cut::More
    }

    /// Keeps the last of the bytes read.
    fn remember(&mut self, bytes: &[u8]) {
        if bytes.len() > self.tail.len() && self.stream.is_none() {
            let mark = Mark::of(self.read, bytes);
            self.marks.push_back(mark);
            self.trail.passed(mark, bytes);
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(OVERLAP)..]);
        }
    }
}
