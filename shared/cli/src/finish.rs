//! How a process ends: its last line on stderr and its exit code, or the signal that asked it to end.

use crate::console;
use failure::{Failure, Reason, printable};
use std::process::ExitCode;
use std::time::Duration;

/// A reason that nobody reads within this time must not keep the process from its end.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Turns what `run` returned into the end of the process: the one line on stderr and the exit code.
///
/// An interrupted run ends by its own signal, so that shells and systemd see the truth.
pub fn finish(tool: &str, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    match failure.into_reason() {
        Reason::Failed { class, error } => {
            console::line_within(&format!("{tool}: {}", printable(&format!("{error:#}"))), LAST_WAIT);
            ExitCode::from(class.exit_code())
        }
        Reason::StdoutClosed => ExitCode::SUCCESS,
        Reason::Interrupted { signal } => {
            if let Err(error) = signal_hook::low_level::emulate_default_handler(signal) {
                console::line(&format!("{tool}: unable to end by signal {signal}: {error}"));
            }
            ExitCode::from(128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)))
        }
    }
}
