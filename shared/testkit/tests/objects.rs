//! The model's rules for single objects, each as AWS documents it.

mod support;

use std::time::Duration;

use support::{BUCKET, Client, aws_chunked};
use testkit::{Rules, S3Model};

#[test]
fn a_bucket_exists_only_if_it_was_created() {
    let model = S3Model::start();
    let s3 = Client::of(&model.endpoint());
    assert_eq!(s3.put("/nowhere/key", &[], b"x").error(), (404, "NoSuchBucket"));
    assert_eq!(s3.get("/nowhere/key", &[]).error(), (404, "NoSuchBucket"));
    assert_eq!(s3.get("/nowhere?list-type=2", &[]).error(), (404, "NoSuchBucket"));
    assert_eq!(s3.send("PUT", "/nowhere", &[], b"").error(), (403, "AccessDenied"));
    model.create_bucket("nowhere");
    assert_eq!(s3.put("/nowhere/key", &[], b"x").status(), 200);
    assert_eq!(s3.send("HEAD", "/nowhere", &[], b"").status(), 200);
    assert_eq!(s3.send("HEAD", "/elsewhere", &[], b"").status(), 404);
}

#[test]
fn an_object_comes_back_as_it_was_put() {
    let (model, s3) = support::model();
    let headers = [
        ("x-amz-meta-build", "17"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "aws-chunked,gzip"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "alias/mine"),
        ("x-amz-decoded-content-length", "5"),
    ];
    let put = s3.put("/b/a%20key%2Bplus", &headers, b"5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(put.status(), 200);
    assert_eq!(put.header("x-amz-server-side-encryption"), Some("aws:kms"));
    assert!(put.header("x-amz-request-id").is_some());
    for answer in [s3.get("/b/a%20key%2Bplus", &[]), s3.head("/b/a%20key%2Bplus", &[])] {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("etag"), put.header("etag"));
        assert_eq!(answer.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
        assert_eq!(answer.header("content-length"), Some("5"));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.header("x-amz-meta-build"), Some("17"));
        assert_eq!(answer.header("x-amz-storage-class"), Some("STANDARD_IA"));
        assert_eq!(answer.header("x-amz-server-side-encryption"), Some("aws:kms"));
        assert_eq!(answer.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("alias/mine"));
        assert!(answer.header("last-modified").is_some_and(|date| date.ends_with(" GMT")));
        // Told only to those who ask.
        assert_eq!(answer.header("x-amz-checksum-crc64nvme"), None);
    }
    assert_eq!(s3.get("/b/a%20key%2Bplus", &[]).body, b"hello");
    let stored = model.object(BUCKET, "a key+plus").unwrap();
    assert_eq!((stored.body.as_ref(), stored.size), (&b"hello"[..], 5));
    assert_eq!(stored.sse.as_deref(), Some("aws:kms"));
    assert_eq!(stored.metadata.get("build").map(String::as_str), Some("17"));
}

#[test]
fn a_missing_object_is_404_with_a_body_only_on_get() {
    let (_model, s3) = support::model();
    assert_eq!(s3.get("/b/none", &[]).error(), (404, "NoSuchKey"));
    let head = s3.head("/b/none", &[]);
    assert_eq!((head.status(), head.body.len()), (404, 0));
}

#[test]
fn the_default_class_is_not_told_and_the_default_encryption_is() {
    let (model, s3) = support::model();
    s3.put("/b/k", &[], b"x");
    let head = s3.head("/b/k", &[]);
    assert_eq!(head.header("x-amz-storage-class"), None);
    assert_eq!(head.header("x-amz-server-side-encryption"), Some("AES256"));
    assert_eq!(head.header("content-type"), Some("binary/octet-stream"));
    assert_eq!(model.object(BUCKET, "k").unwrap().sse, None);
}

#[test]
fn an_unknown_class_or_encryption_is_refused_and_nothing_is_stored() {
    let (model, s3) = support::model();
    let put = |headers: &[(&str, &str)]| s3.put("/b/k", headers, b"x").error();
    assert_eq!(put(&[("x-amz-storage-class", "FOO")]), (400, "InvalidStorageClass"));
    assert_eq!(put(&[("x-amz-server-side-encryption", "bogus")]), (400, "InvalidArgument"));
    let key = ("x-amz-server-side-encryption-aws-kms-key-id", "k");
    assert_eq!(put(&[key]), (400, "InvalidArgument"));
    assert_eq!(put(&[("x-amz-server-side-encryption", "AES256"), key]), (400, "InvalidArgument"));
    assert_eq!(put(&[("x-amz-meta-large", &"m".repeat(2048))]), (400, "MetadataTooLarge"));
    assert_eq!(put(&[("x-amz-copy-source", "/b/other")]), (501, "NotImplemented"));
    assert!(model.objects(BUCKET).is_empty());
    let long = format!("/b/{}", "k".repeat(1025));
    assert_eq!(s3.put(&long, &[], b"x").error(), (400, "KeyTooLongError"));
}

#[test]
fn archived_objects_cannot_be_read() {
    let (_model, s3) = support::model();
    s3.put("/b/k", &[("x-amz-storage-class", "GLACIER")], b"x");
    assert_eq!(s3.get("/b/k", &[]).error(), (403, "InvalidObjectState"));
    assert_eq!(s3.head("/b/k", &[]).header("x-amz-storage-class"), Some("GLACIER"));
}

#[test]
fn if_none_match_creates_once() {
    let (model, s3) = support::model();
    let condition = [("If-None-Match", "*")];
    assert_eq!(s3.put("/b/k", &condition, b"first").status(), 200);
    assert_eq!(s3.put("/b/k", &condition, b"second").error(), (412, "PreconditionFailed"));
    assert_eq!(s3.put("/b/k", &condition, b"first").error(), (412, "PreconditionFailed"));
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "first");
    s3.delete("/b/k", &[]);
    assert_eq!(s3.put("/b/k", &condition, b"second").status(), 200);
    // Only the star is known to writes.
    assert_eq!(s3.put("/b/k", &[("If-None-Match", "\"etag\"")], b"x").error(), (501, "NotImplemented"));
}

#[test]
fn if_match_swaps_what_it_has_seen() {
    let (model, s3) = support::model();
    let etag = model.put_raw(BUCKET, "k", "one");
    assert_eq!(s3.put("/b/none", &[("If-Match", &etag)], b"x").error(), (404, "NoSuchKey"));
    assert_eq!(s3.put("/b/k", &[("If-Match", "\"0\"")], b"two").error(), (412, "PreconditionFailed"));
    assert_eq!(s3.put("/b/k", &[("If-Match", &etag)], b"two").status(), 200);
    assert_eq!(s3.put("/b/k", &[("If-Match", &etag)], b"three").error(), (412, "PreconditionFailed"));
    // The quotation marks may be left out.
    let etag = model.object(BUCKET, "k").unwrap().etag.replace('"', "");
    assert_eq!(s3.put("/b/k", &[("If-Match", &etag)], b"three").status(), 200);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "three");
}

#[test]
fn of_racing_creators_exactly_one_wins_and_no_swap_is_lost() {
    let (model, s3) = support::model();
    let wins: usize = std::thread::scope(|scope| {
        let racer = |n: usize| {
            let s3 = &s3;
            move || s3.put("/b/k", &[("If-None-Match", "*")], format!("{n}").as_bytes()).status() == 200
        };
        let racers: Vec<_> = (0..16).map(|n| scope.spawn(racer(n))).collect();
        racers.into_iter().map(|racer| usize::from(racer.join().unwrap())).sum()
    });
    assert_eq!(wins, 1);

    model.put_raw(BUCKET, "counter", "0");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 8 {
                    let now = s3.get("/b/counter", &[]);
                    let next = now.text().parse::<u32>().unwrap() + 1;
                    let put =
                        s3.put("/b/counter", &[("If-Match", now.header("etag").unwrap())], next.to_string().as_bytes());
                    done += usize::from(put.status() == 200);
                }
            });
        }
    });
    assert_eq!(model.object(BUCKET, "counter").unwrap().body, "64");
}

#[test]
fn checksums_in_headers_are_verified() {
    let (model, s3) = support::model();
    // Of "hello".
    let right = [
        ("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="),
        ("x-amz-checksum-crc32", "NhCmhg=="),
        ("x-amz-checksum-crc32c", "mnG7TA=="),
        ("x-amz-checksum-crc64nvme", "M3eFcAZSQlc="),
        ("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
        ("x-amz-content-sha256", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
    ];
    for (name, value) in right {
        let put = s3.put("/b/right", &[(name, value)], b"hello");
        assert_eq!(put.status(), 200, "{name}: {}", put.text());
        if name.starts_with("x-amz-checksum") {
            assert_eq!(put.header(name), Some(value));
            assert_eq!(put.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
            assert_eq!(s3.head("/b/right", &[("x-amz-checksum-mode", "ENABLED")]).header(name), Some(value));
        }
        let wrong = s3.put("/b/wrong", &[(name, value)], b"hellO");
        assert_eq!(wrong.status(), 400, "{name}");
        let code = if name == "x-amz-content-sha256" { "XAmzContentSHA256Mismatch" } else { "BadDigest" };
        assert_eq!(wrong.error().1, code);
    }
    assert!(model.object(BUCKET, "wrong").is_none());
    let malformed = |name, value| s3.put("/b/wrong", &[(name, value)], b"hello").error();
    assert_eq!(malformed("Content-MD5", "short"), (400, "InvalidDigest"));
    assert_eq!(malformed("x-amz-checksum-crc32", "####"), (400, "InvalidRequest"));
    assert_eq!(malformed("x-amz-checksum-crc64nvme", "NhCmhg=="), (400, "InvalidRequest"));
    let two = [right[1], right[2]];
    assert_eq!(s3.put("/b/wrong", &two, b"hello").error(), (400, "InvalidRequest"));
}

#[test]
fn checksums_in_trailers_are_verified() {
    let (model, s3) = support::model();
    let streaming = ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"];
    for payload in streaming {
        let put = |key: &str, sum: &str| {
            let headers = [
                ("x-amz-content-sha256", payload),
                ("x-amz-decoded-content-length", "5"),
                ("x-amz-trailer", "x-amz-checksum-crc64nvme"),
            ];
            let signed = payload.contains("HMAC");
            s3.put(key, &headers, &aws_chunked(b"hello", signed, &format!("x-amz-checksum-crc64nvme:{sum}")))
        };
        let right = put("/b/right", "M3eFcAZSQlc=");
        assert_eq!(right.status(), 200, "{}", right.text());
        assert_eq!(right.header("x-amz-checksum-crc64nvme"), Some("M3eFcAZSQlc="));
        assert_eq!(model.object(BUCKET, "right").unwrap().body, "hello");
        assert_eq!(put("/b/wrong", "M3eFcAZSQlg=").error(), (400, "BadDigest"));
    }
    let headers =
        [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), ("x-amz-decoded-content-length", "5")];
    let trailing = [headers[0], headers[1], ("x-amz-trailer", "x-amz-checksum-crc32")];
    assert_eq!(s3.put("/b/wrong", &trailing, b"5\r\nhello\r\n0\r\n\r\n").error(), (400, "MalformedTrailerError"));
    assert_eq!(s3.put("/b/wrong", &headers, b"4\r\nhell\r\n0\r\n\r\n").error(), (400, "IncompleteBody"));
    assert_eq!(s3.put("/b/wrong", &headers, b"5\r\nhel").error(), (400, "IncompleteBody"));
    assert_eq!(s3.put("/b/wrong", &headers[..1], b"5\r\nhello\r\n0\r\n\r\n").error(), (411, "MissingContentLength"));
    assert!(model.object(BUCKET, "wrong").is_none());
}

#[test]
fn a_body_may_be_chunked_twice_but_not_once() {
    let (model, s3) = support::model();
    let coded = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let mut twice = Vec::new();
    for piece in coded.chunks(7) {
        twice.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        twice.extend_from_slice(piece);
        twice.extend_from_slice(b"\r\n");
    }
    twice.extend_from_slice(b"0\r\n\r\n");
    let headers = [
        ("Transfer-Encoding", "chunked"),
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "5"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let put = s3.put("/b/k", &headers, &twice);
    assert_eq!(put.status(), 200, "{}", put.text());
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "hello");
    let once = s3.put("/b/once", &[("Transfer-Encoding", "chunked")], b"5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(once.error(), (501, "NotImplemented"));
}

#[test]
fn without_a_checksum_s3_computes_its_own() {
    let (_model, s3) = support::model();
    let put = s3.put("/b/k", &[], b"hello");
    assert_eq!(put.header("x-amz-checksum-crc64nvme"), Some("M3eFcAZSQlc="));
    let asked = [("x-amz-checksum-mode", "ENABLED")];
    for answer in [s3.get("/b/k", &asked), s3.head("/b/k", &asked)] {
        assert_eq!(answer.header("x-amz-checksum-crc64nvme"), Some("M3eFcAZSQlc="));
        assert_eq!(answer.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    }
    // A range has no checksum of its own.
    let part = s3.get("/b/k", &[asked[0], ("Range", "bytes=0-1")]);
    assert_eq!(part.header("x-amz-checksum-crc64nvme"), None);
}

#[test]
fn ranges() {
    let (_model, s3) = support::model();
    let body: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    s3.put("/b/k", &[], &body);
    let cases: [(&str, std::ops::Range<usize>); 5] = [
        ("bytes=0-0", 0..1),
        ("bytes=5-9", 5..10),
        ("bytes=262000-600000", 262_000..600_001),
        ("bytes=699990-", 699_990..700_000),
        ("bytes=-10", 699_990..700_000),
    ];
    for (range, expected) in cases {
        let answer = s3.get("/b/k", &[("Range", range)]);
        assert_eq!(answer.status(), 206, "{range}");
        assert!(answer.body == body[expected.clone()], "{range}");
        let told = format!("bytes {}-{}/700000", expected.start, expected.end - 1);
        assert_eq!(answer.header("content-range"), Some(told.as_str()));
    }
    assert_eq!(s3.get("/b/k", &[("Range", "bytes=700000-")]).error(), (416, "InvalidRange"));
    let nonsense = s3.get("/b/k", &[("Range", "lines=1-2")]);
    assert_eq!((nonsense.status(), nonsense.body.len()), (200, 700_000));
}

#[test]
fn reads_have_conditions_too() {
    let (model, s3) = support::model();
    let etag = model.put_raw(BUCKET, "k", "x");
    assert_eq!(s3.get("/b/k", &[("If-Match", &etag)]).status(), 200);
    assert_eq!(s3.get("/b/k", &[("If-Match", "\"other\"")]).error(), (412, "PreconditionFailed"));
    assert_eq!(s3.head("/b/k", &[("If-Match", "\"other\"")]).status(), 412);
    assert_eq!(s3.get("/b/k", &[("If-None-Match", &etag)]).status(), 304);
}

#[test]
fn deletes_are_idempotent_and_may_be_conditional() {
    let (model, s3) = support::model();
    assert_eq!(s3.delete("/b/none", &[]).status(), 204);
    let etag = model.put_raw(BUCKET, "k", "x");
    assert_eq!(s3.delete("/b/k", &[("If-Match", "\"other\"")]).error(), (412, "PreconditionFailed"));
    assert!(model.object(BUCKET, "k").is_some());
    assert_eq!(s3.delete("/b/k", &[("If-Match", &etag)]).status(), 204);
    assert!(model.object(BUCKET, "k").is_none());
    assert_eq!(s3.delete("/b/k", &[("If-Match", "*")]).error(), (412, "PreconditionFailed"));
}

#[test]
fn listings_are_sorted_by_bytes_and_come_in_pages() {
    let (model, s3) = support::model();
    let keys = ["a/1", "a/10", "a/2", "a/ä b&c", "b"];
    keys.iter().for_each(|key| drop(model.put_raw(BUCKET, key, *key)));
    let all = s3.get("/b?list-type=2", &[]);
    assert_eq!(all.elements("Key"), ["a/1", "a/10", "a/2", "a/ä b&c", "b"]);
    assert_eq!(all.element("IsTruncated").as_deref(), Some("false"));
    assert_eq!(all.elements("Size"), ["3", "4", "3", "8", "1"]);
    assert!(all.element("LastModified").unwrap().ends_with(".000Z"));
    assert_eq!(s3.get("/b?list-type=2&prefix=a%2F1", &[]).elements("Key"), ["a/1", "a/10"]);
    assert_eq!(s3.get("/b?list-type=2&start-after=a%2F2", &[]).elements("Key"), ["a/ä b&c", "b"]);
    let coded = s3.get("/b?list-type=2&prefix=a&encoding-type=url", &[]);
    assert_eq!(coded.elements("Key").last().map(String::as_str), Some("a/%C3%A4+b%26c"));
    let folded = s3.get("/b?list-type=2&delimiter=%2F", &[]);
    assert_eq!(
        (folded.elements("Key"), folded.elements("Prefix").last().cloned()),
        (vec!["b".to_owned()], Some("a/".to_owned()))
    );

    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = s3.get(&format!("/b?list-type=2&max-keys=2{token}"), &[]);
        seen.extend(page.elements("Key"));
        assert!(page.elements("Key").len() <= 2);
        match page.element("NextContinuationToken") {
            Some(next) => {
                token =
                    format!("&continuation-token={}", next.replace('/', "%2F").replace(' ', "%20").replace('&', "%26"))
            }
            None => break,
        }
    }
    assert_eq!(seen, keys);
}

#[test]
fn a_page_holds_a_thousand_at_most() {
    let (model, s3) = support::model();
    (0..1001).for_each(|n| drop(model.put_raw(BUCKET, &format!("{n:04}"), "")));
    let page = s3.get("/b?list-type=2&max-keys=5000", &[]);
    assert_eq!(page.elements("Key").len(), 1000);
    assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
    assert_eq!(page.element("MaxKeys").as_deref(), Some("1000"));
}

#[test]
fn unknown_operations_are_refused_aloud() {
    let (_model, s3) = support::model();
    for target in ["/b/k?tagging", "/b/k?versionId=1", "/b/k?partNumber=1"] {
        assert_eq!(s3.get(target, &[]).error(), (501, "NotImplemented"), "{target}");
    }
    assert_eq!(s3.send("POST", "/b?delete", &[], b"").error(), (501, "NotImplemented"));
}

#[test]
fn a_client_may_wait_to_be_invited() {
    let (model, s3) = support::model();
    let expecting = [("Expect", "100-continue")];
    assert_eq!(s3.put("/b/k", &expecting, b"hello").status(), 200);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "hello");
    let refused = s3.put("/nowhere/k", &expecting, b"hello");
    assert_eq!((refused.status(), refused.header("connection")), (404, Some("close")));
}

#[test]
fn time_can_be_moved() {
    let (model, s3) = support::model();
    model.put_raw(BUCKET, "k", "x");
    let before = model.object(BUCKET, "k").unwrap().modified;
    model.age_uploads(Duration::from_secs(86_400));
    let after = model.object(BUCKET, "k").unwrap().modified;
    assert_eq!(before.duration_since(after).as_secs(), 86_400);
    assert_eq!(s3.head("/b/k", &[]).status(), 200);
}

#[test]
fn a_server_can_forget() {
    let model = S3Model::start_with(Rules {
        forget_encryption: true,
        forget_storage_class: true,
        no_checksums: true,
        ..Rules::default()
    });
    model.create_bucket(BUCKET);
    let s3 = Client::of(&model.endpoint());
    s3.put("/b/k", &[("x-amz-server-side-encryption", "AES256"), ("x-amz-storage-class", "STANDARD_IA")], b"x");
    let head = s3.head("/b/k", &[("x-amz-checksum-mode", "ENABLED")]);
    assert_eq!(head.header("x-amz-server-side-encryption"), None);
    assert_eq!(head.header("x-amz-storage-class"), None);
    assert_eq!(head.header("x-amz-checksum-crc64nvme"), None);
}
