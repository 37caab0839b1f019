//! The archive as a stream of parts: read, packed, compressed and hashed on threads of their own.

use crate::parts::{Cutter, Filled, Sizes};
use crate::tree::{Entry, READABLE, RELEASE, State, Tree};
use archive::{Format, Kind, Member, TRAILER_LEN};
use crc_fast::{CrcAlgorithm, Digest as Crc, checksum_combine};
use failure::{Class, Failure};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use store::PartBody;
use tokio::sync::mpsc;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

/// zstd's own default: four times faster than gzip and smaller.
const ZSTD_LEVEL: i32 = 3;
/// At least one worker, since zstd without any cuts its blocks differently; how many does not change a byte.
const ZSTD_WORKERS: u32 = 2;
/// Bytes that a worker takes at once. zstd's own choice at this level, four times as much, takes 40 MiB more memory.
const ZSTD_JOB: u32 = 2 << 20;
/// Bytes that a core's own cache holds with room to spare.
const CACHED: usize = 64 << 10;
/// Bytes read at once where they can't go straight into a part.
const SCRATCH: usize = 256 * 1024;

/// What arrives at the upload.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The next part.
    Part(PartBody),
    /// Nothing more: the archive is whole.
    End(Sums),
    /// The archive can't be made; whatever arrived must not become visible.
    Failed(Failure),
}

/// Length and checksums of a whole archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums {
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) crc64nvme: u64,
}

/// What is packed, the same at every try.
#[derive(Debug)]
pub(crate) struct Packing {
    pub(crate) tree: Tree,
    pub(crate) release: Vec<u8>,
    pub(crate) mtime: u64,
    pub(crate) format: Format,
}

impl Packing {
    /// Length of the archive, where it is known before it is made.
    pub(crate) fn total(&self) -> Option<u64> {
        (self.format == Format::Tar).then(|| self.tree.tar_len(self.release.len() as u64))
    }

    /// Starts to read and pack. The stream ends with exactly one `End` or `Failed`.
    pub(crate) fn start(self: &Arc<Self>) -> Result<mpsc::Receiver<Piece>, Failure> {
        let (to, pieces) = mpsc::channel(1);
        let packing = Arc::clone(self);
        let unable = |error| Failure::io("unable to start a thread", error);
        let run = move || {
            let piece = packing.run(&to).map_or_else(Piece::Failed, Piece::End);
            // A receiver that is gone has its own reason.
            let _ = to.blocking_send(piece);
        };
        thread::Builder::new().name("hash".into()).spawn(run).map_err(unable)?;
        Ok(pieces)
    }

    /// Hashes parts on this thread while another one reads and packs.
    fn run(self: &Arc<Self>, to: &mpsc::Sender<Piece>) -> Result<Sums, Failure> {
        let (filled, parts) = sync_channel::<Filled>(1);
        let packing = Arc::clone(self);
        let packer = thread::Builder::new()
            .name("pack".into())
            .spawn(move || packing.pack(filled))
            .map_err(|error| Failure::io("unable to start a thread", error))?;
        let mut sha256 = Sha256::new();
        let mut sums = Sums { size: 0, sha256: [0; 32], crc64nvme: 0 };
        for part in parts {
            let length = part.bytes.len() as u64;
            let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
            // Both sums over a piece that stays in the cache between them.
            for piece in part.bytes.chunks(CACHED) {
                sha256.update(piece);
                crc.update(piece);
            }
            let crc64nvme = crc.finalize();
            sums.crc64nvme = if sums.size == 0 {
                crc64nvme
            } else {
                checksum_combine(CrcAlgorithm::Crc64Nvme, sums.crc64nvme, crc64nvme, length)
            };
            sums.size += length;
            let body = PartBody { number: part.number, offset: part.offset, bytes: part.bytes, crc64nvme };
            if to.blocking_send(Piece::Part(body)).is_err() {
                break;
            }
        }
        packer.join().map_err(|_| Failure::temporary("the packing thread broke down"))??;
        sums.sha256 = sha256.finalize().into();
        match self.total() {
            Some(total) if total != sums.size => {
                Err(Failure::permanent(format!("the archive has {} bytes instead of {total}", sums.size)))
            }
            _ => Ok(sums),
        }
    }

    fn pack(&self, filled: std::sync::mpsc::SyncSender<Filled>) -> Result<(), Failure> {
        let mut cutter = Cutter::new(Sizes::of(self.total()), filled);
        let failed = |error| Failure::io("unable to pack", error);
        match self.format {
            Format::Tar => self.write(&mut Plain(&mut cutter))?,
            Format::TarZst => {
                let mut encoder = Encoder::new(&mut cutter, ZSTD_LEVEL).map_err(failed)?;
                encoder.multithread(ZSTD_WORKERS).map_err(failed)?;
                encoder.set_parameter(CParameter::JobSize(ZSTD_JOB)).map_err(failed)?;
                self.write(&mut Compressed::new(&mut encoder))?;
                encoder.finish().map_err(failed)?;
            }
            Format::TarGz => {
                let mut encoder = GzEncoder::new(&mut cutter, Compression::default());
                self.write(&mut Compressed::new(&mut encoder))?;
                encoder.finish().map_err(failed)?;
            }
        }
        cutter.finish().map_err(failed)
    }

    fn write(&self, to: &mut impl Sink) -> Result<(), Failure> {
        let failed = |error| Failure::io("unable to pack", error);
        let mut header = Vec::new();
        let size = self.release.len() as u64;
        let first = Member { name: RELEASE, kind: Kind::File { size, mode: READABLE } };
        first.write_header(self.mtime, &mut header);
        to.put(&header).and_then(|()| to.put(&self.release)).and_then(|()| to.pad(&first)).map_err(failed)?;
        for entry in self.tree.entries() {
            let member = entry.member();
            header.clear();
            member.write_header(self.mtime, &mut header);
            to.put(&header).map_err(failed)?;
            if let Some(state) = entry.state() {
                self.write_file(entry, state, to)?;
                to.pad(&member).map_err(failed)?;
            }
        }
        let end = usize::try_from(TRAILER_LEN).expect("two blocks fit into memory");
        to.put(&vec![0; end]).map_err(failed)
    }

    /// Writes a file's bytes, if it still is the file that was found and stays so while it is read.
    fn write_file(&self, entry: &Entry, state: State, to: &mut impl Sink) -> Result<(), Failure> {
        let name = entry.path().display();
        let unable = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => changed(&name, "it vanished"),
            ErrorKind::BrokenPipe => Failure::io("unable to pack", error),
            _ => Failure::io(format!("unable to pack {name}"), error),
        };
        // A pipe that took its place would keep the open waiting for a writer.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(self.tree.location(entry));
        let mut file = opened.map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => changed(&name, "it became a link"),
            _ => unable(error),
        })?;
        if !file.metadata().map_err(unable)?.is_file() {
            return Err(changed(&name, "it was replaced"));
        }
        let copied = if state.size == 0 { 0 } else { to.copy(&mut file, state.size).map_err(unable)? };
        // Asked for once more: a file may hold more than its length says, as those under /proc do.
        let more = copied == state.size && file.read(&mut [0]).map_err(unable)? > 0;
        let now = State::of(&file.metadata().map_err(unable)?);
        if now == state && copied == state.size && !more {
            return Ok(());
        }
        Err(changed(
            &name,
            &match now.size.cmp(&state.size) {
                std::cmp::Ordering::Less => format!("it shrank from {} to {} bytes", state.size, now.size),
                std::cmp::Ordering::Greater => format!("it grew from {} to {} bytes", state.size, now.size),
                std::cmp::Ordering::Equal if more => "it holds more bytes than its length says".to_owned(),
                std::cmp::Ordering::Equal => "it was written to or replaced".to_owned(),
            },
        ))
    }
}

/// Temporary: the next build meets the tree at rest, or so one hopes.
fn changed(name: &impl std::fmt::Display, how: &str) -> Failure {
    Failure::new(Class::Temporary, format!("unable to pack {name}: {how} while it was packed"))
}

/// Where the plain tar goes.
trait Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Copies `length` bytes; tells how many there were if fewer.
    fn copy(&mut self, from: &mut impl Read, length: u64) -> io::Result<u64>;
    /// The zeros after a file's content.
    fn pad(&mut self, member: &Member<'_>) -> io::Result<()> {
        let Kind::File { size, .. } = member.kind else { return Ok(()) };
        let zeros = usize::try_from(member.content_len() - size).map_err(io::Error::other)?;
        self.put(&[0; 512][..zeros])
    }
}

struct Plain<'a>(&'a mut Cutter);

impl Sink for Plain<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn copy(&mut self, from: &mut impl Read, length: u64) -> io::Result<u64> {
        self.0.fill_from(from, length)
    }
}

struct Compressed<'a, W> {
    encoder: &'a mut W,
    scratch: Vec<u8>,
}

impl<'a, W: Write> Compressed<'a, W> {
    fn new(encoder: &'a mut W) -> Self {
        Self { encoder, scratch: vec![0; SCRATCH] }
    }
}

impl<W: Write> Sink for Compressed<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encoder.write_all(bytes)
    }

    fn copy(&mut self, from: &mut impl Read, length: u64) -> io::Result<u64> {
        let mut limited = from.take(length);
        let mut done = 0;
        loop {
            let read = match limited.read(&mut self.scratch) {
                Ok(0) => return Ok(done),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.encoder.write_all(&self.scratch[..read])?;
            done += read as u64;
        }
    }
}
