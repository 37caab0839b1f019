//! What a process that is still running has taken so far.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// A look at a running process.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// User and system time of all its threads, those that have ended included.
    pub cpu: Duration,
    /// Resident bytes.
    pub resident: u64,
    /// The most that was ever resident. Unlike a child's `ru_maxrss` it does not begin with the memory of its parent.
    pub peak: u64,
    /// Open files.
    pub files: usize,
}

impl Look {
    /// At the process `pid`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn at(pid: u32) -> Result<Self> {
        let gone = || format!("unable to look at process {pid}");
        // /proc/PID/stat counts in hundredths of a second, as long as a hundred polls; this clock counts nanoseconds.
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?)).with_context(gone)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(gone)?;
        Ok(Self {
            cpu: clock.now().with_context(gone)?.into(),
            resident: kibibytes(&status, "VmRSS:")? * 1024,
            peak: kibibytes(&status, "VmHWM:")? * 1024,
            files: std::fs::read_dir(format!("/proc/{pid}/fd")).with_context(gone)?.count(),
        })
    }

    /// At this process.
    ///
    /// # Errors
    /// Where there is no /proc.
    pub fn at_the_harness() -> Result<Self> {
        Self::at(std::process::id())
    }
}

fn kibibytes(status: &str, name: &str) -> Result<u64> {
    let field = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    field.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name}{field}"))
}
