//! The files to pack, as they were found: every member of the archive before its first byte is read.

use crate::exclusion::Exclusion;
use archive::{Kind, Limits, Links, Member, TRAILER_LEN, member_name};
use failure::Failure;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The name of the record inside the archive.
pub(crate) const RELEASE: &[u8] = b"RELEASE";
/// The mode of a file that everybody may read.
pub(crate) const READABLE: u32 = 0o644;
/// The same of a directory, or of a file that may be executed.
const EXECUTABLE: u32 = 0o755;

/// Everything to pack, sorted by name.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    entries: Vec<Entry>,
    /// The root itself was asked for, not only what is below.
    whole: bool,
    passed_over: Vec<PathBuf>,
}

/// One file, directory or link.
#[derive(Debug)]
pub(crate) struct Entry {
    name: Box<[u8]>,
    what: What,
}

#[derive(Debug)]
enum What {
    Directory { mode: u32 },
    File { mode: u32, state: State },
    Link { target: Box<[u8]> },
}

/// What tells whether a file is still the one that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) size: u64,
    /// Of inode and times, since there may be very many files. The time of the last change is one of them: it tells what
    /// the time of writing does not, a tool that sets that one back or an inode that was freed and used again.
    fingerprint: u64,
}

impl State {
    pub(crate) fn of(meta: &Metadata) -> Self {
        let mut hasher = DefaultHasher::new();
        (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()).hash(&mut hasher);
        Self { size: meta.size(), fingerprint: hasher.finish() }
    }
}

impl Entry {
    /// The entry as a member of the archive.
    pub(crate) fn member(&self) -> Member<'_> {
        let kind = match &self.what {
            What::Directory { mode } => Kind::Directory { mode: *mode },
            What::File { mode, state } => Kind::File { size: state.size, mode: *mode },
            What::Link { target } => Kind::Link { target },
        };
        Member { name: &self.name, kind }
    }

    /// How a file was found; `None` for anything else.
    pub(crate) fn state(&self) -> Option<State> {
        match &self.what {
            What::File { state, .. } => Some(*state),
            _ => None,
        }
    }

    /// Its path below the root.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.name))
    }
}

impl Tree {
    /// Finds what is at and below `paths`, which are relative to `root`.
    ///
    /// # Errors
    /// A path that is not there, is unsafe or can't be read; something that is neither file, directory nor link; a
    /// link that leads out of the tree, which no host would accept; nothing at all.
    pub(crate) fn find(root: &Path, paths: &[PathBuf], exclude: &mut Exclusion) -> Result<Self, Failure> {
        let mut entries = Vec::new();
        let mut whole = false;
        let mut passed_over = Vec::new();
        for path in paths {
            let name = member_name(path.as_os_str().as_bytes()).map_err(|error| {
                Failure::usage(format!("unable to pack {}: {error}; paths are relative to --directory", path.display()))
            })?;
            if exclude.covers(Path::new(OsStr::from_bytes(&name))) {
                passed_over.push(path.clone());
                continue;
            }
            whole |= name.is_empty();
            // Joining an empty name would add a slash, which makes a file of it a missing directory.
            let start = if name.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(&name)) };
            walk(root, &start, exclude, &mut entries)?;
        }
        entries.shrink_to_fit();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        entries.retain(|entry| &*entry.name != RELEASE);
        if entries.is_empty() {
            let what = format!("nothing to pack: {} holds nothing that is asked for and not excluded", root.display());
            return Err(Failure::permanent(what));
        }
        let tree = Self { root: root.to_owned(), entries, whole, passed_over };
        tree.check_links()?;
        tree.check_ancestors()?;
        Ok(tree)
    }

    /// The members, sorted.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Paths that were asked for and are excluded.
    pub(crate) fn passed_over(&self) -> &[PathBuf] {
        &self.passed_over
    }

    /// Where a member is found.
    pub(crate) fn location(&self, entry: &Entry) -> PathBuf {
        self.root.join(entry.path())
    }

    /// What a host has to unpack.
    pub(crate) fn contents(&self) -> Limits {
        let bytes = self.entries.iter().map(|entry| entry.member().content_len());
        Limits { bytes: bytes.sum(), members: self.entries.len() as u64 + 1 }
    }

    /// Bytes of the plain tar whose `RELEASE` has `release` bytes.
    pub(crate) fn tar_len(&self, release: u64) -> u64 {
        let first = Member { name: RELEASE, kind: Kind::File { size: release, mode: READABLE } };
        let members = self.entries.iter().map(Entry::member).chain([first]);
        TRAILER_LEN + members.map(|member| member.header_len() + member.content_len()).sum::<u64>()
    }

    /// Refuses a store in what is packed: every release would hold all releases before it. It need not be there yet.
    ///
    /// # Errors
    /// The walk came by that directory, or would have.
    pub(crate) fn check_store(&self, store: &Path, exclude: &mut Exclusion) -> Result<(), Failure> {
        let (Ok(root), Some(place)) = (self.root.canonicalize(), canonical(store)) else { return Ok(()) };
        let Ok(below) = place.strip_prefix(&root) else { return Ok(()) };
        let walked = below.ancestors().any(|above| match above.as_os_str().as_bytes() {
            b"" => self.whole,
            name => {
                let found = self.entries.binary_search_by(|entry| (*entry.name).cmp(name));
                found.is_ok_and(|at| matches!(self.entries[at].what, What::Directory { .. }))
            }
        });
        let excluded = exclude.matches_above(&below.join("x"));
        if !walked || excluded {
            return Ok(());
        }
        let what = format!("the store {} lies in what is packed: --exclude it, or keep it elsewhere", store.display());
        Err(Failure::permanent(what))
    }

    fn check_links(&self) -> Result<(), Failure> {
        let mut links = Links::default();
        for entry in &self.entries {
            if let What::Link { target } = &entry.what {
                links.insert(entry.name.to_vec(), target.to_vec());
            }
        }
        links.check().map_err(|(name, error)| {
            Failure::permanent(format!("unable to pack {}: {error}", Path::new(OsStr::from_bytes(&name)).display()))
        })
    }

    /// No host could unpack a member below one that is no directory: below a link that was packed too, or below `RELEASE`.
    fn check_ancestors(&self) -> Result<(), Failure> {
        let links = self.entries.iter().filter(|entry| matches!(entry.what, What::Link { .. }));
        let blocked: HashSet<&[u8]> = links.map(|entry| &*entry.name).chain([RELEASE]).collect();
        for entry in &self.entries {
            let slashes = entry.name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            for (at, _) in slashes {
                let above = &entry.name[..at];
                if blocked.contains(above) {
                    let above = Path::new(OsStr::from_bytes(above)).display();
                    let what =
                        format!("unable to pack {}: {above} is not a directory in the release", entry.path().display());
                    return Err(Failure::permanent(what));
                }
            }
        }
        Ok(())
    }
}

/// A path without links, as far as it exists.
fn canonical(path: &Path) -> Option<PathBuf> {
    let there = path.ancestors().find(|above| above.exists())?;
    Some(there.canonicalize().ok()?.join(path.strip_prefix(there).ok()?))
}

/// The usual mode, without what group and others may not do with what was found: a secret stays one.
fn mode(usual: u32, found: u32) -> u32 {
    usual & (0o700 | found)
}

fn walk(root: &Path, start: &Path, exclude: &mut Exclusion, entries: &mut Vec<Entry>) -> Result<(), Failure> {
    let below = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let walk = WalkDir::new(start).follow_links(false).follow_root_links(start == root);
    let mut found = walk.into_iter();
    while let Some(entry) = found.next() {
        let entry = entry.map_err(|error| {
            // What was asked for is shown with the place it was looked for, which a wrong --directory makes another one.
            let asked = || std::path::absolute(start).unwrap_or_else(|_| start.to_owned());
            let path = error.path().filter(|path| *path != start).map_or_else(asked, below);
            let why = error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of directories"));
            Failure::io(format!("unable to pack {}", path.display()), why)
        })?;
        let path = below(entry.path());
        if path.as_os_str().is_empty() {
            continue;
        }
        let unable = |why: &str| Failure::permanent(format!("unable to pack {}: {why}", path.display()));
        if exclude.matches(&path) {
            if entry.file_type().is_dir() {
                found.skip_current_dir();
            }
            continue;
        }
        let unreadable = |error| Failure::io(format!("unable to pack {}", path.display()), error);
        let kind = entry.file_type();
        let meta = || entry.metadata().map_err(|error| unreadable(error.into()));
        let what = if kind.is_dir() {
            What::Directory { mode: mode(EXECUTABLE, meta()?.mode()) }
        } else if kind.is_file() {
            let meta = meta()?;
            let usual = if meta.mode() & 0o100 != 0 { EXECUTABLE } else { READABLE };
            What::File { mode: mode(usual, meta.mode()), state: State::of(&meta) }
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).map_err(unreadable)?;
            What::Link { target: target.into_os_string().into_vec().into() }
        } else if kind.is_socket() {
            return Err(unable("it is a socket"));
        } else if kind.is_fifo() {
            return Err(unable("it is a named pipe"));
        } else {
            return Err(unable("it is a device"));
        };
        let name = member_name(path.as_os_str().as_bytes()).map_err(|error| unable(&error.to_string()))?;
        entries.push(Entry { name: name.into(), what });
    }
    Ok(())
}
