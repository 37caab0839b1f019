//! SIGTERM, SIGINT and SIGHUP as something that a loop looks at, so that it can clean up before it ends by them.

use failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether whoever started this process ignores the signal for it, as nohup does with SIGHUP: it stays ignored then.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|rest| rest & 1 == 1))
}

/// The signals that ask a tool to end.
#[derive(Debug)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// From here on they no longer end the process by themselves. Each writes a byte into `wakes`, if there is one: a wait
    /// on its other end is over then.
    ///
    /// # Errors
    /// The kernel refuses the handlers.
    pub fn catch(wakes: Option<&OwnedFd>) -> Result<Self, Failure> {
        let seen = Arc::new(AtomicUsize::new(0));
        for signal in [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)) {
            let number = usize::try_from(signal).unwrap_or_default();
            let catch = || {
                signal_hook::flag::register_usize(signal, Arc::clone(&seen), number)?;
                if let Some(wakes) = wakes {
                    signal_hook::low_level::pipe::register(signal, wakes.try_clone()?)?;
                }
                Ok(())
            };
            catch().map_err(|error| Failure::io("unable to catch signals", error))?;
        }
        Ok(Self(seen))
    }

    /// The number of the one that came last, if one did.
    #[must_use]
    pub fn seen(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }
}
