//! Lines from stdin on disk, until the broker has them: one file of plain bytes that loses its acknowledged beginning, and
//! one with the checksums of what was written together. At the beginning of that stands how far the stream was finished, so
//! that an end which is gone is missed.

mod recovery;

pub(crate) use recovery::{Recovered, aside_path, finished, recover, set_aside};

use crate::source::Progress;
use crate::watch::Waker;
use cli::Console;
use crc_fast::{CrcAlgorithm, Digest, checksum};
use durable::Dir;
use failure::Failure;
use records::FileId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes written before they are synced, if that many are there.
const GROUP: usize = 1 << 20;
/// Offset, length and checksum of a group, 8 bytes each.
const SUM: usize = 24;
/// Length of the head before them: as long as some of them, so that they are found without it, too.
const HEAD: usize = 3 * SUM;
/// Length of the head itself, which is there twice.
const COPY: usize = 32;
/// Of the format: tells a checksum from those of earlier versions, which wrote no head.
const VERSION: u64 = 0x6c6f_672d_7368_6970;
/// Space is given back in steps of this size.
const STEP: u64 = 64 * 1024;
/// Between two tries on a disk that takes nothing, and two looks for room.
const PAUSE: Duration = Duration::from_millis(200);

/// A stream being written.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) progress: Arc<Progress>,
    released: Arc<AtomicU64>,
    steps: Arc<Mutex<VecDeque<Step>>>,
    data: File,
    sums: File,
    punched: u64,
}

/// What damaged spools have cost.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    bytes: u64,
    files: Vec<PathBuf>,
}

impl Damage {
    /// Of one stream, whose file is to be looked at.
    pub(crate) fn add(&mut self, bytes: u64, file: PathBuf) {
        self.bytes += bytes;
        self.files.push(file);
    }

    /// What the run ends as, if there was any.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let [first, more @ ..] = &self.files[..] else { return None };
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        let (bytes, first) = (self.bytes, first.display());
        let what =
            format!("{bytes} bytes of stdin were lost from a damaged spool, all else is shipped: see {first}{more}");
        Some(Failure::permanent(what))
    }
}

/// A place where a group begins.
#[derive(Clone, Copy, Debug)]
struct Step {
    data: u64,
    sums: u64,
}

/// Path of a stream's bytes.
pub(crate) fn data_path(dir: &Dir, id: FileId) -> PathBuf {
    dir.path().join(id.to_string())
}

fn sums_of(id: FileId) -> String {
    format!("{id}.sums")
}

impl Spool {
    /// Starts to take stdin into the stream `id`.
    ///
    /// # Errors
    /// The files can't be made.
    pub(crate) fn start(dir: &Dir, id: FileId, room: u64, console: Console, waker: Waker) -> Result<Self, Failure> {
        let make = |name: String| dir.new_file(&name, 0o600).map_err(|error| dir.failed("make", name, error));
        let (data, sums) = (make(id.to_string())?, make(sums_of(id))?);
        dir.sync()?;
        let progress = Arc::new(Progress::default());
        let released = Arc::new(AtomicU64::new(0));
        let steps = Arc::new(Mutex::new(VecDeque::new()));
        let again = |file: &File| file.try_clone().map_err(|error| Failure::io("unable to open the spool", error));
        let writer = Writer {
            data: again(&data)?,
            sums: again(&sums)?,
            progress: Arc::clone(&progress),
            released: Arc::clone(&released),
            steps: Arc::clone(&steps),
            room,
            console,
            waker,
            summed: HEAD as u64,
        };
        let thread = thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run());
        thread.map_err(|error| Failure::io("unable to start the thread that reads stdin", error))?;
        Ok(Self { progress, released, steps, data, sums, punched: 0 })
    }

    /// Everything before `acked` is no longer needed.
    pub(crate) fn release(&mut self, acked: u64) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        // The group that holds the position stays: its checksum needs all of it.
        while steps.get(1).is_some_and(|next| next.data <= acked) {
            steps.pop_front();
            last = steps.front().copied();
        }
        let mut step = last.or_else(|| steps.front().copied()).unwrap_or(Step { data: 0, sums: HEAD as u64 });
        drop(steps);
        if acked >= self.progress.synced.load(Ordering::Acquire) {
            // All that was written is acknowledged: of the last group nothing is needed either. On a disk that holds no two
            // groups, the next one would wait for ever.
            step.data = acked;
        }
        if step.data > self.punched {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where the file system has no holes, the space comes back with the end of the stream.
            let _ = fallocate(&self.data, flags, 0, step.data);
            let sums = step.sums - HEAD as u64;
            let _ = (sums > 0).then(|| fallocate(&self.sums, flags, HEAD as u64, sums));
            self.punched = step.data;
        }
        self.released.store(acked, Ordering::Release);
    }
}

/// Removes a stream that is acknowledged to its end.
pub(crate) fn remove(dir: &Dir, id: FileId) {
    // What stays behind holds nothing that is not acknowledged, and is looked at by the next start.
    let _ = dir.remove(id.to_string());
    let _ = dir.remove(sums_of(id));
}

/// The streams that earlier runs left.
pub(crate) fn left(dir: &Dir) -> Vec<FileId> {
    let names = dir.names().unwrap_or_default();
    let mut ids: Vec<FileId> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    ids.sort();
    ids
}

fn crc_of(offset: u64, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&offset.to_le_bytes());
    digest.update(bytes);
    digest.finalize()
}

struct Writer {
    data: File,
    sums: File,
    progress: Arc<Progress>,
    released: Arc<AtomicU64>,
    steps: Arc<Mutex<VecDeque<Step>>>,
    room: u64,
    console: Console,
    waker: Waker,
    summed: u64,
}

impl Writer {
    fn run(mut self) {
        // Not through std's buffer, which poll would not see.
        let mut stdin = match io::stdin().as_fd().try_clone_to_owned() {
            Ok(fd) => File::from(fd),
            Err(error) => return self.end(Some(error)),
        };
        let mut buffer = vec![0; GROUP];
        let mut written = 0;
        loop {
            let (mut ended, mut broken) = (false, None);
            let mut filled = 0;
            while filled < buffer.len() && (filled == 0 || more(&stdin)) {
                match stdin.read(&mut buffer[filled..]) {
                    Ok(0) => {
                        ended = true;
                        break;
                    }
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        (ended, broken) = (true, Some(error));
                        break;
                    }
                }
            }
            if filled > 0 {
                self.keep(&buffer[..filled], written);
                written += filled as u64;
                self.progress.synced.store(written, Ordering::Release);
            }
            if ended {
                return self.end(broken);
            }
            self.waker.wake();
            while written.saturating_sub(self.released.load(Ordering::Acquire)) + GROUP as u64
                > self.room.max(2 * GROUP as u64)
            {
                thread::sleep(PAUSE);
            }
        }
    }

    /// There will be no more, since stdin is at its end or can't be read.
    fn end(&self, broken: Option<io::Error>) {
        *self.progress.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
        self.progress.ended.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Writes and syncs a group, however often it takes: meanwhile nobody reads stdin, so its writer waits.
    fn keep(&mut self, bytes: &[u8], offset: u64) {
        let mut told = false;
        while let Err(error) = self.write(bytes, offset) {
            if !std::mem::replace(&mut told, true) {
                self.console.warn(format!("unable to write the spool: {error}; stdin waits"));
            }
            thread::sleep(PAUSE);
        }
        if told {
            self.console.warn("the spool takes lines again");
        }
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.back().is_none_or(|last| offset >= last.data + STEP) {
            steps.push_back(Step { data: offset, sums: self.summed });
        }
        self.summed += SUM as u64;
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_group(&self.data, &self.sums, self.summed, offset, bytes)
    }
}

/// Writes and syncs the group of `bytes` at `offset`, and its checksum at `summed`.
///
/// The head is there before the first byte, and says of every group that it is finished at the latest when the next one is
/// synced. So a crash leaves what the head tells, at most one group more that is whole, and a piece of the one under way.
fn write_group(data: &File, sums: &File, summed: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
    if offset == 0 {
        sums.write_all_at(&Head::new(0, 0).pack(), 0)?;
        sums.sync_data()?;
    }
    data.write_all_at(bytes, offset)?;
    let end = offset + bytes.len() as u64;
    sums.write_all_at(&sum_of(offset, bytes, VERSION), summed)?;
    sums.write_all_at(&Head::new(offset, end).pack(), 0)?;
    data.sync_data()?;
    sums.sync_data()?;
    // Where it can't be written, it is with the next group.
    let _ = sums.write_all_at(&Head::new(end, end).pack(), 0);
    Ok(())
}

/// How far a stream was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Everything before this offset was synced.
    synced: u64,
    /// Everything before this one was written.
    written: u64,
    /// In this boot: until the next one, nothing that was written can be missing.
    boot: u64,
}

impl Head {
    fn new(synced: u64, written: u64) -> Self {
        Self { synced, written, boot: boot() }
    }

    /// Where what is missing, or not whole, was finished and is damaged since.
    fn finished(&self) -> u64 {
        if self.boot == boot() { self.written } else { self.synced }
    }

    fn pack(&self) -> [u8; HEAD] {
        let mut copy: [u8; COPY] = pack([self.synced, self.written, self.boot, 0]);
        let crc = checksum(CrcAlgorithm::Crc64Nvme, &copy) ^ VERSION;
        copy[COPY - 8..].copy_from_slice(&crc.to_le_bytes());
        let mut head = [0; HEAD];
        head[..COPY].copy_from_slice(&copy);
        head[COPY..2 * COPY].copy_from_slice(&copy);
        head
    }

    /// From the copy that is whole; none if neither is, or an earlier version wrote no head.
    fn unpack(bytes: &[u8]) -> Option<Self> {
        bytes.as_chunks::<COPY>().0.iter().take(2).find_map(|copy| {
            let [synced, written, boot, _] = unpack(copy);
            let head = Self { synced, written, boot };
            head.pack().starts_with(copy).then_some(head)
        })
    }
}

fn sum_of(offset: u64, bytes: &[u8], version: u64) -> [u8; SUM] {
    pack([offset, bytes.len() as u64, crc_of(offset, bytes) ^ version])
}

fn pack<const N: usize, const BYTES: usize>(numbers: [u64; N]) -> [u8; BYTES] {
    let mut packed = [0; BYTES];
    for (place, number) in packed.as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    packed
}

fn unpack<const N: usize>(packed: &[u8]) -> [u64; N] {
    let mut numbers = [0; N];
    for (number, place) in numbers.iter_mut().zip(packed.as_chunks().0) {
        *number = u64::from_le_bytes(*place);
    }
    numbers
}

/// A number of this boot; one that is never seen again where the kernel does not tell.
fn boot() -> u64 {
    static BOOT: LazyLock<u64> = LazyLock::new(|| match fs::read("/proc/sys/kernel/random/boot_id") {
        Ok(id) => checksum(CrcAlgorithm::Crc64Nvme, &id) | 1,
        Err(_) => rand::random::<u64>() | 1,
    });
    *BOOT
}

/// Whether more stands on stdin right now.
fn more(stdin: &File) -> bool {
    let mut fds = [PollFd::new(stdin, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}
