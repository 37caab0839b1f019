//! Many promotions at the same moment: pointer, list and tag tell one story in the end, and the tag never steps back.

use crate::harness::{Repo, Store};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use testkit::{Plan, S3Model, Seed, figure};

const AT_ONCE: u64 = 16;

fn race(store: &Store, repo: &Repo, tag: &str) {
    store.releases(repo);
    let over = AtomicBool::new(false);
    let (seen, again) = thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let mut seen: Vec<String> = Vec::new();
            let mut ask = repo.asker();
            while !over.load(Ordering::SeqCst) {
                let oid = ask(&format!("refs/tags/{tag}"));
                if seen.last().is_none_or(|last| *last != oid) && !(seen.is_empty() && oid.is_empty()) {
                    seen.push(oid);
                }
                thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        let runs: Vec<_> =
            (1..=AT_ONCE).map(|number| store.promote_tag(&number.to_string(), repo, tag).start()).collect();
        let codes: Vec<_> = runs.into_iter().map(|run| run.wait()).collect();
        let mut again = 0;
        for (number, run) in (1..).zip(codes) {
            if run.code != Some(75) {
                let _run = run.succeeds();
                continue;
            }
            // The store failed it more often than any tool can bear; its caller runs it again.
            assert!(store.proxy.is_some(), "{}", run.report());
            store.proxy().set_plan(Plan::None);
            let _run = store.promote_tag(&number.to_string(), repo, tag).run().succeeds();
            again += 1;
        }
        over.store(true, Ordering::SeqCst);
        (poller.join().expect("the poller saw the tag all the time"), again)
    });
    store.agrees(Some((repo, tag)));
    let mut promoted: Vec<u64> = store.rows().iter().filter_map(|row| row.to.parse().ok()).collect();
    promoted.sort_unstable();
    let rows = promoted.len();
    promoted.dedup();
    assert_eq!(promoted, (1..=AT_ONCE).collect::<Vec<_>>(), "each was promoted");
    // Others may have promoted theirs since the run that failed moved the pointer: then its caller's is a promotion anew.
    assert!(rows - promoted.len() <= again, "{rows} promotions, {again} runs were repeated");
    assert!(!seen.iter().any(String::is_empty), "the tag was gone for a moment");
    let shown: Vec<_> =
        seen.iter().map(|oid| repo.shown(oid).promotion.expect("every tag shows its promotion")).collect();
    assert!(shown.is_sorted(), "the tag stepped back: {shown:?}");
}

#[test]
fn sixteen_at_once_on_files() {
    let repo = Repo::new(16);
    for round in 0..figure(4, 12) {
        race(&Store::files(), &repo, &format!("files-{round}"));
    }
}

#[test]
fn sixteen_at_once_on_s3() {
    let repo = Repo::new(16);
    for round in 0..figure(3, 12) {
        race(&Store::s3(S3Model::start()), &repo, &format!("s3-{round}"));
    }
}

#[test]
fn sixteen_at_once_on_an_s3_that_fails() {
    let repo = Repo::new(16);
    let seed = Seed::from_env_or_random("sixteen_at_once_on_an_s3_that_fails");
    for round in 0..figure(3, 12) {
        let store = Store::s3(S3Model::start());
        store.proxy().set_plan(Plan::Random { seed: seed.part(round).0, percent: 20 });
        race(&store, &repo, &format!("faults-{round}"));
    }
}
