//! docs/FIRST-HOUR.md, as a newcomer runs it: every block, one after the other, in one shell, on servers of its own.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{bin_dir, root};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;
use testkit::Tool;

/// What was built before this test, by whoever runs it.
const BUILD: &str = "cargo build --release --locked\n";

/// A checkout with nothing running in it; what is started there ends with it.
struct Checkout {
    dir: TempDir,
}

impl Checkout {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["scripts", "docs"] {
            copy_tree(&root().join(part), &dir.path().join(part));
        }
        fs::create_dir(dir.path().join("target")).unwrap();
        symlink(bin_dir(), dir.path().join("target/release")).unwrap();
        Self { dir }
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // What went wrong before is worth more than a failure here.
        drop(Tool::new(self.dir.path().join("scripts/stack")).arg("stop").run());
    }
}

/// Copied and not linked, so that scripts find themselves where they are.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn every_block_of_the_first_hour() {
    let document = fs::read_to_string(root().join("docs/FIRST-HOUR.md")).unwrap();
    let blocks: Vec<&str> =
        document.split("```sh\n").skip(1).map(|rest| rest.split_once("```").expect("a block ends").0).collect();
    assert_eq!(document.matches("```").count(), 2 * blocks.len(), "every block is one of commands");
    let (first, rest) = blocks.split_first().unwrap();
    let mut script = first.replacen(BUILD, "", 1);
    assert_ne!(script, *first);
    let logs = rest.iter().position(|block| block.contains("log-index")).unwrap();
    for (place, block) in rest.iter().enumerate() {
        script += block;
        if place == logs {
            // As the document says: once more.
            script += "echo again\n";
            script += block;
        }
    }
    let checkout = Checkout::new();
    fs::write(checkout.dir.path().join("hour.sh"), script).unwrap();
    let home = std::env::var("HOME").unwrap();
    let bash = Tool::new("bash").args(["-euo", "pipefail", "hour.sh"]).cwd(checkout.dir.path()).env("HOME", home);
    let done = bash.run().succeeds();
    let said = done.stdout_str();
    for words in
        ["obelix-1 is up with ansible-code-1", "obelix-2 is up with ansible-code-1", "4 instances: 4 in service"]
    {
        assert!(said.contains(words), "{words}: {}", done.report());
    }
    assert!(said.contains("\n4\n"), "four hosts are watched: {}", done.report());
    let (once, twice) = said.split_once("\nagain\n").unwrap();
    for number in 1..=3 {
        let words = format!(" menhir {number} delivered");
        let found = |text: &str| text.lines().filter(|line| line.ends_with(&words)).count();
        assert_eq!((found(once), found(twice)), (1, 2), "{}", done.report());
    }
}
