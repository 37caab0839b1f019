//! Files that are no longer what they were: their rest is looked for in a copy, and reported if it is nowhere.

use super::away::Elsewhere;
use super::{Follow, LINGER, made};
use crate::contents::{self, Mark};
use crate::folder::Entry;
use crate::source::{Source, Standing};
use std::fs::File;

impl Follow {
    /// Sources whose files were truncated or rewritten go on in a copy, if there is one; their files begin anew.
    ///
    /// `keys`: those of which that was known before `entries` were listed, so that a copy is among them.
    pub(super) fn part_rewritten(&mut self, keys: &[u32], entries: &[Entry]) {
        for &key in keys {
            let Some(mut source) = self.sources.remove(&key) else { continue };
            self.inodes.retain(|_, known| *known != key);
            let entry =
                entries.iter().find(|entry| entry.inode == source.memory.inode && entry.born == source.memory.born);
            source.file = None;
            source.standing = Standing::Gone;
            source.rewritten = false;
            let mark = source.tail();
            self.part(source, mark, entries);
            if let Some(entry) = entry {
                self.meet(entry, false);
            }
        }
    }

    /// The file of `source` is no longer what it was: the rest may stand in a copy beside it. `mark`: the last bytes before
    /// that rest.
    pub(super) fn part(&mut self, mut source: Source, mark: Mark, entries: &[Entry]) {
        let unknown = |entry: &&Entry| {
            !entry.wanted
                && entry.path.parent() == source.memory.place.parent()
                && !self.inodes.contains_key(&(entry.device, entry.inode))
        };
        let mut copies: Vec<&Entry> = entries.iter().filter(unknown).collect();
        // The longest first, if what was read tells one from another; else the first one made.
        let known = mark.length > 0;
        copies.sort_by_key(|entry| (if known { u64::MAX - entry.size } else { 0 }, made(entry)));
        for entry in copies {
            // A shorter one that is never followed need not be known.
            let may_be = entry.size >= source.read || self.is_rotated(entry);
            let Some(file) = entry.open().ok().filter(|_| may_be) else { continue };
            if is_copy(&source, mark, &file, entry) {
                let (path, copy) = (source.memory.place.display(), entry.path.display());
                self.console.step(format!("{path} was truncated, going on in its copy {copy}"));
                // What was written between the copy and the truncation.
                self.lost(&source, source.read.max(entry.size));
                source.memory.written = source.memory.written.max(entry.modified);
                source.memory.place.clone_from(&entry.path);
                source.memory.inode = entry.inode;
                source.memory.born = entry.born;
                source.move_to(file, entry.size);
                self.insert(source, Some(entry));
                return;
            }
        }
        self.lost(&source, source.read);
        source.size = source.read;
        source.memory.seen = source.read;
        if source.waiting > 0 {
            self.insert(source, None);
        }
    }

    /// Closes what has been idle for long, and forgets what is gone.
    pub(super) fn let_go(&mut self, entries: &[Entry]) {
        let mut gone = Vec::new();
        for (key, source) in &mut self.sources {
            if source.file.is_none() && source.standing == Standing::Gone && source.waiting == 0 {
                gone.push(*key);
            } else if source.is_done() && source.grown.elapsed() >= LINGER {
                match source.standing {
                    Standing::Gone => gone.push(*key),
                    Standing::Renamed => source.file = None,
                    Standing::Wanted | Standing::Stream => {}
                }
            }
        }
        self.look_away();
        for key in gone {
            let Some(source) = self.sources.remove(&key) else { continue };
            self.inodes.retain(|_, known| *known != key);
            if !matches!(self.elsewhere(&source.memory), Elsewhere::Gone) {
                self.away.push(source.remembered(0));
                continue;
            }
            // Forgotten, unless there is a copy: that would be new to us then.
            let mark = source.tail();
            self.part(source, mark, entries);
        }
    }

    /// Copies that end before the position of their source: once that is acknowledged, nothing of them is to be sent.
    pub(super) fn pass_over(&mut self, entries: &[Entry]) {
        let over = |source: &&Source| source.ahead && source.is_settled();
        let keys: Vec<u32> = self.sources.values().filter(over).map(Source::key).collect();
        for key in keys {
            let own = |entry: &&Entry| self.inodes.get(&(entry.device, entry.inode)) == Some(&key);
            let Some(entry) = entries.iter().find(own) else { continue };
            let Some(source) = self.sources.remove(&key) else { continue };
            if let Some(file) = source.file {
                // Under an id of its own: what may be added to it stood in no other file.
                self.adopt(entry, file, source.size);
            }
        }
    }

    /// Reports what is gone from `from` on, as far as it was seen. What may have been sent of it may have arrived.
    pub(super) fn lost(&mut self, source: &Source, from: u64) {
        let to = source.memory.seen.max(from);
        let unread = source.resent.clamp(from, to);
        let path = source.memory.path.display();
        if unread > from {
            let why = "not acknowledged, and destroyed before they could be sent again";
            self.console.warn(format!("bytes {from} to {unread} of {path} may be lost: {why}"));
        }
        if to > unread {
            let what = format!("unable to ship bytes {unread} to {to} of {path}");
            self.console.warn(format!("{what}: destroyed before they were read"));
        }
        self.destroyed += to - from;
    }
}

/// Whether `file` holds the same bytes as `source` did, as far as it goes. `mark`: the last ones before its position.
fn is_copy(source: &Source, mark: Mark, file: &File, entry: &Entry) -> bool {
    let Ok(head) = contents::head(file) else { return false };
    if entry.size >= source.read {
        let known = !source.memory.head.is_empty() || mark.length > 0;
        return known && head.starts_with(&source.memory.head) && mark.holds(file).unwrap_or(false);
    }
    // What lies beyond its end was written after it was made.
    let marked = |mark: Mark| mark.holds(file).unwrap_or(false);
    let begins = !head.is_empty() && source.memory.head.starts_with(&head);
    begins && entry.modified <= source.memory.written && source.mark_within(entry.size).is_none_or(marked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Patterns;
    use crate::positions::Remembered;
    use cli::{Console, Verbosity};
    use std::fs;
    use std::path::Path;
    use std::time::Instant;

    fn follow(path: &Path) -> Follow {
        let patterns = Patterns::new(&[path.to_str().unwrap().to_owned()], Vec::new()).unwrap();
        Follow::new(patterns, "h", Console::new("log-ship", Verbosity::default()), 0)
    }

    /// What is remembered of a file that was shipped to its end.
    fn shipped(path: &Path) -> Remembered {
        let mut follow = follow(path);
        follow.sweep(true);
        follow.sources.into_values().next().unwrap().memory
    }

    fn places(follow: &Follow) -> Vec<(u64, Standing, &Path)> {
        follow.sources.values().map(|one| (one.read, one.standing, one.memory.place.as_path())).collect()
    }

    /// A copy outlives what it was made from, and is still known.
    #[test]
    fn a_removed_file_is_let_go_in_favour_of_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        fs::write(&path, "1\n2\n").unwrap();
        let mut follow = follow(&path);
        follow.resume(vec![shipped(&path)]);
        fs::copy(&path, &copy).unwrap();
        fs::remove_file(&path).unwrap();
        follow.sweep(false);
        assert_eq!(places(&follow), [(4, Standing::Gone, path.as_path())]);
        for source in follow.sources.values_mut() {
            source.grown = Instant::now().checked_sub(LINGER).unwrap();
        }
        follow.sweep(false);
        assert_eq!(places(&follow), [(4, Standing::Renamed, copy.as_path())]);
    }

    /// As it was and as it is, remembered by one save: one of them is on the file.
    #[test]
    fn a_file_that_is_remembered_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "1\n2\n").unwrap();
        let mut follow = follow(&path);
        follow.resume(vec![shipped(&path), shipped(&path)]);
        assert_eq!(places(&follow), [(4, Standing::Wanted, path.as_path())]);
    }
}
