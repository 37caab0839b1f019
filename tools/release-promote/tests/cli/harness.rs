//! What every test stands on: a store with sealed releases, a bare git remote with a checkout, and what they show.

use crc_fast::{CrcAlgorithm, checksum};
use release::history::{History, Row};
use release::record::{Artifact, Record, sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use testkit::tars::Tar;
use testkit::{FaultProxy, Plan, RequestInfo, S3Model, Tool};

pub const ARTIFACT: &str = "obelix";
pub const BUCKET: &str = "build";
const PREFIX: &str = "obelix/prod/";

/// Runs git as somebody with a name, and returns what it printed.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let done = git_output(dir, args);
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

pub fn git_output(dir: &Path, args: &[&str]) -> std::process::Output {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args);
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@example.org"),
        ("GIT_COMMITTER_NAME", "A"),
        ("GIT_COMMITTER_EMAIL", "a@example.org"),
    ] {
        command.env(name, value);
    }
    command.output().expect("git runs")
}

/// A bare remote and a checkout with one commit per release.
pub struct Repo {
    pub dir: TempDir,
    pub commits: Vec<String>,
}

impl Repo {
    pub fn new(commits: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        git(dir.path(), &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        git(dir.path(), &["init", "-q", "-b", "main", "work"]);
        let work = dir.path().join("work");
        git(&work, &["remote", "add", "origin", &dir.path().join("remote.git").display().to_string()]);
        let commit = |number: usize| {
            git(&work, &["commit", "-q", "--allow-empty", "-m", &format!("release {number}")]);
            git(&work, &["rev-parse", "HEAD"])
        };
        let commits = (1..=commits).map(commit).collect();
        git(&work, &["push", "-q", "origin", "main"]);
        Self { dir, commits }
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn remote(&self) -> PathBuf {
        self.dir.path().join("remote.git")
    }

    pub fn commit(&self, number: u64) -> &str {
        &self.commits[usize::try_from(number).expect("small") - 1]
    }

    /// Looks up refs of the remote, all in one git process: the object of a ref, or nothing if there is no such ref.
    pub fn asker(&self) -> impl FnMut(&str) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.remote()).args(["cat-file", "--batch-check=%(objectname)"]);
        let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git runs");
        let mut questions = git.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(git.stdout.take().expect("it is piped"));
        move |name| {
            writeln!(questions, "{name}").expect("git reads");
            let mut line = String::new();
            answers.read_line(&mut line).expect("git answers");
            let object = line.trim_end();
            assert!(!object.is_empty() && git.try_wait().is_ok_and(|ended| ended.is_none()), "git ended: {line}");
            if object == format!("{name} missing") { String::new() } else { object.to_owned() }
        }
    }

    /// Every ref of the remote.
    pub fn refs(&self) -> String {
        git_or_nothing(&self.remote(), &["for-each-ref", "--format=%(refname) %(objectname)"])
    }

    pub fn tag(&self, name: &str) -> Option<Shown> {
        let full = format!("refs/tags/{name}");
        let oid = git_or_nothing(&self.remote(), &["rev-parse", "--verify", "-q", &full]);
        if oid.is_empty() { None } else { Some(self.shown(&oid)) }
    }

    /// What the object of a tag says.
    pub fn shown(&self, oid: &str) -> Shown {
        let text = git_or_nothing(&self.remote(), &["cat-file", "tag", oid]);
        let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start).map(str::to_owned));
        let commit = git(&self.remote(), &["rev-parse", &format!("{oid}^{{commit}}")]);
        let promotion = line("PROMOTION=").and_then(|n| n.parse().ok());
        Shown { commit, promotion, text }
    }

    /// Writes a hook of the remote.
    pub fn hook(&self, name: &str, script: &str) {
        write_script(&self.remote().join("hooks").join(name), script);
    }

    pub fn unhook(&self, name: &str) {
        fs::remove_file(self.remote().join("hooks").join(name)).expect("the hook is there");
    }
}

fn git_or_nothing(dir: &Path, args: &[&str]) -> String {
    String::from_utf8_lossy(&git_output(dir, args).stdout).trim().to_owned()
}

pub fn write_script(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path.parent().expect("a script lies in a directory")).expect("directories can be made");
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("a script can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("modes can be set");
}

/// What a tag shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub commit: String,
    pub promotion: Option<u64>,
    pub text: String,
}

enum Place {
    Files(TempDir),
    S3(S3Model),
}

/// A store.
pub struct Store {
    place: Place,
    pub proxy: Option<FaultProxy>,
}

impl Store {
    pub fn files() -> Self {
        Self { place: Place::Files(tempfile::tempdir().expect("a directory can be made")), proxy: None }
    }

    pub fn s3(model: S3Model) -> Self {
        model.create_bucket(BUCKET);
        let proxy = Some(FaultProxy::start(&model.endpoint(), Plan::None));
        Self { place: Place::S3(model), proxy }
    }

    pub fn model(&self) -> &S3Model {
        let Place::S3(model) = &self.place else { unreachable!("the test has an S3") };
        model
    }

    pub fn proxy(&self) -> &FaultProxy {
        self.proxy.as_ref().expect("the test has an S3")
    }

    pub fn url(&self) -> String {
        match &self.place {
            Place::Files(dir) => format!("file://{}", dir.path().display()),
            Place::S3(_) => format!("s3://{BUCKET}/{}", PREFIX.trim_end_matches('/')),
        }
    }

    pub fn tool(&self) -> Tool {
        self.tool_of(ARTIFACT)
    }

    pub fn tool_of(&self, artifact: &str) -> Tool {
        let tool = Tool::new(env!("CARGO_BIN_EXE_release-promote"));
        let tool = tool.args(["--artifact", artifact, "--store", &self.url()]);
        match &self.proxy {
            Some(proxy) => tool.aws(proxy.endpoint()),
            None => tool,
        }
    }

    pub fn promote(&self, release: &str) -> Tool {
        self.tool().args(["--release", release])
    }

    /// Promotes `release` with the tag of `repo`.
    pub fn promote_tag(&self, release: &str, repo: &Repo, tag: &str) -> Tool {
        self.promote(release).args(["--tag", tag, "--repo"]).arg(repo.work())
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        match &self.place {
            Place::Files(dir) => fs::write(dir.path().join(key), bytes).expect("the store can be written"),
            Place::S3(model) => drop(model.put_raw(BUCKET, &full(key), bytes.to_vec())),
        }
    }

    pub fn remove(&self, key: &str) {
        match &self.place {
            Place::Files(dir) => fs::remove_file(dir.path().join(key)).expect("it is there"),
            Place::S3(model) => assert!(model.delete_raw(BUCKET, &full(key)), "it is there"),
        }
    }

    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.all().remove(key)
    }

    /// Everything in the store, but for locks.
    pub fn all(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.place {
            Place::Files(dir) => fs::read_dir(dir.path())
                .expect("the store can be read")
                .map(|entry| entry.expect("the store can be read"))
                .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
                .filter(|(name, _)| !name.starts_with('.'))
                .map(|(name, path)| (name, fs::read(path).expect("the store can be read")))
                .collect(),
            Place::S3(model) => model
                .objects(BUCKET)
                .into_iter()
                .map(|(key, object)| (key.trim_start_matches(PREFIX).to_owned(), object.body.to_vec()))
                .collect(),
        }
    }

    /// Puts a sealed release of that commit into the store.
    pub fn release(&self, number: u64, commit: &str) -> Record {
        let lines = sealed(number, commit, b"").original_lines();
        let bytes = Tar::new().file("RELEASE", &lines).file("data", &[b'x'; 2000]).end();
        self.put(&format!("{ARTIFACT}-{number}.tar"), &bytes);
        let sealed = sealed(number, commit, &bytes);
        self.put(&format!("{ARTIFACT}-{number}.release"), &sealed.to_bytes());
        sealed
    }

    /// As many releases as `repo` has commits.
    pub fn releases(&self, repo: &Repo) {
        for (number, commit) in (1..).zip(&repo.commits) {
            self.release(number, commit);
        }
    }

    pub fn pointer(&self) -> Record {
        Record::parse(&self.get("latest-stable.txt").expect("there is a pointer")).expect("the pointer is a record")
    }

    pub fn rows(&self) -> Vec<Row> {
        let list = self.get("promotions.csv").unwrap_or_default();
        History::parse(&list).expect("the list is CSV").rows().to_vec()
    }

    /// Rows as `from>to`.
    pub fn moves(&self) -> Vec<String> {
        self.rows().iter().map(|row| format!("{}>{}", row.from, row.to)).collect()
    }

    /// Asserts that pointer, list and tag tell one story, and returns the release they name.
    pub fn agrees(&self, tag: Option<(&Repo, &str)>) -> u64 {
        let (pointer, rows) = (self.pointer(), self.rows());
        let promotion = pointer.promotion().expect("the pointer carries its number");
        let last = rows.last().expect("there is a row");
        assert_eq!((last.n, &last.to), (promotion.n, &pointer.number().to_string()), "{rows:?}");
        let numbers: Vec<u64> = rows.iter().map(|row| row.n).collect();
        assert_eq!(numbers, (1..=rows.len() as u64).collect::<Vec<_>>(), "{rows:?}");
        for pair in rows.windows(2) {
            assert_eq!(pair[1].from, pair[0].to, "{rows:?}");
        }
        if let Some((repo, name)) = tag {
            let shown = repo.tag(name).expect("there is a tag");
            assert_eq!(shown.promotion, Some(promotion.n), "{shown:?}");
            assert_eq!(Some(shown.commit.as_str()), pointer.git_commit());
        }
        pointer.number().get()
    }

    /// Requests for bytes of an archive.
    pub fn archive_reads(&self) -> usize {
        let log = self.proxy().log();
        log.iter().filter(|seen| seen.method == "GET" && seen.path.ends_with(".tar")).count()
    }
}

/// Tells the write of a promotion's row from the probe of conditions, which comes before the pointer is written.
pub fn row_writes() -> impl Fn(&RequestInfo) -> bool + Send + Sync {
    let swapped = AtomicBool::new(false);
    move |info| {
        let writes = |key: &str| info.is_put_object() && info.path.ends_with(key);
        let after = swapped.fetch_or(writes("latest-stable.txt"), Ordering::SeqCst);
        after && writes("promotions.csv")
    }
}

fn full(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// The five lines of a release, as the old build job wrote them; four without a commit.
pub fn five(number: u64, commit: Option<&str>) -> String {
    let commit = commit.map(|commit| format!("GIT_COMMIT={commit}\n")).unwrap_or_default();
    format!("MODULE=obelix\nVERSION={number}\nBUILD=9\n{commit}TIMESTAMP=Mon Jan 23 11:20:02 IST 2016\n")
}

pub fn sealed(number: u64, commit: &str, bytes: &[u8]) -> Record {
    let text = number.to_string();
    let number = text.parse().expect("a number");
    let artifact = Artifact {
        file: format!("{ARTIFACT}-{text}.tar"),
        size: bytes.len() as u64,
        sha256: sha256(bytes),
        crc64nvme: Some(checksum(CrcAlgorithm::Crc64Nvme, bytes)),
        format: "tar".parse().expect("a format"),
    };
    let record = Record::new(ARTIFACT, number, "117", commit, "Mon Jan 23 11:20:02 IST 2016");
    record.and_then(|record| record.sealed(artifact)).expect("a record")
}

pub fn commit_of(number: u64) -> String {
    format!("{number:040x}")
}
