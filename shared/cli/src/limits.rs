//! What the system must give before there is any work.

use failure::Failure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Mutex;

/// Files that are open at the same time: pipes of the runtime and of signals, connections, state, what is read and written.
const FILES: u64 = 64;

/// Threads that work at the same time in the smallest of runs.
const THREADS: usize = 8;
/// MiB that code, stacks and buffers of a run take.
const MEMORY: u64 = 768;
/// KiB that the first thread's stack takes.
const STACK: u64 = 1024;

/// Whether there is what any run takes.
///
/// # Errors
/// There is not, which a person has to change.
pub(crate) fn enough() -> Result<(), Failure> {
    enough_files()?;
    enough_memory()?;
    enough_threads()
}

/// Memory that is refused ends a process in the middle of its work, so it is asked for before.
fn enough_memory() -> Result<(), Failure> {
    for (limit, option, unit, what, needed) in [
        (Resource::As, "-v", 20, "MiB of memory", MEMORY),
        (Resource::Data, "-d", 20, "MiB of memory", MEMORY),
        (Resource::Stack, "-s", 10, "KiB of stack", STACK),
    ] {
        if let Some(most) = getrlimit(limit).current.map(|most| most >> unit).filter(|most| *most < needed) {
            return Err(Failure::temporary(format!(
                "unable to work with {most} {what} at most: {needed} are needed (ulimit {option})"
            )));
        }
    }
    Ok(())
}

/// How many there may be depends on what else this user runs, so it is tried, where there is a limit.
fn enough_threads() -> Result<(), Failure> {
    if getrlimit(Resource::Nproc).current.is_none() {
        return Ok(());
    }
    let gate = Mutex::new(());
    let started = std::thread::scope(|scope| {
        // All of them at the same time.
        let held = gate.lock();
        let start = || std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, || drop(gate.lock()));
        let started = (0..THREADS).map_while(|_| start().ok()).count();
        drop(held);
        started
    });
    if started == THREADS {
        return Ok(());
    }
    Err(Failure::temporary(format!("unable to start more than {started} threads: {THREADS} are needed (ulimit -u)")))
}

/// Whether this process may open as many files as any work takes; the soft limit is raised to that where it may be.
///
/// # Errors
/// It may not, which a person has to change.
fn enough_files() -> Result<(), Failure> {
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
