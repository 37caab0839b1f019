//! Seeded runs: kill -9 at random moments, a broker that is up, frozen, cut off or restarted, and a rotation. Of the lines
//! that are on disk at the end none is lost, and none has two ids. The checker is checked by a broker that lies.

use crate::harness::{Account, Harness, account, check_stats, read_topic};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{Broker, Link, LinkMode, Seed, figure};

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

const TROUBLES: [Trouble; 4] = [Trouble::None, Trouble::Frozen, Trouble::Cut, Trouble::Restarted];
const ROTATIONS: [Rotation; 3] = [Rotation::Rename, Rotation::CopyTruncate, Rotation::InodeReuse];

/// The most lines that a kill may cause to be sent again: what fits into the window, and half as much that was acknowledged.
const WINDOW_LINES: usize = (8 + 4) * 1024 * 1024 / 640;

#[test]
fn nothing_is_lost_and_nothing_has_two_ids() {
    let seed = Seed::from_env_or_random("nothing_is_lost_and_nothing_has_two_ids");
    let runs = figure(24, 96);
    let place = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(place.path());
    let mut sums = (0, 0, 0);
    for number in 0..runs {
        let mut rng = seed.part(number).rng();
        let drawn = usize::try_from(number).unwrap() % 12;
        let (trouble, rotation) = (TROUBLES[drawn % 4], ROTATIONS[drawn / 4]);
        let link = Link::to(&broker.address());
        let mut harness = Harness::on(broker.address());
        harness.topic = format!("run-{number}");
        let kills = rng.random_range(1..=3);
        let truth = run(&harness, &link, &mut broker, &mut rng, trouble, rotation, kills);
        let shipped = read_topic(&broker.address(), &harness.topic);
        let found = account(&truth, &shipped);
        let what = format!("run {number} of {seed:?}: {trouble:?} {rotation:?} {kills} kills: {}", short(&found));
        assert!(found.lost.is_empty() && found.doubled.is_empty() && found.clashes == 0, "{what}");
        assert!(found.resent <= kills * WINDOW_LINES, "{what}");
        sums = (sums.0 + truth.len(), sums.1 + kills, sums.2 + found.resent);
    }
    tell(&format!(
        "{runs} runs: {} lines on disk, {} kills, {} lines sent again, all under their ids",
        sums.0, sums.1, sums.2
    ));
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
    broker: &mut Broker,
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
                disturb(link, broker, rng, trouble);
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
fn disturb(link: &Link, broker: &mut Broker, rng: &mut StdRng, trouble: Trouble) {
    match trouble {
        Trouble::None => {}
        Trouble::Frozen => link.set(LinkMode::Frozen),
        Trouble::Cut => link.set(LinkMode::Cut),
        Trouble::Restarted => broker.restart(rng.random()),
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
