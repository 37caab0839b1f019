//! Writing to the disk while the rest still arrives, so that little is left to wait for in the end.

use durable::Disk;
use failure::Failure;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Bytes after which a write to the disk is worth its while.
const ENOUGH: u64 = 64 << 20;

/// What is unpacked into a directory, on its way to the disk.
#[derive(Debug)]
pub(crate) struct Writeback {
    disk: Arc<Disk>,
    ask: SyncSender<()>,
    writer: JoinHandle<Result<(), Failure>>,
    arrived: Cell<u64>,
}

impl Writeback {
    /// Watches over the file system of `dir`, from before the first byte is written there.
    ///
    /// # Errors
    /// The directory can't be opened, or there are no threads.
    pub(crate) fn start(dir: &Path) -> Result<Self, Failure> {
        let disk = Arc::new(Disk::open(dir)?);
        let (ask, asked) = sync_channel::<()>(0);
        let writing = Arc::clone(&disk);
        let work = move || asked.iter().try_for_each(|()| writing.sync());
        let writer = thread::Builder::new().name("write".into()).spawn(work);
        let writer = writer.map_err(|error| Failure::io("unable to start a thread", error))?;
        Ok(Self { disk, ask, writer, arrived: Cell::new(0) })
    }

    /// More bytes came. Never waits: while the disk is busy they wait for the next time.
    pub(crate) fn arrived(&self, bytes: u64) {
        self.arrived.set(self.arrived.get() + bytes);
        if self.arrived.get() >= ENOUGH && self.ask.try_send(()).is_ok() {
            self.arrived.set(0);
        }
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// Some of it could not be written, now or on the way.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        drop(self.ask);
        self.writer.join().map_err(|_| Failure::temporary("the writing thread broke down"))??;
        self.disk.sync()
    }
}
