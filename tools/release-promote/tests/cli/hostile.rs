//! What no host could fetch is neither sealed nor promoted; and what names a release must be its record.

use crate::harness::{ARTIFACT, Store, commit_of, five};
use release::record::{Artifact, Record, sha256};
use std::collections::BTreeMap;
use testkit::hostile::{self, Hostile};
use testkit::tars::{EntryType, Tar};
use testkit::{S3Model, Tool};

/// Puts an archive into the store as release 2, as an old script left it or with a sealed record.
fn put(store: &Store, archive: &[u8], format: &str, record: Option<()>) {
    let file = format!("{ARTIFACT}-2.{format}");
    store.put(&file, archive);
    if record.is_some() {
        let size = archive.len() as u64;
        // Without the checksum that a store may vouch for, so that the bytes are looked at.
        let artifact =
            Artifact { file, size, sha256: sha256(archive), crc64nvme: None, format: format.parse().unwrap() };
        let record = Record::parse(five(2, Some(&commit_of(2))).as_bytes()).unwrap();
        store.put(&format!("{ARTIFACT}-2.release"), &record.sealed(artifact).unwrap().to_bytes());
    }
}

fn refused(store: &Store, what: &str, promote: Tool) -> String {
    let before = store.all();
    let run = promote.run();
    let told = format!("{what}\n{}", run.report());
    let lines = run.stderr.iter().filter(|byte| **byte == b'\n').count();
    assert!(run.code == Some(1) && lines == 1 && run.stdout.is_empty(), "{told}");
    assert!(store.all() == before, "something changed: {told}");
    run.stderr_str().to_owned()
}

/// The table that artifact-fetch's tests refuse too, as old archives and, where their bytes are read, as sealed ones.
#[test]
fn what_no_host_could_fetch_is_not_promoted() {
    let release = five(2, Some(&commit_of(2)));
    let stores = || [Store::files(), Store::s3(S3Model::start())];
    for (at, Hostile { what, format, archive, words }) in hostile::all(release.as_bytes()).into_iter().enumerate() {
        // Every one in a directory; the servers, which take longer, every tenth.
        for store in stores().into_iter().take(if at % 10 == 0 { 2 } else { 1 }) {
            for record in [None, Some(())].into_iter().filter(|record| format == "tar" || record.is_some()) {
                put(&store, &archive, format, record);
                for args in [&["--dry-run"][..], &[]] {
                    let said = refused(&store, what, store.promote("2").args(args));
                    assert!(
                        said.contains(words) && said.contains("no host would unpack it"),
                        "{what}: {words}: {said}"
                    );
                }
            }
        }
    }
}

#[test]
fn odd_archives_are_promoted() {
    let release = five(2, Some(&commit_of(2)));
    for (what, archive) in hostile::odd(release.as_bytes()) {
        for record in [None, Some(())] {
            let store = Store::files();
            put(&store, &archive, "tar", record);
            let run = store.promote("2").run();
            assert!(run.code == Some(0) && run.stderr.is_empty(), "{what}\n{}", run.report());
            assert_eq!(store.agrees(None), 2);
        }
    }
}

#[test]
fn archives_that_speak_of_another_release() {
    for (what, archive) in hostile::of_another_release(five(3, None).as_bytes()) {
        let store = Store::files();
        put(&store, &archive, "tar", None);
        refused(&store, what, store.promote("2"));
    }
}

/// More than a host takes that was told nothing else.
#[test]
fn an_old_archive_over_the_limits_of_every_host() {
    let store = Store::files();
    let large =
        Tar::new()
            .file("RELEASE", five(2, None).as_bytes())
            .member(b"big", EntryType::Regular, b"", |header| header.set_size((64 << 30) + 1));
    put(&store, &large.end(), "tar", None);
    let said = refused(&store, "64 GiB", store.promote("2"));
    assert!(said.contains("more than 68719476736 bytes") && !said.contains("--max-size"), "{said}");
}

/// `latest.txt`, a channel or a record on stdin that is not what was sealed under its number.
#[test]
fn a_pointer_that_differs_from_its_record() {
    for store in [Store::files(), Store::s3(S3Model::start())] {
        let sealed = store.release(2, &commit_of(2));
        let before: BTreeMap<_, _> = store.all();
        let mut other = sealed.artifact().unwrap().clone();
        other.sha256[0] ^= 1;
        let pointers = [
            sealed.sealed(other).unwrap().to_bytes(),
            Store::files().release(2, &commit_of(3)).to_bytes(),
            five(2, Some(&commit_of(3))).into_bytes(),
        ];
        for pointer in pointers {
            for name in ["latest", "canary", "-"] {
                let stdin = if name == "-" { pointer.clone() } else { Vec::new() };
                if name != "-" {
                    store.put(&format!("{name}.txt"), &pointer);
                }
                let said = refused(&store, name, store.promote(name).stdin(stdin));
                assert!(said.contains("is not the one of release 2 in"), "{name}: {said}");
            }
        }
        store.put("latest.txt", &sealed.to_bytes());
        let _run = store.promote("latest").run().succeeds();
        assert!(before.keys().all(|key| store.all().contains_key(key)));
    }
}

/// A record that is gone is sealed again from the archive that it was of, never from another.
#[test]
fn a_record_that_is_gone() {
    for store in [Store::files(), Store::s3(S3Model::start())] {
        let sealed = store.release(2, &commit_of(2));
        let _run = store.promote("2").run().succeeds();
        let whole = store.get("obelix-2.tar").unwrap();
        store.put("latest.txt", &sealed.to_bytes());
        store.remove("obelix-2.release");
        let other = Tar::new().file("RELEASE", five(2, Some(&commit_of(2))).as_bytes()).file("data", b"other").end();
        store.put("obelix-2.tar", &other);
        for name in ["2", "latest", "-", "latest-stable"] {
            let stdin = if name == "-" { sealed.to_bytes() } else { Vec::new() };
            let said = refused(&store, name, store.promote(name).stdin(stdin));
            assert!(
                said.contains("obelix-2.release is gone, and the archive is another than it was"),
                "{name}: {said}"
            );
        }
        store.put("obelix-2.tar", &whole);
        let _run = store.promote("2").run().succeeds();
        assert_eq!(store.get("obelix-2.release"), Some(sealed.to_bytes()));
    }
}
