//! Human words: steps, notes, warnings and progress, all on stderr.

use failure::printable;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
    patience: Option<Duration>,
}

impl Console {
    /// The console of the named tool.
    #[must_use]
    pub fn new(tool: &'static str, verbosity: Verbosity) -> Self {
        Self { tool, verbosity, patience: None }
    }

    /// The same console, for work that nothing may hold up: what nobody reads is not said.
    #[must_use]
    pub fn impatient(self) -> Self {
        Self { patience: Some(Duration::ZERO), ..self }
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
        let text = format!("{}: {}", self.tool, printable(&what.to_string()));
        match self.patience {
            Some(patience) => line_within(&text, patience),
            None => line(&text),
        }
    }
}

/// Writes one line to stderr. A failure to do so has nowhere to be told.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The same, unless whoever reads stderr does not take it within this time.
pub(crate) fn line_within(text: &str, patience: Duration) {
    let stderr = std::io::stderr();
    let mut waiting = [PollFd::new(&stderr, PollFlags::OUT)];
    let limit = Timespec::try_from(patience).ok();
    if !poll(&mut waiting, limit.as_ref()).is_ok_and(|ready| ready > 0) {
        return;
    }
    // A pipe that is ready takes 4 KiB (PIPE_BUF) without waiting, and no more for certain. The cause stands at the end.
    match text.len() {
        ..4000 => line(text),
        length => {
            let (first, last) = (text.floor_char_boundary(2000), text.ceil_char_boundary(length - 1900));
            line(&format!("{}[…]{}", &text[..first], &text[last..]));
        }
    }
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
