//! What is refused, and with which code: one line, and nothing changed.

use crate::harness::{Repo, Store, commit_of, row_writes, sealed};
use release::Claim;
use release::claim::Builder;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::{Fault, Plan, RequestInfo, S3Model};

fn stage(store: Store) -> Store {
    (1..=3).for_each(|number| drop(store.release(number, &commit_of(number))));
    let _run = store.promote("1").run().succeeds();
    store
}

fn both() -> [Store; 2] {
    [stage(Store::files()), stage(Store::s3(S3Model::start()))]
}

fn refused(store: &Store, release: &str, why: &str) {
    let before = store.all();
    let _run = store.promote(release).run().fails_with(1).stderr_is_one_line().stdout_is("").stderr_contains(why);
    assert_eq!(store.all(), before, "{release}: {why}");
}

#[test]
fn archives_that_are_not_what_the_record_says() {
    for store in both() {
        let whole = store.get("obelix-2.tar").unwrap();
        let mut other = whole.clone();
        other[7] ^= 1;
        store.put("obelix-2.tar", &other);
        refused(&store, "2", "does not match its record");
        store.put("obelix-2.tar", &whole[1..]);
        refused(&store, "2", "bytes instead of");
        store.remove("obelix-2.tar");
        refused(&store, "2", "obelix-2.tar does not exist");
        store.put("obelix-2.tar", &whole);
        let _run = store.promote("2").run().succeeds();
    }
}

#[test]
fn a_store_without_checksums_is_read_in_full() {
    let rules = testkit::Rules { no_checksums: true, ..testkit::Rules::default() };
    let store = stage(Store::s3(S3Model::start_with(rules)));
    let mut other = store.get("obelix-2.tar").unwrap();
    other[7] ^= 1;
    store.put("obelix-2.tar", &other);
    refused(&store, "2", "its SHA-256 differs");
    assert_eq!(store.archive_reads(), 2);
}

#[test]
fn numbers_that_are_no_release() {
    for store in both() {
        refused(&store, "9", "there is no release 9");
        let build = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
        let builder = Builder::this_process();
        store.put("obelix-7.release", &Claim::Claimed { build, builder }.to_bytes());
        store.put("obelix-8.release", &Claim::Abandoned { build }.to_bytes());
        refused(&store, "7", "a build has claimed it");
        refused(&store, "8", "abandoned");
        refused(&store, "latest", "no release is latest");
        refused(&store, "canary", "there is no channel canary");
        refused(&store, "previous", "there is no release before the one that is latest-stable in ");
    }
}

#[test]
fn malformed_records_pointers_and_lists() {
    for store in both() {
        let mut torn = store.get("obelix-2.release").unwrap();
        torn.truncate(torn.len() - 30);
        store.put("obelix-2.release", &torn);
        refused(&store, "2", "obelix-2.release is not a release record");
        store.put("obelix-2.release", &sealed(3, &commit_of(3), b"x").to_bytes());
        refused(&store, "2", "obelix-2.release is not a release record");
        let pointer = store.get("latest-stable.txt").unwrap();
        for wrong in [&b"<html>\n"[..], &pointer[..pointer.len() - 9]] {
            store.put("latest-stable.txt", wrong);
            refused(&store, "3", "latest-stable.txt is not a release record");
            refused(&store, "previous", "latest-stable.txt is not a release record");
        }
        // An old script that is writing it.
        store.put("latest-stable.txt", b"");
        let _run =
            store.promote("3").run().fails_with(75).stderr_is_one_line().stderr_contains("latest-stable.txt is empty");
        store.put("latest-stable.txt", &pointer);
        let list = store.get("promotions.csv").unwrap();
        for wrong in [
            &b"n,time\n1,2\n"[..],
            b"n,time,who,from,to,commit,reason\nx,,,,,,\n",
            b"n,time,who,from,to,commit,reason\n1,2\n",
        ] {
            store.put("promotions.csv", wrong);
            refused(&store, "3", "promotions.csv is not a list of promotions");
            let _run = store.tool().arg("--history").run().fails_with(1).stderr_is_one_line();
        }
        store.put("promotions.csv", b"n,time,who,from,to,commit,reason\n18446744073709551615,t,w,,1,c,\n");
        refused(&store, "3", "counts no further");
        store.put("promotions.csv", &list);
        let _run = store.promote("3").run().succeeds();
    }
}

#[test]
fn a_lost_list_is_begun_again() {
    let store = stage(Store::files());
    let _run = store.promote("2").run().succeeds();
    store.remove("promotions.csv");
    let _run = store.promote("3").run().succeeds();
    assert_eq!(store.moves(), [">2", "2>3"]);
    assert_eq!(store.rows()[0].n, 2);
    store.remove("promotions.csv");
    let _run = store.promote("3").run().succeeds();
    refused(
        &store,
        "previous",
        "promotions.csv has lost what was latest-stable before promotion 3; run again with its number",
    );
}

/// Whoever runs the same again, as code 75 asks for, must not go back to the release that was left.
#[test]
fn a_row_whose_reply_is_lost() {
    let ready = || {
        let store = stage(Store::s3(S3Model::start()));
        let _run = store.promote("2").run().succeeds();
        store
    };
    let (store, is_row) = (ready(), row_writes());
    store.proxy().set_plan(Plan::Custom(Box::new(move |info| is_row(info).then_some(Fault::LostReply))));
    let _run = store.promote("previous").run().succeeds().stderr_is_empty();
    assert_eq!((store.agrees(None), store.moves()), (1, vec![">1".into(), "1>2".into(), "2>1".into()]));
    // Not even the row can be read any more.
    let (store, is_row) = (ready(), row_writes());
    let gone = AtomicBool::new(false);
    let lose = move |info: &RequestInfo| {
        let row = is_row(info);
        let was_gone = gone.fetch_or(row, Ordering::SeqCst);
        if row && !was_gone { Some(Fault::LostReply) } else { was_gone.then_some(Fault::Reset) }
    };
    store.proxy().set_plan(Plan::Custom(Box::new(lose)));
    let run = store.promote("previous").run().fails_with(75).stderr_is_one_line();
    let _told = run.stderr_contains(
        "release 1 is latest-stable now, but its promotion is not finished; run again with --release 1 to",
    );
    store.proxy().set_plan(Plan::None);
    let _run = store.promote("1").run().succeeds();
    assert_eq!((store.agrees(None), store.rows().len()), (1, 3));
}

#[test]
fn a_reason_no_record_can_hold() {
    let store = stage(Store::files());
    let before = store.all();
    for reason in ["x".repeat(4097), "x".repeat(70_000)] {
        let _run = store.promote("2").args(["--reason", &reason]).run().fails_with(2).stdout_is("");
    }
    let long = "x".repeat(4097);
    let _run = store.promote("2").env("SUDO_USER", &long).run().fails_with(2).stderr_contains("PROMOTED_BY");
    assert_eq!(store.all(), before);
    let _run = store.promote("2").args(["--reason", &"x".repeat(4096)]).run().succeeds();
    assert_eq!(store.agrees(None), 2);
}

#[test]
fn answers_that_refuse_or_never_come() {
    let store = stage(Store::s3(S3Model::start()));
    let before = store.all();
    let faults = [
        (Fault::status(403, "AccessDenied"), 1, "AccessDenied"),
        (Fault::status(403, "RequestTimeTooSkewed"), 1, "RequestTimeTooSkewed"),
        (Fault::status(400, "ExpiredToken"), 75, "ExpiredToken"),
        (Fault::status(404, "NoSuchBucket"), 1, "NoSuchBucket"),
        (Fault::Stall, 75, "no answer in time"),
    ];
    for (fault, code, why) in faults {
        let plan = fault.clone();
        store.proxy().set_plan(Plan::Custom(Box::new(move |_| Some(plan.clone()))));
        let run = store.promote("2").args(["--timeout", "1s"]).run();
        let _run = run.fails_with(code).stderr_is_one_line().stderr_contains(why).stdout_is("");
        // And when only the writes are refused.
        let plan = fault.clone();
        store.proxy().set_plan(Plan::Custom(Box::new(move |info| info.is_put_object().then(|| plan.clone()))));
        let run = store.promote("2").args(["--timeout", "1s"]).run();
        let _run = run.fails_with(code).stderr_is_one_line().stderr_contains("unable to write").stdout_is("");
    }
    assert_eq!(store.all(), before);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = store.promote("2").aws(format!("http://{closed}")).args(["--timeout", "2s"]).run();
    let _run = run.fails_with(75).stderr_is_one_line();
}

#[test]
fn a_list_that_can_not_be_written_is_said_and_finished_later() {
    let store = stage(Store::s3(S3Model::start()));
    let denied = || Fault::status(403, "AccessDenied");
    // Denied from the start, it is found out before anything is changed.
    let list = move |info: &RequestInfo| (info.is_put_object() && info.path.ends_with(".csv")).then(denied);
    store.proxy().set_plan(Plan::Custom(Box::new(list)));
    refused(&store, "2", "AccessDenied");
    let is_row = row_writes();
    store.proxy().set_plan(Plan::Custom(Box::new(move |info| is_row(info).then(denied))));
    let run = store.promote("2").run().fails_with(75).stderr_is_one_line().stdout_is("");
    let _run = run.stderr_contains("release 2 is latest-stable now, but its promotion is not finished; run again");
    store.proxy().set_plan(Plan::None);
    let _run =
        store.promote("previous").run().succeeds().stderr_contains("this run did not go back: run it again to do so");
    assert_eq!((store.agrees(None), store.moves()), (2, vec![">1".into(), "1>2".into()]));
    let _run = store.promote("previous").run().succeeds();
    assert_eq!(store.agrees(None), 1);
}

#[test]
fn a_lost_reply_promotes_once() {
    // The swap is committed, its reply lost, and another promotion comes in between: the first is not done again.
    let repo = Repo::new(3);
    for tag in [false, true] {
        let name = format!("production-{tag}");
        let store = Store::s3(S3Model::start());
        store.releases(&repo);
        let promote =
            |release: &str| if tag { store.promote_tag(release, &repo, &name) } else { store.promote(release) };
        let _run = promote("1").run().succeeds();
        let swap = store.proxy().count();
        let first = std::sync::atomic::AtomicBool::new(true);
        let lose = move |info: &testkit::RequestInfo| {
            let is_swap = info.number > swap && info.is_put_object() && info.path.ends_with("latest-stable.txt");
            (is_swap && first.swap(false, std::sync::atomic::Ordering::SeqCst)).then_some(Fault::LostReply)
        };
        store.proxy().set_plan(Plan::Custom(Box::new(lose)));
        let other = store.promote("3").aws(store.model().endpoint());
        let is_again = std::sync::atomic::AtomicU64::new(0);
        let again = move |info: &testkit::RequestInfo| {
            let is_swap = info.is_put_object() && info.path.ends_with("latest-stable.txt");
            is_swap && is_again.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1
        };
        let between = Box::new(move || drop(other.run().succeeds()));
        store.proxy().on_match(Box::new(again), testkit::KillPoint::Interleave, between);
        let _run = promote("2").run().succeeds().stderr_contains("overtaken");
        assert_eq!(store.agrees(tag.then_some((&repo, name.as_str()))), 3);
        assert_eq!(store.moves(), [">1", "1>2", "2>3"]);
    }
}
