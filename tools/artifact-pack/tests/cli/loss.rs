//! Replies that get lost, connections that break, stores that are busy: one release or none, never half of one.

use crate::harness::{Harness, ONE_REQUEST, Objects, sparse, tree};
use rand::RngExt;
use std::path::Path;
use testkit::{Fault, Finished, Plan, Seed, figure};

/// After a run with faults: exactly one release and exit 0, or none and another code. No archive without a record.
#[track_caller]
fn is_whole_or_nothing(harness: &Harness, run: &Finished, what: &str) -> bool {
    let sealed = harness.sealed();
    let latest = harness.object("latest.txt");
    match run.code {
        Some(0) => {
            assert_eq!(sealed.len(), 1, "{what}\n{}", run.report());
            let record = harness.text(&format!("obelix-{}.release", sealed[0]));
            assert_eq!(run.stdout_str(), record, "{what}");
            assert_eq!(latest, Some(record.into_bytes()), "{what}");
            let archives = harness.objects().keys().filter(|key| key.contains(".tar")).count();
            assert_eq!(archives, 1, "{what}");
            true
        }
        Some(1 | 75) => {
            assert!(sealed.is_empty() && latest.is_none(), "{what}\n{}", run.report());
            assert!(run.stdout.is_empty(), "{what}");
            false
        }
        _ => panic!("{what}\n{}", run.report()),
    }
}

/// Packs once without faults to count the requests, then once for each request with the fault on it.
fn each_request(tree: &Path, fault: &Fault) {
    let counting = Harness::s3();
    let _run = counting.pack(tree).run().succeeds();
    let requests = counting.proxy().count();
    for number in 1..=requests {
        let what = format!(
            "{fault:?} at request {number} of {requests}: {:?}",
            counting.proxy().log().get(number as usize - 1)
        );
        let harness = Harness::s3();
        harness.proxy().set_plan(Plan::At(vec![(number, fault.clone())]));
        let run = harness.pack(tree).run();
        assert!(is_whole_or_nothing(&harness, &run, &what), "one fault is survived: {what}\n{}", run.report());
        // Only a lost CreateMultipartUpload leaves an upload nobody knows; the next build ends it.
        harness.proxy().set_plan(Plan::None);
        let left = harness.uploads();
        assert!(left.len() <= usize::from(*fault == Fault::LostReply), "{what}: {left:?}");
        if !left.is_empty() {
            let run = harness.pack(tree).run().succeeds();
            let _record = harness.is_published(2, &run);
        }
    }
}

#[test]
fn a_lost_reply_anywhere_small() {
    let tree = tree(&[("a", "a")]);
    each_request(tree.path(), &Fault::LostReply);
}

#[test]
fn a_lost_reply_anywhere_in_parts() {
    let tree = tree(&[("a", "a")]);
    sparse(tree.path(), "f", ONE_REQUEST);
    each_request(tree.path(), &Fault::LostReply);
}

#[test]
fn a_reset_or_a_busy_store_anywhere() {
    let tree = tree(&[("a", "a")]);
    sparse(tree.path(), "f", ONE_REQUEST);
    each_request(tree.path(), &Fault::Reset);
    each_request(tree.path(), &Fault::SlowDown);
}

/// Two lost replies in a row: the retry's reply is lost as well.
#[test]
fn two_lost_replies_in_a_row() {
    let tree = tree(&[("a", "a")]);
    for number in 1..=12 {
        let harness = Harness::s3();
        harness.proxy().set_plan(Plan::At(vec![(number, Fault::LostReply), (number + 1, Fault::LostReply)]));
        let run = harness.pack(tree.path()).run();
        is_whole_or_nothing(&harness, &run, &format!("requests {number} and {}", number + 1));
    }
}

/// A third of all requests are told to slow down: one release or none, and the next build puts everything right.
#[test]
fn a_busy_store_everywhere() {
    let seed = Seed::from_env_or_random("a_busy_store_everywhere");
    let tree = tree(&[("a", "a")]);
    sparse(tree.path(), "f", 2 * ONE_REQUEST);
    let mut done = 0;
    let rounds = figure(4, 16);
    for round in 0..rounds {
        let harness = Harness::s3();
        let draws = seed.part(round);
        harness.proxy().set_plan(Plan::Custom(Box::new(move |info| {
            let busy = draws.part(info.number).rng().random_range(0..100) < 30;
            busy.then_some(Fault::SlowDown)
        })));
        let run = harness.pack(tree.path()).run();
        is_whole_or_nothing_or_sealed(&harness, &run, &format!("round {round}"));
        done += u32::from(run.code == Some(0));
        assert!(matches!(run.code, Some(0 | 75)), "{}", run.report());
        harness.proxy().set_plan(Plan::None);
        // A build that not even its claim came through for has used no number.
        let claimed = harness.object("obelix-1.release").is_some();
        let run = harness.pack(tree.path()).run().succeeds();
        let _record = harness.is_published(1 + u64::from(claimed), &run);
    }
    assert!(done > 0, "not one of {rounds} builds came through");
}

/// A store that never has time for a claim: no number is used.
#[test]
fn a_store_too_busy_for_a_claim() {
    let tree = tree(&[("a", "a")]);
    let harness = Harness::s3();
    harness.fail(|_| true, Fault::SlowDown);
    let run = harness.pack(tree.path()).run().fails_with(75).stderr_contains("SlowDown");
    harness.is_as_before(&Objects::new(), &run);
    harness.proxy().set_plan(Plan::None);
    let run = harness.pack(tree.path()).run().succeeds();
    let _record = harness.is_published(1, &run);
}

/// Anything AWS may answer, at random.
#[test]
fn random_faults() {
    let seed = Seed::from_env_or_random("random_faults");
    let tree = tree(&[("a", "a")]);
    sparse(tree.path(), "f", ONE_REQUEST);
    let rounds = figure(15, 80);
    for round in 0..rounds {
        let harness = Harness::s3();
        harness.proxy().set_plan(Plan::Random { seed: seed.part(round).0, percent: 12 });
        let run = harness.pack(tree.path()).run();
        is_whole_or_nothing_or_sealed(&harness, &run, &format!("round {round}"));
    }
}

/// As above; but faults may also come between the seal and `latest.txt`, and then the message says so.
#[track_caller]
fn is_whole_or_nothing_or_sealed(harness: &Harness, run: &Finished, what: &str) {
    if run.code != Some(0) && !harness.sealed().is_empty() {
        assert!(run.stderr_str().contains("is sealed and can be promoted"), "{what}\n{}", run.report());
        return;
    }
    is_whole_or_nothing(harness, run, what);
}
