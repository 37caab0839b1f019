//! What a file held, in a few bytes: enough to know it again under another name, and to see that it was rewritten.

use crc_fast::{CrcAlgorithm, checksum};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// First bytes kept of every file.
pub(crate) const HEAD: usize = 64;
/// Bytes before a position that are checked.
pub(crate) const TAIL: usize = 256;

/// The bytes before one offset of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The offset.
    pub(crate) at: u64,
    /// How many bytes before it.
    pub(crate) length: u64,
    crc: u64,
}

impl Mark {
    /// Of `before`, which ends at `at`; its last bytes count.
    pub(crate) fn of(at: u64, before: &[u8]) -> Self {
        let last = &before[before.len().saturating_sub(TAIL)..];
        Self { at, length: last.len() as u64, crc: checksum(CrcAlgorithm::Crc64Nvme, last) }
    }

    /// Whether these bytes stand in `file` too.
    pub(crate) fn holds(&self, file: &File) -> io::Result<bool> {
        let mut bytes = [0; TAIL];
        let length = usize::try_from(self.length).unwrap_or(TAIL).min(TAIL);
        let bytes = &mut bytes[..length];
        match file.read_exact_at(bytes, self.at.saturating_sub(self.length)) {
            Ok(()) => Ok(checksum(CrcAlgorithm::Crc64Nvme, bytes) == self.crc),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Reads until `buffer` is full or the file ends.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The first bytes of a file, `HEAD` at most.
pub(crate) fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD];
    let count = read_at(file, &mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}
