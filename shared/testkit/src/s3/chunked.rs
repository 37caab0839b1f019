//! The `aws-chunked` coding: chunks with optional signatures, then a trailer that may carry the checksum.

use std::io::{self, BufRead, Read};

use crate::http::body::{Skip, chunk_size};

/// Names and values.
pub(crate) type Fields = Vec<(String, String)>;

/// Decodes what it reads. Signatures are passed over, as all signatures are.
pub(crate) struct AwsChunked<R> {
    inner: R,
    left: u64,
    started: bool,
    finished: bool,
    /// Trailer fields, names in lower case.
    pub trailers: Fields,
}

impl<R: BufRead> AwsChunked<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, started: false, finished: false, trailers: Vec::new() }
    }

    fn advance(&mut self) -> io::Result<()> {
        while self.left == 0 && !self.finished {
            let mut line = self.line()?;
            if self.started && line == b"\r\n" {
                line = self.line()?;
            }
            self.started = true;
            self.left = chunk_size(&line)?;
            if self.left == 0 {
                self.finished = true;
                self.read_trailers()?;
            }
        }
        Ok(())
    }

    /// The trailer ends with an empty line, but not every client sends it: the end of the body ends it as well.
    fn read_trailers(&mut self) -> io::Result<()> {
        loop {
            let mut line = Vec::new();
            self.inner.read_until(b'\n', &mut line)?;
            let text = String::from_utf8_lossy(&line);
            let Some((name, value)) = text.trim_end().split_once(':') else {
                // A signed trailer has an empty line before its signature, so only the end of the body is the end.
                if line.is_empty() {
                    return Ok(());
                }
                continue;
            };
            self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.inner.read_until(b'\n', &mut line)?;
        if line.is_empty() { Err(malformed()) } else { Ok(line) }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an aws-chunked body without its last chunk")
}

impl<R: Skip> Skip for AwsChunked<R> {
    fn skip(&mut self, limit: u64) -> io::Result<u64> {
        self.advance()?;
        if self.finished || limit == 0 {
            return Ok(0);
        }
        let count = self.inner.skip(self.left.min(limit))?;
        if count == 0 {
            return Err(malformed());
        }
        self.left -= count;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for AwsChunked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.advance()?;
        if self.finished {
            return Ok(&[]);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let seen = self.inner.fill_buf()?;
        if seen.is_empty() {
            return Err(malformed());
        }
        Ok(&seen[..left.min(seen.len())])
    }

    fn consume(&mut self, count: usize) {
        self.left -= count as u64;
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for AwsChunked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let seen = self.fill_buf()?;
        let count = seen.len().min(into.len());
        into[..count].copy_from_slice(&seen[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(coded: &[u8]) -> io::Result<(Vec<u8>, Fields)> {
        let mut chunked = AwsChunked::new(coded);
        let mut bytes = Vec::new();
        chunked.read_to_end(&mut bytes)?;
        Ok((bytes, chunked.trailers))
    }

    #[test]
    fn every_shape_of_the_coding() {
        let none: Fields = Vec::new();
        assert_eq!(decode(b"5\r\nhello\r\n0\r\n\r\n").unwrap(), (b"hello".to_vec(), none.clone()));
        assert_eq!(
            decode(b"2;chunk-signature=ab\r\nhe\r\n3;chunk-signature=cd\r\nllo\r\n0;chunk-signature=ef\r\n\r\n")
                .unwrap()
                .0,
            b"hello"
        );
        let trailer = vec![("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())];
        assert_eq!(decode(b"1\r\na\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n").unwrap(), (b"a".to_vec(), trailer));
        let signed = b"1;chunk-signature=1\r\na\r\n0;chunk-signature=2\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\nx-amz-trailer-signature:3\r\n\r\n";
        assert_eq!(decode(signed).unwrap().1.len(), 2);
        assert_eq!(decode(b"0\r\n\r\n").unwrap(), (Vec::new(), none));
    }

    #[test]
    fn a_coding_that_breaks_off_is_an_error() {
        for coded in [&b""[..], b"5\r\nhel", b"5\r\nhello\r\n", b"zz\r\nhello\r\n0\r\n\r\n"] {
            assert!(decode(coded).is_err(), "{coded:?}");
        }
    }
}
