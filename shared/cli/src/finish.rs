//! How a process ends: its last line on stderr and its exit code, the signal that asked it to end, or a fault of its own.

use crate::console;
use failure::{Failure, Reason, presentable};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use signal_hook::consts::SIGXFSZ;
use std::panic::PanicHookInfo;
use std::process::{ExitCode, abort};
use std::sync::Arc;
use std::time::Duration;

/// A reason that nobody reads within this time must not keep the process from its end.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Does the work of a process, and ends it by the one line on stderr and the exit code.
///
/// An interrupted run ends by its own signal, so that shells and systemd see the truth. A panic of any thread or task is one
/// line, too, and ends the process by SIGABRT: nothing waits for, or counts on, a part of it that is gone.
pub fn run(tool: &'static str, work: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    std::panic::set_hook(Box::new(move |fault| break_down(tool, fault)));
    // A file beyond what this process may write is an error like a full disk (ulimit -f). What is started here dies of it as before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    finish(tool, work())
}

fn break_down(tool: &str, fault: &PanicHookInfo<'_>) {
    let what = fault.payload_as_str().unwrap_or("no reason is known");
    let place = fault.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    let text = presentable(&format!("a fault of {tool} itself, please report it: {what}{place}"));
    console::line_within(&format!("{tool}: {text}"), LAST_WAIT);
    // A dump of memory would hold credentials.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    abort();
}

fn finish(tool: &str, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    match failure.into_reason() {
        Reason::Failed { class, error } => {
            console::line_within(&format!("{tool}: {}", presentable(&format!("{error:#}"))), LAST_WAIT);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Runs this test in a process of its own, where it breaks down in a thread that nobody waits for.
    #[test]
    fn a_panic_of_any_thread_is_one_line_and_the_end() {
        const BREAK: &str = "BREAK_DOWN";
        if std::env::var_os(BREAK).is_some() {
            let _ = run("tool", || {
                std::thread::spawn(|| assert_eq!(1 + 1, 3, "two\nlines"));
                std::thread::park_timeout(Duration::from_secs(60));
                Ok(())
            });
            return;
        }
        let test = std::thread::current().name().unwrap().to_owned();
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", &test, "--nocapture", "--test-threads=1"]).env(BREAK, "1").output().unwrap();
        let said = String::from_utf8(child.stderr).unwrap();
        assert_eq!(child.status.signal(), Some(6), "{:?}: {said}", child.status);
        assert!(!child.status.core_dumped());
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with("tool: a fault of tool itself, please report it: ") && said.contains("finish.rs:"),
            "{said}"
        );
    }
}
