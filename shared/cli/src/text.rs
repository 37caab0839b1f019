//! Text that comes from outside: made safe for a terminal, or read whole from stdin.

use crate::Failure;
use std::io::Read;

/// Whether a terminal would obey this character instead of showing it.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with every control character escaped, so that nothing from outside moves a cursor or starts a new line.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// All of stdin, at most `limit` bytes.
///
/// # Errors
/// Nothing at all on stdin (temporary: the stage before failed), too much, or not readable.
pub fn read_input(what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io("unable to read stdin", error))?;
    if bytes.is_empty() {
        return Err(Failure::temporary(format!(
            "no {what} on stdin: the command before this one failed, nothing is changed"
        )));
    }
    if bytes.len() as u64 > limit {
        return Err(Failure::permanent(format!("{what} on stdin is longer than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_direction_marks_are_escaped() {
        assert_eq!(printable("a\nb\u{1b}[31m\u{202e}é"), "a\\nb\\u{1b}[31m\\u{202e}é");
    }
}
