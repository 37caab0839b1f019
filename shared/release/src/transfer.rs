//! One pass over an archive in the store: downloaded, hashed and consumed at the same time, on bounded memory.

mod pace;
mod ranges;

use crate::record::Artifact;
use bytes::Buf;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use failure::Failure;
use ranges::{Range, Source};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use store::{Head, Objects};
use tokio::sync::mpsc;

/// Bytes that a core's own cache holds with room to spare.
const CACHED: usize = 64 << 10;

/// Checksums of what arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// SHA-256 of all bytes.
    pub sha256: [u8; 32],
    /// CRC-64/NVME of all bytes.
    pub crc64nvme: u64,
}

impl Sums {
    /// Whether what arrived is the artifact.
    #[must_use]
    pub fn are_of(&self, artifact: &Artifact) -> bool {
        self.sha256 == artifact.sha256 && artifact.crc64nvme.is_none_or(|crc| crc == self.crc64nvme)
    }
}

/// Reads the object `key`, in the state that `head` saw, from end to end, and gives its bytes to `consume` on a thread
/// of its own. `arrived` hears of every range. A consumer that ends early does not end the pass: only the checksums
/// tell whether the archive or the transfer was at fault. Dropping the future stops everything, and the consumer's
/// reader fails then instead of seeming to end.
///
/// # Errors
/// The store fails, or threads can't be had.
pub async fn read_through<T: Send + 'static>(
    store: &dyn Objects,
    key: &str,
    head: &Head,
    arrived: impl Fn(u64),
    consume: impl FnOnce(Arriving) -> T + Send + 'static,
) -> Result<(Sums, T), Failure> {
    let (to_hash, arriving) = mpsc::channel(1);
    let (to_consumer, hashed) = sync_channel(0);
    let unable = |error| Failure::io("unable to start a thread", error);
    let hasher = thread::Builder::new().name("hash".into()).spawn(move || hash(arriving, &to_consumer));
    let hasher = hasher.map_err(unable)?;
    let consumer = move || consume(Arriving { from: hashed, now: None, ended: false });
    let consumer = thread::Builder::new().name("unpack".into()).spawn(consumer).map_err(unable)?;

    Source::new(store, key, head).send_all(arrived, &to_hash).await?;
    // The end said aloud: a stream that merely stops was given up, and must not look whole to anybody.
    let _ = to_hash.send(None).await;
    let broken = || Failure::temporary("a thread broke down while reading");
    let joined = tokio::task::spawn_blocking(move || (hasher.join(), consumer.join())).await;
    let (Ok(Some(sums)), Ok(consumed)) = joined.map_err(|_| broken())? else { return Err(broken()) };
    Ok((sums, consumed))
}

/// `None` is the end.
fn hash(mut arriving: mpsc::Receiver<Option<Range>>, to_consumer: &SyncSender<Option<Range>>) -> Option<Sums> {
    let mut sha256 = Sha256::new();
    let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
    while let Some(range) = arriving.blocking_recv()? {
        // Both sums over bytes that stay in the cache between them.
        for bytes in range.pieces.iter().flat_map(|piece| piece.chunks(CACHED)) {
            sha256.update(bytes);
            crc.update(bytes);
        }
        let _ = to_consumer.send(Some(range));
    }
    let _ = to_consumer.send(None);
    Some(Sums { sha256: sha256.finalize().into(), crc64nvme: crc.finalize() })
}

/// The archive's bytes as they arrive.
#[derive(Debug)]
pub struct Arriving {
    from: Receiver<Option<Range>>,
    now: Option<Range>,
    ended: bool,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(range) = &mut self.now
                && let Some(piece) = range.pieces.front_mut()
            {
                let length = piece.len().min(buffer.len());
                piece.copy_to_slice(&mut buffer[..length]);
                // Given back at once: a range is memory that the next one needs.
                if piece.is_empty() {
                    range.pieces.pop_front();
                }
                if length > 0 || buffer.is_empty() {
                    return Ok(length);
                }
            } else if self.ended {
                return Ok(0);
            } else {
                match self.from.recv() {
                    Ok(Some(range)) => self.now = Some(range),
                    Ok(None) => self.ended = true,
                    Err(_) => return Err(io::Error::other("the download was given up")),
                }
            }
        }
    }
}
