//! Killed at every system call that touches the tree: the old file or the new one, always one that Nagios accepts, and the
//! next run ends right.

use crate::fleet::{csv, fleet};
use crate::harness::{Harness, nagios_gen};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::Tool;

const CALLS: &str = "openat,write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,\
                     fchmod,fchmodat,chown,fchown,fchownat,link,linkat,flock";

/// A daemon restarts in a second or two of waiting: several of them pass the time together.
const SITES: usize = 6;

/// Every name that a run touches in FILE's directory. Calls are counted among those on these paths: how often the daemon's
/// own files are looked at is another number each time.
const NAMES: [&str; 12] = [
    "",
    "fleet.cfg",
    ".fleet.cfg.lock",
    ".fleet.cfg.new",
    ".fleet.cfg.note",
    ".fleet.cfg.good",
    ".fleet.cfg.pending",
    ".fleet.cfg.verify",
    ".fleet.cfg.verify/log",
    ".fleet.cfg.verify/nagios.cfg",
    ".fleet.cfg.verify/written",
    ".fleet.cfg.verify/written/precached_object_file",
];

/// nagios-gen with this list under strace, which sees only calls on the tree.
fn on_the_tree(harness: &Harness, ids: std::ops::Range<u32>, options: &[&str]) -> Tool {
    let paths: Vec<String> = NAMES.iter().map(|name| harness.path("conf.d").join(name).display().to_string()).collect();
    let options: Vec<&str> = options.iter().copied().chain(paths.iter().flat_map(|path| ["-P", path])).collect();
    traced(harness, ids, &options)
}

/// nagios-gen with this list under strace.
fn traced(harness: &Harness, ids: std::ops::Range<u32>, options: &[&str]) -> Tool {
    let gen_args =
        ["--output", &harness.file().display().to_string(), "--verify", &harness.cfg().display().to_string()];
    let command = format!("echo >>{}; kill -HUP {}", harness.path("reloads").display(), harness.pid());
    Tool::new("strace")
        .args(["-qq", "-y", "-o"])
        .arg(harness.path("trace"))
        .args(options)
        .arg(env!("CARGO_BIN_EXE_nagios-gen"))
        .args(gen_args)
        .args(["--reload", &command])
        .stdin(csv(&fleet(ids)))
}

/// The calls of a run that touch the tree: for each kind of call, which of its occurrences.
fn touching(harness: &Harness, ids: std::ops::Range<u32>) -> Vec<(String, usize)> {
    let _run = on_the_tree(harness, ids, &["-e", &format!("trace={CALLS}")]).run().succeeds();
    let trace = fs::read_to_string(harness.path("trace")).unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let point = |line: &str| {
        let (call, _) = line.split_once('(')?;
        let count = counts.entry(call.to_owned()).or_default();
        *count += 1;
        Some((call.to_owned(), *count))
    };
    trace.lines().filter_map(point).collect()
}

#[test]
fn killed_at_every_call_that_touches_the_tree() {
    let first = Harness::live();
    let _run = first.reloaded(csv(&fleet(1..4))).run().succeeds();
    let points = touching(&first, 1..5);
    assert!(points.len() > 30, "{points:?}");
    for call in ["renameat", "unlinkat", "fsync", "write", "openat", "flock"] {
        assert!(points.iter().any(|(name, _)| name == call), "no {call} in {points:?}");
    }
    drop(first);
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..SITES {
            scope.spawn(|| {
                let mut harness = Harness::live();
                // The two lists take turns: each is the old one of the next point.
                let (mut old, mut new) = (1..4, 1..5);
                let _run = harness.reloaded(csv(&fleet(old.clone()))).run().succeeds();
                while let Some((call, n)) = points.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let left = killed_at(&mut harness, call, *n, (&old, &new));
                    *seen.lock().unwrap().entry(left).or_insert(0) += 1;
                    std::mem::swap(&mut old, &mut new);
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    eprintln!("killed at each of {} calls; FILE was then: {seen:?}", points.len());
    assert!(seen.len() == 2, "both the old and the new file were met: {seen:?}");
}

/// Kills a run at a point, looks at what it left, and lets the next run finish.
fn killed_at(
    harness: &mut Harness,
    call: &str,
    n: usize,
    lists: (&std::ops::Range<u32>, &std::ops::Range<u32>),
) -> &'static str {
    let (old, new) = lists;
    let whole = |ids: &std::ops::Range<u32>| nagios_gen().stdin(csv(&fleet(ids.clone()))).run().succeeds().stdout;
    let inject = format!("inject={call}:signal=KILL:when={n}");
    let killed = on_the_tree(harness, new.clone(), &["-e", &format!("trace={call}"), "-e", &inject]).run();
    // strace ends as its program did.
    let killed = killed.killed_by(9);
    let context = format!("killed at {call} number {n}: {}", killed.report());
    let content = harness.content().unwrap().into_bytes();
    let left = if content == whole(old) { "old" } else { "new" };
    assert!(left == "old" || content == whole(new), "{context}: FILE is {}", String::from_utf8_lossy(&content));
    let _accepted = harness.precache();
    assert!(harness.is_up(), "{context}");
    let _next = harness.reloaded(csv(&fleet(new.clone()))).run().succeeds().stderr_is_empty();
    assert_eq!(harness.content().unwrap().into_bytes(), whole(new), "{context}");
    harness.watches(new.clone());
    assert_eq!(harness.hidden(), [".fleet.cfg.good", ".fleet.cfg.lock"], "{context}");
    assert!(harness.is_up(), "{context}");
    left
}

/// What an unchanged fleet costs is known to the call: Nagios checks the tree, in a directory elsewhere.
#[test]
fn an_unchanged_run_makes_no_call_that_writes() {
    let harness = Harness::live();
    let _run = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let _run = traced(&harness, 1..3, &["-f", "-e", &format!("trace={CALLS},execve")]).run().succeeds();
    let trace = fs::read_to_string(harness.path("trace")).unwrap();
    let tree = harness.path("").display().to_string();
    let writes: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains(&tree) && !line.contains("execve(") && !line.contains("/tmp/nagios-gen-"))
        .filter(|line| !line.contains("O_RDONLY") && !line.contains(" flock(") && !line.contains(".cfg.lock"))
        .collect();
    assert_eq!(writes, Vec::<&str>::new());
    assert!(trace.contains(".fleet.cfg.lock") && trace.contains(".fleet.cfg.good"), "the trace sees the tree: {trace}");
    let run: Vec<&str> = trace.split("execve(\"").skip(1).filter_map(|call| call.split('"').next()).collect();
    assert_eq!(run.len(), 2, "{run:?}");
    assert!(run[1].ends_with("/nagios4"), "no shell: {run:?}");
}
