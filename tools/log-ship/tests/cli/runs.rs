//! Seeded runs: kill -9 at random moments, a broker that is up, frozen, cut off or restarted, and a rotation. Of the lines
//! that are on disk at the end none is lost, and none has two ids. The checker is checked by a broker that lies.

use crate::harness::{Account, Harness, account, check_stats, read_topic};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{Broker, Link, LinkMode, Seed, figure, side_by_side};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Frozen,
    Cut,
    Restarted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    Rename,
    CopyTruncate,
    InodeReuse,
}

const ROTATIONS: [Rotation; 3] = [Rotation::Rename, Rotation::CopyTruncate, Rotation::InodeReuse];

/// The most lines that a kill may cause to be sent again: what fits into the window, and half as much that was acknowledged.
const WINDOW_LINES: usize = (8 + 4) * 1024 * 1024 / 640;

/// What one run was and what came of it.
fn checked(seed: Seed, number: u64, trouble: Trouble, broker: Option<&mut Broker>) -> Sums {
    let mut rng = seed.part(number).rng();
    let rotation = ROTATIONS[usize::try_from(number).unwrap() % ROTATIONS.len()];
    let harness = broker.as_ref().map_or_else(Harness::new, |broker| Harness::on(broker.address()));
    let harness = Harness { topic: format!("{}-run-{number}", harness.topic), ..harness };
    let link = Link::to(&harness.brokers);
    let kills = rng.random_range(1..=3);
    let truth = run(&harness, &link, broker, &mut rng, trouble, rotation, kills);
    let found = account(&truth, &read_topic(&harness.brokers, &harness.topic));
    let what = format!("run {number} of {seed:?}: {trouble:?} {rotation:?} {kills} kills: {}", short(&found));
    assert!(found.lost.is_empty() && found.doubled.is_empty() && found.clashes == 0, "{what}");
    assert!(found.resent <= kills * WINDOW_LINES, "{what}");
    Sums { lines: truth.len(), kills, resent: found.resent }
}

#[derive(Default)]
struct Sums {
    lines: usize,
    kills: usize,
    resent: usize,
}

impl Sums {
    fn add(&mut self, more: &Self) {
        self.lines += more.lines;
        self.kills += more.kills;
        self.resent += more.resent;
    }

    fn tell(&self, runs: u64) {
        let Self { lines, kills, resent } = self;
        tell(&format!(
            "{runs} runs: {lines} lines on disk, {kills} kills, {resent} lines sent again, all under their ids"
        ));
    }
}

#[test]
fn nothing_is_lost_and_nothing_has_two_ids() {
    let seed = Seed::from_env_or_random("nothing_is_lost_and_nothing_has_two_ids");
    let runs = figure(45, 450);
    let sums = Mutex::new(Sums::default());
    side_by_side(5, runs, |number| {
        let trouble = [Trouble::None, Trouble::Frozen, Trouble::Cut][usize::try_from(number / 3).unwrap() % 3];
        let run = checked(seed, number, trouble, None);
        sums.lock().unwrap().add(&run);
    });
    sums.into_inner().unwrap().tell(runs);
}

/// The same on a broker of its own, which is killed and comes back.
#[test]
fn a_broker_that_restarts_costs_no_line() {
    let seed = Seed::from_env_or_random("a_broker_that_restarts_costs_no_line");
    let runs = figure(12, 90);
    let place = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(place.path());
    let mut sums = Sums::default();
    for number in 0..runs {
        sums.add(&checked(seed, number, Trouble::Restarted, Some(&mut broker)));
    }
    sums.tell(runs);
}

/// A broker that acknowledges and drops: the checker must say so.
#[test]
fn the_checker_finds_a_broker_that_lies() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    let path = harness.log("a.log");
    let truth: Vec<String> = (0..1000).map(|line| format!("line {line}")).collect();
    fs::write(&path, truth[..500].join("\n") + "\n").unwrap();
    let elsewhere = format!("x{}", &harness.topic[1..]);
    // The topic is made first: a client asks for it before it produces.
    let once = || harness.tool_via(&link.address()).arg("--once").arg(&path).run();
    crate::harness::append(&path, "");
    let honest = harness.log("first.log");
    crate::harness::append(&honest, "first\n");
    harness.once(&honest);
    let other = Harness { topic: elsewhere.clone(), ..Harness::on(harness.brokers.clone()) };
    crate::harness::append(&other.log("first.log"), "first\n");
    other.once(other.log("first.log"));
    link.set(LinkMode::Lying(harness.topic.clone(), elsewhere));
    once().succeeds();
    link.set(LinkMode::Up);
    crate::harness::append(&path, &(truth[500..].join("\n") + "\n"));
    once().succeeds();
    let found = account(&truth, &harness.shipped());
    assert_eq!(found.lost, truth[..500], "{}", short(&found));
}

fn short(account: &Account) -> String {
    let first = |lines: &[String]| format!("{} {:?}", lines.len(), &lines[..lines.len().min(3)]);
    let (lost, doubled) = (first(&account.lost), first(&account.doubled));
    format!("lost {lost}, doubled {doubled}, {} clashes, {} sent again", account.clashes, account.resent)
}

/// One run; the lines that are on disk at its end.
fn run(
    harness: &Harness,
    link: &Link,
    mut broker: Option<&mut Broker>,
    rng: &mut StdRng,
    trouble: Trouble,
    rotation: Rotation,
    kills: usize,
) -> Vec<String> {
    let path = harness.log("app.log");
    let stop = AtomicBool::new(false);
    let mut log = Log::new(&path, rotation, rng.random());
    // Files that were rotated before log-ship's very first start are nobody's: it has been here before.
    harness.once(&path);
    let kept = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            log.write(&stop);
            log.kept()
        });
        for kill in 0..kills {
            let mut running = harness.tool_via(&link.address()).args(["--stats", "20ms"]).arg(&path).start();
            thread::sleep(Duration::from_millis(rng.random_range(20..400)));
            if kill == 0 {
                disturb(link, broker.as_deref_mut(), rng, trouble);
            }
            running.kill();
            check_stats(&running.stdout_so_far());
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer writes")
    });
    link.set(LinkMode::Up);
    let rest = harness.tool_via(&link.address()).args(["--once", "-q", "--timeout", "120s"]).arg(&path);
    rest.run().succeeds();
    kept
}

/// Trouble for a part of a second, while log-ship runs.
fn disturb(link: &Link, broker: Option<&mut Broker>, rng: &mut StdRng, trouble: Trouble) {
    match trouble {
        Trouble::None => {}
        Trouble::Frozen => link.set(LinkMode::Frozen),
        Trouble::Cut => link.set(LinkMode::Cut),
        Trouble::Restarted => broker.expect("it has a broker of its own").restart(rng.random()),
    }
    thread::sleep(Duration::from_millis(rng.random_range(10..300)));
    // Some runs are killed in the middle of it.
    if rng.random() {
        link.set(LinkMode::Up);
        thread::sleep(Duration::from_millis(rng.random_range(10..300)));
    }
}

/// A program that writes lines, and what rotates its file.
struct Log {
    path: PathBuf,
    rotation: Rotation,
    run: u32,
    next: u64,
    turns: u32,
    file: File,
    written: BTreeSet<PathBuf>,
}

impl Log {
    fn new(path: &Path, rotation: Rotation, run: u32) -> Self {
        let file = File::options().create(true).append(true).open(path).unwrap();
        Self {
            path: path.to_owned(),
            rotation,
            run,
            next: 0,
            turns: 0,
            file,
            written: BTreeSet::from([path.to_owned()]),
        }
    }

    fn write(&mut self, stop: &AtomicBool) {
        let mut turned = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.lines();
            if turned.elapsed() >= Duration::from_millis(50) {
                self.turn();
                turned = Instant::now();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn lines(&mut self) {
        let mut lines = String::new();
        for _ in 0..20 {
            lines += &format!("run {:08x} line {:08} {}\n", self.run, self.next, "x".repeat(60));
            self.next += 1;
        }
        self.file.write_all(lines.as_bytes()).unwrap();
    }

    fn turn(&mut self) {
        self.turns += 1;
        let aside = self.path.with_extension(format!("log.{}", self.turns));
        match self.rotation {
            Rotation::Rename => {
                fs::rename(&self.path, &aside).unwrap();
                self.written.insert(aside);
                self.reopen();
            }
            Rotation::CopyTruncate => {
                fs::copy(&self.path, &aside).unwrap();
                self.written.insert(aside);
                // A writer that does not wait: these lines are in neither file, and may be read or not.
                if self.turns.is_multiple_of(2) {
                    self.lines();
                    thread::yield_now();
                }
                self.file.set_len(0).unwrap();
            }
            // Every third file is renamed instead, so that something is left to check.
            Rotation::InodeReuse if self.turns.is_multiple_of(3) => {
                fs::rename(&self.path, &aside).unwrap();
                self.written.insert(aside);
                self.reopen();
            }
            Rotation::InodeReuse => {
                // Closed before it is deleted and made anew: the inode is free for the next file.
                self.file = File::open("/dev/null").unwrap();
                fs::remove_file(&self.path).unwrap();
                self.reopen();
            }
        }
    }

    fn reopen(&mut self) {
        self.file = File::options().create(true).append(true).open(&self.path).unwrap();
    }

    /// The lines that stand in the folder.
    fn kept(&self) -> Vec<String> {
        let text = self.written.iter().map(|path| fs::read_to_string(path).unwrap_or_default());
        let lines: BTreeSet<String> =
            text.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.into_iter().collect()
    }
}

#[expect(clippy::print_stderr, reason = "figures that are told")]
fn tell(what: &str) {
    eprintln!("{what}");
}
