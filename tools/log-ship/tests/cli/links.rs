//! Links in a folder of logs: who can make them gets nothing shipped that is not theirs, and nobody gets what log-ship itself is
//! to keep secret.

use crate::stage::{LIMIT, Stage, append, end};
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
    let stage = Stage::new();
    let own = stage.dir.path().join("own");
    append(&own, "own\n");
    symlink(&own, stage.log("own.log")).unwrap();
    append(&stage.log("b.log"), "beside it\n");
    let foreign = stage.log("a.log");
    link_of_somebody("/etc/passwd", &foreign);
    let run = stage.tool().args(["--stats", "50ms"]).arg(stage.log("*.log")).start();
    stage.await_values(&["own", "beside it"]);
    // It stays refused, however often it is looked at, and is said once; later ones are refused as well.
    let later = stage.log("later.log");
    link_of_somebody("/etc/passwd", &later);
    let refused = |path: &Path| format!("log-ship: unable to read {}: a link of user ", path.display());
    wait_until("the words about both", LIMIT, || {
        let said = String::from_utf8(run.stderr_so_far()).unwrap();
        if said.contains(&refused(&foreign)) && said.contains(&refused(&later)) { Ok(()) } else { Err(said) }
    });
    append(&stage.log("b.log"), "and more\n");
    stage.await_values(&["own", "beside it", "and more"]);
    let said = String::from_utf8(run.stderr_so_far()).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("/etc/passwd, which belongs to user 0, is not followed"), "{said}");
    end(run);
    // Alone it is nothing that can be shipped.
    stage.tool().arg("--once").arg(&foreign).run().fails_with(1);
    assert_eq!(stage.shipped().len(), 3);
}

/// A folder on the way, below a pattern and before it.
#[test]
fn a_link_to_a_folder() {
    let stage = Stage::new();
    let folder = stage.log("app");
    fs::create_dir(&folder).unwrap();
    link_of_somebody("/etc", &folder.join("log"));
    for pattern in ["app/log/passwd", "*/log/passwd", "*/log/pass*d"] {
        let run = stage.tool().arg("--once").arg(stage.log(pattern)).run().fails_with(1);
        run.stderr_contains("is not followed");
    }
    assert_eq!(stage.shipped().len(), 0);
}

/// What was listed as a file is a link when it is opened, or a pipe that nobody writes to.
#[test]
fn a_file_that_is_swapped() {
    let stage = Stage::new();
    let path = stage.log("a.log");
    append(&path, "one\n");
    let run = stage.tool().args(["--stats", "1h"]).arg(stage.log("*.log")).start();
    stage.await_values(&["one"]);
    fs::remove_file(&path).unwrap();
    link_of_somebody("/etc/passwd", &path);
    append(&stage.log("b.log"), "two\n");
    stage.await_values(&["one", "two"]);
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    append(&stage.log("c.log"), "three\n");
    stage.await_values(&["one", "two", "three"]);
    end(run);
}

/// By whatever name they are reached.
#[test]
fn log_ship_s_own_secrets() {
    let stage = Stage::new();
    let (options, key) = (stage.dir.path().join("kafka"), stage.dir.path().join("key.pem"));
    append(&key, "the key\n");
    append(&options, &format!("client.id=hunter2\nssl.key.location={}\n", key.display()));
    symlink(&options, stage.log("a.log")).unwrap();
    fs::hard_link(&options, stage.log("b.log")).unwrap();
    symlink(&key, stage.log("c.log")).unwrap();
    fs::hard_link(&key, stage.log("d.log")).unwrap();
    append(&stage.log("e.log"), "a line\n");
    let tool = || stage.tool().args(["--once", "--kafka-file"]).arg(&options);
    let run = tool().arg(stage.log("*.log")).run().succeeds();
    let said = run.stderr_str();
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.lines().all(|line| line.ends_with(": it holds what log-ship itself is to keep secret")), "{said}");
    tool().arg(&options).run().fails_with(1);
    assert_eq!(stage.values(), ["a line"]);
}
