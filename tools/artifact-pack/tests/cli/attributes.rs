//! Storage class, encryption, and stores that can't be trusted.

use crate::harness::{BUCKET, Harness, ONE_REQUEST, PREFIX, sparse, tree};
use testkit::Rules;

#[test]
fn class_and_encryption_are_on_every_object() {
    let small = tree(&[("a", "a")]);
    let large = tree(&[]);
    sparse(large.path(), "f", ONE_REQUEST);
    type Case<'a> = (&'a [&'a str], &'a str, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 6] = [
        (&[], "STANDARD", None, None),
        (&["--storage-class", "STANDARD"], "STANDARD", None, None),
        (&["--storage-class", "STANDARD_IA"], "STANDARD_IA", None, None),
        (&["--sse", "AES256"], "STANDARD", Some("AES256"), None),
        (
            &["--sse", "aws:kms:alias/release", "--storage-class", "INTELLIGENT_TIERING"],
            "INTELLIGENT_TIERING",
            Some("aws:kms"),
            Some("alias/release"),
        ),
        (&["--storage-class", "GLACIER_IR"], "GLACIER_IR", None, None),
    ];
    for (args, class, sse, key) in cases {
        for tree in [&small, &large] {
            let harness = Harness::s3();
            let run = harness.pack(tree.path()).args(args).run().succeeds();
            let _record = harness.is_published(1, &run);
            for name in ["obelix-1.tar", "obelix-1.release", "latest.txt"] {
                let object = harness.model().object(BUCKET, &format!("{PREFIX}{name}")).unwrap();
                let kept = (object.storage_class.as_str(), object.sse.as_deref(), object.sse_key.as_deref());
                assert_eq!(kept, (class, sse, key), "{name} {args:?}");
            }
        }
    }
    // A key of the account's own.
    let harness = Harness::s3();
    let _run = harness.pack(small.path()).args(["--sse", "aws:kms"]).run().succeeds();
    let object = harness.model().object(BUCKET, &format!("{PREFIX}latest.txt")).unwrap();
    assert_eq!(object.sse.as_deref(), Some("aws:kms"));
}

#[test]
fn a_store_that_forgets_them_gets_no_release() {
    let small = tree(&[("a", "a")]);
    let forgets_class = Rules { forget_storage_class: true, ..Rules::default() };
    let forgets_encryption = Rules { forget_encryption: true, ..Rules::default() };
    for (rules, args) in [
        (forgets_class, ["--storage-class", "STANDARD_IA"]),
        (forgets_encryption, ["--sse", "AES256"]),
        (forgets_encryption, ["--sse", "aws:kms"]),
    ] {
        let harness = Harness::s3_with(rules);
        let run = harness
            .pack(small.path())
            .args(args)
            .run()
            .fails_with(1)
            .stderr_contains("which is not what was asked for");
        harness.is_as_before(&Default::default(), &run);
        // Who asks for nothing gets a release.
        let run = harness.pack(small.path()).run().succeeds();
        let _record = harness.is_published(2, &run);
    }
}

#[test]
fn classes_that_do_not_fit() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3();
    for class in ["GLACIER", "DEEP_ARCHIVE"] {
        let run = harness.pack(small.path()).args(["--storage-class", class]).run().fails_with(2).stderr_is_one_line();
        harness.is_as_before(&Default::default(), &run.stderr_contains("can't be fetched when an instance boots"));
    }
    for wrong in [["--sse", "aes"], ["--sse", "aws:kms:"], ["--sse", ""]] {
        let run = harness.pack(small.path()).args(wrong).run().fails_with(2).stderr_is_one_line();
        harness.is_as_before(&Default::default(), &run);
    }
    assert_eq!(harness.proxy().count(), 0);
    let run = harness.pack(small.path()).args(["--storage-class", "NO_SUCH_CLASS"]).run().fails_with(1);
    harness.is_as_before(&Default::default(), &run.stderr_contains("InvalidStorageClass"));
    let run = harness.pack(small.path()).args(["--storage-class", "REDUCED_REDUNDANCY"]).run().succeeds();
    let run = run.stderr_contains(
        "artifact-pack: warning: REDUCED_REDUNDANCY loses objects more often than STANDARD and costs no less\n",
    );
    let _record = harness.is_published(1, &run);
    let files = Harness::files();
    for args in [["--sse", "AES256"], ["--storage-class", "STANDARD"]] {
        let run = files.pack(small.path()).args(args).run().fails_with(2).stderr_contains("need a store on s3://");
        files.is_as_before(&Default::default(), &run);
    }
}

/// Servers without checksums or without a listing of uploads are still good enough.
#[test]
fn lesser_servers() {
    let large = tree(&[]);
    sparse(large.path(), "f", ONE_REQUEST);
    for rules in [Rules { no_checksums: true, ..Rules::default() }, Rules { no_list_uploads: true, ..Rules::default() }]
    {
        let harness = Harness::s3_with(rules);
        let run = harness.pack(large.path()).run().succeeds();
        let _record = harness.is_published(1, &run);
    }
    let harness = Harness::s3();
    let run = harness.pack(large.path()).env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required").run().succeeds();
    let _record = harness.is_published(1, &run);
}

/// A server that says yes and keeps nothing must not be believed.
#[test]
fn a_store_that_drops_everything() {
    let small = tree(&[("a", "a")]);
    let harness = Harness::s3_with(Rules { ack_and_drop: true, ..Rules::default() });
    let run = harness.pack(small.path()).run();
    assert_ne!(run.code, Some(0), "{}", run.report());
    assert!(run.stdout.is_empty());
}
