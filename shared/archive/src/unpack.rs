//! Unpacking an archive that nobody has to trust, into a directory that nobody else sees yet, or only asking whether it
//! could be.

use crate::ground::{Disk, Ground, Paper, parent};
use crate::links::{LinkError, Links};
use crate::member::{NameError, member_name, shown};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use tar::{Archive, Entry, EntryType};

/// Zeros that end every archive, in bytes.
const END_MARK: u64 = crate::TRAILER_LEN;
const SETUID_OR_SETGID: u32 = 0o6000;
const USUAL_DIRECTORY: u32 = 0o755;
/// Longest headers of one member, long names and PAX records included: the reader keeps them in memory.
const LONGEST_HEADERS: u64 = 1 << 20;
/// Bytes that headers may have beside that, all together, and more of them for each member: a bomb may hide in them as well,
/// and no release has names that long on average.
const MOST_HEADERS: u64 = 64 << 20;
const HEADERS_OF_A_MEMBER: u64 = 4 << 10;
/// Most bytes behind the end mark: tar fills its last record up with zeros, and a bomb may hide there.
const LONGEST_TAIL: u64 = 64 << 20;
/// Most memory for the names of directories and links and the links' targets, which are kept to the end.
const MOST_NAMES: usize = 64 << 20;
/// What a part of a name takes beside its bytes, about.
const PART: usize = 64;

/// How much an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Members.
    pub members: u64,
}

impl Default for Limits {
    /// What a host takes that was told nothing else.
    fn default() -> Self {
        Self { bytes: 64 << 30, members: 1_000_000 }
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive's bytes can't be read, or are none.
    #[error("the archive can't be read: {0}")]
    Read(#[source] io::Error),
    /// It ends before its end mark.
    #[error("the archive is cut short: its end mark is missing")]
    Truncated,
    /// A name that no release has.
    #[error("refused {name:?}: {error}")]
    Name {
        /// The name as it stands there.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// A link that leads out of the tree.
    #[error("refused {name:?}: {error}")]
    Link {
        /// The link's name.
        name: String,
        /// What is wrong with it.
        error: LinkError,
    },
    /// A device, a pipe, or a kind that nobody knows.
    #[error("refused {name:?}: it is {what}")]
    Kind {
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// The same name twice.
    #[error("refused {name:?}: the name stands twice in the archive")]
    Twice {
        /// The name.
        name: String,
    },
    /// More than the limits allow.
    #[error("refused: the archive holds more than {what}")]
    TooMuch {
        /// The limit.
        what: String,
    },
    /// Names take more memory than there is for them.
    #[error("refused: the names and targets of its directories and links take more than 64 MiB of memory")]
    Names,
    /// The target can't take it.
    #[error("unable to write {name:?}: {source}")]
    Write {
        /// The member.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

/// Unpacks the plain tar `from` into the empty directory `into`, which nobody else can enter meanwhile. What is made there
/// belongs to `heir`, owner and group, if there is one.
///
/// Nothing is ever written through a link: links are made last, after all of them have been followed on paper, and
/// every path is resolved beneath `into` by the kernel. Reads `from` to its end.
///
/// # Errors
/// What was refused or failed. `into` then holds a part of the tree and should be removed.
pub fn unpack(
    from: impl Read,
    into: BorrowedFd<'_>,
    heir: Option<(u32, u32)>,
    limits: Limits,
) -> Result<(), UnpackError> {
    let ground = Disk::new(into, heir).map_err(|source| UnpackError::Write { name: "the tree".to_owned(), source })?;
    read_tree(from, ground, limits).map(drop)
}

/// Asks of the plain tar `from` all that [`unpack`] asks, and writes nothing. Returns the content of its plain file
/// `wanted`, at most a byte more than 64 KiB of it. Reads `from` to its end.
///
/// # Errors
/// What [`unpack`] refuses or can't read, and nothing else.
pub fn inspect(from: impl Read, wanted: &'static [u8], limits: Limits) -> Result<Option<Vec<u8>>, UnpackError> {
    read_tree(from, Paper::new(wanted), limits).map(Paper::into_content)
}

fn read_tree<G: Ground>(from: impl Read, ground: G, limits: Limits) -> Result<G, UnpackError> {
    let mut tree =
        Tree { ground, links: Links::default(), modes: BTreeMap::new(), left: limits, limits, names_left: MOST_NAMES };
    each_member(from, |entry| tree.add(entry))?;
    tree.finish()
}

/// Gives every member of the tar `from` to `take`, and reads `from` to its end.
fn each_member<R: Read>(
    from: R,
    mut take: impl FnMut(&mut Entry<'_, Watched<R>>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let watch = Rc::new(Watch { zeros: Cell::new(0), allowed: Cell::new(LONGEST_HEADERS) });
    let mut headers_left = MOST_HEADERS;
    let mut archive = Archive::new(Watched { from, ended: false, watch: Rc::clone(&watch) });
    for entry in archive.entries().map_err(UnpackError::Read)? {
        let mut entry = entry.map_err(UnpackError::Read)?;
        let headers = LONGEST_HEADERS.min(headers_left) - watch.allowed.get();
        headers_left = headers_left - headers + HEADERS_OF_A_MEMBER;
        watch.allowed.set(u64::MAX);
        take(&mut entry)?;
        io::copy(&mut entry, &mut io::sink()).map_err(UnpackError::Read)?;
        // Zeros of a file are no end mark: those behind the last member alone are.
        watch.zeros.set(0);
        watch.allowed.set(LONGEST_HEADERS.min(headers_left));
    }
    watch.allowed.set(LONGEST_TAIL);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(UnpackError::Read)?;
    if watch.zeros.get() < END_MARK { Err(UnpackError::Truncated) } else { Ok(()) }
}

/// What is known of the bytes read so far, and how many more may come.
#[derive(Debug)]
struct Watch {
    /// Zeros at the end of what was read: a tar without them was cut off, even where a member ends neatly.
    zeros: Cell<u64>,
    allowed: Cell<u64>,
}

struct Watched<R> {
    from: R,
    ended: bool,
    watch: Rc<Watch>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A reader at its end need not be one that can be asked again.
        let length = if self.ended { 0 } else { self.from.read(buffer)? };
        self.ended |= length == 0 && !buffer.is_empty();
        let read = &buffer[..length];
        let (zeros, allowed) = (&self.watch.zeros, &self.watch.allowed);
        match read.iter().rposition(|&byte| byte != 0) {
            Some(last) => zeros.set((length - 1 - last) as u64),
            None => zeros.set(zeros.get() + length as u64),
        }
        let left = allowed.get().checked_sub(length as u64);
        allowed.set(left.ok_or_else(|| io::Error::other("more headers or padding than any archive has"))?);
        Ok(length)
    }
}

/// The tree as far as it is unpacked.
struct Tree<G> {
    ground: G,
    links: Links,
    /// Modes of directories, set when nothing more is written into them.
    modes: BTreeMap<Vec<u8>, u32>,
    left: Limits,
    limits: Limits,
    names_left: usize,
}

impl<G: Ground> Tree<G> {
    fn add(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), UnpackError> {
        self.count_member()?;
        // Of every kind: what is not written must be read all the same.
        self.left.bytes = self
            .left
            .bytes
            .checked_sub(entry.size())
            .ok_or_else(|| UnpackError::TooMuch { what: format!("{} bytes", self.limits.bytes) })?;
        let raw = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let name = member_name(&raw).map_err(|error| UnpackError::Name { name: shown(&raw), error })?;
        let mode = entry.header().mode().map_err(UnpackError::Read)?;
        let refuse = |what| UnpackError::Kind { name: shown(&raw), what };
        for extension in entry.pax_extensions().map_err(UnpackError::Read)?.into_iter().flatten() {
            // Its content is a map and the data behind it, which no plain file of a release ever was.
            if extension.map_err(UnpackError::Read)?.key_bytes().starts_with(b"GNU.sparse.") {
                return Err(refuse("a sparse file"));
            }
        }
        match kind {
            EntryType::Directory => self.directory(&name, mode),
            EntryType::Regular | EntryType::Continuous => {
                if mode & SETUID_OR_SETGID != 0 {
                    return Err(refuse("a setuid or setgid file"));
                }
                if name.is_empty() || raw.ends_with(b"/") {
                    return Err(refuse("a file with a directory's name"));
                }
                self.file(&name, mode, entry)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                if name.is_empty() {
                    return Err(refuse("a link in place of the tree itself"));
                }
                if self.links.contains(&name) {
                    return Err(UnpackError::Twice { name: shown(&name) });
                }
                let parts = name.split(|&byte| byte == b'/').count();
                self.count_names(name.len() + target.len() + PART * parts)?;
                self.links.insert(name, target);
                Ok(())
            }
            EntryType::Link => {
                if name.is_empty() {
                    return Err(refuse("a link in place of the tree itself"));
                }
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.hard_link(&name, &target)
            }
            EntryType::Char | EntryType::Block => Err(refuse("a device")),
            EntryType::Fifo => Err(refuse("a named pipe")),
            _ => Err(refuse("of a kind that is not unpacked")),
        }
    }

    fn directory(&mut self, name: &[u8], mode: u32) -> Result<(), UnpackError> {
        if name.is_empty() {
            return Ok(());
        }
        self.make_directories(name)?;
        // Its owner must be able to fill it now and to remove it one day.
        self.modes.insert(name.to_vec(), mode & 0o777 | 0o700);
        Ok(())
    }

    /// Directories that only the names of others speak of count too, or a few long names would fill the disk with them.
    fn count_member(&mut self) -> Result<(), UnpackError> {
        let left = self.left.members.checked_sub(1);
        let what = || UnpackError::TooMuch { what: format!("{} members", self.limits.members) };
        self.left.members = left.ok_or_else(what)?;
        Ok(())
    }

    fn count_names(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.names_left = self.names_left.checked_sub(bytes).ok_or(UnpackError::Names)?;
        Ok(())
    }

    fn make_directories(&mut self, name: &[u8]) -> Result<(), UnpackError> {
        match self.ground.make_dir(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(parent) = parent(name) {
                    self.count_member()?;
                    self.make_directories(parent)?;
                }
                self.ground.make_dir(name).map_err(|source| write_error(name, source))?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return if self.ground.is_dir(name) { Ok(()) } else { Err(UnpackError::Twice { name: shown(name) }) };
            }
            other => other.map_err(|source| write_error(name, source))?,
        }
        self.count_names(name.len() + PART)?;
        // What nobody packed gets the usual mode, whatever the umask of this run is.
        self.modes.insert(name.to_vec(), USUAL_DIRECTORY);
        Ok(())
    }

    fn make_parents(&mut self, name: &[u8]) -> Result<(), UnpackError> {
        parent(name).map_or(Ok(()), |parent| self.make_directories(parent))
    }

    /// Makes what `name` is for; its directories first, where there are none yet.
    fn make<T>(&mut self, name: &[u8], make: impl Fn(&mut G) -> io::Result<T>) -> Result<T, UnpackError> {
        let made = match make(&mut self.ground) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_parents(name)?;
                make(&mut self.ground)
            }
            other => other,
        };
        made.map_err(|source| write_error(name, source))
    }

    fn file(&mut self, name: &[u8], mode: u32, entry: &mut Entry<'_, impl Read>) -> Result<(), UnpackError> {
        let mut file = self.make(name, |ground| ground.make_file(name))?;
        copy(entry, &mut file, name)?;
        let mtime = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
        self.ground.end_file(file, mode & 0o777, mtime).map_err(|source| write_error(name, source))
    }

    fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let target = member_name(target).map_err(|error| UnpackError::Name { name: shown(target), error })?;
        if !self.ground.is_file(&target) {
            return Err(UnpackError::Kind { name: shown(name), what: "a hard link to no file of the archive" });
        }
        self.make(name, |ground| ground.hard_link(&target, name))
    }

    fn finish(mut self) -> Result<G, UnpackError> {
        self.links.check().map_err(|(name, error)| match error {
            // Its directory would have the name of that link.
            LinkError::Below => UnpackError::Twice { name: shown(&name) },
            error => UnpackError::Link { name: shown(&name), error },
        })?;
        for (name, target) in std::mem::take(&mut self.links).iter() {
            self.make_parents(name)?;
            self.ground.symlink(target, name).map_err(|source| write_error(name, source))?;
        }
        // Deepest first, so that a directory is still open to us when its own turn comes.
        for (name, mode) in self.modes.iter().rev() {
            self.ground.set_dir_mode(name, *mode).map_err(|source| write_error(name, source))?;
        }
        Ok(self.ground)
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write, name: &[u8]) -> Result<(), UnpackError> {
    let mut buffer = [0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).map_err(UnpackError::Read)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).map_err(|source| write_error(name, source))?;
    }
}

fn write_error(name: &[u8], source: io::Error) -> UnpackError {
    match source.kind() {
        ErrorKind::AlreadyExists => UnpackError::Twice { name: shown(name) },
        ErrorKind::NotADirectory => {
            UnpackError::Kind { name: shown(name), what: "below a name that is not a directory" }
        }
        _ => UnpackError::Write { name: shown(name), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    /// Members of no bytes, each with a PAX header of this length.
    fn members(count: usize, pax: usize) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        let comment = vec![b'x'; pax];
        for number in 0..count {
            tar.append_pax_extensions([("comment", &comment[..])]).unwrap();
            let mut header = Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(0);
            tar.append_data(&mut header, format!("f{number}"), io::empty()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn headers_have_a_bound_of_their_own() {
        let inspect = |tar: Vec<u8>| super::inspect(&tar[..], b"RELEASE", Limits::default());
        assert!(inspect(members(60, 1_000_000)).is_ok(), "below the bound");
        assert!(inspect(members(20_000, 3000)).is_ok(), "long names on average");
        let refused = inspect(members(80, 1_000_000)).unwrap_err();
        assert!(refused.to_string().contains("more headers or padding than any archive has"), "{refused}");
        assert!(inspect(members(1, 2_000_000)).is_err(), "of one member");
    }
}
