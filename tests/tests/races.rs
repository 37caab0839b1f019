//! Many builders at once: as many distinct numbers as successes, and `latest.txt` only moves forward.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]
#![expect(clippy::print_stderr, reason = "figures of a run, shown with its failure or under --nocapture")]

use end_to_end::checker::{doubles, latest_and_highest, leftovers, watch_latest};
use end_to_end::figure;
use end_to_end::place::Place;
use release::Record;
use std::fs;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use testkit::{KillPoint, Plan, RequestInfo, Rules, Seed, wait_until};

/// With dozens of builders on few cores one of them may wait long for its turn.
const LONGEST_BUILD: Duration = Duration::from_secs(900);

/// Numbers of the builds that succeeded.
fn race(place: &Place) -> Vec<u64> {
    let tree = small_tree();
    let (processes, builds) = figure((16, 5), (64, 50));
    let builder = || {
        let mut numbers = Vec::new();
        for _ in 0..builds {
            let build = place.tool("artifact-pack").args(["-q", "-C"]).arg(tree.path()).arg("code");
            let run = build.deadline(LONGEST_BUILD).run();
            match run.code {
                Some(0) => {
                    let record = Record::parse(&run.stdout).expect("a successful build prints its record");
                    numbers.push(record.number().get());
                }
                // Only a fault may end a build, and it says that trying again helps.
                _ => assert_eq!(run.code, Some(75), "{}", run.report()),
            }
        }
        numbers
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..processes).map(|_| scope.spawn(builder)).collect();
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
    let (numbers, went_back) = watch_latest(place, |_| race(place));
    eprintln!("{} builds succeeded", numbers.len());
    assert_eq!(doubles(&numbers), Vec::<String>::new());
    assert_eq!(went_back, Vec::<String>::new());
    if faults {
        place.proxy().set_plan(Plan::None);
        let _ = place.build(small_tree().path());
    } else {
        let (processes, builds) = figure((16, 5), (64, 50));
        assert_eq!(numbers.len(), processes * builds, "without faults every build succeeds");
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
/// two requests by which a build finds that out. Each time a second build runs while the first one's write is on its way.
#[test]
fn a_server_that_ignores_conditions_is_found_out() {
    let lying = Rules { ignore_conditions: true, ..Rules::default() };
    let place = Place::model_with(lying, Plan::None);
    let tree = small_tree();
    let first = place.build(tree.path());
    let (numbers, went_back) = watch_latest(&place, |seen| {
        let overtaken_at = |path: &'static str, until: u64| {
            let overtaker = place.beside();
            let tree = tree.path().to_owned();
            let (done, result) = channel();
            thread::scope(|scope| {
                let (hold, held) = channel::<()>();
                let hook = move || {
                    let _ = done.send(overtaker.build(&tree));
                    // Until the poller has seen it.
                    let _ = held.recv();
                };
                let on_path = move |info: &RequestInfo| info.method == "PUT" && info.path.ends_with(path);
                place.proxy().on_match(Box::new(on_path), KillPoint::Interleave, Box::new(hook));
                let slow = scope.spawn(|| place.build(tree_of("echo slow").path()));
                let fast = result.recv().expect("the hook sends a record");
                wait_until("latest.txt is seen", Duration::from_secs(30), || {
                    let now = seen.load(Ordering::Relaxed);
                    if now == until { Ok(()) } else { Err(format!("it is {now}")) }
                });
                drop(hold);
                [number(&fast), number(&slow.join().expect("the slow build succeeds"))]
            })
        };
        let mut numbers = vec![number(&first)];
        numbers.extend(overtaken_at("-2.release", 2));
        numbers.extend(overtaken_at("/latest.txt", 4));
        numbers
    });
    assert_eq!(doubles(&numbers), ["2 builds got 2"]);
    assert_eq!(went_back, ["latest.txt went back from 4 to 3"]);
}

fn number(record: &str) -> u64 {
    Record::parse(record.as_bytes()).expect("a build prints its record").number().get()
}
