//! The runtime of a tool's asynchronous part.

use failure::Failure;
use std::time::Duration;

/// Runs `work` on `threads` threads (1: on this one alone) and does not wait for file work that was given up.
///
/// # Errors
/// What `work` failed with, or the system gives no threads.
pub fn block_on<T>(threads: usize, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(threads.max(1)).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("unable to start threads", error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::ZERO);
    result
}
