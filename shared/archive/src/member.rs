//! One member of an archive: its name's rules and its header, to the byte.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Two blocks of zeros end an archive.
pub const TRAILER_LEN: u64 = 2 * BLOCK;
/// Longest name that fits a header by itself, in bytes.
const SHORT: usize = 100;
/// Longest name of a file that Linux takes, in bytes.
const LONGEST_PATH: usize = 4096;
/// Most parts of a name: who walks a tree may keep a directory open for each, and has 1024 files by default.
const MOST_PARTS: usize = 255;

/// Why a name can't be a member's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("its name is empty")]
    Empty,
    /// It starts at the root.
    #[error("its name is absolute")]
    Absolute,
    /// It climbs out.
    #[error("its name contains '..'")]
    Climbs,
    /// It has a zero byte.
    #[error("its name contains a zero byte")]
    Zero,
    /// Linux takes no such name.
    #[error("its name is longer than 4096 bytes, or a part of it than 255")]
    Long,
    /// Too many directories within each other.
    #[error("its name has more than 255 parts")]
    Deep,
}

/// The name of a member, without `.` and doubled slashes. Empty for the root of the tree itself.
///
/// # Errors
/// Says what makes the name unsafe.
pub fn member_name(raw: &[u8]) -> Result<Vec<u8>, NameError> {
    if raw.is_empty() {
        return Err(NameError::Empty);
    }
    if raw.starts_with(b"/") {
        return Err(NameError::Absolute);
    }
    if raw.contains(&0) {
        return Err(NameError::Zero);
    }
    let mut name = Vec::with_capacity(raw.len());
    let mut parts = 0;
    for part in raw.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err(NameError::Climbs);
        }
        if part.len() > 255 {
            return Err(NameError::Long);
        }
        parts += 1;
        if parts > MOST_PARTS {
            return Err(NameError::Deep);
        }
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(part);
    }
    if name.len() >= LONGEST_PATH {
        return Err(NameError::Long);
    }
    Ok(name)
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A directory.
    Directory {
        /// Who may do what.
        mode: u32,
    },
    /// A file of so many bytes.
    File {
        /// Length in bytes.
        size: u64,
        /// Who may do what.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: &'a [u8],
    },
}

/// A member to be written. The same member has the same bytes whoever packs it and where: owner and group are 0,
/// the time is the archive's.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name, as [`member_name`] makes it.
    pub name: &'a [u8],
    /// What it is.
    pub kind: Kind<'a>,
}

impl Member<'_> {
    /// Bytes of the header, or headers where a name is long.
    #[must_use]
    pub fn header_len(&self) -> u64 {
        let target = match self.kind {
            Kind::Link { target } => long_len(target.len()),
            _ => 0,
        };
        BLOCK + long_len(self.stored_name_len()) + target
    }

    /// Bytes of content and of the zeros after it.
    #[must_use]
    pub fn content_len(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size.next_multiple_of(BLOCK),
            _ => 0,
        }
    }

    /// Appends the header to `out`. `mtime` is in seconds since 1970.
    pub fn write_header(&self, mtime: u64, out: &mut Vec<u8>) {
        let mut name = self.name.to_vec();
        let (entry_type, size, mode, target) = match self.kind {
            Kind::Directory { mode } => {
                name.push(b'/');
                (EntryType::Directory, 0, mode, None)
            }
            Kind::File { size, mode } => (EntryType::Regular, size, mode, None),
            Kind::Link { target } => (EntryType::Symlink, 0, 0o777, Some(target)),
        };
        if let Some(target) = target {
            write_long(EntryType::GNULongLink, target, out);
        }
        write_long(EntryType::GNULongName, &name, out);
        let mut header = Header::new_gnu();
        header.set_entry_type(entry_type);
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(mtime);
        header.set_uid(0);
        header.set_gid(0);
        let fields = header.as_gnu_mut().expect("it was made as a GNU header");
        copy_short(&name, &mut fields.name);
        copy_short(target.unwrap_or_default(), &mut fields.linkname);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
    }

    fn stored_name_len(&self) -> usize {
        self.name.len() + usize::from(matches!(self.kind, Kind::Directory { .. }))
    }
}

/// Bytes that a long name takes before its member's header.
fn long_len(length: usize) -> u64 {
    if length <= SHORT { 0 } else { BLOCK + (length as u64 + 1).next_multiple_of(BLOCK) }
}

fn write_long(entry_type: EntryType, name: &[u8], out: &mut Vec<u8>) {
    if name.len() <= SHORT {
        return;
    }
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_size(name.len() as u64 + 1);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let fields = header.as_gnu_mut().expect("it was made as a GNU header");
    copy_short(b"././@LongLink", &mut fields.name);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    let end = out.len() as u64 + (name.len() as u64 + 1).next_multiple_of(BLOCK);
    out.extend_from_slice(name);
    out.resize(usize::try_from(end).expect("a header fits into memory"), 0);
}

fn copy_short(name: &[u8], field: &mut [u8; SHORT]) {
    let length = name.len().min(SHORT);
    field[..length].copy_from_slice(&name[..length]);
}

/// A name as messages show it.
pub(crate) fn shown(name: &[u8]) -> String {
    Path::new(std::ffi::OsStr::from_bytes(name)).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(member_name(b"./a//b/./c/"), Ok(b"a/b/c".to_vec()));
        assert_eq!(member_name(b"."), Ok(Vec::new()));
        assert_eq!(member_name(b""), Err(NameError::Empty));
        assert_eq!(member_name(b"/etc"), Err(NameError::Absolute));
        assert_eq!(member_name(b"a/../b"), Err(NameError::Climbs));
        assert_eq!(member_name(b"a\0b"), Err(NameError::Zero));
        assert_eq!(member_name(&[b'x'; 256]), Err(NameError::Long));
        assert!(member_name(&b"x/".repeat(255)).is_ok());
        assert_eq!(member_name(&b"x/".repeat(256)), Err(NameError::Deep));
    }

    #[test]
    fn headers_are_as_long_as_foretold() {
        for length in [1, 99, 100, 101, 255, 511, 512, 1000] {
            let name = vec![b'n'; length];
            let target = vec![b't'; length];
            for kind in [
                Kind::Directory { mode: 0o755 },
                Kind::File { size: 9 << 30, mode: 0o755 },
                Kind::Link { target: &target },
            ] {
                let member = Member { name: &name, kind };
                let mut bytes = Vec::new();
                member.write_header(1, &mut bytes);
                assert_eq!(bytes.len() as u64, member.header_len(), "{length} {kind:?}");
            }
        }
    }
}
