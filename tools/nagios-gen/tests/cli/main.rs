//! nagios-gen as a process, against files and against real Nagios daemons.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod downtime;
mod file;
mod fleet;
mod fuzz;
mod kills;
mod live;
mod plain;
mod site;
mod template;

use std::path::Path;
use testkit::Tool;

fn nagios_gen() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_nagios-gen"))
}

/// `short`, or `long` under `scripts/test --long`.
fn figure<T>(short: T, long: T) -> T {
    if std::env::var_os("TEST_LONG").is_some() { long } else { short }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
