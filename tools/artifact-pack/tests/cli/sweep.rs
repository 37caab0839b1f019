//! What dead builds leave, what becomes of it, and that a living build is never taken for a dead one.

use crate::harness::{
    BUCKET, HEADER, Harness, ONE_REQUEST, PREFIX, UUID, audit, begin_upload, dead_claim, foreign_claim,
    is_archive_complete, is_archive_part, last_line, sparse, stalled, tree,
};
use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;
use testkit::{KillPoint, Plan, RequestInfo, Rules, request, wait_until};

/// Aborts the upload of the archive. The trial of the store's conditions has one of its own, which its build aborts meanwhile.
fn abort_archive(endpoint: &str, uploads: &[testkit::UploadView]) {
    let archives: Vec<_> = uploads.iter().filter(|upload| upload.key.ends_with(".tar")).collect();
    let [upload] = archives[..] else { panic!("one archive: {archives:?}") };
    let target = format!("/{BUCKET}/{}?uploadId={}", upload.key, upload.upload_id);
    assert_eq!(request(endpoint, "DELETE", &target, &[], b"").unwrap().status, 204);
}

#[test]
fn a_dead_build_is_swept_by_the_next_one() {
    let (large, small) = (tree(&[]), tree(&[("a", "a")]));
    sparse(large.path(), "f", 3 * ONE_REQUEST);
    let harness = Harness::s3();
    let mut dead = stalled(&harness, large.path());
    let pid = dead.pid();
    harness.proxy().set_plan(Plan::None);
    let alive = audit(&harness);
    assert_eq!(alive.len(), 2, "{alive:?}");
    assert!(alive.iter().all(|row| row.starts_with("building,") && row.contains(&format!(":{pid},"))), "{alive:?}");
    dead.kill();
    let rows = audit(&harness);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0].starts_with("dead,obelix-1.release,1,") && rows[1].starts_with("dead,obelix-1.tar,1,"), "{rows:?}");

    let run =
        harness.pack(small.path()).arg("-v").run().succeeds().stderr_contains("release 1 is abandoned: its builder ");
    let _record = harness.is_published(2, &run);
    assert!(harness.text("obelix-1.release").starts_with("STATE=abandoned\nBUILD_UUID="));
    assert_eq!(audit(&harness), ["abandoned,obelix-1.release,1,,,,"]);
}

#[test]
fn a_dead_build_in_a_directory() {
    let (large, small) = (tree(&[]), tree(&[("a", "a")]));
    sparse(large.path(), "f", 60 * ONE_REQUEST);
    let harness = Harness::files();
    let mut dead = harness.pack(large.path()).start();
    let _upload = crate::harness::wait_for_upload(&harness, ONE_REQUEST);
    dead.kill();
    assert_eq!(audit(&harness).iter().filter(|row| row.starts_with("dead,")).count(), 2);
    let run = harness.pack(small.path()).run().succeeds();
    let _record = harness.is_published(2, &run);
    assert_eq!(audit(&harness), ["abandoned,obelix-1.release,1,,,,"]);
    assert_eq!(harness.object("obelix-1.tar"), None);
}

/// It died after its archive was complete and before its record was sealed: nobody will ever ask for those bytes.
#[test]
fn a_complete_archive_of_a_dead_build_is_removed() {
    let small = tree(&[("a", "a")]);
    for state in ["claimed", "abandoned"] {
        let harness = Harness::files();
        let record = if state == "claimed" { dead_claim() } else { format!("STATE=abandoned\nBUILD_UUID={UUID}\n") };
        harness.put("obelix-1.release", record.as_bytes());
        harness.put("obelix-1.tar", b"complete");
        fs::create_dir(harness.dir.path().join(".uploads")).unwrap();
        let upload = harness.dir.path().join(format!(".uploads/obelix-1.tar.{UUID}"));
        fs::hard_link(harness.dir.path().join("obelix-1.tar"), upload).unwrap();
        let run = harness.pack(small.path()).run().succeeds();
        let _record = harness.is_published(2, &run);
        assert_eq!(harness.object("obelix-1.tar"), None, "{state}");
    }
}

/// The same on S3, where the archive's metadata names its build.
#[test]
fn a_complete_archive_in_a_bucket_is_removed() {
    let small = tree(&[("a", "a")]);
    for (record, theirs) in
        [(dead_claim(), false), (format!("STATE=abandoned\nBUILD_UUID={UUID}\n"), false), (dead_claim(), true)]
    {
        let harness = Harness::s3();
        harness.put("obelix-1.release", record.as_bytes());
        let target = format!("/{BUCKET}/{PREFIX}obelix-1.tar");
        let headers: &[_] = if theirs { &[] } else { &[("x-amz-meta-build-uuid", UUID)] };
        assert_eq!(request(&harness.model().endpoint(), "PUT", &target, headers, b"complete").unwrap().status, 200);
        let run = harness.pack(small.path()).run().succeeds();
        let _record = harness.is_published(2, &run);
        assert!(harness.text("obelix-1.release").starts_with("STATE=abandoned\n"));
        assert_eq!(harness.object("obelix-1.tar").is_some(), theirs, "only the build's own archive may go");
    }
}

#[test]
fn a_slow_build_is_left_alone() {
    let (large, small) = (tree(&[]), tree(&[("a", "a")]));
    sparse(large.path(), "f", 2 * ONE_REQUEST);
    let harness = Harness::s3();
    let (go, wait) = channel::<()>();
    let held = Box::new(move || _ = wait.recv());
    harness.proxy().on_match(Box::new(is_archive_part), KillPoint::Interleave, held);
    let slow = harness.pack(large.path()).start();
    wait_until("a part under way", || {
        if harness.proxy().log().iter().any(|seen| seen.query.contains("partNumber=") && seen.path.contains(".tar")) {
            Ok(())
        } else {
            Err("none".to_owned())
        }
    });
    for number in 2..=4 {
        let run = harness.pack(small.path()).args(["--orphan-age", "1h"]).run().succeeds();
        assert!(run.stdout_str().contains(&format!("\nVERSION={number}\n")), "{}", run.report());
        assert!(harness.uploads().contains(&format!("{PREFIX}obelix-1.tar")), "the slow build's upload stays");
    }
    let latest = harness.text("latest.txt");
    go.send(()).unwrap();
    let run = slow.wait().succeeds();
    assert_eq!(harness.sealed(), [1, 2, 3, 4]);
    assert_eq!(run.stdout_str(), harness.text("obelix-1.release"));
    assert_eq!(harness.text("latest.txt"), latest, "latest.txt moves forward only");
    assert!(harness.uploads().is_empty());
}

/// Another host's build counts as dead only once it has been silent for long.
#[test]
fn another_hosts_build_is_swept_by_age() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    harness.put("obelix-1.release", foreign_claim().as_bytes());
    begin_upload(&harness, "obelix-1.tar");
    begin_upload(&harness, "obelix-9.tar");
    let build = |number: u64| {
        let run = harness.pack(small.path()).run().succeeds();
        assert!(run.stdout_str().contains(&format!("\nVERSION={number}\n")), "{}", run.report());
    };
    build(2);
    assert_eq!(harness.text("obelix-1.release"), foreign_claim());
    assert_eq!(harness.uploads().len(), 2);
    harness.model().age_uploads(Duration::from_secs(23 * 3600));
    build(3);
    assert_eq!(harness.uploads().len(), 2, "23 h are not 24");
    let rows = audit(&harness);
    assert!(rows[0].starts_with("building,obelix-1.release,1,"), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("orphan,obelix-9.tar,9,")), "{rows:?}");
    harness.model().age_uploads(Duration::from_secs(2 * 3600));
    let rows = audit(&harness);
    assert!(rows[0].starts_with("silent,obelix-1.release,1,"), "{rows:?}");
    build(4);
    assert!(harness.text("obelix-1.release").starts_with("STATE=abandoned\n"));
    assert!(harness.uploads().is_empty(), "{:?}", harness.uploads());
    assert_eq!(harness.sealed(), [2, 3, 4]);
}

/// A new part is a sign of life, however old the claim is.
#[test]
fn a_new_part_is_a_sign_of_life() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    harness.put("obelix-1.release", foreign_claim().as_bytes());
    begin_upload(&harness, "obelix-1.tar");
    harness.model().age_uploads(Duration::from_secs(72 * 3600));
    let upload = &harness.model().uploads(BUCKET)[0];
    let target = format!("/{BUCKET}/{PREFIX}obelix-1.tar?partNumber=1&uploadId={}", upload.upload_id);
    assert_eq!(request(&harness.model().endpoint(), "PUT", &target, &[], b"part").unwrap().status, 200);
    let _run = harness.pack(small.path()).run().succeeds();
    assert_eq!(harness.text("obelix-1.release"), foreign_claim());
    assert_eq!(harness.uploads().len(), 1);
}

/// A builder that was taken for dead, before, while and after its parts were sent: nothing is published, try again.
#[test]
fn a_swept_builder_ends_with_75() {
    let large = tree(&[]);
    sparse(large.path(), "f", 7 * ONE_REQUEST);
    let abandoned = |harness: &Harness| {
        let claim = harness.text("obelix-1.release");
        let build = claim.lines().find(|line| line.starts_with("BUILD_UUID=")).expect("a claim names its build");
        format!("STATE=abandoned\n{build}\n")
    };
    type Matches = fn(&RequestInfo) -> bool;
    let moments: [(&str, Matches, bool); 4] = [
        ("while parts are sent, the upload too", is_archive_part, true),
        ("while parts are sent, the claim alone", is_archive_part, false),
        ("before the end, the upload too", is_archive_complete, true),
        ("before the end, the claim alone", is_archive_complete, false),
    ];
    for (what, matches, upload_too) in moments {
        let harness = std::sync::Arc::new(Harness::s3());
        let sweeper = std::sync::Arc::clone(&harness);
        harness.proxy().on_match(
            Box::new(matches),
            KillPoint::Interleave,
            Box::new(move || {
                sweeper.put("obelix-1.release", abandoned(&sweeper).as_bytes());
                if upload_too {
                    abort_archive(&sweeper.model().endpoint(), &sweeper.model().uploads(BUCKET));
                }
            }),
        );
        let run = harness.pack(large.path()).run().fails_with(75);
        assert!(last_line(&run).contains("swept"), "{what}\n{}", run.report());
        harness.is_as_before(&Default::default(), &run);
    }
}

/// A reply to CreateMultipartUpload was lost: the upload nobody knows is ended once its number is sealed.
#[test]
fn a_lost_upload_of_a_sealed_number() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    let _first = harness.pack(small.path()).run().succeeds();
    begin_upload(&harness, "obelix-1.tar");
    assert!(audit(&harness)[0].starts_with("orphan,obelix-1.tar,1,"), "{:?}", audit(&harness));
    let archive = harness.object("obelix-1.tar");
    let run = harness.pack(small.path()).run().succeeds();
    let _record = harness.is_published(2, &run);
    assert!(harness.object("obelix-1.tar") == archive);
    assert!(audit(&harness).is_empty());
}

/// Old scripts may still put a tar under the next number: it is neither overwritten nor removed.
#[test]
fn an_old_scripts_tar_is_safe() {
    let small = tree(&[("a", "a")]);
    for harness in Harness::both() {
        let _first = harness.pack(small.path()).run().succeeds();
        harness.put("obelix-2.tar", b"an old script's");
        let run = harness.pack(small.path()).run().succeeds();
        let _record = harness.is_published(3, &run);
        assert_eq!(harness.object("obelix-2.tar").unwrap(), b"an old script's");
    }
    // It comes between the claim and the end of the upload, small or in parts.
    let large = tree(&[]);
    sparse(large.path(), "f", ONE_REQUEST);
    for tree in [&small, &large] {
        let harness = std::sync::Arc::new(Harness::s3());
        let script = std::sync::Arc::clone(&harness);
        let at_the_end =
            |info: &RequestInfo| is_archive_complete(info) || (info.is_put_object() && info.path.ends_with(".tar"));
        harness.proxy().on_match(
            Box::new(at_the_end),
            KillPoint::Interleave,
            Box::new(move || script.put("obelix-1.tar", b"old")),
        );
        let run = harness
            .pack(tree.path())
            .run()
            .fails_with(75)
            .stderr_contains("was written by somebody else, who claimed no number");
        assert_eq!(harness.object("obelix-1.tar").unwrap(), b"old", "{}", run.report());
        assert!(harness.text("obelix-1.release").starts_with("STATE=abandoned\n"));
        assert!(harness.uploads().is_empty() && harness.object("latest.txt").is_none());
        let run = harness.pack(tree.path()).run().succeeds();
        let _record = harness.is_published(2, &run);
        assert_eq!(harness.object("obelix-1.tar").unwrap(), b"old");
    }
}

/// It takes the number in its own format, or in `latest.txt`, while the archive is on its way.
#[test]
fn a_number_that_an_old_script_took_meanwhile() {
    let small = tree(&[("a", "a")]);
    let five = "MODULE=obelix\nVERSION=1\nBUILD=\nGIT_COMMIT=\nTIMESTAMP=x\n";
    for (key, bytes) in [("obelix-1.tar", "old"), ("latest.txt", five)] {
        let harness = std::sync::Arc::new(Harness::s3());
        let script = std::sync::Arc::clone(&harness);
        let archive = |info: &RequestInfo| info.is_put_object() && info.path.ends_with(".tar.zst");
        let put = Box::new(move || script.put(key, bytes.as_bytes()));
        harness.proxy().on_match(Box::new(archive), KillPoint::Interleave, put);
        let run = harness.pack(small.path()).args(["--compress", "zstd"]).run().fails_with(75);
        assert!(last_line(&run).contains(&format!("{key} was written by somebody else")), "{}", run.report());
        harness.is_as_before(&[(key.to_owned(), bytes.as_bytes().to_vec())].into(), &run);
    }
}

/// A builder died between its seal and `latest.txt`: whoever builds next moves it, also if that build comes to nothing.
#[test]
fn latest_txt_is_moved_for_a_dead_builder() {
    let small = tree(&[("a", "a")]);
    for harness in Harness::both() {
        let _first = harness.pack(small.path()).run().succeeds();
        let first = harness.text("latest.txt");
        let _second = harness.pack(small.path()).run().succeeds();
        let second = harness.text("latest.txt");
        harness.put("latest.txt", first.as_bytes());
        let _fails = harness.tool().args(["-C", "/proc/self", "status"]).run().fails_with(75);
        assert_eq!(harness.text("latest.txt"), second);
    }
}

/// The highest number that can be read back is somebody's stray file.
#[test]
fn no_number_is_left() {
    let small = tree(&[("a", "a")]);
    for harness in Harness::both() {
        harness.put("obelix-999999999999999.tar", b"stray");
        let before = harness.objects();
        let run = harness.pack(small.path()).run().fails_with(1).stderr_contains("no number is higher");
        assert_eq!(harness.objects(), before, "{}", run.report());
    }
}

#[test]
fn a_list_without_an_end_is_not_believed() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3_with(Rules { endless_lists: true, ..Rules::default() });
    for args in [&["--audit"][..], &["-C", small.path().to_str().unwrap(), "."]] {
        let run = harness.tool().args(args).run().fails_with(75);
        assert!(last_line(&run).contains("the store says that there is more, and not where"), "{}", run.report());
        assert!(harness.objects().is_empty());
    }
    assert!(harness.proxy().count() < 20, "{} requests", harness.proxy().count());
}

/// A directory may hold more than a store, and other programs call their temporary files so too.
#[test]
fn others_files_stay() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::files();
    harness.put(".tmp-somebody's", b"x");
    let _run = harness.pack(small.path()).run().succeeds();
    assert_eq!(harness.text(".tmp-somebody's"), "x");
}

/// What somebody changed behind the tools' back is on the list, with what differs, and whatever is as it was is not.
#[test]
fn audit_of_damage() {
    let small = tree(&[("a", "a")]);
    for harness in Harness::both() {
        for _ in 0..6 {
            let _run = harness.pack(small.path()).run().succeeds();
        }
        let mut archive = harness.object("obelix-4.tar").expect("it is published");
        let size = archive.len();
        harness.put("obelix-1.release", b"garbage");
        let other = harness.text("obelix-6.release");
        harness.put("obelix-2.release", other.as_bytes());
        harness.remove("obelix-3.tar");
        archive.extend_from_slice(b"and more");
        harness.put("obelix-4.tar", &archive);
        archive.truncate(size);
        archive[size / 2] ^= 1;
        harness.put("obelix-5.tar", &archive);
        let rows = audit(&harness);
        let (of_sum, rows): (Vec<&String>, Vec<&String>) = rows.iter().partition(|row| row.contains("CRC-64/NVME"));
        assert_eq!(
            rows,
            [
                "damaged,obelix-1.release,1,,,,it is no record: line 1 is not KEY=VALUE",
                "damaged,obelix-2.release,2,,,,it is the record of release 6",
                "missing,obelix-3.tar,3,,,,there is no archive",
                &format!("damaged,obelix-4.tar,4,,,,it has {} bytes instead of {size}", size + 8),
            ]
        );
        // A directory keeps no checksums: there, only who reads the archive finds it.
        assert_eq!(of_sum.len(), usize::from(harness.is_s3()));
        assert!(
            of_sum.iter().all(|row| row.starts_with("damaged,obelix-5.tar,5,,,,its CRC-64/NVME is ")),
            "{of_sum:?}"
        );
    }
}

#[test]
fn audit_of_a_clean_store() {
    let small = tree(&[("a", "a")]);
    for harness in Harness::both() {
        // A wrong URL looks like this, so it is said; under -q the header alone comes.
        let run = harness.tool().arg("--audit").run().succeeds().stdout_is(HEADER);
        assert_eq!(run.stderr_str(), format!("artifact-pack: no release of obelix in {}/ yet\n", harness.url));
        let _quiet = harness.tool().args(["--audit", "-q"]).run().succeeds().stdout_is(HEADER).stderr_is_empty();
        let _run = harness.pack(small.path()).run().succeeds();
        let before = harness.objects();
        assert!(audit(&harness).is_empty());
        assert_eq!(harness.objects(), before);
        // Another artifact in the same place is none of its business.
        harness.put("obelix-app-1.release", foreign_claim().as_bytes());
        assert!(audit(&harness).is_empty());
    }
}
