//! A real server that ignores conditional writes, `rclone serve s3`: nothing on it is overwritten, promoted or sealed.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{rclone, tool};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use tempfile::TempDir;
use testkit::{Running, Tool};

/// Bytes that no single part takes.
const LARGE: u64 = 9 << 20;

struct Server {
    /// The bucket is a directory of it.
    dir: TempDir,
    endpoint: String,
    _running: Running,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("build")).unwrap();
        let (endpoint, running) = rclone(dir.path());
        Self { dir, endpoint, _running: running }
    }

    fn tool(&self, name: &str) -> Tool {
        tool(name).aws(&self.endpoint).args(["--artifact", "obelix", "--store", "s3://build"])
    }

    fn pack(&self, tree: &Path) -> Tool {
        self.tool("artifact-pack").arg("-C").arg(tree).arg(".")
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join("build").join(key), bytes).unwrap();
    }

    /// All objects: the server keeps them as files.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.dir.path().join("build")).unwrap().map(Result::unwrap);
        let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect()
    }
}

fn tree(size: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("f")).unwrap().set_len(size).unwrap();
    dir
}

/// What the old build job left: an archive with its RELEASE, and latest.txt.
fn old_release(server: &Server, number: u64) {
    let dir = tree(1000);
    let five = format!("MODULE=obelix\nVERSION={number}\nBUILD=9\nGIT_COMMIT={number:040x}\nTIMESTAMP=x\n");
    fs::write(dir.path().join("RELEASE"), &five).unwrap();
    let packed = Tool::new("tar").args(["-cf", "-", "f", "RELEASE"]).cwd(dir.path()).run().succeeds();
    server.put(&format!("obelix-{number}.tar"), &packed.stdout);
    server.put("latest.txt", five.as_bytes());
}

#[test]
fn a_build_takes_no_number() {
    let server = Server::start();
    // It says "no such upload" where no upload was ever begun: there is none.
    let _audit = server.tool("artifact-pack").arg("--audit").run().succeeds();
    for size in [10, LARGE] {
        let run = server.pack(tree(size).path()).run().fails_with(1);
        let run = run.stderr_contains("s3://build/ ignores conditional writes (If-None-Match)");
        assert!(server.objects().is_empty(), "{:?}\n{}", server.objects().keys(), run.report());
    }
}

#[test]
fn eight_promotions_at_once_promote_nothing() {
    let server = Server::start();
    (1..=8).for_each(|number| old_release(&server, number));
    let before = server.objects();
    let promote = |number: u64| server.tool("release-promote").args(["--release", &number.to_string()]).run();
    let runs: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = (1..=8).map(|number| scope.spawn(move || promote(number))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for run in runs {
        let run = run.fails_with(1).stderr_contains("s3://build/ ignores conditional writes (If-None-Match)");
        assert!(run.stdout.is_empty(), "{}", run.report());
    }
    let mut after = server.objects();
    // A list of no promotions is all that such a race may leave.
    if let Some(list) = after.remove("promotions.csv") {
        assert_eq!(String::from_utf8_lossy(&list).lines().count(), 1);
    }
    assert!(after == before, "{:?}", after.keys());
}
