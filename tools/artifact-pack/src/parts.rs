//! Parts of an upload: buffers that are filled, hashed, sent and used again, so that memory stays bounded.

use bytes::Bytes;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const MIB: u64 = 1 << 20;
/// An archive up to this size is one part, whose request is the only one; bytes.
pub(crate) const ONE_REQUEST: u64 = 8 * MIB;
/// Size of a part of a longer one, unless that needs larger ones: S3's smallest, so that as many as possible are under way
/// while a distant store's answers are waited for.
const PART: u64 = 5 * MIB;
/// Size of the first parts of an archive whose length nobody knows: it shall have room to grow.
const GROWING: u64 = 8 * MIB;
/// S3 takes no more parts of one object.
const MOST_PARTS: u64 = 10_000;
/// Memory for all buffers together, as long as two parts fit into it.
const BUDGET: u64 = 40 * MIB;

/// How large the parts of an archive are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sizes {
    /// The archive's length is known: all parts are alike.
    Even(u64),
    /// It is not: parts grow as there are more of them, up to 234 GiB in all.
    Growing,
}

impl Sizes {
    /// For an archive of `total` bytes, if that is known.
    pub(crate) fn of(total: Option<u64>) -> Self {
        match total {
            Some(total) if total <= ONE_REQUEST => Self::Even(ONE_REQUEST),
            Some(total) => Self::Even(total.div_ceil(MOST_PARTS).next_multiple_of(MIB).max(PART)),
            None => Self::Growing,
        }
    }

    /// Size of that part; `None` past the last one.
    fn part(self, number: u64) -> Option<u64> {
        match (self, number) {
            (_, n) if n > MOST_PARTS => None,
            (Self::Even(size), _) => Some(size),
            (Self::Growing, ..=2_000) => Some(GROWING),
            (Self::Growing, ..=4_000) => Some(2 * GROWING),
            (Self::Growing, _) => Some(4 * GROWING),
        }
    }

    /// Buffers in use at once. A compressor needs memory of its own, so it leaves fewer.
    fn buffers(self) -> usize {
        match self {
            Self::Even(size) => usize::try_from((BUDGET / size).max(2)).unwrap_or(2),
            Self::Growing => 3,
        }
    }
}

/// A full part.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

/// Cuts a stream of bytes into parts. Waits while all buffers are on their way.
#[derive(Debug)]
pub(crate) struct Cutter {
    sizes: Sizes,
    to: SyncSender<Filled>,
    free: Receiver<Vec<u8>>,
    back: SyncSender<Vec<u8>>,
    made: usize,
    buffer: Vec<u8>,
    used: usize,
    number: u64,
    offset: u64,
}

impl Cutter {
    /// A cutter that hands full parts to `to`.
    pub(crate) fn new(sizes: Sizes, to: SyncSender<Filled>) -> Self {
        let (back, free) = sync_channel(sizes.buffers());
        Self { sizes, to, free, back, made: 0, buffer: Vec::new(), used: 0, number: 1, offset: 0 }
    }

    /// Reads exactly `length` bytes of `from` straight into the parts; tells how many there were if fewer.
    pub(crate) fn fill_from(&mut self, from: &mut impl Read, length: u64) -> io::Result<u64> {
        let mut done = 0;
        while done < length {
            self.make_room()?;
            let room = self.buffer.len() - self.used;
            let wanted = usize::try_from(length - done).unwrap_or(room).min(room);
            match from.read(&mut self.buffer[self.used..self.used + wanted]) {
                Ok(0) => break,
                Ok(read) => {
                    self.used += read;
                    done += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Sends what is left as the last part.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.used > 0 || self.number == 1 { self.send() } else { Ok(()) }
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.used == self.buffer.len() && self.used > 0 {
            self.send()?;
        }
        if self.buffer.is_empty() {
            let too_many = || io::Error::other("it needs more than 10,000 parts; --compress none has no such limit");
            let size = self.sizes.part(self.number).ok_or_else(too_many)?;
            let size = usize::try_from(size).map_err(io::Error::other)?;
            self.buffer = if self.made < self.sizes.buffers() {
                self.made += 1;
                Vec::new()
            } else {
                self.free.recv().map_err(|_| gone())?
            };
            self.buffer.resize(size, 0);
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let loan = Loan { buffer: std::mem::take(&mut self.buffer), used: self.used, back: self.back.clone() };
        let number = u32::try_from(self.number).map_err(io::Error::other)?;
        let part = Filled { number, offset: self.offset, bytes: Bytes::from_owner(loan) };
        self.number += 1;
        self.offset += self.used as u64;
        self.used = 0;
        self.to.send(part).map_err(|_| gone())
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_room()?;
        let length = bytes.len().min(self.buffer.len() - self.used);
        self.buffer[self.used..self.used + length].copy_from_slice(&bytes[..length]);
        self.used += length;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The receiving end gave up; its own reason is the one to tell.
fn gone() -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, "the upload was given up")
}

/// A buffer on its way, which comes back when nobody needs its bytes any more.
#[derive(Debug)]
struct Loan {
    buffer: Vec<u8>,
    used: usize,
    back: SyncSender<Vec<u8>>,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.used]
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // No more buffers exist than the channel holds, so this never waits; a cutter that is gone needs none.
        let _ = self.back.try_send(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit_ten_thousand_parts() {
        for total in [0, 1, 8 << 20, (8 << 20) + 1, 48 << 30, (49 << 30) + 1, 100 << 30, 40 << 40] {
            let Sizes::Even(size) = Sizes::of(Some(total)) else { panic!("known length") };
            assert!(size >= PART && size % MIB == 0 && total.div_ceil(size) <= MOST_PARTS);
        }
    }

    #[test]
    fn cut_and_joined_again() {
        let (to, parts) = sync_channel(100);
        let mut cutter = Cutter::new(Sizes::Even(10), to);
        let reader = std::thread::spawn(move || parts.iter().map(|part| part.bytes.to_vec()).collect::<Vec<_>>());
        cutter.write_all(b"0123456").unwrap();
        assert_eq!(cutter.fill_from(&mut &b"789abcdefghijklmnopqrstuvwxyz"[..], 20).unwrap(), 20);
        assert_eq!(cutter.fill_from(&mut &b"xy"[..], 5).unwrap(), 2);
        cutter.finish().unwrap();
        let parts = reader.join().unwrap();
        assert_eq!(parts, [&b"0123456789"[..], b"abcdefghij", b"klmnopqxy"]);
    }
}
