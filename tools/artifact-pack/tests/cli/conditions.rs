//! What rests on conditional writes: on a store that ignores them nothing is begun that could overwrite what is there.

use crate::harness::{Harness, ONE_REQUEST, dead_claim, last_line, sparse, tree};
use std::sync::Arc;
use testkit::{KillPoint, RequestInfo, Rules};

const LISTS_ITS_NUMBER: fn(&RequestInfo) -> bool =
    |info| info.has_field("list-type") && info.query.contains("obelix-1.");

/// Two builds could take one number there, so none is taken.
#[test]
fn a_store_that_ignores_all_is_refused() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3_with(Rules { ignore_all_conditions: true, ..Rules::default() });
    let run = harness.pack(small.path()).run().fails_with(1).stderr_contains("ignores conditional writes");
    assert!(harness.objects().is_empty(), "{:?}\n{}", harness.objects().keys(), run.report());
    assert!(harness.uploads().is_empty());
    // Also where releases stand already.
    let old = "MODULE=obelix\nVERSION=41\nBUILD=1\nGIT_COMMIT=x\nTIMESTAMP=y\n";
    harness.put("latest.txt", old.as_bytes());
    let before = harness.objects();
    let run = harness.pack(small.path()).run().fails_with(1);
    assert_eq!(harness.objects(), before, "{}", run.report());
}

/// A claim that looks dead may be sealed at any moment: where conditions are ignored, ending it could overwrite a release.
/// Nor is `latest.txt` moved there.
#[test]
fn nothing_is_swept_there_either() {
    let small = tree(&[("a", "a")]);
    let right = Harness::s3();
    let _first = right.pack(small.path()).run().succeeds();
    let first = right.text("latest.txt");
    let _second = right.pack(small.path()).run().succeeds();
    let harness = Harness::s3_with(Rules { ignore_all_conditions: true, ..Rules::default() });
    right.objects().iter().for_each(|(key, bytes)| harness.put(key, bytes));
    harness.put("latest.txt", first.as_bytes());
    harness.put("obelix-3.release", dead_claim().as_bytes());
    let before = harness.objects();
    let run = harness.pack(small.path()).run().fails_with(1).stderr_contains("ignores conditional writes");
    assert_eq!(harness.objects(), before, "{}", run.report());
}

/// A server may keep conditions on whole objects and ignore them where parts are joined. An old job takes the number while
/// the parts are on their way: its archive stays.
#[test]
fn an_archive_in_parts_overwrites_nothing() {
    let (small, large) = (tree(&[("a", "a")]), tree(&[]));
    sparse(large.path(), "f", ONE_REQUEST);
    let harness = Arc::new(Harness::s3_with(Rules { complete_ignores_conditions: true, ..Rules::default() }));
    let script = Arc::clone(&harness);
    let part = |info: &RequestInfo| info.is_upload_part() && info.path.ends_with(".tar");
    let put = Box::new(move || script.put("obelix-1.tar", b"an old job's"));
    harness.proxy().on_match(Box::new(part), KillPoint::Interleave, put);
    let refused = "ignores conditional writes (If-None-Match of CompleteMultipartUpload)";
    let run = harness.pack(large.path()).run().fails_with(1);
    assert!(last_line(&run).contains(refused) && last_line(&run).contains("release 1"), "{}", run.report());
    harness.is_as_before(&[("obelix-1.tar".to_owned(), b"an old job's".to_vec())].into(), &run);
    // The same where nobody is in the way; and one request keeps its condition, so small archives are welcome.
    let before = harness.objects();
    let run = harness.pack(large.path()).run().fails_with(1).stderr_contains(refused);
    harness.is_as_before(&before, &run);
    let run = harness.pack(small.path()).run().succeeds();
    let _record = harness.is_published(3, &run);
}

/// What an archive of several parts costs beside them, and a small one does not.
#[test]
fn the_probe_of_parts_is_four_requests() {
    let (small, large) = (tree(&[("a", "a")]), tree(&[]));
    sparse(large.path(), "f", ONE_REQUEST);
    for (dir, probe) in [(&large, &["DELETE", "POST", "POST", "PUT"][..]), (&small, &[])] {
        let harness = Harness::s3();
        let run = harness.pack(dir.path()).run().succeeds();
        let _record = harness.is_published(1, &run);
        let log = harness.proxy().log();
        let on_record = log.iter().filter(|seen| seen.path.ends_with("-1.release") && seen.query.contains("upload"));
        let mut seen: Vec<(&str, Option<u16>)> = on_record.map(|seen| (seen.method.as_str(), seen.status)).collect();
        seen.sort_unstable();
        assert_eq!(seen.iter().map(|(method, _)| *method).collect::<Vec<_>>(), probe, "{seen:?}");
        assert_eq!(seen.iter().filter(|(_, status)| *status == Some(412)).count(), probe.len() / 4, "{seen:?}");
        let looks = log.iter().filter(|seen| seen.method == "HEAD").count();
        assert_eq!(looks, probe.len() / 4, "parts are read back once");
    }
}

/// Somebody overwrites the archive after it was complete: no record is sealed over bytes that are not its own.
#[test]
fn an_archive_that_was_overwritten_is_an_error() {
    let (small, large) = (tree(&[("a", "a")]), tree(&[]));
    sparse(large.path(), "f", ONE_REQUEST);
    let reads_back: fn(&RequestInfo) -> bool = |info| info.method == "HEAD" && info.path.ends_with(".tar");
    for (dir, moment) in [(&small, LISTS_ITS_NUMBER), (&large, LISTS_ITS_NUMBER), (&large, reads_back)] {
        let harness = Arc::new(Harness::s3());
        let script = Arc::clone(&harness);
        let put = Box::new(move || script.put("obelix-1.tar", b"an old job's"));
        harness.proxy().on_match(Box::new(moment), KillPoint::Interleave, put);
        let run = harness.pack(dir.path()).run().fails_with(75);
        assert!(last_line(&run).contains("was written by somebody else, who claimed no number"), "{}", run.report());
        harness.is_as_before(&[("obelix-1.tar".to_owned(), b"an old job's".to_vec())].into(), &run);
    }
}
