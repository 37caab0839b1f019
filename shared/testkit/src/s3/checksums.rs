//! The checksums S3 knows: computing them, combining those of parts, and their spellings in headers and XML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest as Crc, checksum_combine};
use sha2::{Digest as _, Sha256};

use super::reply::Refusal;
use crate::http::head::Headers;

/// A checksum algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Crc64Nvme,
    Crc32,
    Crc32c,
    Sha256,
}

/// Whether a multipart object's checksum covers its bytes or its parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    FullObject,
    Composite,
}

impl Coverage {
    pub fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "FULL_OBJECT" => Ok(Self::FullObject),
            "COMPOSITE" => Ok(Self::Composite),
            _ => Err(Refusal::invalid_request("Value for x-amz-checksum-type header is invalid.")),
        }
    }
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Crc64Nvme, Self::Crc32, Self::Crc32c, Self::Sha256];

    pub fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "CRC64NVME",
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Sha256 => "SHA256",
        }
    }

    pub fn header(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element in S3's XML.
    pub fn tag(self) -> String {
        format!("Checksum{}", self.name())
    }

    pub fn parse(name: &str) -> Result<Self, Refusal> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        known.ok_or_else(|| match name {
            "SHA1" => Refusal::not_implemented("SHA1 checksums"),
            _ => Refusal::invalid_request("Checksum algorithm provided is unsupported."),
        })
    }

    fn from_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header() == name)
    }

    fn size(self) -> usize {
        match self {
            Self::Crc64Nvme => 8,
            Self::Crc32 | Self::Crc32c => 4,
            Self::Sha256 => 32,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Sha256 => None,
        }
    }

    /// Multipart objects: SHA-256 covers only the parts' checksums, CRC-64/NVME only the whole object, the others either.
    pub fn allows(self, coverage: Coverage) -> bool {
        match self {
            Self::Crc64Nvme => coverage == Coverage::FullObject,
            Self::Sha256 => coverage == Coverage::Composite,
            Self::Crc32 | Self::Crc32c => true,
        }
    }

    /// What a multipart upload gets that names the algorithm alone.
    pub fn usual_coverage(self) -> Coverage {
        if self == Self::Crc64Nvme { Coverage::FullObject } else { Coverage::Composite }
    }

    pub fn hasher(self) -> Hasher {
        match self.crc() {
            Some(crc) => Hasher::Crc(Crc::new(crc), self.size()),
            None => Hasher::Sha(Sha256::new()),
        }
    }

    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The checksum of a whole object from those of its parts; none for an algorithm that cannot.
    pub fn combine(self, parts: &[(Vec<u8>, u64)]) -> Option<Vec<u8>> {
        let crc = self.crc()?;
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let (first, rest) = parts.split_first()?;
        let whole =
            rest.iter().fold(number(&first.0), |sum, (next, size)| checksum_combine(crc, sum, number(next), *size));
        Some(whole.to_be_bytes()[8 - self.size()..].to_vec())
    }

    pub fn decode(self, text: &str) -> Result<Vec<u8>, Refusal> {
        let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == self.size());
        bytes.ok_or_else(|| Refusal::invalid_request(format!("Value for {} header is invalid.", self.header())))
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(crate) enum Hasher {
    Crc(Crc, usize),
    Sha(Sha256),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(crc, _) => crc.update(bytes),
            Self::Sha(sha) => sha.update(bytes),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(crc, size) => crc.finalize().to_be_bytes()[8 - size..].to_vec(),
            Self::Sha(sha) => sha.finalize().to_vec(),
        }
    }
}

/// The one checksum a request states in a header.
pub(crate) fn stated(headers: &Headers) -> Result<Option<(Algorithm, Vec<u8>)>, Refusal> {
    let mut found = None;
    for (name, value) in headers.iter().filter(|(name, _)| name.starts_with("x-amz-checksum-")) {
        if ["x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-checksum-algorithm"].contains(&name) {
            continue;
        }
        let Some(algorithm) = Algorithm::from_header(name) else {
            return Err(Refusal::not_implemented(name));
        };
        if found.is_some() {
            return Err(Refusal::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        found = Some((algorithm, algorithm.decode(value)?));
    }
    Ok(found)
}

/// The algorithm of the checksum a request promises in a trailer.
pub(crate) fn promised(headers: &Headers) -> Result<Option<Algorithm>, Refusal> {
    let Some(name) = headers.get("x-amz-trailer") else {
        return Ok(None);
    };
    let name = name.to_ascii_lowercase();
    let algorithm = Algorithm::from_header(&name);
    algorithm
        .map(Some)
        .ok_or_else(|| Refusal::invalid_request("The value specified in the x-amz-trailer header is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_catalogue() {
        let of = |algorithm: Algorithm| base64(&algorithm.of(b"123456789"));
        assert_eq!(of(Algorithm::Crc64Nvme), base64(&0xae8b_1486_0a79_9888_u64.to_be_bytes()));
        assert_eq!(of(Algorithm::Crc32), base64(&0xcbf4_3926_u32.to_be_bytes()));
        assert_eq!(of(Algorithm::Crc32c), base64(&0xe306_9283_u32.to_be_bytes()));
    }

    #[test]
    fn parts_combine_to_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n * 7) as u8).collect();
        for algorithm in [Algorithm::Crc64Nvme, Algorithm::Crc32, Algorithm::Crc32c] {
            let parts: Vec<_> = bytes.chunks(33_333).map(|part| (algorithm.of(part), part.len() as u64)).collect();
            assert_eq!(algorithm.combine(&parts), Some(algorithm.of(&bytes)));
        }
        assert_eq!(Algorithm::Sha256.combine(&[(vec![0; 32], 1)]), None);
    }
}
