//! Human words: steps, results, warnings and progress, all on stderr.

use failure::presentable;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Where a tool speaks to people: one line a message, `tool: warning: words` for what an operator should look at.
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

    /// What was found out for whoever asked, beside the records of stdout: of a dry run for one. Silent under `-q`.
    pub fn tell(&self, what: impl Display) {
        if !self.verbosity.quiet {
            self.say(what);
        }
    }

    /// Something an operator should look at although the work goes on; silent under `-q`.
    pub fn warn(&self, what: impl Display) {
        self.tell(format_args!("warning: {what}"));
    }

    /// Progress over bytes, silent under `-q`: on a terminal a bar, once the work took a second, and elsewhere a line every
    /// ten seconds.
    #[must_use]
    pub fn progress(&self, total: Option<u64>) -> Progress {
        Progress::new(total, *self)
    }

    fn say(&self, what: impl Display) {
        let text = format!("{}: {}", self.tool, presentable(&what.to_string()));
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

/// Bytes done so far.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    console: Console,
    on_terminal: bool,
    started: Instant,
    /// Seconds from the start to the next time that it is shown.
    due: AtomicU64,
}

impl Progress {
    /// Before the bar is shown.
    const BAR: u64 = 1;
    /// Between two lines where there is no terminal.
    const LINE: u64 = 10;

    fn new(total: Option<u64>, console: Console) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = if total.is_some() {
            "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
        } else {
            "{bytes} {bytes_per_sec}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let on_terminal = std::io::stderr().is_terminal();
        let first = if on_terminal { Self::BAR } else { Self::LINE };
        let due = if console.verbosity.quiet { u64::MAX } else { first };
        Self { bar, console, on_terminal, started: Instant::now(), due: due.into() }
    }

    /// Adds `bytes` to what is done.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        let (now, due) = (self.started.elapsed().as_secs(), self.due.load(Ordering::Relaxed));
        let next = if self.on_terminal { u64::MAX } else { now.saturating_add(Self::LINE) };
        // Of several threads one shows it.
        if now < due || self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        if self.on_terminal {
            return self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let done = HumanBytes(self.bar.position());
        self.console.tell(match self.bar.length() {
            Some(total) => format!("{done} of {} in {now} s", HumanBytes(total)),
            None => format!("{done} in {now} s"),
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
