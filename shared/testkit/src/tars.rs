//! Archives built block by block, so that a test can write what no honest packer would.

use std::io::Write;
use tar::Header;

pub use tar::EntryType;

/// A tar under construction.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A member with a GNU header; `change` may bend what the header says before its checksum is made.
    ///
    /// # Panics
    /// The name does not fit the header.
    #[must_use]
    pub fn member(mut self, name: &[u8], kind: EntryType, body: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(body.len() as u64);
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body);
        self.pad()
    }

    /// A plain file.
    #[must_use]
    pub fn file(self, name: &str, body: &[u8]) -> Self {
        self.member(name.as_bytes(), EntryType::Regular, body, |_| {})
    }

    /// A directory.
    #[must_use]
    pub fn dir(self, name: &str) -> Self {
        self.member(name.as_bytes(), EntryType::Directory, b"", |_| {})
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    /// A hard link to another member.
    #[must_use]
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.member(name.as_bytes(), kind, b"", |header| {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    /// The header that says the next member's name (`L`) or link target (`K`), however long.
    #[must_use]
    pub fn long(self, kind: EntryType, text: &[u8]) -> Self {
        self.member(b"././@LongLink", kind, &[text, b"\0"].concat(), |_| {})
    }

    /// A PAX header with these keys for the next member.
    #[must_use]
    pub fn pax(self, fields: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = fields.iter().flat_map(|(key, value)| pax_line(key, value)).collect();
        self.member(b"PaxHeaders/x", EntryType::XHeader, &body, |_| {})
    }

    /// The archive with its end mark.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    /// The archive without its end mark.
    #[must_use]
    pub fn cut(self) -> Vec<u8> {
        self.0
    }

    fn pad(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
}

/// `LENGTH KEY=VALUE`, where the length counts its own digits.
fn pax_line(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// `bytes` as zstd packs them.
///
/// # Panics
/// Never: memory takes every byte.
#[must_use]
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory takes every byte")
}

/// `bytes` as gzip packs them.
///
/// # Panics
/// Never: memory takes every byte.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).expect("memory takes every byte");
    packer.finish().expect("memory takes every byte")
}
