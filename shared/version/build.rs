//! Names the source commit for `--version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_COMMIT");
    // Git knows where it keeps the log of this work tree. Cargo runs a script that watches a missing file at every build.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let given = std::env::var("SOURCE_COMMIT").ok();
    let commit =
        given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"])).unwrap_or_else(|| "no commit known".to_owned());
    println!("cargo:rustc-env=SOURCE_COMMIT={commit}");
}

/// One line that git prints.
fn git(args: &[&str]) -> Option<String> {
    let run = Command::new("git").args(args).output().ok()?;
    let line = String::from_utf8(run.stdout).ok()?;
    (run.status.success() && !line.trim().is_empty()).then(|| line.trim().to_owned())
}
