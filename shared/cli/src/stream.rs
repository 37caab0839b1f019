//! stdout of a tool that runs for long, written from a queue of its own: a reader that stalls, leaves or was never there
//! holds nothing up.

use crate::Console;
use failure::Failure;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Records that wait for a reader.
const LONGEST_QUEUE: usize = 1024;
/// How long the end of the run waits for a reader that still reads.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// A record and who waits until it is written.
type Queued = (Vec<u8>, Option<oneshot::Sender<()>>);

/// The queue.
#[derive(Debug)]
pub struct Stream {
    records: Option<SyncSender<Queued>>,
    writer: Option<JoinHandle<()>>,
    console: Console,
    lost: AtomicBool,
}

impl Stream {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(console: Console) -> Result<Self, Failure> {
        let (records, queue) = sync_channel::<Queued>(LONGEST_QUEUE);
        let writer = thread::Builder::new().name("stdout".to_owned()).spawn(move || write(&queue, console));
        let writer = writer.map_err(|error| Failure::io("unable to start the thread that writes stdout", error))?;
        Ok(Self { records: Some(records), writer: Some(writer), console, lost: AtomicBool::new(false) })
    }

    /// Puts a record into the queue, or gives it up.
    pub fn send(&self, record: Vec<u8>) {
        self.queue((record, None));
    }

    /// The same, for a sender that must know whether stdout has taken the record.
    pub fn send_with_receipt(&self, record: Vec<u8>) -> Receipt {
        let (written, receipt) = oneshot::channel();
        self.queue((record, Some(written)));
        Receipt(receipt)
    }

    fn queue(&self, queued: Queued) {
        let Some(records) = &self.records else { return };
        if let Err(TrySendError::Full(_)) = records.try_send(queued)
            && !self.lost.swap(true, Ordering::Relaxed)
        {
            self.console.warn("nobody reads stdout: records are lost from here on, the work goes on");
        }
    }
}

/// The answer to whether a record was written; it comes with the reader, however late that is.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<()>);

impl Receipt {
    /// Waits until the record is written, or is given up.
    pub async fn is_written(self) -> bool {
        self.0.await.is_ok()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.records.take());
        let limit = Instant::now() + LAST_WAIT;
        // A writer that is stuck in the pipe ends with the process.
        while self.writer.as_ref().is_some_and(|writer| !writer.is_finished()) && Instant::now() < limit {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write(queue: &Receiver<Queued>, console: Console) {
    let mut told = false;
    // Read to the end whatever happens: a full queue would be told as a reader that stalls.
    for (record, written) in queue {
        let mut stdout = std::io::stdout().lock();
        let Err(error) = stdout.write_all(&record).and_then(|()| stdout.flush()) else {
            // Whoever waited may have left.
            let _ = written.map(|written| written.send(()));
            continue;
        };
        if !std::mem::replace(&mut told, true) {
            console.warn(format!("unable to write stdout: {error}; the work goes on"));
        }
    }
}
