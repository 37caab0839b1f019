//! Cleaning up after others is never a build's failure, and a build's own upload is ended by its id, whatever the server
//! lists.

use crate::harness::{
    Harness, ONE_REQUEST, UUID, audit, begin_upload, dead_claim, foreign_claim, sparse, stalled, tree,
};
use testkit::{Fault, Plan, RequestInfo, Rules, wait_until};

const SIGTERM: i32 = 15;

fn lists_uploads(info: &RequestInfo) -> bool {
    info.method == "GET" && info.has_field("uploads")
}

/// A server lists no upload unless it is asked for its whole key.
#[test]
fn a_server_that_lists_uploads_by_whole_keys() {
    let (large, small) = (tree(&[]), tree(&[("a", "a")]));
    sparse(large.path(), "f", 3 * ONE_REQUEST);
    // Negative control: what the server lists by prefix is all that a build by prefix can see.
    for by_exact_key in [true, false] {
        let harness = Harness::s3_with(Rules { uploads_by_exact_key: by_exact_key, ..Rules::default() });
        let mut dead = stalled(&harness, large.path());
        harness.proxy().set_plan(Plan::None);
        dead.kill();
        let rows = audit(&harness);
        assert!(rows.iter().any(|row| row.starts_with("dead,obelix-1.tar,1,")), "{rows:?}");
        let run = harness.pack(small.path()).run().succeeds();
        let _record = harness.is_published(2, &run);
        assert_eq!(audit(&harness), ["abandoned,obelix-1.release,1,,,,"]);
    }
    // An upload of a number that is abandoned already is on the list as well.
    let harness = Harness::s3_with(Rules { uploads_by_exact_key: true, ..Rules::default() });
    harness.put("obelix-7.release", format!("STATE=abandoned\nBUILD_UUID={UUID}\n").as_bytes());
    begin_upload(&harness, "obelix-7.tar.zst");
    let rows = audit(&harness);
    assert!(rows.iter().any(|row| row.starts_with("orphan,obelix-7.tar.zst,7,")), "{rows:?}");
}

/// SIGTERM: the upload is aborted by the id that the build holds, also where nothing can be listed.
#[test]
fn a_build_aborts_its_own_upload_by_its_id() {
    let large = tree(&[]);
    sparse(large.path(), "f", 3 * ONE_REQUEST);
    for rules in [
        Rules { uploads_by_exact_key: true, ..Rules::default() },
        Rules { no_list_uploads: true, ..Rules::default() },
        Rules::default(),
    ] {
        let harness = Harness::s3_with(rules);
        let run = stalled(&harness, large.path());
        // From now on no listing of uploads is answered with one.
        harness.fail(lists_uploads, Fault::status(403, "AccessDenied"));
        run.terminate();
        let run = run.wait().killed_by(SIGTERM);
        harness.is_as_before(&Default::default(), &run);
    }
}

/// An upload whose parts can't be listed, as some servers answer after a kill: a warning, and it is swept all the same.
#[test]
fn an_upload_that_cannot_be_read() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3_with(Rules { unreadable_parts: true, ..Rules::default() });
    harness.put("obelix-1.release", dead_claim().as_bytes());
    begin_upload(&harness, "obelix-1.tar");
    harness.put("obelix-2.release", foreign_claim().as_bytes());
    begin_upload(&harness, "obelix-2.tar");
    // Nobody can tell how long it has been silent, so age ends none of them.
    harness.model().age_uploads(std::time::Duration::from_secs(72 * 3600));
    let listed = harness.tool().arg("--audit").run().succeeds().stderr_contains("unable to list the parts of ");
    let rows: Vec<&str> = listed.stdout_str().lines().skip(1).collect();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(rows[0].starts_with("dead,obelix-1.release,1,") && rows[1].starts_with("dead,obelix-1.tar,1,"), "{rows:?}");
    assert!(rows[2].starts_with("building,obelix-2.release,2,") && rows[2].ends_with(','), "{rows:?}");
    assert!(rows[3].starts_with("building,obelix-2.tar,2,"), "{rows:?}");
    let run = harness.pack(small.path()).run().succeeds();
    let said = "unable to list the parts of s3://build/obelix/prod/obelix-2.tar";
    assert!(run.stderr_str().contains(said) && run.stderr_str().contains("this build goes on"), "{}", run.report());
    assert!(harness.text("obelix-1.release").starts_with("STATE=abandoned\n"));
    assert_eq!(harness.text("obelix-2.release"), foreign_claim());
    assert_eq!(harness.uploads(), ["obelix/prod/obelix-2.tar"]);
    assert_eq!(harness.sealed(), [3]);
}

/// Each request of a sweep fails, one after the other: the build says so and is published.
#[test]
fn whatever_of_a_sweep_fails() {
    let small = tree(&[("a", "a")]);
    type Matches = fn(&RequestInfo) -> bool;
    let requests: [(&str, Matches); 6] = [
        ("the listing of uploads", lists_uploads),
        ("the parts", |info| info.method == "GET" && info.has_field("uploadId")),
        ("the abort", |info| info.method == "DELETE" && info.has_field("uploadId")),
        ("a claim", |info| info.method == "GET" && info.path.ends_with("-1.release")),
        ("its end", |info| info.is_put_object() && info.path.ends_with("-1.release")),
        ("an archive's end", |info| {
            info.method == "DELETE" && info.path.ends_with(".tar") && !info.has_field("uploadId")
        }),
    ];
    for (what, matches) in requests {
        let harness = Harness::s3();
        harness.put("obelix-1.release", dead_claim().as_bytes());
        begin_upload(&harness, "obelix-1.tar");
        harness.put("obelix-2.release", format!("STATE=abandoned\nBUILD_UUID={UUID}\n").as_bytes());
        let archive = format!("/{}/{}obelix-2.tar", crate::harness::BUCKET, crate::harness::PREFIX);
        let of_that_build = [("x-amz-meta-build-uuid", UUID)];
        let put = testkit::request(&harness.model().endpoint(), "PUT", &archive, &of_that_build, b"complete").unwrap();
        assert_eq!(put.status, 200);
        harness.fail(matches, Fault::status(403, "AccessDenied"));
        let run = harness.pack(small.path()).run().succeeds();
        assert!(run.stderr_str().contains("AccessDenied"), "{what}\n{}", run.report());
        assert!(run.stderr_str().contains("this build goes on"), "{what}\n{}", run.report());
        assert_eq!(harness.sealed(), [3], "{what}");
        assert_eq!(run.stdout_str(), harness.text("latest.txt"), "{what}");
        // What was left is done by the next one.
        harness.proxy().set_plan(Plan::None);
        let run = harness.pack(small.path()).run().succeeds();
        let _record = harness.is_published(4, &run);
        assert_eq!(audit(&harness), ["abandoned,obelix-1.release,1,,,,", "abandoned,obelix-2.release,2,,,,"], "{what}");
    }
}

/// An audit that can't see everything does not look like one that found nothing.
#[test]
fn an_audit_that_sees_half_fails() {
    let harness = Harness::s3();
    harness.put("obelix-1.release", dead_claim().as_bytes());
    let claim: fn(&RequestInfo) -> bool = |info| info.method == "GET" && info.path.ends_with("-1.release");
    for matches in [lists_uploads, claim] {
        harness.fail(matches, Fault::status(403, "AccessDenied"));
        let run = harness.tool().arg("--audit").run().fails_with(1);
        assert!(run.stdout.is_empty(), "{}", run.report());
    }
}

/// SIGTERM while the upload begins: its id is waited for, and then it is aborted by it.
#[test]
fn a_signal_while_an_upload_begins() {
    let large = tree(&[]);
    sparse(large.path(), "f", ONE_REQUEST);
    let harness = Harness::s3_with(Rules { uploads_by_exact_key: true, ..Rules::default() });
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let begins = |info: &RequestInfo| info.is_create() && info.path.ends_with(".tar");
    let held = Box::new(move || _ = wait.recv());
    harness.proxy().on_match(Box::new(begins), testkit::KillPoint::Interleave, held);
    let run = harness.pack(large.path()).start();
    wait_until("the upload is to begin", || {
        let begun = |seen: &testkit::Seen| seen.query.starts_with("uploads") && seen.path.ends_with(".tar");
        if harness.proxy().log().iter().any(|seen| seen.method == "POST" && begun(seen)) {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
    run.terminate();
    crate::harness::until_noticed(&run);
    go.send(()).unwrap();
    let run = run.wait().killed_by(SIGTERM);
    harness.is_as_before(&Default::default(), &run);
}
