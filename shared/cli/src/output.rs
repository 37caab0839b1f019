//! stdout: records only, buffered, and able to fail.

use failure::Failure;
use std::io::{self, ErrorKind, Stdout, Write};

/// The record stream of a tool. Whoever opens it closes it with [`Output::close`], which is where a full disk shows.
#[derive(Debug)]
pub struct Output {
    stdout: io::BufWriter<Stdout>,
}

impl Default for Output {
    fn default() -> Self {
        Self { stdout: io::BufWriter::new(io::stdout()) }
    }
}

impl Output {
    /// Writes the bytes of one or more records.
    ///
    /// # Errors
    /// stdout closed by its reader (ends the tool with 0), or not writable (temporary).
    pub fn write(&mut self, record: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(record).map_err(failed)
    }

    /// Hands everything to the kernel.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn close(mut self) -> Result<(), Failure> {
        self.stdout.flush().and_then(|()| self.stdout.get_mut().flush()).map_err(failed)
    }

    /// Writes the only records of a run.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn write_and_close(mut self, records: &[u8]) -> Result<(), Failure> {
        self.write(records)?;
        self.close()
    }

    /// Writes the record of a change that has been made already; `done` says which, for the case that printing fails.
    ///
    /// # Errors
    /// stdout closed (ends the tool with 0); anything else is permanent, since running again would change the world again.
    pub fn report(self, record: &[u8], done: &str) -> Result<(), Failure> {
        self.write_and_close(record).map_err(|failure| match failure.class() {
            Some(_) => failure.with_class(failure::Class::Permanent).context(format!("{done}, printing it failed")),
            None => failure,
        })
    }
}

fn failed(error: io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        Failure::stdout_closed()
    } else {
        Failure::temporary(format!("unable to write stdout: {error}"))
    }
}
