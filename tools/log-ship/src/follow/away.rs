//! Files that are on disk, where no pattern leads to any more: a link on the way was switched, or their pattern is no longer
//! asked for. They are not gone: the former are read to their end, and both go on where they were when they are back.

use super::{Follow, LINGER, holds};
use crate::folder::{self, Entry};
use crate::positions::Remembered;
use crate::reach::is_absence;
use crate::source::{Source, Standing};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::time::Instant;

/// Where a file is that was in none of the folders.
#[derive(Debug)]
pub(super) enum Elsewhere {
    /// In its folder, which is no longer looked into.
    There(Entry),
    /// That folder can't be looked into.
    Unknown,
    Gone,
}

impl Follow {
    /// Whether the file is one that nobody asks for any more: it is in a folder that is looked into for others.
    pub(super) fn is_unwatched(&self, memory: &Remembered, entry: &Entry) -> bool {
        let asked = match &memory.asked {
            Some(text) => self.patterns.has(text),
            // Of an earlier version: what has kept its name and is not wanted was wanted then.
            None => memory.path != entry.path,
        };
        !asked && !entry.wanted && !self.patterns.is_rotated(&entry.path)
    }

    /// Where a file is that is in none of the folders.
    pub(super) fn elsewhere(&self, memory: &Remembered) -> Elsewhere {
        let Some(dir) = memory.place.parent().filter(|dir| !self.folders.contains(*dir)) else {
            return Elsewhere::Gone;
        };
        let is_it = |entry: &Entry| (entry.inode, entry.born) == (memory.inode, memory.born);
        match folder::look(&memory.place, false) {
            Ok(Some(entry)) if is_it(&entry) => return Elsewhere::There(entry),
            Err(error) if !is_absence(&error) => return Elsewhere::Unknown,
            _ => {}
        }
        // It may have been renamed meanwhile.
        let names = match fs::read_dir(dir) {
            Ok(names) => names,
            Err(error) => return if is_absence(&error) { Elsewhere::Gone } else { Elsewhere::Unknown },
        };
        let same = names.flatten().filter(|name| name.ino() == memory.inode);
        let found = same.filter_map(|name| folder::look(&name.path(), false).ok().flatten()).find(is_it);
        found.map_or(Elsewhere::Gone, Elsewhere::There)
    }

    /// A remembered file that is in none of the folders: what is left of it is read where it is, if its pattern is still asked
    /// for. Hands it back if it is gone.
    pub(super) fn leave(&mut self, memory: Remembered) -> Option<Remembered> {
        let entry = match self.elsewhere(&memory) {
            Elsewhere::There(entry) => entry,
            Elsewhere::Unknown => {
                self.away.push(memory);
                return None;
            }
            Elsewhere::Gone => return Some(memory),
        };
        let memory = Remembered { place: entry.path.clone(), ..memory };
        let asked = memory.asked.as_ref().is_some_and(|text| self.patterns.has(text));
        if !asked || entry.size == memory.acked || self.patterns.is_secret(&entry) {
            self.away.push(memory);
            return None;
        }
        match self.open(&entry) {
            None => self.away.push(memory),
            // What is left of it is read.
            Some(file) if holds(&memory, &file, entry.size) => {
                let source = Source::new(memory, Some(file), Standing::Gone, &self.host);
                self.insert(source, Some(&entry));
            }
            Some(_) => return Some(memory),
        }
        None
    }

    /// Takes out those that are in the folders again.
    pub(super) fn back(&mut self, entries: &[Entry]) -> Vec<Remembered> {
        if self.away.is_empty() {
            return Vec::new();
        }
        let there: HashSet<(u64, u64)> = entries.iter().map(|entry| (entry.inode, entry.born)).collect();
        self.away.extract_if(.., |memory| there.contains(&(memory.inode, memory.born))).collect()
    }

    /// Looks, now and then, at those whose pattern leads elsewhere: their writers may not know of it.
    pub(super) fn look_away(&mut self) {
        if self.away.is_empty() || self.looked_away.elapsed() < LINGER {
            return;
        }
        self.looked_away = Instant::now();
        let patterns = &self.patterns;
        let left = |memory: &mut Remembered| memory.asked.as_ref().is_some_and(|text| patterns.has(text));
        for memory in self.away.extract_if(.., left).collect::<Vec<_>>() {
            if let Some(memory) = self.leave(memory) {
                let from = memory.acked;
                let source = Source::new(memory, None, Standing::Gone, &self.host);
                self.lost(&source, from);
            }
        }
    }

    /// Says, at the start, of which files something is left that nobody asks for any more.
    pub(super) fn tell_unwatched(&self) {
        let left = self.away.iter().filter(|memory| memory.asked.as_ref().is_none_or(|text| !self.patterns.has(text)));
        let unread = |memory: &Remembered| {
            let size = fs::metadata(&memory.place).map_or(memory.seen, |meta| meta.len());
            size.saturating_sub(memory.acked)
        };
        let unwatched: Vec<(&Remembered, u64)> = left.map(|memory| (memory, unread(memory))).collect();
        for (memory, _) in &unwatched {
            self.console.step(format!("{} is no longer watched", memory.place.display()));
        }
        let mut waiting = unwatched.iter().filter(|(_, bytes)| *bytes > 0);
        if let Some((memory, bytes)) = waiting.next() {
            let more = waiting.count();
            let more = if more == 0 { String::new() } else { format!(", and {more} more files") };
            let place = memory.place.display();
            self.console.warn(format!(
                "{place} is no longer watched, {bytes} bytes of it are not shipped{more}: give its PATH again to go on there"
            ));
        }
    }
}
