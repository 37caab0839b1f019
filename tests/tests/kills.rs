//! A build killed at any moment: nothing half is ever visible, and the next build cleans up unaided.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]
#![expect(clippy::print_stderr, reason = "figures of a run, shown with its failure or under --nocapture")]

use end_to_end::checker::{broken_pointers, leftovers};
use end_to_end::place::Place;
use end_to_end::tree;
use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use testkit::{Finished, KillPoint, Plan, Seed, Tool, figure, side_by_side, wait_until};

const POINTS: [KillPoint; 3] = [KillPoint::BeforeForward, KillPoint::AfterCommit, KillPoint::AfterReply];

/// Runs `tool` and kills it at its `n`-th request.
fn killed_at(place: &Place, tool: Tool, n: u64, point: KillPoint) -> Finished {
    let pid = Arc::new(AtomicI32::new(0));
    let seen = Arc::clone(&pid);
    let kill = move || {
        let pid = wait_until("the pid is known", || {
            Pid::from_raw(seen.load(Ordering::SeqCst)).ok_or_else(|| "not yet".to_owned())
        });
        // It may have ended by itself right before.
        let _ = kill_process(pid, Signal::KILL);
    };
    let base = place.proxy().count();
    place.proxy().on_request(base + n, point, Box::new(kill));
    let running = tool.start();
    pid.store(i32::try_from(running.pid()).expect("a pid fits"), Ordering::SeqCst);
    running.wait()
}

fn pack(place: &Place, dir: &Path) -> Tool {
    place.tool("artifact-pack").args(["-q", "-C"]).arg(dir).arg(".")
}

fn audit(place: &Place) -> String {
    place.tool("artifact-pack").arg("--audit").run().succeeds().stdout_str().to_owned()
}

/// Kills one build after another, each so many requests later than the one before, until one is not killed any more.
fn kill_at_every_request(new_place: impl Fn() -> Place + Sync, megabytes: u32, step: u64) {
    let old = tempfile::tempdir().unwrap();
    tree::write(old.path(), 0, 1);
    let new = tempfile::tempdir().unwrap();
    tree::write(new.path(), megabytes, 2);
    // After a reply is before the next request: the quick run leaves the last point out.
    side_by_side(POINTS.len(), figure(2, 3), |point| {
        let point = POINTS[usize::try_from(point).unwrap()];
        let place = new_place();
        let _ = place.build(old.path());
        let mut n = 1;
        loop {
            let run = killed_at(&place, pack(&place, new.path()), n, point);
            assert_eq!(broken_pointers(&place.look()), Vec::<String>::new(), "after request {n}, {point:?}");
            if run.code == Some(0) {
                break;
            }
            assert_eq!(run.signal, Some(9), "{}", run.report());
            // What is left over is on the list before the next build, and gone after it.
            let left = leftovers(&place.look());
            let listed = audit(&place);
            assert!(
                left.is_empty() || listed.lines().count() > 1,
                "after request {n}, {point:?}: {left:?} not in {listed}"
            );
            let _ = place.build(old.path());
            assert_eq!(leftovers(&place.look()), Vec::<String>::new(), "after request {n}, {point:?}");
            let listed = audit(&place);
            let open = listed.lines().skip(1).find(|row| !row.starts_with("abandoned,"));
            assert_eq!(open, None, "after request {n}, {point:?}");
            n += step;
        }
        eprintln!("{point:?}: killed at one in {step} of {} requests", n - 1);
        assert!(n > 5, "a build sends more requests than that");
    });
}

#[test]
fn a_build_of_parts_on_the_model() {
    kill_at_every_request(|| Place::model(Plan::None), 20, 1);
}

#[test]
fn a_small_build_on_the_model() {
    kill_at_every_request(|| Place::model(Plan::None), 0, 1);
}

#[test]
fn a_build_of_parts_on_a_real_server() {
    kill_at_every_request(|| Place::server(Plan::None), 20, figure(3, 1));
}

#[test]
fn a_build_in_a_directory_at_random_moments() {
    let seed = Seed::from_env_or_random("a_build_in_a_directory_at_random_moments");
    random_moments(Place::files, seed, figure(30, 240));
}

#[test]
fn a_build_on_the_model_at_random_moments() {
    let seed = Seed::from_env_or_random("a_build_on_the_model_at_random_moments");
    random_moments(|| Place::model(Plan::None), seed, figure(30, 240));
}

/// Builds in one place, before the next one is taken: every look at a place reads all that is in it.
const BUILDS: u32 = 50;

fn random_moments(new_place: impl Fn() -> Place, seed: Seed, times: u32) {
    let mut rng = seed.rng();
    let dir = tempfile::tempdir().unwrap();
    tree::write(dir.path(), 12, 3);
    let mut killed = 0;
    for from in (0..times).step_by(BUILDS as usize) {
        let place = new_place();
        let _ = place.build(dir.path());
        for _ in from..times.min(from + BUILDS) {
            let mut running = pack(&place, dir.path()).start();
            // The moment itself is what is drawn: nothing is waited for.
            std::thread::sleep(Duration::from_micros(rng.random_range(0..120_000)));
            running.kill();
            let run = running.wait();
            killed += u32::from(run.signal == Some(9));
            assert_eq!(broken_pointers(&place.look()), Vec::<String>::new());
        }
        let _ = place.build(dir.path());
        assert_eq!(leftovers(&place.look()), Vec::<String>::new());
    }
    eprintln!("{killed} of {times} builds were killed");
}
