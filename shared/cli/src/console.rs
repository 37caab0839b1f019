//! Human words: steps, notes, warnings and progress, all on stderr.

use crate::printable;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `-v` and `-q`, for every tool.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Say each step on stderr
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Messages")]
    verbose: bool,
    /// Say nothing on stderr but the reason of a failure
    #[arg(short, long, help_heading = "Messages")]
    quiet: bool,
}

/// Where a tool speaks to people: one line a message, `tool: words`.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    tool: &'static str,
    verbosity: Verbosity,
}

impl Console {
    /// The console of the named tool.
    #[must_use]
    pub fn new(tool: &'static str, verbosity: Verbosity) -> Self {
        Self { tool, verbosity }
    }

    /// The same console, saying nothing whatever was asked for: where what reads stderr takes all of it for errors.
    #[must_use]
    pub fn silent(self) -> Self {
        Self { verbosity: Verbosity { verbose: false, quiet: true }, ..self }
    }

    /// A step of the work; shown under `-v`.
    pub fn step(&self, what: impl Display) {
        if self.verbosity.verbose {
            self.say(what);
        }
    }

    /// Something a person should know although the work goes on; silent under `-q`.
    pub fn warn(&self, what: impl Display) {
        if !self.verbosity.quiet {
            self.say(what);
        }
    }

    /// A progress bar over bytes: shown once the work took a second, and only on a terminal.
    #[must_use]
    pub fn progress(&self, total: Option<u64>) -> Progress {
        let wanted = !self.verbosity.quiet && std::io::stderr().is_terminal();
        Progress::new(total, wanted)
    }

    fn say(&self, what: impl Display) {
        line(&format!("{}: {}", self.tool, printable(&what.to_string())));
    }
}

/// Writes one line to stderr. A failure to do so has nowhere to be told.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Bytes done so far, drawn on a terminal only.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    waiting: AtomicBool,
}

impl Progress {
    const QUIET_FOR: Duration = Duration::from_secs(1);

    fn new(total: Option<u64>, wanted: bool) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = if total.is_some() {
            "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
        } else {
            "{bytes} {bytes_per_sec}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, started: Instant::now(), waiting: AtomicBool::new(wanted) }
    }

    /// Adds `bytes` to what is done.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        if self.started.elapsed() >= Self::QUIET_FOR && self.waiting.swap(false, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
