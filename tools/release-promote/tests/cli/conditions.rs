//! Promotions rest on conditional writes: a store that ignores them is refused, before anything is written there.

use crate::harness::{Store, commit_of};
use crate::old::old_release;
use std::thread;
use testkit::{Finished, Rules, S3Model};

/// Releases of the old scripts, as they may stand on a store that artifact-pack would refuse.
fn liar() -> Store {
    let store = Store::s3(S3Model::start_with(Rules { ignore_all_conditions: true, ..Rules::default() }));
    (1..=8).for_each(|number| drop(old_release(&store, number, Some(&commit_of(number)))));
    store
}

fn eight_at_once(store: &Store) -> Vec<Finished> {
    thread::scope(|scope| {
        let run = |number: u64| scope.spawn(move || store.promote(&number.to_string()).run());
        let runs: Vec<_> = (1..=8).map(run).collect();
        runs.into_iter().map(|run| run.join().expect("a run ends")).collect()
    })
}

/// Each of them would have been promotion 1.
#[test]
fn eight_at_once_on_a_store_that_ignores_conditions() {
    let store = liar();
    let before = store.all();
    for run in eight_at_once(&store) {
        let run =
            run.fails_with(1).stderr_contains("s3://build/obelix/prod/ ignores conditional writes (If-None-Match)");
        assert!(run.stdout.is_empty(), "{}", run.report());
    }
    // A list of no promotions is all that such a race may leave.
    let mut after = store.all();
    assert!(store.rows().is_empty());
    after.remove("promotions.csv");
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "no record, no pointer");
    assert!(after == before);
    // Alone it leaves nothing.
    let store = liar();
    let before = store.all();
    let _run = store.promote("3").run().fails_with(1);
    assert!(store.all() == before);
}

/// Where promotions stand already, of an old release or a new one: they stay as they are, and so do the archives.
#[test]
fn what_stands_there_stays() {
    let good = Store::s3(S3Model::start());
    old_release(&good, 1, Some(&commit_of(1)));
    good.release(2, &commit_of(2));
    let _first = good.promote("1").run().succeeds();
    let _second = good.promote("2").run().succeeds();
    old_release(&good, 3, Some(&commit_of(3)));
    let store = Store::s3(S3Model::start_with(Rules { ignore_all_conditions: true, ..Rules::default() }));
    good.all().iter().for_each(|(key, bytes)| store.put(key, bytes));
    for release in ["1", "3", "previous"] {
        let _run = store.promote(release).run().fails_with(1).stderr_contains("ignores conditional writes");
        assert!(store.all() == good.all(), "{release}");
    }
    // Nor is a row repaired there.
    store.remove("promotions.csv");
    let before = store.all();
    let _run = store.promote("1").run().fails_with(1).stderr_contains("ignores conditional writes");
    assert!(store.all() == before);
    // Whoever only looks writes nothing, and is not refused.
    let _run = store.promote("1").arg("--dry-run").run().succeeds();
    let _run = store.tool().arg("--history").run().succeeds();
    assert!(store.all() == before);
}

/// What the probe costs: two requests of a promotion, three of the first one, none where nothing changes.
#[test]
fn the_probe_is_two_requests() {
    let store = Store::s3(S3Model::start());
    (1..=2).for_each(|number| drop(store.release(number, &commit_of(number))));
    let mut from = 0;
    let mut promote = |release: &str| {
        let _run = store.promote(release).run().succeeds();
        let log = store.proxy().log();
        let written = log[from..].iter().filter(|seen| seen.method == "PUT");
        let told = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let written = written.map(|seen| (told(&seen.path), seen.status.unwrap())).collect::<Vec<_>>();
        from = log.len();
        written
    };
    let (list, pointer) = ("promotions.csv".to_owned(), "latest-stable.txt".to_owned());
    let probe = [(list.clone(), 412), (list.clone(), 412)];
    let promotion = [probe.to_vec(), vec![(pointer, 200), (list.clone(), 200)]].concat();
    assert_eq!(promote("1"), [vec![(list, 200)], promotion.clone()].concat());
    assert_eq!(promote("2"), promotion);
    assert_eq!(promote("2"), []);
    assert_eq!(promote("previous"), promotion);
}
