//! The process boundary of every tool: what a run ends as, what it says, and where its records go.
//!
//! A tool's `main` is `cli::run(name, run)`; its `run` parses with [`parse()`], writes records to an [`Output`],
//! speaks to people through a [`Console`], and returns a [`failure::Failure`] that knows its exit code.

mod console;
mod finish;
mod generate;
mod input;
mod interrupt;
mod limits;
mod output;
mod parse;
mod runtime;
mod signals;
mod stream;

pub use console::{Console, Progress, Verbosity};
pub use finish::run;
pub use input::{Bounded, read_file, read_input, read_secret};
pub use interrupt::Interrupts;
pub use output::Output;
pub use parse::parse;
pub use runtime::block_on;
pub use signals::Signals;
pub use stream::{Receipt, Stream};

/// The exit codes, the same for all tools; the last lines of every `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed, and trying again will not help
  2   wrong usage
  75  temporary failure, try again later
  A run ended by SIGTERM, SIGINT or SIGHUP cleans up, then ends by that signal.";
