//! Archives built block by block, so that a test can write what no honest packer would.

use std::io::Write;
use tar::{EntryType, Header};

/// A tar under construction.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// A member with a GNU header; `change` may bend what the header says before its checksum is made.
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

    pub fn file(self, name: &str, body: &[u8]) -> Self {
        self.member(name.as_bytes(), EntryType::Regular, body, |_| {})
    }

    pub fn dir(self, name: &str) -> Self {
        self.member(name.as_bytes(), EntryType::Directory, b"", |_| {})
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.member(name.as_bytes(), kind, b"", |header| {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    /// The header that says the next member's name (`L`) or link target (`K`), however long.
    pub fn long(self, kind: EntryType, text: &[u8]) -> Self {
        self.member(b"././@LongLink", kind, &[text, b"\0"].concat(), |_| {})
    }

    /// A PAX header with these keys for the next member.
    pub fn pax(self, fields: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = fields.iter().flat_map(|(key, value)| pax_line(key, value)).collect();
        self.member(b"PaxHeaders/x", EntryType::XHeader, &body, |_| {})
    }

    /// The archive with its end mark.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    /// The archive without its end mark.
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

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// An archive whose every file says which release it is, as many files as asked for.
pub fn plain(number: u64, files: usize) -> Vec<u8> {
    let mut tar = Tar::new().file("RELEASE", &crate::depot::five_lines(number)).dir("bin").dir("empty");
    tar = tar.member(b"bin/run", EntryType::Regular, number.to_string().as_bytes(), |header| header.set_mode(0o755));
    for index in 0..files {
        tar = tar.file(&format!("f{index}"), number.to_string().as_bytes());
    }
    tar.symlink("link", "bin/run").end()
}
