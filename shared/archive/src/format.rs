//! How an archive is packed, by its file name extension.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// tar, plain or compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.tar`
    Tar,
    /// `.tar.zst`
    TarZst,
    /// `.tar.gz`
    TarGz,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Tar, Self::TarZst, Self::TarGz];

    /// Its name in records and, behind a dot, in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::TarZst => "tar.zst",
            Self::TarGz => "tar.gz",
        }
    }

    /// The plain tar within `packed`.
    ///
    /// # Errors
    /// The decompressor can't be set up.
    pub fn reader<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Tar => Box::new(packed),
            Self::TarZst => {
                let mut reader = zstd::stream::read::Decoder::new(packed)?;
                // Bounds the memory that a frame header can ask for: 2^25 is 32 MiB.
                reader.window_log_max(25)?;
                Box::new(reader)
            }
            Self::TarGz => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected tar, tar.zst or tar.gz")]
pub struct NotAFormat;

impl FromStr for Format {
    type Err = NotAFormat;

    fn from_str(text: &str) -> Result<Self, NotAFormat> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or(NotAFormat)
    }
}
