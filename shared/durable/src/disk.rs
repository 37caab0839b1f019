//! A whole file system, made to survive a power cut in one call however many files were written.

use failure::Failure;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The file system of a directory.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    file: File,
}

impl Disk {
    /// The file system of `dir`. The kernel tells a failure to write back once to every file that was open when it
    /// happened, so [`Disk::sync`] knows only of failures since this call: make it before the first byte is written.
    ///
    /// # Errors
    /// The directory can't be opened.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let file = File::open(dir).map_err(|error| Failure::io(format!("unable to sync {}", dir.display()), error))?;
        Ok(Self { dir: dir.to_owned(), file })
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// The kernel could not write some of it back since the last call.
    pub fn sync(&self) -> Result<(), Failure> {
        rustix::fs::syncfs(&self.file)
            .map_err(|error| Failure::io(format!("unable to sync {}", self.dir.display()), error.into()))
    }
}
