//! Links in a folder of logs: who can make them gets nothing shipped that is not theirs, and nobody gets what log-ship itself is
//! to keep secret.

use crate::harness::{Harness, append, end};
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::Path;
use testkit::wait_until;

/// A user who is neither root nor the owner of the system's files.
const SOMEBODY: u32 = 1000;

/// A link of somebody who can't read its target: where the test may give it away, and else its own. It belongs to them before
/// it is where log-ship looks.
fn link_of_somebody(target: impl AsRef<Path>, at: &Path) {
    let draft = at.with_extension("draft");
    symlink(target, &draft).unwrap();
    if fs::symlink_metadata(&draft).unwrap().uid() == 0 {
        lchown(&draft, Some(SOMEBODY), None).unwrap();
    }
    fs::rename(&draft, at).unwrap();
}

#[test]
fn a_link_is_followed_to_its_owner_s_files_only() {
    let harness = Harness::new();
    let own = harness.dir.path().join("own");
    append(&own, "own\n");
    symlink(&own, harness.log("own.log")).unwrap();
    append(&harness.log("b.log"), "beside it\n");
    let foreign = harness.log("a.log");
    link_of_somebody("/etc/passwd", &foreign);
    let run = harness.tool().args(["--stats", "50ms"]).arg(harness.log("*.log")).start();
    harness.await_values(&["own", "beside it"]);
    // It stays refused, however often it is looked at, and is said once; later ones are refused as well.
    let later = harness.log("later.log");
    link_of_somebody("/etc/passwd", &later);
    let refused = |path: &Path| format!("log-ship: warning: unable to read {}: a link of user ", path.display());
    wait_until("the words about both", || {
        let said = String::from_utf8(run.stderr_so_far()).unwrap();
        if said.contains(&refused(&foreign)) && said.contains(&refused(&later)) { Ok(()) } else { Err(said) }
    });
    append(&harness.log("b.log"), "and more\n");
    harness.await_values(&["own", "beside it", "and more"]);
    let said = String::from_utf8(run.stderr_so_far()).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("/etc/passwd, which belongs to user 0, is not followed"), "{said}");
    end(run);
    // Alone it is nothing that can be shipped.
    harness.tool().arg("--once").arg(&foreign).run().fails_with(1);
    assert_eq!(harness.shipped().len(), 3);
}

/// A folder on the way, below a pattern and before it.
#[test]
fn a_link_to_a_folder() {
    let harness = Harness::new();
    let folder = harness.log("app");
    fs::create_dir(&folder).unwrap();
    link_of_somebody("/etc", &folder.join("log"));
    for pattern in ["app/log/passwd", "*/log/passwd", "*/log/pass*d"] {
        let run = harness.tool().arg("--once").arg(harness.log(pattern)).run().fails_with(1);
        run.stderr_contains("is not followed");
    }
    assert_eq!(harness.shipped().len(), 0);
}

/// What was listed as a file is a link when it is opened, or a pipe that nobody writes to.
#[test]
fn a_file_that_is_swapped() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\n");
    let run = harness.tool().args(["--stats", "1h"]).arg(harness.log("*.log")).start();
    harness.await_values(&["one"]);
    fs::remove_file(&path).unwrap();
    link_of_somebody("/etc/passwd", &path);
    append(&harness.log("b.log"), "two\n");
    harness.await_values(&["one", "two"]);
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    append(&harness.log("c.log"), "three\n");
    harness.await_values(&["one", "two", "three"]);
    end(run);
}

/// By whatever name they are reached.
#[test]
fn log_ship_s_own_secrets() {
    let harness = Harness::new();
    let (options, key) = (harness.dir.path().join("kafka"), harness.dir.path().join("key.pem"));
    append(&key, "the key\n");
    append(&options, &format!("client.id=hunter2\nssl.key.location={}\n", key.display()));
    symlink(&options, harness.log("a.log")).unwrap();
    fs::hard_link(&options, harness.log("b.log")).unwrap();
    symlink(&key, harness.log("c.log")).unwrap();
    fs::hard_link(&key, harness.log("d.log")).unwrap();
    append(&harness.log("e.log"), "a line\n");
    let tool = || harness.tool().args(["--once", "--kafka-file"]).arg(&options);
    let run = tool().arg(harness.log("*.log")).run().succeeds();
    let said = run.stderr_str();
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.lines().all(|line| line.ends_with(": it holds what log-ship itself is to keep secret")), "{said}");
    tool().arg(&options).run().fails_with(1);
    assert_eq!(harness.values(), ["a line"]);
}
