//! A look into the folders: what is there, and what can't be looked at.

use super::Follow;
use crate::folder::{Entry, Listing};
use crate::positions::Remembered;
use failure::Failure;
use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// A folder in which names keep changing is read at most so often in a row.
const LOOKS: usize = 10;

impl Follow {
    /// What is in the folders, all of it at one moment: a file whose name is changed while they are read may be missed, so
    /// they are read until the names are those of the time before.
    pub(super) fn entries(&mut self) -> Vec<Entry> {
        // The rest of what was rewritten is in a file made since then.
        if self.sources.values().any(|source| source.rewritten) {
            self.names = None;
        }
        let mut entries = self.list();
        for _ in 1..LOOKS {
            let mut names = DefaultHasher::new();
            entries.iter().for_each(|entry| (&entry.path, entry.device, entry.inode, entry.born).hash(&mut names));
            if self.names.replace(names.finish()) == Some(names.finish()) {
                break;
            }
            entries = self.list();
        }
        entries
    }

    fn list(&mut self) -> Vec<Entry> {
        let Listing { folders, mut entries, unreadable, hindered } = self.patterns.list();
        (self.folders, self.hindered) = (folders, hindered);
        let before = std::mem::take(&mut self.unreadable);
        for (path, error) in unreadable {
            let new = !before.contains(&path) && !self.unreadable.contains(&path);
            if new {
                self.console.warn(Failure::io(format!("unable to read {}", path.display()), error));
            }
            self.unreadable.insert(path);
        }
        // Oldest first: the lines of rotated files come before those of the files that took their names.
        entries.sort_by(|a, b| (a.born, &a.path).cmp(&(b.born, &b.path)));
        entries
    }

    /// The files that were named and are not followed, each with the reason.
    pub(crate) fn missing(&self) -> Vec<(PathBuf, &'static str)> {
        let followed = |path: &PathBuf| self.sources.values().any(|source| source.memory.place == *path);
        let named = self.patterns.named().filter(|path| !followed(path) && !self.told.contains_key(path));
        let named = named.filter(|path| !self.is_unreadable(path));
        named.filter_map(|path| Some((what_it_is(&path)?, path))).map(|(what, path)| (path, what)).collect()
    }

    /// Whether there is something that can't be read.
    pub(crate) fn is_hindered(&self) -> bool {
        !self.unreadable.is_empty() || !self.told.is_empty()
    }

    pub(super) fn is_unreadable(&self, path: &Path) -> bool {
        is_below(&self.unreadable, path)
    }

    /// Whether a file that was not found is on disk all the same, for all that can be looked at.
    pub(super) fn may_be_there(&self, memory: &Remembered) -> bool {
        self.is_unreadable(&memory.place) || memory.asked.as_ref().is_some_and(|text| self.hindered.contains(text))
    }

    pub(super) fn open(&mut self, entry: &Entry) -> Option<File> {
        match entry.open() {
            Ok(file) => {
                self.told.remove(&entry.path);
                Some(file)
            }
            Err(error) => {
                let is_there = error.kind() != std::io::ErrorKind::NotFound;
                if is_there && self.told.insert(entry.path.clone(), entry.size).is_none() {
                    self.console.warn(Failure::io(format!("unable to read {}", entry.path.display()), error));
                }
                None
            }
        }
    }
}

/// Whether `path` is one of `paths`, or lies in one of them.
pub(super) fn is_below(paths: &BTreeSet<PathBuf>, path: &Path) -> bool {
    paths.iter().any(|above| path.starts_with(above))
}

/// Why there is no file to follow.
fn what_it_is(path: &Path) -> Option<&'static str> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Some("a directory: name the files in it"),
        Ok(meta) if meta.is_file() => None,
        Ok(_) => Some("not a regular file"),
        Err(_) => Some("no such file"),
    }
}
