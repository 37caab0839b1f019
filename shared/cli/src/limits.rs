//! What the system must give before there is any work.

use failure::Failure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open at the same time: pipes of the runtime and of signals, connections, state, what is read and written.
const FILES: u64 = 64;

/// Whether this process may open as many files as any work takes; the soft limit is raised to that where it may be.
///
/// # Errors
/// It may not, which a person has to change.
pub(crate) fn enough_files() -> Result<(), Failure> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= FILES) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(FILES), maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let current = current.unwrap_or_default();
    Err(Failure::temporary(format!("unable to work with {current} open files at most: {FILES} are needed (ulimit -n)")))
}
