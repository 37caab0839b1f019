//! The folders that hold the files asked for, and what is in them.

use crate::reach;
use failure::Failure;
use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Endings of files that were packed after their rotation, and of editors' copies: no lines.
const NO_LINES: [&str; 12] = ["gz", "xz", "zst", "bz2", "lz4", "lzma", "Z", "zip", "swp", "tmp", "bak", "part"];

/// What was asked for: files and patterns of files.
#[derive(Debug)]
pub(crate) struct Patterns {
    patterns: Vec<Pattern>,
    /// The folders that they led to at the last look, by which of them. Links may lead elsewhere at the next one.
    folders: BTreeMap<PathBuf, BTreeSet<usize>>,
    /// Files that hold log-ship's own secrets: not shipped under any name.
    secrets: Vec<PathBuf>,
}

#[derive(Debug)]
struct Pattern {
    /// As it was typed, from the root on.
    text: String,
    /// Folder before the first part that is a pattern.
    fixed: PathBuf,
    /// Where that is without links, at the last look.
    base: Option<PathBuf>,
    /// The parts behind it; the last one is the file's.
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Name(String),
    Glob(GlobMatcher),
    /// Any number of folders.
    Deep,
}

/// What is in the folders, and what of it can't be looked at.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) folders: BTreeSet<PathBuf>,
    pub(crate) entries: Vec<Entry>,
    /// Folders and files: whatever lies there may be there all the same.
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
    /// Patterns whose folder can't be found: whatever they led to may be there all the same.
    pub(crate) hindered: BTreeSet<String>,
}

/// A file in one of the folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    pub(crate) device: u64,
    /// When it was made, in nanoseconds since 1970; when it was last changed where the file system doesn't know.
    pub(crate) born: u64,
    pub(crate) size: u64,
    /// Milliseconds since 1970.
    pub(crate) modified: i64,
    /// It has a name that was asked for.
    pub(crate) wanted: bool,
}

impl Entry {
    /// Opens it.
    ///
    /// # Errors
    /// It can't be read, or its name has gone to another file meanwhile, which is as if it were not there.
    pub(crate) fn open(&self) -> io::Result<File> {
        let file = reach::open(&self.path)?;
        let meta = file.metadata()?;
        let born = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = born.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
        let device = (u64::from(rustix::fs::major(meta.dev())) << 32) | u64::from(rustix::fs::minor(meta.dev()));
        if (meta.ino(), device, born) == (self.inode, self.device, self.born) {
            Ok(file)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

impl Patterns {
    /// Takes what was typed, relative to the current directory, and the files that are never shipped.
    ///
    /// # Errors
    /// A pattern that is none, or a name that can't be a file's.
    pub(crate) fn new(typed: &[String], secrets: Vec<PathBuf>) -> Result<Self, Failure> {
        let here =
            std::env::current_dir().map_err(|error| Failure::io("unable to find the current directory", error))?;
        let patterns = typed.iter().map(|text| Pattern::new(&here, text)).collect::<Result<_, _>>()?;
        Ok(Self { patterns, folders: BTreeMap::new(), secrets })
    }

    /// Everything that is there now.
    pub(crate) fn list(&mut self) -> Listing {
        let mut listing = Listing::default();
        self.folders.clear();
        for (number, pattern) in self.patterns.iter_mut().enumerate() {
            let Some((_, above)) = pattern.parts.split_last() else { continue };
            match reach::resolve(&pattern.fixed) {
                Ok(base) => {
                    descend(&base, above, &mut listing);
                    pattern.base = Some(base);
                }
                Err(error) => {
                    pattern.base = None;
                    listing.hindered.insert(pattern.text.clone());
                    listing.unreadable.push((pattern.fixed.clone(), error));
                }
            }
            for folder in std::mem::take(&mut listing.folders) {
                self.folders.entry(folder).or_default().insert(number);
            }
        }
        listing.folders = self.folders.keys().cloned().collect();
        for folder in listing.folders.clone() {
            if let Err(error) = self.list_folder(&folder, &mut listing) {
                listing.unreadable.push((folder, error));
            }
        }
        self.leave_out_secrets(&mut listing);
        // A folder that a pattern led to is gone. One that was named is missed: it may not be mounted yet.
        let named = |path: &PathBuf| self.patterns.iter().any(|pattern| pattern.fixed == *path);
        listing.unreadable.retain(|(path, error)| error.kind() != io::ErrorKind::NotFound || named(path));
        listing
    }

    /// By what they are, not by their names: a hard link has another one.
    fn leave_out_secrets(&self, listing: &mut Listing) {
        let secrets = self.secrets();
        for secret in listing.entries.extract_if(.., |entry| secrets.contains(&(entry.device, entry.inode))) {
            if secret.wanted {
                let why = "it holds what log-ship itself is to keep secret";
                listing.unreadable.push((secret.path, io::Error::new(io::ErrorKind::PermissionDenied, why)));
            }
        }
    }

    /// Whether it is one of the files that are never shipped.
    pub(crate) fn is_secret(&self, entry: &Entry) -> bool {
        self.secrets().contains(&(entry.device, entry.inode))
    }

    /// Device and inode of each, as they are now.
    fn secrets(&self) -> Vec<(u64, u64)> {
        let found = self.secrets.iter().filter_map(|path| look(path, false).ok().flatten());
        found.map(|secret| (secret.device, secret.inode)).collect()
    }

    /// The files that were named without a pattern.
    pub(crate) fn named(&self) -> impl Iterator<Item = PathBuf> {
        self.patterns.iter().filter_map(|pattern| match &pattern.parts[..] {
            [Part::Name(name)] => Some(pattern.base.as_ref().unwrap_or(&pattern.fixed).join(name)),
            _ => None,
        })
    }

    /// Whether this very pattern was asked for.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.text == text)
    }

    /// The pattern that led to `path`.
    pub(crate) fn leading_to(&self, path: &Path) -> Option<String> {
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let number = self.wanting(folder, name).or_else(|| self.folders.get(folder)?.first().copied())?;
        Some(self.patterns[number].text.clone())
    }

    /// Which pattern wants this name, in one of the folders.
    fn wanting(&self, folder: &Path, name: &str) -> Option<usize> {
        let wants = |number: &&usize| self.patterns[**number].parts.last().is_some_and(|last| last.matches(name));
        self.folders.get(folder)?.iter().find(wants).copied()
    }

    /// Whether this name, in one of the folders, was asked for.
    fn wants(&self, folder: &Path, name: &str) -> bool {
        self.wanting(folder, name).is_some()
    }

    /// The regular files in `folder`, links followed as far as they may be; those that vanish meanwhile are left out.
    fn list_folder(&self, folder: &Path, listing: &mut Listing) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = entry.path();
            let Some(name) = name.to_str() else {
                if self.wants(folder, &name.to_string_lossy()) {
                    let why = io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8");
                    listing.unreadable.push((path, why));
                }
                continue;
            };
            let wanted = self.wants(folder, name);
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            // A link is another name of its target: followed if it was asked for, else it would be counted twice.
            if is_link && !wanted {
                continue;
            }
            let target = if is_link { reach::resolve(&path).map(drop) } else { Ok(()) };
            match target.and_then(|()| look(&path, wanted)) {
                Ok(found) => listing.entries.extend(found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if is_link => listing.unreadable.push((path, error)),
                // Names may be read, and nothing else.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether `path` looks like a wanted file after its rotation: `app.log` became `app.log.1` or `app.log-20240101`, or
    /// `app-1.log`.
    pub(crate) fn is_rotated(&self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return false;
        };
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if NO_LINES.contains(&ending) || name.ends_with('~') {
            return false;
        }
        let separators = ['.', '-', '_'];
        name.char_indices().filter(|(at, c)| *at > 0 && separators.contains(c)).any(|(at, _)| {
            let stem = &name[..at];
            let middle_cut = name.rsplit_once('.').filter(|(before, _)| before.len() > at);
            self.wants(folder, stem)
                || middle_cut.is_some_and(|(_, ending)| self.wants(folder, &format!("{stem}.{ending}")))
        })
    }
}

impl Pattern {
    fn new(here: &Path, text: &str) -> Result<Self, Failure> {
        let absolute = here.join(text);
        let wrong = |why: &str| Failure::usage(format!("{text}: {why} (see --help)"));
        if text.is_empty() || text.ends_with('/') {
            return Err(wrong("expected a file or a pattern of files"));
        }
        let mut fixed = PathBuf::from("/");
        let mut parts = Vec::new();
        for component in absolute.components() {
            let name = match component {
                Component::Normal(name) => name.to_str().ok_or_else(|| wrong("not UTF-8"))?,
                Component::ParentDir => "..",
                _ => continue,
            };
            let part = Part::new(name).map_err(|error| wrong(&error.kind().to_string()))?;
            match part {
                Part::Name(name) if parts.is_empty() && name == ".." => {
                    fixed.pop();
                }
                Part::Name(name) if parts.is_empty() => fixed.push(name),
                part => parts.push(part),
            }
        }
        if parts.is_empty() {
            // The file itself is no folder.
            let name = fixed.file_name().and_then(|name| name.to_str()).ok_or_else(|| wrong("expected a file"))?;
            parts.push(Part::Name(name.to_owned()));
            fixed.pop();
        }
        if matches!(parts.last(), Some(Part::Deep)) {
            return Err(wrong("`**` names folders; add /*"));
        }
        Ok(Self { text: absolute.to_string_lossy().into_owned(), fixed, base: None, parts })
    }
}

impl Part {
    fn new(name: &str) -> Result<Self, globset::Error> {
        if name == "**" {
            return Ok(Self::Deep);
        }
        if !name.contains(['*', '?', '[', '{']) {
            return Ok(Self::Name(name.to_owned()));
        }
        Ok(Self::Glob(GlobBuilder::new(name).literal_separator(true).build()?.compile_matcher()))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            // As in a shell: hidden files only if they are asked for.
            Self::Glob(glob) => glob.is_match(name) && (!name.starts_with('.') || glob.glob().glob().starts_with('.')),
            Self::Deep => false,
        }
    }
}

fn descend(folder: &Path, parts: &[Part], found: &mut Listing) {
    let Some((part, rest)) = parts.split_first() else {
        found.folders.insert(folder.to_owned());
        return;
    };
    if let Part::Name(name) = part {
        let path = folder.join(name);
        return match reach::resolve(&path) {
            Ok(path) => descend(&path, rest, found),
            Err(error) if reach::is_absence(&error) => {}
            Err(error) => found.unreadable.push((path, error)),
        };
    }
    if let Part::Deep = part {
        descend(folder, rest, found);
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return found.unreadable.push((folder.to_owned(), error)),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())) else { continue };
        match part {
            Part::Deep if !name.starts_with('.') => descend(&entry.path(), parts, found),
            Part::Glob(_) if part.matches(name) => descend(&entry.path(), rest, found),
            _ => {}
        }
    }
}

/// What stands under `path`, if it is a regular file.
pub(crate) fn look(path: &Path, wanted: bool) -> io::Result<Option<Entry>> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = statx(CWD, path, AtFlags::empty(), mask)?;
    if FileType::from_raw_mode(u32::from(stat.stx_mode)) != FileType::RegularFile {
        return Ok(None);
    }
    let time = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 { stat.stx_mtime } else { stat.stx_btime };
    // Anybody may give a file of their own any time.
    let nanoseconds = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    let nanoseconds = nanoseconds.saturating_add(u64::from(time.tv_nsec));
    Ok(Some(Entry {
        path: path.to_owned(),
        inode: stat.stx_ino,
        device: (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor),
        born: if stat.stx_mask & StatxFlags::BTIME.bits() == 0 { 0 } else { nanoseconds },
        size: stat.stx_size,
        modified: milliseconds(stat.stx_mtime.tv_sec, i64::from(stat.stx_mtime.tv_nsec)),
        wanted,
    }))
}

/// A time of a file in milliseconds since 1970, however odd it is.
pub(crate) fn milliseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for below a folder.
    fn patterns(dir: &Path, typed: &str) -> Patterns {
        let mut patterns = Patterns::new(&[dir.join(typed).to_str().unwrap().to_owned()], Vec::new()).unwrap();
        patterns.list();
        patterns
    }

    #[test]
    fn wanted_names() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::create_dir_all(dir.join("sub")).unwrap();
        let wants = |pattern: &str, folder: &str, name: &str| {
            let folder = if folder.is_empty() { dir.clone() } else { dir.join(folder) };
            patterns(&dir, pattern).wants(&folder, name)
        };
        assert!(wants("app.log", "", "app.log"));
        assert!(wants("*.log", "", "app.log"));
        assert!(!wants("*.log", "", ".app.log"));
        assert!(!wants("*.log", "sub", "app.log"));
        assert!(wants("*/app.log", "sub", "app.log"));
        assert!(wants("**/*.log", "a/b", "app.log"));
        assert!(wants("**/*.log", "", "app.log"));
        assert!(!wants("**/x/*.log", "a", "app.log"));
        assert!(wants("*/b/*.log", "a/b", "app.log"));
        assert!(wants("a/../sub/*.log", "sub", "app.log"));
    }

    /// Which folder a link leads to is asked at every look.
    #[test]
    fn a_link_that_is_switched() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for release in ["41", "42"] {
            fs::create_dir_all(dir.join(release).join("log")).unwrap();
        }
        let current = dir.join("current");
        std::os::unix::fs::symlink("41", &current).unwrap();
        for typed in ["current/log/*.log", "4*/../current/log/a.log"] {
            let mut patterns = patterns(&dir, typed);
            for release in ["41", "42"] {
                fs::remove_file(&current).unwrap();
                assert_eq!(patterns.list().folders, BTreeSet::new(), "{typed}");
                std::os::unix::fs::symlink(release, &current).unwrap();
                assert_eq!(patterns.list().folders, [dir.join(release).join("log")].into(), "{typed}");
                assert!(patterns.wants(&dir.join(release).join("log"), "a.log"));
                assert!(patterns.leading_to(&dir.join(release).join("log/a.log")).unwrap().ends_with(typed));
            }
        }
    }

    #[test]
    fn rotated_names() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let rotated = |pattern: &str, name: &str| patterns(&dir, pattern).is_rotated(&dir.join(name));
        for name in ["app.log.1", "app.log-20240101", "app-20240101.log", "app.1.log", "app.log.1.old"] {
            assert!(rotated("app.log", name), "{name}");
        }
        for name in ["app.log.1.gz", "other.log.1", "app.logs", "app", "xapp.log.1", "app.log~"] {
            assert!(!rotated("app.log", name), "{name}");
        }
        assert!(rotated("*.log", "b.log.2"));
    }

    #[test]
    fn a_name_that_went_to_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        let entry = look(&path, true).unwrap().unwrap();
        assert!(entry.open().is_ok());
        fs::rename(&path, dir.path().join("b")).unwrap();
        assert_eq!(entry.open().unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "two").unwrap();
        assert_eq!(entry.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn odd_times() {
        assert_eq!(milliseconds(1, 2_500_000), 1002);
        assert_eq!(milliseconds(9_300_000_000_000_000, 0), i64::MAX);
        assert_eq!(milliseconds(i64::MIN, 0), i64::MIN);
    }

    #[test]
    fn what_is_no_file() {
        let here = Path::new("/none");
        for typed in ["", "a/", "a/**", "/", "a["] {
            assert!(Pattern::new(here, typed).is_err(), "{typed:?}");
        }
    }
}
