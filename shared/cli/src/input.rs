//! Records on stdin and files from the command line, read whole, within a bound.

use failure::{Failure, name_of_secret};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// All of stdin, at most `limit` bytes.
///
/// # Errors
/// Nothing at all on stdin (temporary: the stage before failed), too much, or not readable.
pub fn read_input(what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io("unable to read stdin", error))?;
    if bytes.is_empty() {
        return Err(Failure::temporary(format!(
            "no {what} on stdin: the command before this one failed, nothing is changed"
        )));
    }
    if bytes.len() as u64 > limit {
        return Err(Failure::permanent(format!("{what} on stdin is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads at most this many bytes; more of them are an error, and no end.
#[derive(Debug)]
pub struct Bounded<R> {
    from: R,
    left: u64,
}

impl<R: Read> Bounded<R> {
    /// At most `limit` bytes of `from`.
    pub fn new(from: R, limit: u64) -> Self {
        Self { from, left: limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        let left = self.left.checked_sub(length as u64);
        self.left =
            left.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than any honest one"))?;
        Ok(length)
    }
}

/// Reads a file that was named on the command line, of at most `limit` bytes: one that never ends is refused.
///
/// # Errors
/// It can't be read, or has more.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    read(path, path.display(), limit)
}

/// Reads a file that holds a secret, which `option` names.
///
/// # Errors
/// It can't be read, or has more than `limit` bytes.
pub fn read_secret(option: &str, path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    read(path, format!("{option} {}", name_of_secret(path)), limit)
}

fn read(path: &Path, name: impl Display, limit: u64) -> Result<Vec<u8>, Failure> {
    let unable = || format!("unable to read {name}");
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| Failure::io(unable(), error))?;
    if length as u64 > limit {
        return Err(Failure::permanent(format!("{}: it has more than {limit} bytes", unable())));
    }
    Ok(bytes)
}
