//! Many builders at once: as many distinct numbers as successes, and `latest.txt` only moves forward.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]
#![expect(clippy::print_stderr, reason = "figures of a run, shown with its failure or under --nocapture")]

use end_to_end::checker::{doubles, latest_and_highest, leftovers, watch_latest};
use end_to_end::place::Place;
use release::Record;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use tempfile::TempDir;
use testkit::{KillPoint, Plan, RequestInfo, Rules, Seed, figure, wait_until};

/// Builders at the same time.
const PROCESSES: usize = 16;

/// Builds of each of them.
fn builds() -> usize {
    figure(5, 25)
}

/// Numbers of the builds that succeeded.
fn race(place: &Place, faults: bool) -> Vec<u64> {
    let tree = small_tree();
    let builder = || {
        let mut numbers = Vec::new();
        for _ in 0..builds() {
            let build =
                place.tool("artifact-pack").args(["-q", "--timeout", "300s", "-C"]).arg(tree.path()).arg("code");
            let run = build.run();
            match run.code {
                Some(0) => {
                    let record = Record::parse(&run.stdout).expect("a successful build prints its record");
                    numbers.push(record.number().get());
                }
                // Only a fault may end a build, and it says that trying again helps.
                _ => assert!(faults && run.code == Some(75), "{}", run.report()),
            }
        }
        numbers
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(builder)).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a builder reports its numbers")).collect()
    })
}

fn small_tree() -> TempDir {
    tree_of("echo run")
}

fn tree_of(line: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("code")).unwrap();
    fs::write(dir.path().join("code/run.sh"), line).unwrap();
    dir
}

/// Races on `place`, then lets one more build run without faults, and checks everything.
fn builders_agree(place: &Place, faults: bool) {
    let (numbers, went_back) = watch_latest(place, |_| race(place, faults));
    eprintln!("{} builds succeeded", numbers.len());
    assert_eq!(doubles(&numbers), Vec::<String>::new());
    assert_eq!(went_back, Vec::<String>::new());
    if faults {
        place.proxy().set_plan(Plan::None);
        let _ = place.build(small_tree().path());
    } else {
        assert_eq!(numbers.len(), PROCESSES * builds(), "without faults every build succeeds");
    }
    let look = place.look();
    let (latest, highest) = latest_and_highest(&look);
    assert_eq!(latest, highest);
    assert_eq!(leftovers(&look), Vec::<String>::new());
}

#[test]
fn on_a_directory() {
    builders_agree(&Place::files(), false);
}

#[test]
fn on_a_real_server() {
    builders_agree(&Place::server(Plan::None), false);
}

#[test]
fn on_the_model_with_faults() {
    let seed = Seed::from_env_or_random("on_the_model_with_faults");
    builders_agree(&Place::model(Plan::Random { seed: seed.0, percent: 20 }), true);
}

/// The checker is worth something only if it finds what a lying server does: one that ignores conditions, but not the
/// two requests by which a build finds that out.
#[test]
fn a_server_that_ignores_conditions_is_found_out() {
    let lying = Rules { ignore_conditions: true, ..Rules::default() };
    let place = Place::model_with(lying, Plan::None);
    let tree = small_tree();
    let mut numbers = vec![number(&place.build(tree.path()))];
    let ((), went_back) = watch_latest(&place, |seen| {
        numbers.extend(both_claim(&place, tree.path()));
        numbers.extend(overtaken_at_latest(&place, tree.path(), seen));
    });
    assert_eq!(doubles(&numbers), ["2 builds got 2"]);
    assert_eq!(went_back, ["latest.txt went back from 4 to 3"]);
}

/// A build claims the number that another one claims at the same moment; the other one seals when the first is done.
fn both_claim(place: &Place, tree: &Path) -> [u64; 2] {
    let record = |info: &RequestInfo| info.method == "PUT" && info.path.ends_with("-2.release");
    let other = place.beside();
    let (ready, is_ready) = channel();
    let (go, told_to_go) = channel::<()>();
    // Before it come the claim and the two requests that try whether conditions count.
    let before = AtomicU64::new(0);
    let is_seal = move |info: &RequestInfo| record(info) && before.fetch_add(1, Ordering::SeqCst) == 3;
    let wait = move || {
        let _ = ready.send(());
        let _ = told_to_go.recv();
    };
    other.proxy().on_match(Box::new(is_seal), KillPoint::Interleave, Box::new(wait));
    let (begun, has_begun) = channel::<()>();
    let claim = move || {
        let _ = begun.send(());
        let _ = is_ready.recv();
    };
    place.proxy().on_match(Box::new(record), KillPoint::Interleave, Box::new(claim));
    thread::scope(|scope| {
        let first = scope.spawn(|| place.build(tree_of("echo slow").path()));
        has_begun.recv().expect("the first build claims a number");
        let second = scope.spawn(|| other.build(tree));
        let first = first.join().expect("the first build succeeds");
        drop(go);
        [number(&first), number(&second.join().expect("the second build succeeds"))]
    })
}

/// A build runs while another one's `latest.txt` is on its way, which then comes too late.
fn overtaken_at_latest(place: &Place, tree: &Path, seen: &AtomicU64) -> [u64; 2] {
    let overtaker = place.beside();
    let tree = tree.to_owned();
    let (done, result) = channel();
    let (hold, held) = channel::<()>();
    let hook = move || {
        let _ = done.send(overtaker.build(&tree));
        // Until the poller has seen it.
        let _ = held.recv();
    };
    let latest = |info: &RequestInfo| info.method == "PUT" && info.path.ends_with("/latest.txt");
    place.proxy().on_match(Box::new(latest), KillPoint::Interleave, Box::new(hook));
    thread::scope(|scope| {
        let slow = scope.spawn(|| place.build(tree_of("echo slow").path()));
        let fast = result.recv().expect("the hook sends a record");
        wait_until("latest.txt is seen", || {
            let now = seen.load(Ordering::Relaxed);
            if now == 4 { Ok(()) } else { Err(format!("it is {now}")) }
        });
        drop(hold);
        [number(&fast), number(&slow.join().expect("the slow build succeeds"))]
    })
}

fn number(record: &str) -> u64 {
    Record::parse(record.as_bytes()).expect("a build prints its record").number().get()
}
