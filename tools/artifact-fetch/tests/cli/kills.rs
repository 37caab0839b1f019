//! SIGKILL at any moment: no half tree is ever visible, and the next run needs no help and leaves nothing lying about.

use crate::harness::{ARTIFACT, Harness, names, tree};
use crate::s3::{Remote, large};
use rand::RngExt;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use testkit::{KillPoint, LIMIT, Running, Seed, figure, wait_until};

/// Enough for a run to spend time in every phase.
const FILES: usize = 150;

/// Every visible tree is whole and `current` leads to one of them.
fn assert_whole(harness: &Harness) {
    let visible: Vec<String> = names(&harness.into)
        .into_iter()
        .filter(|name| !name.starts_with(durable::TEMPORARY_PREFIX) && !name.starts_with(".artifact"))
        .collect();
    let numbers = harness.shelf();
    let mut expected: Vec<String> = numbers.iter().map(|number| format!("{ARTIFACT}-{number}")).collect();
    expected.push("current".to_owned());
    expected.sort();
    assert_eq!(visible, expected);
    for number in &numbers {
        let tree = harness.into.join(format!("{ARTIFACT}-{number}"));
        let files = names(&tree).into_iter().filter(|name| name.starts_with('f'));
        let said: Vec<_> = files.map(|name| fs::read_to_string(tree.join(name)).unwrap()).collect();
        let big = fs::metadata(tree.join("big")).map_or(0, |meta| meta.len());
        assert!(
            [0, 3, FILES].contains(&said.len()) && (said.is_empty() == (big == 9_000_000)),
            "{number}: {} files",
            said.len()
        );
        assert!(said.iter().all(|text| *text == number.to_string()));
        assert_eq!(fs::read_to_string(tree.join("bin/run")).unwrap(), number.to_string());
    }
    let current = harness.current().unwrap();
    harness.assert_current(current.strip_prefix("app-").unwrap().parse().unwrap());
}

#[test]
fn killed_at_every_request() {
    // The pointer, the record and the archive's length side by side, five ranges at once.
    let requests = 8;
    let clean = Harness::with_first();
    let remote = Remote::new();
    remote.publish(2, large(2));
    let _run = remote.fetch(&clean.into).run().succeeds();
    assert_eq!(remote.proxy.count(), requests);
    for number in 1..=requests {
        for point in [KillPoint::BeforeForward, KillPoint::AfterCommit, KillPoint::AfterReply] {
            let harness = Harness::with_first();
            let remote = Remote::new();
            remote.publish(2, large(2));
            let running: Arc<Mutex<Option<Running>>> = Arc::default();
            let victim = Arc::clone(&running);
            let (told, killed) = std::sync::mpsc::channel();
            remote.proxy.on_request(
                number,
                point,
                Box::new(move || {
                    wait_until("the run to be known", || {
                        let mut victim = victim.lock().unwrap();
                        victim.as_mut().map(Running::kill).ok_or_else(|| "not yet".to_owned())
                    });
                    told.send(()).unwrap();
                }),
            );
            *running.lock().unwrap() = Some(remote.fetch(&harness.into).start());
            killed.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("request {number} never was at {point:?}"));
            drop(running.lock().unwrap().take());
            assert_whole(&harness);
            if number < requests || point != KillPoint::AfterReply {
                harness.assert_current(1);
            }
            let _run = remote.fetch(&harness.into).run().succeeds().stderr_is_empty();
            harness.assert_current(2);
            assert_whole(&harness);
            harness.assert_tidy();
        }
    }
}

/// A run also removes an old release here, so that its death may come in the middle of that too.
#[test]
fn killed_at_any_moment() {
    let seed = Seed::from_env_or_random("killed_at_any_moment");
    let mut rng = seed.rng();
    let harness = Harness::new();
    let fetch = || harness.fetch().args(["--keep", "2"]);
    let mut longest = std::time::Duration::ZERO;
    for number in 1..=4 {
        harness.publish(number, tree(number, FILES));
        let started = Instant::now();
        let _run = fetch().run().succeeds();
        longest = longest.max(started.elapsed());
    }
    let (mut before, mut after) = (0, 0);
    for number in 5..5 + figure(50, 400) {
        harness.publish(number, tree(number, FILES));
        let moment = longest.mul_f64(rng.random_range(0.0..1.0));
        let started = Instant::now();
        let mut run = fetch().start();
        // A moment and not a state is what is waited for here, to less than a millisecond.
        while started.elapsed() < moment {
            std::hint::spin_loop();
        }
        run.kill();
        drop(run);
        assert_whole(&harness);
        if harness.current().unwrap() == format!("{ARTIFACT}-{number}") {
            after += 1
        } else {
            before += 1
        }
        let _run = fetch().run().succeeds().stderr_is_empty();
        harness.assert_current(number);
        assert_whole(&harness);
        assert_eq!(harness.shelf(), [number - 2, number - 1, number]);
        harness.assert_tidy();
    }
    assert!(before > 0, "all {after} runs were killed too late");
}
