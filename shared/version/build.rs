//! Names the source commit for `--version`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_COMMIT");
    println!("cargo:rerun-if-changed=../../.git/logs/HEAD");
    let given = std::env::var("SOURCE_COMMIT").ok();
    let commit = given.or_else(git_head).unwrap_or_else(|| "no commit known".to_owned());
    println!("cargo:rustc-env=SOURCE_COMMIT={commit}");
}

fn git_head() -> Option<String> {
    let head = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let name = String::from_utf8(head.stdout).ok()?;
    (head.status.success() && !name.trim().is_empty()).then(|| name.trim().to_owned())
}
