//! The tables of `bench release`: packing, fetching, a small build, the start of a process.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::data::{self, Files};
use crate::measure::{Env, Pipeline, Sample, run};
use crate::site::{BUCKET, Site, stage};
use crate::table::{Contestant, compare, median, progress};

/// What the peers fetch.
const PEERS_OBJECT: &str = "s3://bench/fetch/peer.tar";
/// Where artifact-fetch finds its own.
const OUR_STORE: &str = "s3://bench/fetched";

/// The tree that is packed and fetched.
pub struct Tree {
    dir: PathBuf,
    bytes: u64,
    files: u64,
}

impl Tree {
    /// Writes it: about 1 GiB, 20,000 small files and 200 of 4 MiB.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(site: &Site, quick: bool) -> Result<Self> {
        let scale = if quick { 100 } else { 1 };
        let kinds = [
            Files { count: 20_000 / scale, least: 2_000, most: 40_000 },
            Files { count: 200 / scale, least: 4 << 20, most: 4 << 20 },
        ];
        progress("writing the tree");
        let dir = site.scratch.join("tree");
        fs::create_dir_all(&dir)?;
        Ok(Self { bytes: data::write(&dir, &kinds)?, files: kinds.iter().map(|kind| kind.count).sum(), dir })
    }

    /// One line for the report.
    pub fn described(&self) -> String {
        format!(
            "The tree: {} files, {} bytes, incompressible, in directories of 100. CPU and memory are the clients' alone; the \
             server runs on the same cores.\n\n",
            self.files, self.bytes
        )
    }

    fn tar(&self) -> Vec<String> {
        stage(["tar", "-C", &self.dir.to_string_lossy(), "-cf", "-", "."])
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // The scratch directory goes in the end anyway; a gigabyte less until then.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The command line that stores its stdin under a key.
type Command = Box<dyn Fn(&str) -> Vec<String>>;

/// One setting of a peer: what it is called, and how it is run with the object's key.
struct Upload {
    label: String,
    env: Env,
    command: Command,
}

/// The settings that are tried for each peer. Sizes in MiB.
fn settings(site: &Site, env: &Env, key_prefix: &str) -> Result<Vec<Vec<Upload>>> {
    let sizes: [(u32, u32); 4] = [(5, 8), (10, 8), (2, 32), (4, 64)];
    let mut peers = vec![Vec::new(), Vec::new(), Vec::new()];
    for (jobs, size) in sizes {
        let prefix = key_prefix.to_owned();
        let config = site.path(&format!("aws-{jobs}-{size}"));
        fs::write(
            &config,
            format!(
                "[default]\ns3 =\n  max_concurrent_requests = {jobs}\n  multipart_chunksize = {size}MB\n  multipart_threshold = {size}MB\n"
            ),
        )?;
        let mut aws_env = env.clone();
        aws_env.insert("AWS_CONFIG_FILE".into(), config);
        let (aws, at) = (site.peer("aws"), prefix.clone());
        peers[0].push(Upload {
            label: format!("tar | aws s3 cp - ({jobs} requests, {size} MiB parts)"),
            env: aws_env,
            command: Box::new(move |key| {
                stage([&aws, "s3", "cp", "--no-progress", "-", &format!("s3://{BUCKET}/{at}{key}")])
            }),
        });
        let (s5cmd, at) = (site.peer("s5cmd"), prefix.clone());
        peers[1].push(Upload {
            label: format!("tar | s5cmd pipe --concurrency {jobs} --part-size {size}"),
            env: env.clone(),
            command: Box::new(move |key| {
                stage([
                    &s5cmd,
                    "pipe",
                    "--concurrency",
                    &jobs.to_string(),
                    "--part-size",
                    &size.to_string(),
                    &format!("s3://{BUCKET}/{at}{key}"),
                ])
            }),
        });
        let (rclone, at) = (site.peer("rclone"), prefix);
        peers[2].push(Upload {
            label: format!("tar | rclone rcat --s3-upload-concurrency {jobs} --s3-chunk-size {size}M"),
            env: env.clone(),
            command: Box::new(move |key| {
                stage([
                    &rclone,
                    "rcat",
                    "--s3-upload-concurrency",
                    &jobs.to_string(),
                    "--s3-chunk-size",
                    &format!("{size}M"),
                    &format!("peer:{BUCKET}/{at}{key}"),
                ])
            }),
        });
    }
    Ok(peers)
}

/// Packing `tree` to the server behind `env`. Each peer runs at the best of a few settings, found here first.
///
/// # Errors
/// When a run fails.
pub fn pack(site: &Site, env: &Env, server: &str, tree: &Tree, rounds: usize) -> Result<String> {
    let dir = tree.dir.to_string_lossy();
    let mut contestants = Vec::new();
    if !site.peers_only {
        contestants.push(Contestant::new("artifact-pack", |_| {
            let store = format!("s3://{BUCKET}/packed");
            vec![Pipeline::new(env, vec![pack_command(site, "bench", &store, &dir)])]
        }));
    }
    let upload =
        |setting: &Upload, key: &str| vec![Pipeline::new(&setting.env, vec![tree.tar(), (setting.command)(key)])];
    for tried in settings(site, env, "peers/")? {
        let mut best: Option<(Sample, Upload)> = None;
        for setting in tried {
            progress(&format!("trying {} to {server}", setting.label));
            let sample = run(&upload(&setting, "tried.tar"))?;
            if best.as_ref().is_none_or(|(fastest, _)| sample.wall < fastest.wall) {
                best = Some((sample, setting));
            }
        }
        let (_, setting) = best.context("no setting")?;
        contestants
            .push(Contestant::new(setting.label.clone(), move |number| upload(&setting, &format!("{number}.tar"))));
    }
    compare(&format!("Pack to {server}"), rounds, &contestants)
}

/// The command line that packs `dir`.
pub fn pack_command(site: &Site, artifact: &str, store: &str, dir: &str) -> Vec<String> {
    let pack = site.ours("artifact-pack");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    stage([
        &pack,
        "-q",
        "--artifact",
        artifact,
        "--store",
        store,
        "--build",
        "1",
        "--commit",
        commit,
        "--timestamp",
        "2024-01-01_00-00-00",
        "-C",
        dir,
        ".",
    ])
}

/// Where what is fetched is unpacked.
pub struct Target {
    /// What it is, for the table's title.
    pub label: String,
    /// A directory on it.
    pub dir: PathBuf,
    /// Whether what was fetched stays until the table is done. On ext4 it must: the file system walks around inodes freed
    /// within the last minutes, which costs whoever writes next more than the fetch itself. Memory has no room for it.
    pub kept: bool,
}

/// Stores what is fetched, packed by us and by tar.
///
/// # Errors
/// When a run fails.
pub fn store_for_fetch(site: &Site, env: &Env, tree: &Tree) -> Result<()> {
    progress("storing what is fetched");
    let aws = site.peer("aws");
    run(&[Pipeline::new(env, vec![tree.tar(), stage([&aws, "s3", "cp", "--no-progress", "-", PEERS_OBJECT])])])?;
    if !site.peers_only {
        let dir = tree.dir.to_string_lossy();
        run(&[Pipeline::new(env, vec![pack_command(site, "bench", OUR_STORE, &dir)])])?;
    }
    Ok(())
}

/// What follows a peer's download.
#[derive(Clone, Copy)]
enum After {
    /// It is unpacked as it comes.
    Nothing,
    /// The same, and then brought to the disk.
    Sync,
    /// It comes to a file, which is unpacked then.
    Unpack,
}

/// Fetching and unpacking what was packed. artifact-fetch has its files on the disk when it ends, so a peer stands here
/// twice: as it is, and with a `sync` of the file system behind it.
///
/// # Errors
/// When a run fails.
pub fn fetch(site: &Site, env: &Env, target: &Target, rounds: usize) -> Result<String> {
    let runs = &target.dir.join("fetched");
    let prepare = |label: usize| {
        move |number: usize| {
            if !target.kept && runs.exists() {
                fs::remove_dir_all(runs)?;
            }
            let dir = runs.join(format!("{label}-{number}"));
            fs::create_dir_all(&dir)?;
            Ok(rustix::fs::syncfs(fs::File::open(dir)?)?)
        }
    };
    let into = |label: usize, number: usize| runs.join(format!("{label}-{number}")).to_string_lossy().into_owned();
    let mut contestants = Vec::new();
    if !site.peers_only {
        let fetch = site.ours("artifact-fetch");
        let steps = move |number| {
            let target = into(0, number);
            let words =
                [&*fetch, "-q", "--artifact", "bench", "--store", OUR_STORE, "--into", &target, "--release", "latest"];
            vec![Pipeline::new(env, vec![stage(words)])]
        };
        contestants.push(Contestant::new("artifact-fetch", steps).prepared(prepare(0)));
    }
    let aws = stage([&site.peer("aws"), "s3", "cp", "--no-progress", PEERS_OBJECT, "-"]);
    let (s5cmd, rclone, peers_object) =
        (site.peer("s5cmd"), site.peer("rclone"), PEERS_OBJECT.replace("s3://", "peer:"));
    let peers = [
        ("aws s3 cp - | tar x", aws.clone(), After::Nothing),
        ("aws s3 cp - | tar x && sync -f", aws, After::Sync),
        ("s5cmd cat | tar x", stage([&s5cmd, "cat", PEERS_OBJECT]), After::Nothing),
        ("s5cmd cat -c 10 -p 8 | tar x", stage([&s5cmd, "cat", "-c", "10", "-p", "8", PEERS_OBJECT]), After::Nothing),
        ("rclone cat | tar x", stage([&rclone, "cat", &peers_object]), After::Nothing),
        ("rclone copyto && tar x", stage([&rclone, "copyto", &peers_object]), After::Unpack),
    ];
    for (index, (label, command, after)) in peers.into_iter().enumerate() {
        let steps = move |number| {
            let target = into(index + 1, number);
            let pipeline = |stages| Pipeline::new(env, stages);
            let untar = |archive: &str| stage(["tar", "-C", &target, "-xf", archive]);
            match after {
                After::Nothing => vec![pipeline(vec![command.clone(), untar("-")])],
                After::Sync => {
                    vec![pipeline(vec![command.clone(), untar("-")]), pipeline(vec![stage(["sync", "-f", &target])])]
                }
                After::Unpack => {
                    let archive = format!("{target}/archive.tar");
                    let copy = command.iter().cloned().chain([archive.clone()]).collect();
                    vec![pipeline(vec![copy]), pipeline(vec![untar(&archive)])]
                }
            }
        };
        contestants.push(Contestant::new(label, steps).prepared(prepare(index + 1)));
    }
    let table = compare(&format!("Fetch from SeaweedFS and unpack {}", target.label), rounds, &contestants)?;
    drop(contestants);
    fs::remove_dir_all(runs)?;
    Ok(table)
}

/// Fetches of a release of 64 MB from a server that begins 5 % of its answers two seconds late.
///
/// # Errors
/// When a run fails.
pub fn late_answers(site: &Site, near: &Env, far: &Env, fetches: usize) -> Result<String> {
    let dir = site.scratch.join("late");
    fs::create_dir_all(&dir)?;
    data::write(&dir, &[Files { count: 16, least: 4 << 20, most: 4 << 20 }])?;
    let store = format!("s3://{BUCKET}/late");
    run(&[Pipeline::new(near, vec![pack_command(site, "bench", &store, &dir.to_string_lossy())])])?;
    let memory = tempfile::tempdir_in("/dev/shm").context("unable to make a directory in /dev/shm")?;
    let into = memory.path().join("fetched");
    let fetch = site.ours("artifact-fetch");
    let words = [
        &*fetch,
        "-q",
        "--artifact",
        "bench",
        "--store",
        &store,
        "--into",
        &into.to_string_lossy(),
        "--release",
        "latest",
    ];
    progress(&format!("{fetches} fetches with late answers"));
    let mut walls = Vec::new();
    for _ in 0..fetches {
        walls.push(run(&[Pipeline::new(far, vec![stage(words)])])?.wall.as_secs_f64());
        fs::remove_dir_all(&into)?;
    }
    walls.sort_by(f64::total_cmp);
    let (middle, last) = (walls[fetches / 2], walls[(fetches * 99).div_ceil(100) - 1]);
    Ok(format!(
        "### Fetch with late answers\n\nA release of 64 MB, 30 ms to the first byte, 85 MB/s a connection; 5 % of the answers begin \
         two seconds later. {fetches} runs of artifact-fetch: median {middle:.3} s, 99 of 100 within {last:.3} s: {:.2} times \
         the median.\n\n",
        last / middle
    ))
}

/// What the Jenkins job did before there was artifact-pack, with the AWS client.
const ORIGINAL: &str = r#"set -e
cd "$WORKSPACE"
if aws s3 cp --quiet "$STORE/latest.txt" latest.txt; then VERSION=$(grep VERSION latest.txt | cut -d'=' -f2); else VERSION=0; fi
VERSION=$((VERSION + 1))
printf 'MODULE=%s\nVERSION=%s\nBUILD=%s\nGIT_COMMIT=%s\nTIMESTAMP=%s\n' \
    "$ARTIFACT" "$VERSION" "$BUILD_NUMBER" "$GIT_COMMIT" "$BUILD_TIMESTAMP" >RELEASE
tar -cf - --exclude=latest.txt . | aws s3 cp --quiet - "$STORE/$ARTIFACT-$VERSION.tar"
aws s3 cp --quiet RELEASE "$STORE/latest.txt"
"#;

/// A build of 1 MB: here the number of requests and the start of processes count, not the bytes.
///
/// # Errors
/// When a run fails.
pub fn small_build(site: &Site, env: &Env, rounds: usize) -> Result<String> {
    let build = |name: &str| -> Result<Env> {
        let workspace = site.scratch.join(name);
        fs::create_dir_all(&workspace)?;
        data::write(&workspace, &[Files { count: 50, least: 20_000, most: 20_000 }])?;
        let mut env = env.clone();
        for (key, value) in [
            ("WORKSPACE", &*workspace.to_string_lossy()),
            ("ARTIFACT", "small"),
            ("BUILD_NUMBER", "7"),
            ("GIT_COMMIT", "0123456789abcdef0123456789abcdef01234567"),
            ("BUILD_TIMESTAMP", "2024-01-01_00-00-00"),
            ("STORE", &format!("s3://{BUCKET}/{name}")),
        ] {
            env.insert(key.into(), value.into());
        }
        Ok(env)
    };
    let (ours, theirs) = (build("small-ours")?, build("small-original")?);
    let mut contestants = Vec::new();
    if !site.peers_only {
        contestants.push(Contestant::new("scripts/create-build", |_| {
            vec![Pipeline::new(&ours, vec![stage([&site.script("create-build")])])]
        }));
    }
    contestants.push(Contestant::new("the original's shell, with aws", |_| {
        vec![Pipeline::new(&theirs, vec![stage(["bash", "-c", ORIGINAL])])]
    }));
    compare("A build of 1 MB to SeaweedFS", rounds, &contestants)
}

/// How long a process takes that does nothing.
///
/// # Errors
/// When a run fails.
pub fn start(site: &Site, runs: usize) -> Result<String> {
    progress("starts");
    let env = Env::new();
    let command = [Pipeline::new(&env, vec![stage([&site.ours("artifact-pack"), "--version"])])];
    run(&command)?;
    let walls = (0..runs).map(|_| Ok(run(&command)?.wall.as_secs_f64() * 1000.0)).collect::<Result<Vec<_>>>()?;
    Ok(format!("### Start\n\n`artifact-pack --version`, median of {runs} runs: {:.1} ms\n\n", median(walls)))
}
