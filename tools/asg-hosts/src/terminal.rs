//! What a terminal may be shown.

use std::env;
use std::io::{IsTerminal, stdout};

/// Whether a person reads stdout.
pub(crate) fn is_watched() -> bool {
    stdout().is_terminal()
}

/// Whether the terminal may be coloured: <https://no-color.org>.
pub(crate) fn has_colour() -> bool {
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_watched() && !plain && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The lines of `text` without anything that moves a cursor or turns the direction of writing.
pub(crate) fn shielded(text: &str) -> String {
    text.split('\n').map(cli::printable).collect::<Vec<_>>().join("\n")
}
