//! One TCP connection read through one reused buffer.

use std::io::{self, Read};
use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Small enough to stay in the CPU's cache while it is filled and emptied again and again.
const BUFFER: usize = 256 * 1024;
/// A head longer than this is no S3 request (metadata is limited to 2 KB, keys to 1 KB).
const LONGEST_HEAD: usize = 64 * 1024;

pub(crate) struct Wire {
    pub stream: TcpStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        // Answers are small and awaited: Nagle's algorithm would only hold them back.
        drop(stream.set_nodelay(true));
        Self { stream, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }

    /// True once the peer has closed a connection on which nothing is awaited.
    pub fn is_closed(&self) -> bool {
        let peeked = recv(&self.stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        self.start == self.end && !matches!(peeked, Ok((_, 1..)) | Err(Errno::AGAIN))
    }

    /// What is buffered, after one read if that is nothing; empty at the end of the stream.
    pub fn fill(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.stream.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "only what was filled can be consumed");
    }

    /// Drops at most `limit` bytes without looking at them, and says how many; 0 at the end of the stream.
    pub fn skip(&mut self, limit: u64) -> io::Result<u64> {
        let at_most = usize::try_from(limit).unwrap_or(usize::MAX);
        if self.start < self.end {
            let count = at_most.min(self.end - self.start);
            self.start += count;
            return Ok(count as u64);
        }
        // MSG_TRUNC on a TCP socket takes bytes out of the queue without copying them: the kernel is the null sink.
        let window = at_most.min(self.buffer.len());
        let (_, count) = recv(&self.stream, &mut self.buffer[..window], RecvFlags::TRUNC)?;
        Ok(count as u64)
    }

    /// One line with its end, or nothing at the end of the stream.
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let seen = self.fill()?;
            if seen.is_empty() {
                return if line.is_empty() { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let end = seen.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(seen.len(), |at| at + 1);
            line.extend_from_slice(&seen[..count]);
            self.consume(count);
            if end.is_some() {
                return Ok(line);
            }
            if line.len() > LONGEST_HEAD {
                return Err(io::Error::other("a line longer than any S3 request has"));
            }
        }
    }

    /// Everything to the empty line, that line included; nothing at the end of the stream.
    pub fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let last = line == b"\r\n" || line == b"\n";
            // An empty line before a request is allowed and means nothing.
            if last && head.is_empty() {
                continue;
            }
            head.extend_from_slice(&line);
            if last {
                return Ok(Some(head));
            }
            if head.len() > LONGEST_HEAD {
                return Err(io::Error::other("a head longer than any S3 request has"));
            }
        }
    }
}
