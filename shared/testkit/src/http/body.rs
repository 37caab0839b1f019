//! A message body on the wire: where it ends, read as a stream, or dropped.

use std::io::{self, BufRead, Read, Write};

use super::head::{RequestHead, ResponseHead};
use super::wire::Wire;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    pub fn of_request(head: &RequestHead) -> Self {
        if head.headers.lists("transfer-encoding", "chunked") {
            return Self::Chunked;
        }
        Self::Length(head.headers.number("content-length").unwrap_or(0))
    }

    pub fn of_response(head: &ResponseHead, method: &str) -> Self {
        if method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304 {
            return Self::Length(0);
        }
        if head.headers.lists("transfer-encoding", "chunked") {
            return Self::Chunked;
        }
        head.headers.number("content-length").map_or(Self::UntilClose, Self::Length)
    }
}

/// A stream whose bytes can also be dropped unseen.
pub(crate) trait Skip: BufRead {
    /// Drops at most `limit` bytes and says how many; 0 at the end.
    fn skip(&mut self, limit: u64) -> io::Result<u64> {
        let seen = self.fill_buf()?.len() as u64;
        let count = seen.min(limit);
        self.consume(usize::try_from(count).expect("no more than was buffered"));
        Ok(count)
    }
}

pub(crate) struct Body<'w> {
    wire: &'w mut Wire,
    framing: Framing,
    /// Bytes left of the body, or of the current chunk.
    left: u64,
    /// True once the next thing on the wire is no longer this body.
    finished: bool,
    /// The client waits for `100 Continue` before it sends anything.
    waited_for: bool,
    /// Trailer fields after the last chunk, as received.
    pub trailers: Vec<u8>,
}

impl<'w> Body<'w> {
    pub fn new(wire: &'w mut Wire, framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { wire, framing, left, finished: framing == Framing::Length(0), waited_for: false, trailers: Vec::new() }
    }

    /// The same, for a client that sends nothing before it has read `100 Continue`.
    pub fn awaiting_continue(mut self, waited_for: bool) -> Self {
        self.waited_for = waited_for && !self.finished;
        self
    }

    /// True when the client still waits to be told to send.
    pub fn is_waited_for(&self) -> bool {
        self.waited_for
    }

    pub fn drain(&mut self) -> io::Result<()> {
        while self.skip(u64::MAX)? > 0 {}
        Ok(())
    }

    /// Gets past everything that is not content; afterwards `left` bytes of content come next, or the body is finished.
    fn advance(&mut self) -> io::Result<()> {
        if self.finished || self.left > 0 {
            return Ok(());
        }
        match self.framing {
            Framing::UntilClose => {}
            Framing::Length(_) => self.finished = true,
            Framing::Chunked => {
                let mut line = self.wire.line()?;
                // The line end that closes the chunk before.
                if line == b"\r\n" {
                    line = self.wire.line()?;
                }
                self.left = chunk_size(&line)?;
                if self.left == 0 {
                    loop {
                        let line = self.wire.line()?;
                        if line.is_empty() {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        if line == b"\r\n" {
                            break;
                        }
                        self.trailers.extend_from_slice(&line);
                    }
                    self.finished = true;
                }
            }
        }
        Ok(())
    }

    fn invite(&mut self) -> io::Result<()> {
        if self.waited_for {
            self.waited_for = false;
            self.wire.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }
}

/// Reads `HEX[;extension]\r\n`.
pub(crate) fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(line).ok().and_then(|line| line.split([';', '\r', '\n']).next());
    let size = text.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a chunk without a size"))
}

impl Skip for Body<'_> {
    fn skip(&mut self, limit: u64) -> io::Result<u64> {
        self.invite()?;
        self.advance()?;
        if self.finished || limit == 0 {
            return Ok(0);
        }
        if self.framing == Framing::UntilClose {
            return self.wire.skip(limit);
        }
        let count = self.wire.skip(self.left.min(limit))?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        // The end is looked for at once, so that nobody stops just before a last chunk that says nothing.
        self.advance()?;
        Ok(count)
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.invite()?;
        self.advance()?;
        if self.finished {
            return Ok(&[]);
        }
        let until_close = self.framing == Framing::UntilClose;
        let seen = self.wire.fill()?;
        if until_close {
            return Ok(seen);
        }
        if seen.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(seen.len());
        Ok(&seen[..count])
    }

    fn consume(&mut self, count: usize) {
        self.wire.consume(count);
        if self.framing != Framing::UntilClose {
            self.left -= count as u64;
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let seen = self.fill_buf()?;
        let count = seen.len().min(into.len());
        into[..count].copy_from_slice(&seen[..count]);
        self.consume(count);
        Ok(count)
    }
}
