//! stdout, which may be a terminal: what it may be shown.

use cli::Output;
use failure::Failure;
use std::env;
use std::io::{IsTerminal, stdout};

/// The records' way out. A pipe gets every byte as it is; a person sees nothing that moves a cursor or turns the direction
/// of writing.
#[derive(Debug)]
pub(crate) struct Screen {
    out: Output,
    watched: bool,
}

impl Screen {
    pub(crate) fn new(out: Output) -> Self {
        Self { out, watched: stdout().is_terminal() }
    }

    /// Whether colours may be shown: <https://no-color.org>.
    pub(crate) fn has_colour(&self) -> bool {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.watched && !plain && env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// # Errors
    /// As [`Output::write`].
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Failure> {
        if !self.watched {
            return self.out.write(text.as_bytes());
        }
        let lines: Vec<String> = text.split('\n').map(failure::printable).collect();
        self.out.write(lines.join("\n").as_bytes())
    }

    /// Writes text that is shielded already, and may hold colours.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub(crate) fn write_coloured(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write(text.as_bytes())
    }

    /// # Errors
    /// As [`Output::close`].
    pub(crate) fn close(self) -> Result<(), Failure> {
        self.out.close()
    }
}
