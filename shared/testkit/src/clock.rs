//! Another wall clock for one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::process::Tool;

/// Moves the clock that Rust asks, and no other: librdkafka measures its waits by gettimeofday and timespec_get, and would
/// wait for hours, or not at all (libfaketime moves all of them).
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    const char *offset = getenv("CLOCK_OFFSET_MS");
    if (result == 0 && clock == CLOCK_REALTIME && offset) {
        long long ns = time->tv_nsec + atoll(offset) * 1000000;
        time->tv_sec += ns / 1000000000;
        time->tv_nsec = ns % 1000000000;
        if (time->tv_nsec < 0) {
            time->tv_sec -= 1;
            time->tv_nsec += 1000000000;
        }
    }
    return result;
}
"#;

/// A library that moves the clock of the process it is loaded into.
#[derive(Debug)]
pub struct Clock(PathBuf);

impl Clock {
    /// Builds it in `dir`.
    ///
    /// # Panics
    /// There is no C compiler, or `dir` can't be written.
    #[must_use]
    pub fn build(dir: &Path) -> Self {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, CLOCK).expect("the test's directory can be written");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
        assert!(built.is_ok_and(|status| status.success()), "cc builds the clock");
        Self(library)
    }

    /// The true time, in milliseconds since 1970.
    ///
    /// # Panics
    /// It is before 1970.
    #[must_use]
    pub fn wall() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        i64::try_from(since.as_millis()).expect("a time of this age")
    }

    /// The tool under a wall clock that stands at `start` now, in milliseconds since 1970, and goes on from there.
    pub fn from(&self, start: i64, tool: Tool) -> Tool {
        tool.env("LD_PRELOAD", &self.0).env("CLOCK_OFFSET_MS", (start - Self::wall()).to_string())
    }
}
