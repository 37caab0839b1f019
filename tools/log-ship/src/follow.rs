//! The files that are followed: found in their folders, known again after rotation, and told from their copies.

mod away;
mod looking;
mod parting;

use crate::contents::{self, Mark};
use crate::folder::{Entry, Patterns};
use crate::hours::Hours;
use crate::positions::Remembered;
use crate::reach;
use crate::source::{Source, Standing, key};
use cli::Console;
use looking::is_below;
use records::FileId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A file that was rotated away stays open so long after its last line, and those that lie elsewhere are looked at so often.
const LINGER: Duration = Duration::from_secs(60);

/// Bytes compared to tell the copy of a file that is still being made.
const BLOCK: u64 = 4096;

/// All sources, and what leads to them.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) sources: BTreeMap<u32, Source>,
    patterns: Patterns,
    inodes: HashMap<(u64, u64), u32>,
    /// Rotated files made later than this were never too old.
    pub(crate) since: u64,
    host: String,
    console: Console,
    /// Files that could not be opened, which was said, and their sizes.
    told: HashMap<PathBuf, u64>,
    /// Folders and files that can't be looked at: what is known to lie there is not gone.
    unreadable: BTreeSet<PathBuf>,
    /// Remembered files that could not be looked at yet.
    pub(crate) unseen: Vec<Remembered>,
    /// Files that are on disk, and that no pattern leads to now.
    pub(crate) away: Vec<Remembered>,
    /// When those were last looked at.
    looked_away: Instant,
    /// Patterns whose folders can't be looked at.
    hindered: BTreeSet<String>,
    /// Bytes that were destroyed before they were acknowledged, as far as they had been seen.
    pub(crate) destroyed: u64,
    pub(crate) folders: BTreeSet<PathBuf>,
    /// What the names in them came to when they were last read.
    names: Option<u64>,
}

/// What a file that nobody knows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Lines of its own.
    Original,
    /// A copy of a file that is known, as far as it goes.
    Copy,
}

impl Follow {
    /// Follows what `patterns` ask for, from the positions that are remembered. `end`: at a first start, files that are
    /// there begin at their end.
    pub(crate) fn new(patterns: Patterns, host: &str, console: Console, since: u64) -> Self {
        Self {
            sources: BTreeMap::new(),
            patterns,
            inodes: HashMap::new(),
            since,
            host: host.to_owned(),
            console,
            told: HashMap::new(),
            unreadable: BTreeSet::new(),
            unseen: Vec::new(),
            away: Vec::new(),
            looked_away: Instant::now(),
            hindered: BTreeSet::new(),
            destroyed: 0,
            folders: BTreeSet::new(),
            names: None,
        }
    }

    /// Finds the remembered files again.
    pub(crate) fn resume(&mut self, remembered: Vec<Remembered>) {
        let entries = self.entries();
        self.find(remembered, &entries);
        self.tell_unwatched();
    }

    fn find(&mut self, remembered: Vec<Remembered>, entries: &[Entry]) {
        let mut missing = Vec::new();
        for memory in remembered {
            let entry = entries.iter().find(|entry| entry.inode == memory.inode && entry.born == memory.born);
            // A file that was rewritten may be remembered twice: as it was, and as it is.
            let entry = entry.filter(|entry| !self.inodes.contains_key(&(entry.device, entry.inode)));
            if entry.is_some_and(|entry| self.is_unwatched(&memory, entry)) {
                self.away.push(memory);
                continue;
            }
            let file = entry.map(|entry| (entry, self.open(entry)));
            match file {
                // It is there, and can't be read; or its name has changed since it was listed.
                Some((_, None)) => self.unseen.push(memory),
                Some((entry, Some(file))) if holds(&memory, &file, entry.size) => {
                    let standing = if entry.wanted { Standing::Wanted } else { Standing::Renamed };
                    let asked = self.patterns.leading_to(&entry.path);
                    let source = Source::new(Remembered { asked, ..memory }, Some(file), standing, &self.host);
                    self.insert(source, Some(entry));
                }
                Some(_) => missing.push(memory),
                None => match self.leave(memory) {
                    Some(memory) if self.may_be_there(&memory) => self.unseen.push(memory),
                    other => missing.extend(other),
                },
            }
        }
        for memory in missing {
            let mark = memory.mark;
            let source = Source::new(memory, None, Standing::Gone, &self.host);
            self.part(source, mark, entries);
        }
    }

    /// Looks into the folders: new files, new names, files that are gone or were rewritten. `from_end`: new ones begin at
    /// their end. Tells whether some were rewritten.
    pub(crate) fn sweep(&mut self, from_end: bool) -> bool {
        // Before the folders are read, so that a copy is found there. Where the window is full, nothing else looks.
        for source in self.sources.values_mut() {
            source.rewritten |= !source.is_same().unwrap_or(true);
        }
        let rewritten: Vec<u32> = self.sources.values().filter(|source| source.rewritten).map(Source::key).collect();
        let entries = self.entries();
        if !self.told.is_empty() {
            let away = self.away.iter().map(|memory| &memory.place);
            let there: HashSet<&PathBuf> = entries.iter().map(|entry| &entry.path).chain(away).collect();
            self.told.retain(|path, _| there.contains(path));
        }
        let unseen = std::mem::take(&mut self.unseen);
        self.find(unseen, &entries);
        let back = self.back(&entries);
        self.find(back, &entries);
        let mut present = HashSet::new();
        let mut strangers = Vec::new();
        for entry in &entries {
            let known = self.inodes.get(&(entry.device, entry.inode)).copied();
            match known.and_then(|key| Some((key, self.sources.get_mut(&key)?))) {
                Some((key, source)) if source.memory.born == entry.born => {
                    // Of two names, the one that was asked for counts.
                    if present.insert(key) || entry.wanted {
                        source.memory.place.clone_from(&entry.path);
                        source.standing = if entry.wanted { Standing::Wanted } else { Standing::Renamed };
                    }
                    if source.file.is_none() && !source.ahead && entry.size != source.read && source.waiting == 0 {
                        source.file = entry.open().ok();
                    }
                    source.look();
                }
                Some(_) => strangers.push(entry),
                None => strangers.push(entry),
            }
        }
        for (key, source) in &mut self.sources {
            // In a folder that can't be read it may be there all the same, unless it has no name any more.
            let kept = is_below(&self.unreadable, &source.memory.place) && !source.is_deleted();
            if source.standing != Standing::Stream && !present.contains(key) && !kept {
                source.standing = Standing::Gone;
            }
        }
        self.part_rewritten(&rewritten, &entries);
        for entry in strangers {
            self.meet(entry, from_end);
        }
        self.pass_over(&entries);
        self.let_go(&entries);
        !rewritten.is_empty()
    }

    /// A file that nobody knows by its inode.
    fn meet(&mut self, entry: &Entry, from_end: bool) {
        // A copy may have been taken meanwhile for the rest of a file that was truncated; and one file may have two names.
        let known = self.inodes.get(&(entry.device, entry.inode)).and_then(|key| self.sources.get(key));
        if known.is_some_and(|source| source.memory.born == entry.born) {
            return;
        }
        if self.unseen.iter().any(|memory| (memory.inode, memory.born) == (entry.inode, entry.born)) {
            return;
        }
        if !entry.wanted && !self.is_rotated(entry) {
            return;
        }
        let Some(file) = self.open(entry) else { return };
        if !entry.wanted && self.judge(entry, &file) != Verdict::Original {
            return;
        }
        let at = if from_end && entry.wanted { entry.size } else { 0 };
        self.console.step(format!("following {}", entry.path.display()));
        self.adopt(entry, file, at);
    }

    /// Follows a file from the offset `at`, under a new id.
    fn adopt(&mut self, entry: &Entry, file: File, at: u64) {
        let path = entry.path.clone();
        let head = contents::head(&file).unwrap_or_default();
        let mut memory = Remembered {
            id: self.mint(),
            place: path.clone(),
            asked: self.patterns.leading_to(&path),
            path,
            inode: entry.inode,
            born: entry.born,
            acked: at,
            sent: at,
            seen: at,
            head,
            mark: Mark::default(),
            cut: None,
            hours: Hours::default(),
            written: entry.modified,
        };
        memory.mark = mark_before(&file, at);
        let standing = if entry.wanted { Standing::Wanted } else { Standing::Renamed };
        let source = Source::new(memory, Some(file), standing, &self.host);
        self.insert(source, Some(entry));
    }

    /// Whether a rotated file that nobody knows holds lines of its own.
    fn judge(&self, entry: &Entry, file: &File) -> Verdict {
        let Ok(head) = contents::head(file) else { return Verdict::Copy };
        if head.is_empty() {
            // Nothing to lose yet; it is looked at again.
            return Verdict::Copy;
        }
        for source in self.sources.values().filter(|source| source.memory.place.parent() == entry.path.parent()) {
            let known = &source.memory.head;
            let common = known.len().min(head.len());
            if common > 0 && known[..common] == head[..common] && !differs(source, entry, file) {
                return Verdict::Copy;
            }
        }
        Verdict::Original
    }

    /// A stream from stdin, or another source that no folder holds.
    pub(crate) fn insert(&mut self, source: Source, entry: Option<&Entry>) {
        let number = source.key();
        if let Some(entry) = entry {
            self.inodes.insert((entry.device, entry.inode), number);
        }
        let mut source = source;
        source.look();
        self.sources.insert(number, source);
    }

    /// A new id, whose number no other source has.
    pub(crate) fn mint(&self) -> FileId {
        loop {
            let id = FileId(rand::random());
            if !self.sources.contains_key(&key(id)) {
                return id;
            }
        }
    }

    /// Bytes that are known to be there and have not been read, also of files that can't be read.
    pub(crate) fn unread(&self) -> u64 {
        let followed = self.sources.values().map(|source| source.size.saturating_sub(source.read));
        let remembered = |memory: &Remembered| {
            let size = self.told.get(&memory.place).copied().unwrap_or(memory.seen);
            size.saturating_sub(memory.acked)
        };
        let strange = self.told.iter().filter(|(path, _)| self.unseen.iter().all(|memory| memory.place != **path));
        followed.chain(self.unseen.iter().map(remembered)).chain(strange.map(|(_, size)| *size)).sum()
    }

    /// Whether a file that was asked for is there.
    pub(crate) fn has_any(&self) -> bool {
        self.sources.values().any(|source| source.standing == Standing::Wanted)
    }

    /// Whether it has the name of a rotated file, and was made since log-ship is here.
    fn is_rotated(&self, entry: &Entry) -> bool {
        made(entry) >= self.since && self.patterns.is_rotated(&entry.path)
    }
}

/// Whether `entry` surely is no copy of what `source` reads.
fn differs(source: &Source, entry: &Entry, file: &File) -> bool {
    let closed;
    let original = match &source.file {
        Some(original) => original,
        None if source.standing == Standing::Renamed => {
            closed = reach::open(&source.memory.place);
            let Ok(original) = &closed else { return false };
            original
        }
        // What it was read from is nowhere any more.
        None => return false,
    };
    // No copy is longer than what it was made from.
    let longer = original.metadata().is_ok_and(|meta| meta.len() < entry.size);
    // Last: what is there after it was compared was there then. A file that was rewritten tells nothing; its own copy is
    // looked for first.
    (longer || !same_before(original, file, entry.size)) && !source.rewritten && source.is_same().unwrap_or(false)
}

/// Whether a file still holds what was acknowledged of it.
fn holds(memory: &Remembered, file: &File, size: u64) -> bool {
    let begins = contents::head(file).is_ok_and(|head| head.starts_with(&memory.head));
    size >= memory.acked && begins && memory.mark.holds(file).unwrap_or(false)
}

fn mark_before(file: &File, at: u64) -> Mark {
    let length = at.min(contents::TAIL as u64);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    match contents::read_at(file, &mut bytes, at - length) {
        Ok(count) if count as u64 == length => Mark::of(at, &bytes),
        _ => Mark::default(),
    }
}

/// Whether both files hold the same bytes before `end`, as far as they are compared.
fn same_before(original: &File, copy: &File, end: u64) -> bool {
    let length = end.min(BLOCK);
    let read = |file: &File| {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let count = contents::read_at(file, &mut bytes, end - length).ok()?;
        (count as u64 == length).then_some(bytes)
    };
    match (read(original), read(copy)) {
        (Some(original), Some(copy)) => original == copy,
        // Truncated or unreadable right now: looked at again.
        _ => true,
    }
}

/// When a file was made, in nanoseconds since 1970; when it was last changed where the file system doesn't know.
fn made(entry: &Entry) -> u64 {
    if entry.born == 0 { u64::try_from(entry.modified).unwrap_or(0).saturating_mul(1_000_000) } else { entry.born }
}
