//! A store and a target directory for one test, sealed releases in them, and what a test asks of both.

use archive::Format;
use release::record::{Artifact, Promotion, sha256};
use release::{Layout, Record};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use testkit::Tool;
use testkit::tars::{EntryType, Tar};

pub const ARTIFACT: &str = "app";
/// What the tool remembers of promotions, in its own directory.
pub const SEEN: &str = "promotions";

pub fn five(number: u64) -> Record {
    Record::new(
        ARTIFACT,
        number.to_string().parse().unwrap(),
        "77",
        "0123456789abcdef0123456789abcdef01234567",
        "2026-01-02_03-04-05",
    )
    .unwrap()
}

pub fn five_lines(number: u64) -> Vec<u8> {
    five(number).to_bytes()
}

/// A sealed release: its archive's key and bytes, its record's key and bytes.
pub struct Sealed {
    pub file: String,
    pub archive: Vec<u8>,
    pub record_key: String,
    pub record: Record,
}

pub fn sealed(number: u64, archive: Vec<u8>, format: Format) -> Sealed {
    let layout: Layout = ARTIFACT.parse().unwrap();
    let record = five(number);
    let file = layout.archive(record.number(), format);
    // The CRC may be left out of a record; the SHA-256 never.
    let artifact =
        Artifact { file: file.clone(), size: archive.len() as u64, sha256: sha256(&archive), crc64nvme: None, format };
    let record = record.sealed(artifact).unwrap();
    Sealed { file, archive, record_key: layout.record(record.number()), record }
}

impl Sealed {
    /// The bytes that latest-stable.txt holds once the release is promoted.
    pub fn promoted(&self) -> Vec<u8> {
        self.promoted_as(1)
    }

    /// The same by promotion `n`.
    pub fn promoted_as(&self, n: u64) -> Vec<u8> {
        let promotion = Promotion { n, at: "2026-01-02T03:04:05Z".into(), by: "a@b".into(), reason: "test".into() };
        self.record.promoted(&promotion).unwrap().to_bytes()
    }
}

/// A directory with a store and a target.
pub struct Harness {
    pub root: TempDir,
    pub store: PathBuf,
    pub into: PathBuf,
}

impl Harness {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("artifact-fetch-").tempdir().unwrap();
        let (store, into) = (root.path().join("store"), root.path().join("target"));
        fs::create_dir(&store).unwrap();
        fs::create_dir(&into).unwrap();
        Self { root, store, into }
    }

    /// A harness whose target has release 1 as the current one, and whose store has release 1 only.
    pub fn with_first() -> Self {
        let harness = Self::new();
        harness.publish(1, plain(1));
        let _run = harness.fetch().run().succeeds().stderr_is_empty();
        harness
    }

    pub fn publish(&self, number: u64, archive: Vec<u8>) -> Sealed {
        self.publish_as(number, archive, Format::Tar)
    }

    /// Puts a sealed release into the store and makes it both latest and latest-stable.
    pub fn publish_as(&self, number: u64, archive: Vec<u8>, format: Format) -> Sealed {
        let sealed = sealed(number, archive, format);
        fs::write(self.store.join(&sealed.file), &sealed.archive).unwrap();
        fs::write(self.store.join(&sealed.record_key), sealed.record.to_bytes()).unwrap();
        fs::write(self.store.join("latest.txt"), sealed.record.to_bytes()).unwrap();
        fs::write(self.store.join("latest-stable.txt"), sealed.promoted()).unwrap();
        sealed
    }

    /// The tool on this harness, without a release to fetch.
    pub fn fetch(&self) -> Tool {
        fetch(&format!("file://{}", self.store.display()), &self.into)
    }

    pub fn release(&self, number: u64) -> Tool {
        self.fetch().arg("--release").arg(number.to_string())
    }

    pub fn current(&self) -> Option<String> {
        fs::read_link(self.into.join("current")).ok().map(|target| target.into_os_string().into_string().unwrap())
    }

    pub fn assert_current(&self, number: u64) {
        assert_eq!(self.current().as_deref(), Some(format!("{ARTIFACT}-{number}").as_str()));
        let said = fs::read_to_string(self.into.join("current/bin/run")).unwrap();
        assert_eq!(said, number.to_string());
    }

    /// Numbers of the releases that stand in the target.
    pub fn shelf(&self) -> Vec<u64> {
        let names = fs::read_dir(&self.into).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut numbers: Vec<u64> =
            names.filter_map(|name| name.strip_prefix("app-").map(|number| number.parse().unwrap())).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Nothing but whole releases, the link and the records stands in the target.
    pub fn assert_tidy(&self) {
        let mut expected: Vec<String> = self.shelf().iter().map(|number| format!("app-{number}.release")).collect();
        expected.push("lock".to_owned());
        expected.sort();
        let own = names(&self.into.join(".artifact-fetch")).into_iter().filter(|name| name != SEEN);
        assert_eq!(own.collect::<Vec<_>>(), expected);
        let mut visible: Vec<String> = self.shelf().iter().map(|number| format!("app-{number}")).collect();
        visible.extend([".artifact-fetch".to_owned(), "current".to_owned()]);
        visible.sort();
        assert_eq!(names(&self.into), visible);
    }
}

pub fn fetch(store: &str, into: &Path) -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_artifact-fetch")).args(["--artifact", ARTIFACT, "--store", store, "--into"]).arg(into)
}

pub fn plain(number: u64) -> Vec<u8> {
    tree(number, 3)
}

/// An archive whose every file says which release it is, as many files as asked for.
pub fn tree(number: u64, files: usize) -> Vec<u8> {
    let mut tar = Tar::new().file("RELEASE", &five_lines(number)).dir("bin").dir("empty");
    tar = tar.member(b"bin/run", EntryType::Regular, number.to_string().as_bytes(), |header| header.set_mode(0o755));
    for index in 0..files {
        tar = tar.file(&format!("f{index}"), number.to_string().as_bytes());
    }
    tar.symlink("link", "bin/run").end()
}

/// Sorted names in a directory.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Everything below a directory, by name: kind, mode, times and content of files, targets of links. Directories' times
/// are left out, since a file made and removed again is no change, and so are the promotions seen: one counts before its
/// release is there.
pub fn snapshot(dir: &Path) -> BTreeMap<Vec<u8>, (String, Vec<u8>)> {
    let mut all = BTreeMap::new();
    add(dir, dir, &mut all);
    all
}

fn add(root: &Path, dir: &Path, all: &mut BTreeMap<Vec<u8>, (String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with(Path::new(".artifact-fetch").join(SEEN)) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let mode = meta.permissions().mode();
        if meta.is_dir() {
            all.insert(name, (format!("dir {mode:o}"), Vec::new()));
            add(root, &path, all);
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            all.insert(name, ("link".to_owned(), target.as_os_str().as_bytes().to_vec()));
        } else if meta.is_file() {
            all.insert(
                name,
                (format!("file {mode:o} {}.{}", meta.mtime(), meta.mtime_nsec()), fs::read(&path).unwrap()),
            );
        } else {
            all.insert(name, (format!("special {mode:o}"), Vec::new()));
        }
    }
}
