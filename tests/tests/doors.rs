//! What another user may have put where a tool keeps or looks for something: links, pipes, devices, files of somebody else.
//! Refused or passed by at once, and nothing beyond it is made, changed, read out or waited for. Needs root. (The cache of
//! asg-hosts and the tree of nagios-gen have such tests of their own.)
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{bin_dir, tool};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{Finished, ImdsModel, Tool, figure, wait_until};

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";
/// A user without a name.
const SOMEBODY: u32 = 54_321;
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Stands in what must not be read out.
const SECRET: &str = "what-only-root-may-read";
/// Longer than any of these runs takes, and far shorter than for ever.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What a tool makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// One line that names it, and exit code 1.
    Refused,
    /// A line that names it, and everything else is done.
    Warned,
    /// The run goes on as if it were not there.
    PassedBy,
}
use Answer::{PassedBy, Refused, Warned};

/// A tool, its arguments below a directory of its own, and the names there that it opens.
struct Door {
    tool: &'static str,
    args: &'static str,
    names: &'static [(&'static str, Answer)],
}

const DOORS: [Door; 6] = [
    Door {
        tool: "artifact-pack",
        args: "--artifact a --commit 0123456789abcdef0123456789abcdef01234567 --store file://HERE/store -C HERE/tree .",
        names: &[("store/.lock", Refused), ("store/.uploads", Refused), ("store/latest.txt", Refused)],
    },
    Door {
        tool: "release-promote",
        args: "--artifact a --store file://HERE/store --release previous",
        names: &[("store/.lock", Refused), ("store/latest-stable.txt", Refused), ("store/promotions.csv", Refused)],
    },
    Door {
        tool: "artifact-fetch",
        args: "--artifact a --store file://HERE/store --into HERE/into",
        names: &[
            ("store/latest-stable.txt", Refused),
            ("into/.artifact-fetch", Refused),
            ("into/.artifact-fetch/lock", Refused),
            ("into/.artifact-fetch/promotions", Refused),
        ],
    },
    Door {
        tool: "nagios-gen",
        args: "--output HERE/conf/fleet.cfg",
        names: &[("conf/.fleet.cfg.lock", Refused), ("conf/.fleet.cfg.new", PassedBy)],
    },
    Door {
        tool: "spot-watch",
        args: "--state-dir HERE/state --once --timeout 1s --notify WEBHOOK",
        names: &[
            ("state/lock", Warned),
            ("state/unsent", Warned),
            ("state/reclaim.json", Warned),
            ("state/unsent/a.json", PassedBy),
        ],
    },
    Door {
        tool: "log-ship",
        args: "--brokers 127.0.0.1:1 --topic t --once --timeout 1s --state-dir HERE/state HERE/log/a.log",
        names: &[
            ("state/lock", Refused),
            ("state/positions.0", Refused),
            ("state/positions.1", Refused),
            ("state/spool", Refused),
            ("log/a.log", Warned),
        ],
    },
];

/// What stands under a name instead.
const KINDS: [&str; 8] =
    ["link", "dangling link", "pipe", "other kind", "zero device", "socket", "of another user", "link to a directory"];

/// A place where tools work, and beside it what belongs to nobody's run.
struct Place {
    dir: tempfile::TempDir,
    imds: ImdsModel,
    /// Whatever was posted to the webhook.
    posted: Arc<Mutex<Vec<u8>>>,
    webhook: String,
}

impl Place {
    fn new() -> Self {
        let (posted, webhook) = webhook();
        let place = Self { dir: tempfile::tempdir().unwrap(), imds: ImdsModel::start(), posted, webhook };
        for dir in ["tree", "outside", "outside/dir", "conf", "log", "state", "state/unsent"] {
            fs::create_dir(place.path(dir)).unwrap();
        }
        fs::write(place.path("tree/file"), "x").unwrap();
        fs::write(place.path("log/a.log"), "a line\n").unwrap();
        fs::write(place.path("state/unsent/a.json"), "{}").unwrap();
        fs::write(place.path("outside/file"), SECRET).unwrap();
        fs::write(place.path("outside/dir/file"), SECRET).unwrap();
        fs::set_permissions(place.path("outside"), Permissions::from_mode(0o711)).unwrap();
        place
    }

    /// The same, with two releases that were both promoted.
    fn with_releases() -> Self {
        let place = Self::new();
        for number in ["1", "2"] {
            let _build = place.run(&DOORS[0]).succeeds();
            let args = DOORS[1].args.replace("previous", number);
            let _promotion = place.run_with(&DOORS[1], &args).succeeds();
        }
        place
    }

    fn of(door: &Door) -> Self {
        if door.args.contains("HERE/store") { Self::with_releases() } else { Self::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, door: &Door) -> Finished {
        self.run_with(door, door.args)
    }

    fn run_with(&self, door: &Door, args: &str) -> Finished {
        self.command(door, args).run()
    }

    fn command(&self, door: &Door, args: &str) -> Tool {
        let args = args.replace("HERE", self.dir.path().to_str().unwrap());
        let args = args.replace("WEBHOOK", &self.webhook);
        let run = tool(door.tool).args(args.split(' ')).aws(NOBODY).env("AWS_EC2_METADATA_DISABLED", "false");
        let run = run.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.endpoint());
        let hosts = "instance_id,name,instance_state,private_ip,tags\ni-0123456789abcdef0,app,running,10.0.0.1,{}\n";
        run.stdin(hosts).cwd(self.dir.path()).deadline(AT_ONCE)
    }

    /// All that lies outside, with owners and modes.
    fn outside(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in ["outside", "outside/dir"] {
            let meta = fs::metadata(self.path(dir)).unwrap();
            found.push(format!("{dir} {} {:o}", meta.uid(), meta.mode()));
            for entry in fs::read_dir(self.path(dir)).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let content = fs::read(&path).unwrap_or_default();
                found.push(format!("{} {} {:o} {content:?}", path.display(), meta.uid(), meta.mode()));
            }
        }
        found.sort();
        found
    }

    fn put(&self, name: &str, kind: &str) {
        let path = self.path(name);
        let was_dir = path.is_dir();
        let content = fs::read(&path).unwrap_or_default();
        if kind == "of another user" {
            if !path.exists() {
                fs::write(&path, content).unwrap();
            }
            return chown(&path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
        if was_dir {
            fs::remove_dir_all(&path).unwrap()
        } else {
            drop(fs::remove_file(&path))
        }
        let node = |kind, device| mknodat(CWD, &path, kind, Mode::from_raw_mode(0o666), device).unwrap();
        match kind {
            "link" => symlink(self.path("outside/file"), &path).unwrap(),
            "dangling link" => symlink(self.path("outside/new"), &path).unwrap(),
            "link to a directory" => symlink(self.path("outside/dir"), &path).unwrap(),
            "pipe" => node(FileType::Fifo, 0),
            "zero device" => node(FileType::CharacterDevice, makedev(1, 5)),
            "socket" => node(FileType::Socket, 0),
            _ if was_dir => fs::write(&path, "").unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        lchown(&path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
}

/// A page that takes what is posted, and its URL.
fn webhook() -> (Arc<Mutex<Vec<u8>>>, String) {
    let posted: Arc<Mutex<Vec<u8>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, kept) = (format!("http://{}/", listener.local_addr().unwrap()), Arc::clone(&posted));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 65_536];
            // Its head and its body may come one after the other.
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                kept.lock().unwrap().extend_from_slice(&bytes[..length]);
                if kept.lock().unwrap().ends_with(b"}") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    break;
                }
            }
        }
    });
    (posted, url)
}

#[test]
fn nothing_goes_through_another_door() {
    let names = DOORS.iter().flat_map(|door| door.names.iter().map(move |name| (door, *name)));
    let cases = names.flat_map(|(door, name)| KINDS.map(|kind| (door, name, kind)));
    // Whose a log is does not matter.
    let cases: Vec<_> =
        cases.filter(|(_, (name, _), kind)| (*name, *kind) != ("log/a.log", "of another user")).collect();
    testkit::side_by_side(6, cases.len() as u64, |number| {
        let (door, (name, answer), kind) = cases[usize::try_from(number).unwrap()];
        let place = Place::of(door);
        let before = place.outside();
        let usual = place.run(door);
        place.put(name, kind);
        let run = place.run(door);
        let case = format!("{} {name} {kind}", door.tool);
        assert_eq!(place.outside(), before, "{case}: {}", run.report());
        let all = [run.stdout.clone(), run.stderr.clone(), place.posted.lock().unwrap().clone()].concat();
        assert!(!String::from_utf8_lossy(&all).contains(SECRET), "{case}: {}", run.report());
        let named = run.stderr_str().contains(name);
        match answer {
            Refused => assert!(run.code == Some(1) && named, "{case}: {}", run.report()),
            Warned => assert!(named && matches!(run.code, Some(0 | 1 | 75)), "{case}: {}", run.report()),
            PassedBy => assert!(run.code == usual.code, "{case}: {} {}", run.report(), usual.report()),
        }
    });
}

/// Who may not write a directory can't hold a lock in it.
#[test]
fn nobody_else_holds_a_lock() {
    let place = Place::with_releases();
    for door in &DOORS {
        place.run(door);
    }
    let mut seen = 0;
    for dir in ["store", "into/.artifact-fetch", "conf", "state"] {
        for entry in fs::read_dir(place.path(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().ends_with("lock") {
                seen += 1;
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
                let held = as_somebody("flock").args(["--nonblock"]).arg(&path).arg("true").run();
                assert!(held.stderr_str().contains("Permission denied"), "{}", held.report());
            }
        }
    }
    assert_eq!(seen, 4);
}

/// Another process holds the lock: a signal ends the wait at once, and so does the deadline.
#[test]
fn a_lock_that_is_held() {
    // With what else on the command line each of them waits, and for how long: another process of log-ship is no reason to.
    let waits = [
        ("store/.lock", "", "--timeout 1s"),
        ("store/.lock", "", "--timeout 1s"),
        ("into/.artifact-fetch/lock", "--release 1", "--release 1 --timeout 1s"),
        ("conf/.fleet.cfg.lock", "--allow-empty", "--allow-empty --timeout 1s"),
        ("state/lock", "--for 600s", "--for 1s"),
        ("state/lock", "", ""),
    ];
    testkit::side_by_side(6, DOORS.len() as u64, |number| {
        let number = usize::try_from(number).unwrap();
        let (door, (lock, more, short)) = (&DOORS[number], waits[number]);
        let place = Place::of(door);
        place.run(door);
        let held = fs::File::options().write(true).open(place.path(lock)).unwrap();
        held.lock().unwrap();
        let with = |more: &str| {
            let args = if door.tool == "spot-watch" {
                door.args.replace("--once --timeout 1s ", "")
            } else {
                door.args.to_owned()
            };
            place.command(door, format!("{args} {more}").trim_end())
        };
        if !short.is_empty() || more.is_empty() {
            let run = with(short).run().fails_with(75);
            let told = run.stderr_str().contains("unable to lock") || run.stderr_str().contains("another ");
            assert!(told || door.tool == "spot-watch", "{}", run.report());
        }
        if door.tool == "log-ship" {
            return;
        }
        let mut run = with(more).start();
        run.wait_until_it_catches_signals();
        assert!(run.is_running());
        run.terminate();
        let _run = run.wait().killed_by(15);
    });
}

/// A store of a group, whatever the umasks of its members: all of them build, and a lock that one of them holds is waited for
/// like any other.
#[test]
fn a_lock_of_the_group() {
    const GROUP: u32 = 54_400;
    let place = Place::with_releases();
    fs::set_permissions(place.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let store = place.path("shared");
    fs::create_dir(&store).unwrap();
    chown(&store, None, Some(GROUP)).unwrap();
    fs::set_permissions(&store, Permissions::from_mode(0o2775)).unwrap();
    let member = |user: u32, program: &Path| {
        let (user, group) = (user.to_string(), GROUP.to_string());
        Tool::new("setpriv").args(["--reuid", &user, "--regid", &group, "--clear-groups"]).arg(program)
    };
    let build = |user: u32, umask: &str| {
        let args = DOORS[0].args.replace("HERE/store", store.to_str().unwrap());
        let args = args.replace("HERE", place.dir.path().to_str().unwrap());
        let program = member(user, Path::new("sh")).args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        program.arg(bin_dir().join("artifact-pack")).args(args.split(' ')).args(["--timeout", "1s"]).cwd(&store)
    };
    for umask in ["077", "027", "022"] {
        let _builds = [0, SOMEBODY, SOMEBODY + 1].map(|user| build(user, umask).run().succeeds());
    }
    let held = member(SOMEBODY, Path::new("flock"))
        .arg("--no-fork")
        .arg(store.join(".lock"))
        .args(["sleep", "infinity"])
        .start();
    let free = || Tool::new("flock").arg("--nonblock").arg(store.join(".lock")).arg("true").run();
    wait_until("the lock is held", || if free().code == Some(1) { Ok(()) } else { Err("free".to_owned()) });
    for user in [SOMEBODY + 1, 0] {
        let _run = build(user, "022").run().fails_with(75).stderr_contains("unable to lock");
    }
    drop(held);
    let _run = build(SOMEBODY + 1, "077").run().succeeds();
}

fn as_somebody(program: impl AsRef<Path>) -> Tool {
    let user = SOMEBODY.to_string();
    Tool::new("setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(program.as_ref())
}

/// Root and the user to whom a shelf belongs fetch in turns; another user is told what to do.
#[test]
fn root_and_the_owner_of_a_shelf_take_turns() {
    let place = Place::with_releases();
    let _fetch = place.run(&DOORS[2]).succeeds();
    fs::set_permissions(place.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let into = place.path("srv");
    fs::create_dir(&into).unwrap();
    chown(&into, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let store = format!("file://{}", place.path("store").display());
    let fetch = |tool: Tool, release: &str, into: &Path| {
        let run = tool.args(["--artifact", "a", "--store", &store, "--release", release, "--keep", "2", "--into"]);
        run.arg(into).run()
    };
    for _ in 3..8 {
        let _run = place.run(&DOORS[0]).succeeds();
    }
    let program = bin_dir().join("artifact-fetch");
    for number in 1..8 {
        let who = if number % 2 == 1 { Tool::new(&program) } else { as_somebody(&program) };
        let _run = fetch(who, &number.to_string(), &into).succeeds();
        assert_eq!(fs::read_link(into.join("current")).unwrap(), Path::new(&format!("a-{number}")));
    }
    let trees = fs::read_dir(&into).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != ".artifact-fetch");
    assert_eq!(trees.count(), 4, "three releases and the link");
    for (path, kind) in [("current", "link"), ("a-7", "tree"), ("a-7/file", "file"), (".artifact-fetch/lock", "lock")] {
        assert_eq!(fs::symlink_metadata(into.join(path)).unwrap().uid(), SOMEBODY, "{kind}");
    }
    let of_root = place.path("into");
    let told = fetch(as_somebody(&program), "2", &of_root).fails_with(1).stderr_is_one_line();
    let _told = told.stderr_contains("its directory belongs to user 0; run this as that user, or as root");
    // What a member of a group unpacked has the modes of its archive: nobody else could remove it.
    fs::set_permissions(&of_root, Permissions::from_mode(0o2777)).unwrap();
    let told = fetch(as_somebody(&program), "2", &of_root).fails_with(1).stderr_is_one_line();
    let _told = told.stderr_contains("its directory belongs to user 0; run this as that user, or as root");
}

/// A link of somebody else, where everybody may make one, on the way to a directory that the user named.
#[test]
fn anothers_link_on_the_way_is_not_followed() {
    let place = Place::new();
    let (open, victim) = (place.path("open"), place.path("victim"));
    for dir in [&open, &victim] {
        fs::create_dir(dir).unwrap();
    }
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    let (own, anothers) = (open.join("own"), open.join("anothers"));
    for link in [&own, &anothers] {
        symlink(&victim, link).unwrap();
    }
    lchown(&anothers, Some(SOMEBODY), None).unwrap();
    let _packed = place.run(&DOORS[0]).succeeds();
    for link in [&anothers, &own] {
        let below = link.display();
        let store = place.path("store").display().to_string();
        let tree = place.path("tree").display().to_string();
        let lines = [
            ("artifact-pack", format!("--artifact a --commit {COMMIT} --store file://{below}/store -C {tree} .")),
            ("artifact-fetch", format!("--artifact a --store file://{store} --release latest --into {below}/into")),
            (
                "log-ship",
                format!("--brokers 127.0.0.1:1 --topic t --once --timeout 1s --state-dir {below}/ship /dev/null"),
            ),
            ("nagios-gen", format!("--output {below}/fleet.cfg")),
        ];
        for (name, line) in lines {
            let run = tool(name).args(line.split(' ')).stdin("instance_id,instance_state,private_ip,tags\n").run();
            let refused = run.stderr_str().contains("is a link of user 54321 where everybody writes");
            assert_eq!(refused, link == &anothers, "{}", run.report());
            assert!(!refused || run.code == Some(1), "{}", run.report());
        }
        let made = fs::read_dir(&victim).unwrap().count();
        assert_eq!(made == 0, link == &anothers, "{made} under {below}");
    }
}

/// Ends the swaps, also where a check fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A name that is a file at one moment and a link or a pipe at the next one.
#[test]
fn names_that_are_swapped() {
    let swaps = AtomicU64::new(0);
    let wanted = figure(10_000, 100_000);
    testkit::side_by_side(DOORS.len(), DOORS.len() as u64, |number| {
        let door = &DOORS[usize::try_from(number).unwrap()];
        let place = Place::of(door);
        place.run(door);
        let before = place.outside();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let other = place.path("conf/other");
                for round in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let (name, _) = door.names[round % door.names.len()];
                    let _ = fs::remove_file(&other);
                    match round % 3 {
                        0 => symlink(place.path("outside/file"), &other).unwrap(),
                        1 => symlink(place.path("outside/new"), &other).unwrap(),
                        _ => mknodat(CWD, &other, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap(),
                    }
                    lchown(&other, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
                    // There and back; a run may have taken the name away in between.
                    for _ in 0..2 {
                        let swap = renameat_with(CWD, &other, CWD, place.path(name), RenameFlags::EXCHANGE);
                        swaps.fetch_add(u64::from(swap.is_ok()), Ordering::Relaxed);
                    }
                }
            });
            let _end = End(&ended);
            while swaps.load(Ordering::Relaxed) < wanted {
                let run = place.run(door);
                assert!(matches!(run.code, Some(0 | 1 | 75)), "{}: {}", door.tool, run.report());
                assert!(!run.stdout_str().contains(SECRET) && !run.stderr_str().contains(SECRET), "{}", run.report());
            }
        });
        assert_eq!(place.outside(), before, "{}", door.tool);
    });
    eprintln!("{} swaps", swaps.into_inner());
}
