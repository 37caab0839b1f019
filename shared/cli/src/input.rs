//! Records on stdin, read whole.

use failure::Failure;
use std::io::Read;

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
