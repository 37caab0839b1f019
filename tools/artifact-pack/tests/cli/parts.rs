//! Parts: how many and how large, what their checksums say, and what Complete may answer.

use crate::harness::{BUCKET, Harness, ONE_REQUEST, PREFIX, is_archive_complete, sparse, tree, write};
use base64::Engine;
use rand::RngExt;
use std::sync::atomic::{AtomicU32, Ordering};
use testkit::{Fault, Plan, RequestInfo, Seed, Seen};

/// Bytes of a part of a longer one.
const PART: u64 = 5 << 20;
/// What the archive of one file has beside the file: RELEASE, a header, the end.
const AROUND: u64 = 1024 + 512 + 1024;

fn part_numbers(harness: &Harness) -> Vec<u32> {
    let log = harness.proxy().log().into_iter();
    let number = |query: String| query.split('&').find_map(|field| field.strip_prefix("partNumber=")?.parse().ok());
    let of_archives = log.filter(|seen| seen.path.contains(".tar"));
    let mut numbers: Vec<u32> = of_archives.filter_map(|seen| number(seen.query)).collect();
    numbers.sort_unstable();
    numbers
}

fn count(harness: &Harness, method: &str, end: &str) -> usize {
    harness.proxy().log().iter().filter(|seen| seen.method == method && seen.path.ends_with(end)).count()
}

/// Around every boundary of parts and blocks: nothing lost, nothing empty, no part too many.
#[test]
fn sizes_around_the_boundaries() {
    let seed = Seed::from_env_or_random("sizes_around_the_boundaries");
    let mut noise = vec![0; 3 * ONE_REQUEST as usize + 1];
    seed.rng().fill(&mut noise[..]);
    let one = ONE_REQUEST - AROUND;
    let sizes = [
        0,
        1,
        511,
        512,
        513,
        one - 512,
        one - 1,
        one,
        one + 1,
        ONE_REQUEST - 1,
        ONE_REQUEST,
        ONE_REQUEST + 1,
        2 * PART - AROUND,
        2 * PART - AROUND + 1,
        3 * PART - AROUND,
        3 * ONE_REQUEST + 1,
    ];
    for size in sizes {
        let harness = Harness::s3();
        let dir = tree(&[]);
        write(dir.path(), "f", &noise[..usize::try_from(size).unwrap()]);
        let run = harness.pack(dir.path()).run().succeeds();
        let record = harness.is_published(1, &run);
        let length = size.next_multiple_of(512) + AROUND;
        assert_eq!(record.get("SIZE"), length.to_string(), "{size}");
        let expected: Vec<u32> = if length <= ONE_REQUEST {
            Vec::new()
        } else {
            (1..=u32::try_from(length.div_ceil(PART)).unwrap()).collect()
        };
        assert_eq!(part_numbers(&harness), expected, "{size}");

        let object = harness.model().object(BUCKET, &format!("{PREFIX}obelix-1.tar")).unwrap();
        let (algorithm, sum) = object.checksum.clone().expect("a checksum is stored");
        assert_eq!((algorithm.as_str(), object.checksum_type.as_str()), ("CRC64NVME", "FULL_OBJECT"));
        assert_eq!(
            record.get("CRC64NVME"),
            hex::encode(base64::prelude::BASE64_STANDARD.decode(sum).unwrap()),
            "{size}"
        );
        let at = object.body.windows(64).position(|window| window == &noise[..64]);
        if size >= 64 {
            let start = at.expect("the file is in the archive");
            assert!(
                object.body[start..][..usize::try_from(size).unwrap()] == noise[..usize::try_from(size).unwrap()],
                "{size}"
            );
        }
    }
}

/// The same archive, whichever way it took.
#[test]
fn a_directory_holds_the_same_bytes() {
    let dir = tree(&[("a", "a")]);
    sparse(dir.path(), "f", 2 * ONE_REQUEST + 77);
    let (s3, files) = (Harness::s3(), Harness::files());
    let epoch = |harness: &Harness| harness.pack(dir.path()).env("SOURCE_DATE_EPOCH", "1").run().succeeds();
    assert_eq!(s3.is_published(1, &epoch(&s3)), files.is_published(1, &epoch(&files)));
    assert!(s3.object("obelix-1.tar") == files.object("obelix-1.tar"));
}

#[test]
fn compressed_archives_in_parts() {
    let seed = Seed::from_env_or_random("compressed_archives_in_parts");
    let mut noise = vec![0; 20 << 20];
    seed.rng().fill(&mut noise[..]);
    let dir = tree(&[("a", "a")]);
    write(dir.path(), "noise", &noise);
    for (format, suffix) in [("zstd", "tar.zst"), ("gzip", "tar.gz")] {
        let harness = Harness::s3();
        let run = harness.pack(dir.path()).args(["--compress", format]).run().succeeds();
        let record = harness.is_published(1, &run);
        assert_eq!(record.get("FILE"), format!("obelix-1.{suffix}"));
        assert_eq!(part_numbers(&harness), [1, 2, 3]);
        // Small ones go in one request.
        let small = tree(&[("a", "a")]);
        let run = harness.pack(small.path()).args(["--compress", format]).run().succeeds();
        let _record = harness.is_published(2, &run);
        assert_eq!(part_numbers(&harness), [1, 2, 3]);
    }
}

/// Requests that match meet `fault`, the first `times` of them.
fn fail_first(harness: &Harness, times: u32, matches: fn(&RequestInfo) -> bool, fault: Fault) {
    let seen = AtomicU32::new(0);
    harness.proxy().set_plan(Plan::Custom(Box::new(move |info| {
        (matches(info) && seen.fetch_add(1, Ordering::SeqCst) < times).then(|| fault.clone())
    })));
}

#[test]
fn a_conflict_at_the_end_sends_all_parts_again() {
    let dir = tree(&[]);
    sparse(dir.path(), "f", 2 * ONE_REQUEST);
    let harness = Harness::s3();
    fail_first(&harness, 2, is_archive_complete, Fault::Conflict);
    let run = harness.pack(dir.path()).run().succeeds();
    let _record = harness.is_published(1, &run);
    // The SDK itself may ask once more before it gives the answer on; never are parts of one upload used by another.
    let begins = |seen: &Seen| seen.method == "POST" && seen.query.starts_with("uploads") && seen.path.contains(".tar");
    let uploads = harness.proxy().log().iter().filter(|seen| begins(seen)).count();
    assert!(uploads >= 2, "a new upload after a conflict");
    assert_eq!(part_numbers(&harness).len(), 4 * uploads);

    let harness = Harness::s3();
    fail_first(&harness, u32::MAX, is_archive_complete, Fault::Conflict);
    let run = harness.pack(dir.path()).run().fails_with(75).stderr_contains("keeps asking for all parts again");
    harness.is_as_before(&Default::default(), &run);
}

/// Of one part there is nothing to send again but the whole.
#[test]
fn a_conflict_of_a_small_archive() {
    let dir = tree(&[("a", "a")]);
    let harness = Harness::s3();
    fail_first(&harness, 2, |info| info.is_put_object() && info.path.ends_with(".tar"), Fault::Conflict);
    let run = harness.pack(dir.path()).run().succeeds();
    let _record = harness.is_published(1, &run);
}

#[test]
fn an_error_in_the_body_of_a_200() {
    let dir = tree(&[]);
    sparse(dir.path(), "f", 2 * ONE_REQUEST);
    for fault in [Fault::ErrorIn200, Fault::ErrorIn200AfterCommit] {
        let harness = Harness::s3();
        fail_first(&harness, 1, is_archive_complete, fault);
        let run = harness.pack(dir.path()).run().succeeds();
        let _record = harness.is_published(1, &run);
    }
    let harness = Harness::s3();
    fail_first(&harness, u32::MAX, is_archive_complete, Fault::ErrorIn200);
    let run = harness
        .pack(dir.path())
        .run()
        .fails_with(75)
        .stderr_contains("unable to complete s3://build/obelix/prod/obelix-1.tar");
    harness.is_as_before(&Default::default(), &run);
}

/// A refusal that hides nothing: the parts are sent again.
#[test]
fn a_precondition_that_fails_for_no_reason() {
    let dir = tree(&[]);
    sparse(dir.path(), "f", ONE_REQUEST);
    let harness = Harness::s3();
    fail_first(&harness, 1, is_archive_complete, Fault::SpuriousPrecondition);
    let run = harness.pack(dir.path()).run().succeeds();
    let _record = harness.is_published(1, &run);
}

/// Allocation writes the claim, and two more requests prove that the store keeps conditions.
#[test]
fn the_probe_is_two_requests() {
    let dir = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let _run = harness.pack(dir.path()).run().succeeds();
    let log = harness.proxy().log();
    let statuses: Vec<_> = log
        .iter()
        .filter(|seen| seen.method == "PUT" && seen.path.ends_with("-1.release"))
        .map(|seen| seen.status.unwrap())
        .collect();
    assert_eq!(statuses, [200, 412, 412, 200], "claim, probe, probe, seal");
    assert_eq!(
        (count(&harness, "PUT", ".tar"), count(&harness, "PUT", "latest.txt"), count(&harness, "DELETE", "")),
        (1, 1, 0)
    );
}
