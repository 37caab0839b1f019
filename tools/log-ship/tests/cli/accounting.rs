//! Files that are destroyed while log-ship runs, without kills. The writers know every line they wrote; each line is
//! accounted for: found in Kafka, reported as destroyed, or destroyed before anybody saw it. What stands on disk is found.
//! The checker is checked by a broker that lies.

use crate::harness::{Harness, Shipped, append, check_stats};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use testkit::{Link, LinkMode, Seed, figure, side_by_side, wait_until};

/// What becomes of a file, once: so its name tells which bytes a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Kept,
    Deleted,
    /// Truncated and written anew at once, with less or with more than it held.
    Rewritten,
    /// Copied and truncated, while its writer goes on.
    CopyTruncated,
}

const FATES: [Fate; 4] = [Fate::Kept, Fate::Deleted, Fate::Rewritten, Fate::CopyTruncated];

/// A file and the lines that its writer put into it before it was destroyed.
struct Life {
    path: PathBuf,
    fate: Fate,
    /// Each with its newline, in order from offset 0.
    first: Vec<String>,
    /// What was written after that.
    second: Vec<String>,
}

/// What became of all lines.
#[derive(Debug, Default)]
struct Books {
    written: usize,
    found: usize,
    /// Destroyed, and log-ship said so.
    reported: usize,
    /// Destroyed, and nobody knows.
    unseen: usize,
    /// On disk, and not found.
    lost: Vec<String>,
    /// Reported as destroyed, and found, or never there.
    false_reports: Vec<String>,
    /// Under more than one id.
    doubled: Vec<String>,
}

impl Books {
    fn balance(lives: &[Life], shipped: &[Shipped], said: &str, folder: &Path) -> Self {
        let mut ids: BTreeMap<&[u8], BTreeSet<String>> = BTreeMap::new();
        for one in shipped {
            ids.entry(&one.value).or_default().insert(one.id.to_string());
        }
        let on_disk: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .flat_map(|file| {
                let text = fs::read_to_string(file.unwrap().path()).unwrap();
                text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        let mut books = Self::default();
        books.doubled.extend(
            ids.iter()
                .filter(|(_, ids)| ids.len() > 1)
                .map(|(line, ids)| format!("{} as {ids:?}", String::from_utf8_lossy(line))),
        );
        let mut reports = reports(said);
        for life in lives {
            let ranges = reports.remove(&life.path).unwrap_or_default();
            let mut covered = vec![0_u64; ranges.len()];
            let mut offset = 0;
            for (line, first) in
                life.first.iter().map(|line| (line, true)).chain(life.second.iter().map(|line| (line, false)))
            {
                let bytes = offset..offset + line.len() as u64;
                offset = bytes.end;
                let found = ids.contains_key(line.trim_end_matches('\n').as_bytes());
                let (mut reported, mut surely) = (false, false);
                for (Report { range, sure }, covered) in ranges.iter().zip(&mut covered).filter(|_| first) {
                    let (from, to) = (range.start.max(bytes.start), range.end.min(bytes.end));
                    *covered += to.saturating_sub(from);
                    reported |= from < to;
                    surely |= *sure && from < to;
                }
                books.written += 1;
                books.found += usize::from(found);
                match (found, reported) {
                    // What was sent without an acknowledgement may be found all the same.
                    (true, true) if !surely => {}
                    (true, true) => books.false_reports.push(format!("{line:?} of {}", life.path.display())),
                    (true, false) => {}
                    (false, _) if on_disk.contains(line) => books.lost.push(line.clone()),
                    (false, true) => books.reported += 1,
                    (false, false) => books.unseen += 1,
                }
            }
            let beyond = ranges.iter().zip(&covered).filter(|(report, covered)| report.length() != **covered);
            books.false_reports.extend(beyond.map(|(report, covered)| {
                let (path, fate) = (life.path.display(), life.fate);
                format!("{report:?} of {path} ({fate:?}), of which {covered} bytes were destroyed")
            }));
        }
        books
            .false_reports
            .extend(reports.into_iter().map(|(path, ranges)| format!("{ranges:?} of {}", path.display())));
        books
    }

    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.found += other.found;
        self.reported += other.reported;
        self.unseen += other.unseen;
    }
}

/// Bytes that were reported as destroyed, for sure or unless they had arrived.
#[derive(Debug)]
struct Report {
    range: Range<u64>,
    sure: bool,
}

impl Report {
    fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// What was reported as destroyed, file by file.
fn reports(said: &str) -> BTreeMap<PathBuf, Vec<Report>> {
    let mut reports: BTreeMap<PathBuf, Vec<Report>> = BTreeMap::new();
    for line in said.lines() {
        let Some((_, rest)) = line.split_once("bytes ") else { continue };
        let destroyed = rest.strip_suffix(": destroyed before they were read");
        let suffix = " may be lost: not acknowledged, and destroyed before they could be sent again";
        let Some(what) = destroyed.or_else(|| rest.strip_suffix(suffix)) else { continue };
        let (range, path) = what.split_once(" of ").unwrap();
        let (from, to) = range.split_once(" to ").unwrap();
        let range = from.parse().unwrap()..to.parse().unwrap();
        reports.entry(path.into()).or_default().push(Report { range, sure: destroyed.is_some() });
    }
    reports
}

#[test]
fn every_line_is_accounted_for() {
    let seed = Seed::from_env_or_random("every_line_is_accounted_for");
    let runs = figure(10, 40);
    let sum = Mutex::new(Books::default());
    side_by_side(5, runs, |number| {
        let mut rng = seed.part(number).rng();
        let harness = Harness::new();
        let link = Link::to(&harness.brokers);
        let (lives, said) = run(&harness, &link, &mut rng);
        let books = Books::balance(&lives, &harness.shipped(), &said, &harness.logs());
        assert!(
            books.lost.is_empty() && books.false_reports.is_empty() && books.doubled.is_empty(),
            "run {number} of {seed:?}: {books:#?}"
        );
        assert_eq!(books.found + books.reported + books.unseen, books.written, "run {number} of {seed:?}");
        sum.lock().unwrap().add(books);
    });
    let sum = sum.into_inner().unwrap();
    assert!(sum.reported > 0, "nothing was destroyed before log-ship's eyes: the test shows nothing");
    tell(&format!(
        "{runs} runs: {} lines written = {} found + {} reported as destroyed + {} destroyed unseen",
        sum.written, sum.found, sum.reported, sum.unseen
    ));
}

/// A broker that acknowledges and drops: lines that stand on disk are not found, and the checker says so.
#[test]
fn the_books_do_not_balance_with_a_broker_that_lies() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    let elsewhere = format!("x{}", &harness.topic[1..]);
    // Both topics are there first: a client asks for its topic before it produces.
    append(&harness.log("a.log"), "first\n");
    harness.once(harness.log("a.log"));
    let other = Harness { topic: elsewhere.clone(), ..Harness::on(harness.brokers.clone()) };
    append(&other.log("a.log"), "first\n");
    other.once(other.log("a.log"));
    let path = harness.log("b.log");
    let line = |number: usize| format!("line {number}\n");
    append(&path, &(0..500).map(line).collect::<String>());
    link.set(LinkMode::Lying(harness.topic.clone(), elsewhere));
    let once = || harness.tool_via(&link.address()).arg("--once").arg(&path).run().succeeds();
    once();
    link.set(LinkMode::Up);
    append(&path, &(500..700).map(line).collect::<String>());
    once();
    let first: Vec<String> = (0..700).map(line).collect();
    let life = Life { path, fate: Fate::Kept, first, second: Vec::new() };
    let books = Books::balance(&[life], &harness.shipped(), "", &harness.logs());
    assert_eq!((books.found, books.lost.len(), books.unseen), (200, 500, 0), "{books:?}");
}

/// A report of bytes that were found, or of more than was there, is a false one.
#[test]
fn the_books_show_a_false_report() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\ntwo\n");
    harness.once(&path);
    let life =
        || Life { path: path.clone(), fate: Fate::Kept, first: vec!["one\n".into(), "two\n".into()], second: vec![] };
    for range in ["4 to 8", "8 to 9"] {
        let said = format!(
            "log-ship: warning: unable to ship bytes {range} of {}: destroyed before they were read\n",
            path.display()
        );
        let books = Books::balance(&[life()], &harness.shipped(), &said, &harness.logs());
        assert_eq!((books.found, books.false_reports.len()), (2, 1), "{books:?}");
    }
}

/// A signal comes during an outage, and the file is gone at the next start: its lines were on their way, and may have arrived.
#[test]
fn what_may_have_arrived_is_not_reported_as_unread() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    let path = harness.log("a.log");
    append(&path, "first\n");
    let running = harness.tool_via(&link.address()).args(["--stats", "20ms"]).arg(&path).start();
    let reach = |name: &str, value: u64| {
        wait_until(name, || {
            let stats = check_stats(&running.stdout_so_far());
            if stats[name].as_u64() == Some(value) { Ok(()) } else { Err(stats.to_string()) }
        });
    };
    reach("acked", 1);
    link.set(LinkMode::Frozen);
    append(&path, "second\nthird\n");
    reach("in_flight", 2);
    running.terminate();
    running.wait().killed_by(15);
    fs::remove_file(&path).unwrap();
    link.set(LinkMode::Up);
    let said = harness.tool().arg("--once").arg(harness.log("*.log")).run().stderr_str();
    let expected = format!("bytes 6 to 19 of {} may be lost: not acknowledged", path.display());
    assert!(said.contains(&expected) && !said.contains("before they were read"), "{said}");
    wait_until("the lines that were on their way", || {
        let shipped = harness.shipped().len();
        if shipped == 3 { Ok(()) } else { Err(shipped.to_string()) }
    });
}

/// Four writers, one file after the other, each with its fate; now and then the broker stands still, so that log-ship can
/// only watch. Returns what log-ship said.
fn run(harness: &Harness, link: &Link, rng: &mut StdRng) -> (Vec<Life>, String) {
    let tool = || {
        let tool = harness.tool_via(&link.address()).args(["--max-in-flight", "64KiB"]);
        tool.arg(harness.log("*.log"))
    };
    append(&harness.log("first.log"), "");
    let running = tool().args(["--stats", "20ms"]).start();
    wait_until("log-ship's first counters", || {
        if running.stdout_so_far().is_empty() { Err("none".to_owned()) } else { Ok(()) }
    });
    let done = AtomicBool::new(false);
    let lives = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let mut rng = Seed(rng.random()).rng();
                scope.spawn(move || {
                    let live = |file| live(&harness.log(&format!("{writer}-{file}.log")), &mut rng);
                    (0..6).map(live).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut rng = Seed(rng.random()).rng();
        let (done, broker) = (
            &done,
            scope.spawn({
                let done = &done;
                move || {
                    while !done.load(Ordering::Relaxed) {
                        link.set(LinkMode::Frozen);
                        thread::sleep(Duration::from_millis(rng.random_range(10..150)));
                        link.set(LinkMode::Up);
                        thread::sleep(Duration::from_millis(rng.random_range(10..150)));
                    }
                }
            }),
        );
        let lives = writers.into_iter().flat_map(|writer| writer.join().expect("a writer writes")).collect();
        done.store(true, Ordering::Relaxed);
        broker.join().expect("the broker comes back");
        lives
    });
    running.terminate();
    let ended = running.wait().killed_by(15);
    let stats = check_stats(&ended.stdout);
    let said: u64 = reports(&ended.stderr_str()).values().flatten().map(Report::length).sum();
    assert_eq!(stats["destroyed_bytes"].as_u64(), Some(said), "{stats}");
    let rest = tool().arg("--once").run().succeeds();
    (lives, ended.stderr_str() + &rest.stderr_str())
}

/// Writes a file until its fate has come, and a little more.
fn live(path: &Path, rng: &mut StdRng) -> Life {
    let fate = FATES[rng.random_range(0..FATES.len())];
    let mut writer = Writer { file: open(path), path: path.to_owned(), number: 0, seed: rng.random() };
    let mut life = Life { path: path.to_owned(), fate, first: Vec::new(), second: Vec::new() };
    for _ in 0..rng.random_range(1..40) {
        writer.write(rng, &mut life.first);
    }
    match fate {
        Fate::Kept => {}
        // Whoever writes on writes into a file that has no name.
        Fate::Deleted => {
            fs::remove_file(path).unwrap();
            for _ in 0..rng.random_range(0..5) {
                writer.write(rng, &mut life.first);
            }
        }
        Fate::Rewritten => {
            // Under the writer that has it open, as a shell's `>` would.
            File::create(path).unwrap();
            for _ in 0..rng.random_range(1..60) {
                writer.write(rng, &mut life.second);
            }
        }
        Fate::CopyTruncated => {
            let mut lines = std::mem::take(&mut life.first);
            let rotated = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    fs::copy(path, path.with_extension("log.1")).unwrap();
                    File::options().write(true).open(path).unwrap().set_len(0).unwrap();
                    rotated.store(true, Ordering::Release);
                });
                while !rotated.load(Ordering::Acquire) {
                    writer.write(rng, &mut lines);
                }
                for _ in 0..rng.random_range(0..20) {
                    writer.write(rng, &mut lines);
                }
            });
            // What stands in the file now was written after the truncation; everything before it, before.
            let left = fs::read_to_string(path).unwrap().lines().count();
            life.second = lines.split_off(lines.len() - left);
            life.first = lines;
        }
    }
    life
}

struct Writer {
    file: File,
    path: PathBuf,
    number: u64,
    seed: u32,
}

impl Writer {
    /// Some lines that nobody else writes, in one piece.
    fn write(&mut self, rng: &mut StdRng, into: &mut Vec<String>) {
        let mut lines = Vec::new();
        for _ in 0..rng.random_range(1..30) {
            let filler = "x".repeat(rng.random_range(0..200));
            let name = self.path.file_name().unwrap().to_str().unwrap();
            lines.push(format!("{:08x} {name} line {:08} {filler}\n", self.seed, self.number));
            self.number += 1;
        }
        self.file.write_all(lines.concat().as_bytes()).unwrap();
        into.append(&mut lines);
        thread::sleep(Duration::from_micros(rng.random_range(0..3000)));
    }
}

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

#[expect(clippy::print_stderr, reason = "figures that are told")]
fn tell(what: &str) {
    eprintln!("{what}");
}
