//! A store to publish in, on S3 or in a directory, with the look behind its back that assertions need.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use testkit::{
    Fault, FaultProxy, Finished, Plan, RequestInfo, Rules, Running, S3Model, Seen, Tool, request, wait_until,
};

pub const BUCKET: &str = "build";
pub const PREFIX: &str = "obelix/prod/";
/// Bytes of the longest archive that goes in one request.
pub const ONE_REQUEST: u64 = 8 << 20;

pub const HEADER: &str = "state,object,release,build,builder,last_seen,difference\n";
pub const UUID: &str = "11111111-2222-4333-8444-555555555555";

/// A store and, for S3, the server behind it.
pub struct Harness {
    pub url: String,
    pub dir: TempDir,
    s3: Option<(S3Model, FaultProxy)>,
}

/// Objects by name, as they are stored.
pub type Objects = BTreeMap<String, Vec<u8>>;

impl Harness {
    pub fn s3() -> Self {
        Self::s3_with(Rules::default())
    }

    pub fn s3_with(rules: Rules) -> Self {
        let model = S3Model::start_with(rules);
        model.create_bucket(BUCKET);
        let proxy = FaultProxy::start(&model.endpoint(), Plan::None);
        let url = format!("s3://{BUCKET}/{}", PREFIX.trim_end_matches('/'));
        Self { url, dir: tempfile::tempdir().unwrap(), s3: Some((model, proxy)) }
    }

    pub fn files() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { url: format!("file://{}", dir.path().display()), dir, s3: None }
    }

    pub fn both() -> [Self; 2] {
        [Self::s3(), Self::files()]
    }

    pub fn model(&self) -> &S3Model {
        &self.s3.as_ref().expect("an S3 store").0
    }

    pub fn proxy(&self) -> &FaultProxy {
        &self.s3.as_ref().expect("an S3 store").1
    }

    /// Requests that `matches` meet `fault` from now on.
    pub fn fail(&self, matches: impl Fn(&RequestInfo) -> bool + Send + Sync + 'static, fault: Fault) {
        self.proxy().set_plan(Plan::Custom(Box::new(move |info| matches(info).then(|| fault.clone()))));
    }

    /// The tool, for the artifact `obelix` in this store.
    pub fn tool(&self) -> Tool {
        let tool = tool().args(["--artifact", "obelix", "--store", &self.url]);
        match &self.s3 {
            Some((_, proxy)) => tool.aws(proxy.endpoint()),
            None => tool,
        }
    }

    /// The tool, packing all of `tree`.
    pub fn pack(&self, tree: &Path) -> Tool {
        self.tool().arg("-C").arg(tree).arg(".")
    }

    pub fn objects(&self) -> Objects {
        match &self.s3 {
            Some((model, _)) => {
                let objects = model.objects(BUCKET).into_iter();
                objects
                    .map(|(key, object)| (key.strip_prefix(PREFIX).unwrap_or(&key).to_owned(), object.body.to_vec()))
                    .collect()
            }
            None => {
                let entries = fs::read_dir(self.dir.path()).unwrap().map(Result::unwrap);
                let plain =
                    entries.filter(|entry| entry.file_name() != ".lock" && entry.file_type().unwrap().is_file());
                plain.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
            }
        }
    }

    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        match &self.s3 {
            Some((model, _)) => model.object(BUCKET, &format!("{PREFIX}{key}")).map(|object| object.body.to_vec()),
            None => fs::read(self.dir.path().join(key)).ok(),
        }
    }

    pub fn text(&self, key: &str) -> String {
        String::from_utf8(self.object(key).unwrap_or_else(|| panic!("{key} is there"))).unwrap()
    }

    /// Puts an object behind the tools' back.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        match &self.s3 {
            Some((model, _)) => drop(model.put_raw(BUCKET, &format!("{PREFIX}{key}"), bytes.to_vec())),
            None => fs::write(self.dir.path().join(key), bytes).unwrap(),
        }
    }

    pub fn remove(&self, key: &str) {
        match &self.s3 {
            Some((model, _)) => assert!(model.delete_raw(BUCKET, &format!("{PREFIX}{key}"))),
            None => fs::remove_file(self.dir.path().join(key)).unwrap(),
        }
    }

    pub fn is_s3(&self) -> bool {
        self.s3.is_some()
    }

    /// Keys of the uploads that are not complete.
    pub fn uploads(&self) -> Vec<String> {
        match &self.s3 {
            Some((model, _)) => model.uploads(BUCKET).into_iter().map(|upload| upload.key).collect(),
            None => {
                let entries = fs::read_dir(self.dir.path().join(".uploads")).into_iter().flatten();
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
            }
        }
    }

    /// Asserts that since `before` nothing was published and nothing left: only abandoned numbers are new.
    #[track_caller]
    pub fn is_as_before(&self, before: &Objects, run: &Finished) {
        let now = self.objects();
        for (key, bytes) in before {
            assert!(now.get(key) == Some(bytes), "{key} has changed\n{}", run.report());
        }
        for (key, bytes) in now.iter().filter(|(key, _)| !before.contains_key(*key)) {
            let abandoned = key.ends_with(".release") && bytes.starts_with(b"STATE=abandoned\n");
            assert!(abandoned, "{key} is left: {}\n{}", String::from_utf8_lossy(bytes), run.report());
        }
        assert!(self.uploads().is_empty(), "uploads are left: {:?}\n{}", self.uploads(), run.report());
    }

    /// Asserts that release `number` is whole, and that `latest.txt` and stdout say the same of it.
    #[track_caller]
    pub fn is_published(&self, number: u64, run: &Finished) -> Record {
        let text = self.text(&format!("obelix-{number}.release"));
        let record = Record::of(&text);
        assert_eq!(record.get("VERSION"), number.to_string());
        let archive = self.object(record.get("FILE")).expect("the archive is there");
        assert_eq!(record.get("SIZE"), archive.len().to_string());
        assert_eq!(record.get("SHA256"), hex::encode(Sha256::digest(&archive)));
        assert_eq!(run.stdout_str(), text, "{}", run.report());
        assert_eq!(self.text("latest.txt"), text);
        assert!(self.uploads().is_empty(), "uploads are left: {:?}", self.uploads());
        record
    }

    /// All sealed records' numbers, checked to be whole with their archives.
    #[track_caller]
    pub fn sealed(&self) -> Vec<u64> {
        let objects = self.objects();
        let sealed = objects.iter().filter(|(key, bytes)| key.ends_with(".release") && !bytes.starts_with(b"STATE="));
        let mut numbers: Vec<u64> = Vec::new();
        for (_, bytes) in sealed {
            let record = Record::of(std::str::from_utf8(bytes).unwrap());
            let archive = objects.get(record.get("FILE")).expect("a sealed record's archive is there");
            assert_eq!(record.get("SHA256"), hex::encode(Sha256::digest(archive)));
            numbers.push(record.get("VERSION").parse().unwrap());
        }
        numbers.sort_unstable();
        numbers
    }
}

/// The tool alone.
pub fn tool() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_artifact-pack"))
}

/// Lets tests of words assert on the last line alone: others before it are steps and notes.
#[track_caller]
pub fn last_line(run: &Finished) -> String {
    run.stderr_str().lines().last().unwrap_or_else(|| panic!("a line on stderr\n{}", run.report())).to_owned()
}

/// A sealed record, read without the tool's own parser.
#[derive(Debug, PartialEq, Eq)]
pub struct Record(Vec<(String, String)>);

impl Record {
    /// Takes the text apart and checks its seal.
    #[track_caller]
    pub fn of(text: &str) -> Self {
        let (body, seal) = text.split_once("RECORD_SHA256=").expect("a sealed record");
        assert_eq!(seal, format!("{}\n", hex::encode(Sha256::digest(body))), "the seal fits\n{text}");
        let fields = text.lines().map(|line| line.split_once('=').expect("KEY=VALUE"));
        Self(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    #[track_caller]
    pub fn get(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("{key} in {self:?}"))
    }

    pub fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(key, _)| key.as_str()).collect()
    }
}

/// A directory to pack, with `files` in it.
pub fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(dir.path(), name, content.as_bytes());
    }
    dir
}

/// Writes a file below `root`, and the directories above it.
pub fn write(root: &Path, name: impl AsRef<std::ffi::OsStr>, content: &[u8]) -> PathBuf {
    let path = root.join(name.as_ref());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// A file of that many zeros, which takes no room on disk.
pub fn sparse(root: &Path, name: &str, size: u64) -> PathBuf {
    let path = root.join(name);
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    path
}

/// What stands in a directory: name to kind, content, target.
pub fn contents(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            use std::os::unix::fs::MetadataExt;
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let what = if meta.is_dir() {
                todo.push(path);
                "directory".to_owned()
            } else if meta.is_symlink() {
                format!("link to {}", hex::encode(fs::read_link(&path).unwrap().as_os_str().as_bytes()))
            } else {
                format!("file {} {}", meta.mode() & 0o100 != 0, hex::encode(Sha256::digest(fs::read(&path).unwrap())))
            };
            found.insert(name, what);
        }
    }
    found
}

/// Names of an archive's members, as GNU tar lists them.
pub fn members(archive: &[u8]) -> Vec<String> {
    let listed = Tool::new("tar").args(["-t", "--quoting-style=literal"]).stdin(archive).run().succeeds();
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

/// The members of the newest release, without `RELEASE`.
pub fn packed(harness: &Harness) -> Vec<String> {
    let record = Record::of(&harness.text("latest.txt"));
    let mut names = members(&harness.object(record.get("FILE")).unwrap());
    assert_eq!(names.remove(0), "RELEASE");
    names
}

/// Waits until the tool has said this on stderr.
pub fn until_said(run: &mut Running, words: &str) {
    wait_until(words, || {
        let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
        match said.contains(words) {
            true => Ok(()),
            false if run.is_running() => Err(said),
            false => panic!("it has ended: {said}"),
        }
    });
}

/// Whether the tests run as root, which no permission stops.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits until an upload in a directory store has `size` bytes, and tells where it is.
pub fn wait_for_upload(harness: &Harness, size: u64) -> PathBuf {
    wait_until("an upload that grows", || {
        let uploads = harness.uploads();
        let path = harness.dir.path().join(".uploads").join(uploads.first().ok_or("no upload")?);
        let length = fs::metadata(&path).map_or(0, |meta| meta.len());
        if length >= size { Ok(path) } else { Err(format!("{length} bytes")) }
    })
}

/// A part of an archive, not of the probe of the condition.
pub fn is_archive_part(info: &RequestInfo) -> bool {
    info.is_upload_part() && info.path.contains(".tar")
}

/// Completes an archive, not the probe of the condition.
pub fn is_archive_complete(info: &RequestInfo) -> bool {
    info.is_complete() && info.path.contains(".tar")
}

/// Starts a build whose parts never get an answer, and waits until it has begun to send them.
pub fn stalled(harness: &Harness, tree: &Path) -> Running {
    harness.fail(is_archive_part, Fault::Stall);
    let run = harness.pack(tree).start();
    wait_until("a part under way, and nothing else", || {
        let part = |seen: &Seen| seen.query.contains("partNumber") && seen.path.contains(".tar");
        let sent = harness.proxy().log().iter().any(part);
        let alone = harness.uploads().iter().all(|key| key.contains(".tar"));
        if sent && alone { Ok(()) } else { Err(format!("{} requests", harness.proxy().count())) }
    });
    run
}

/// The rows of `--audit`, without the header.
pub fn audit(harness: &Harness) -> Vec<String> {
    let run = harness.tool().arg("--audit").run().succeeds().stderr_is_empty();
    let rows = run.stdout_str().strip_prefix(HEADER).unwrap_or_else(|| panic!("{}", run.report()));
    rows.lines().map(str::to_owned).collect()
}

/// A claim of a builder that this host can't judge: it runs under another boot.
pub fn foreign_claim() -> String {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let boot = "00000000-0000-4000-8000-000000000000";
    format!(
        "STATE=claimed\nBUILD_UUID={UUID}\nMACHINE_ID={}\nBOOT_ID={boot}\nPID_NAMESPACE=1\nPID=1\nSTART_TIME=1\nHOST=elsewhere\n",
        machine.trim()
    )
}

/// A claim of a process of this host that has ended.
pub fn dead_claim() -> String {
    use std::os::unix::fs::MetadataExt;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let (machine, boot) = (read("/etc/machine-id"), read("/proc/sys/kernel/random/boot_id"));
    let namespace = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    format!(
        "STATE=claimed\nBUILD_UUID={UUID}\nMACHINE_ID={machine}\nBOOT_ID={boot}\nPID_NAMESPACE={namespace}\nPID=999999999\nSTART_TIME=1\nHOST=here\n"
    )
}

/// Begins an upload behind the tools' back, as a lost reply does.
pub fn begin_upload(harness: &Harness, key: &str) {
    let target = format!("/{BUCKET}/{PREFIX}{key}?uploads");
    assert_eq!(request(&harness.model().endpoint(), "POST", &target, &[], b"").unwrap().status, 200);
}

/// Waits until a signal has reached the run, which may still be busy with something else.
pub fn until_noticed(run: &Running) {
    wait_until("the signal's arrival", || {
        let status = fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
        let mut pending = status.lines().filter(|line| line.starts_with("SigPnd") || line.starts_with("ShdPnd"));
        if pending.all(|line| line.ends_with("0000000000000000")) { Ok(()) } else { Err(status) }
    });
}
