//! The model's rules for multipart uploads, each as AWS documents it.

mod support;

use std::time::Duration;

use support::{BUCKET, Client, aws_chunked, model, parts_document};
use testkit::{Rules, S3Model};

const MIB: usize = 1 << 20;
/// CRC-64/NVME of nothing but what the tests need: asked from the server itself by a single PutObject of the same bytes.
fn crc_of(s3: &Client, bytes: &[u8]) -> String {
    let put = s3.put("/b/reference", &[], bytes);
    let sum = put.header("x-amz-checksum-crc64nvme").expect("S3 computes one").to_owned();
    s3.delete("/b/reference", &[]);
    sum
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 249) as u8).collect()
}

#[test]
fn parts_become_one_object() {
    let (model, s3) = model();
    let whole = bytes(11 * MIB);
    let sum = crc_of(&s3, &whole);
    let created = s3.send(
        "POST",
        "/b/k?uploads",
        &[
            ("x-amz-checksum-algorithm", "CRC64NVME"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-meta-build", "17"),
        ],
        b"",
    );
    assert_eq!(created.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    assert_eq!(created.header("x-amz-server-side-encryption"), Some("AES256"));
    assert_eq!((created.element("Bucket").as_deref(), created.element("Key").as_deref()), (Some("b"), Some("k")));
    let id = created.element("UploadId").unwrap();
    // In any order, and the last one to arrive under a number counts.
    let third = s3.part("k", &id, 3, &whole[10 * MIB..]);
    s3.part("k", &id, 1, b"replaced");
    let first = s3.part("k", &id, 1, &whole[..5 * MIB]);
    let second = s3.part("k", &id, 2, &whole[5 * MIB..10 * MIB]);
    s3.part("k", &id, 9, b"not named in the end");
    assert!(model.object(BUCKET, "k").is_none());
    let size = whole.len().to_string();
    let conditions = [
        ("If-None-Match", "*"),
        ("x-amz-mp-object-size", size.as_str()),
        ("x-amz-checksum-crc64nvme", &sum),
        ("x-amz-checksum-type", "FULL_OBJECT"),
    ];
    let parts = [(1, first.as_str()), (2, &second), (3, &third)];
    let done = s3.complete("k", &id, &conditions, &parts);
    assert_eq!(done.status(), 200, "{}", done.text());
    assert_eq!(done.element("ChecksumCRC64NVME").as_deref(), Some(sum.as_str()));
    assert_eq!(done.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
    let etag = done.element("ETag").unwrap();
    assert!(etag.ends_with("-3\""), "{etag}");
    let head = s3.head("/b/k", &[("x-amz-checksum-mode", "ENABLED")]);
    assert_eq!(head.header("x-amz-checksum-crc64nvme"), Some(sum.as_str()));
    assert_eq!(head.header("x-amz-meta-build"), Some("17"));
    assert_eq!(head.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(head.header("etag"), Some(etag.as_str()));
    assert!(s3.get("/b/k", &[]).body == whole);
    assert!(model.uploads(BUCKET).is_empty());

    // The answer may have been lost: asked again, the same is told, while it is true.
    let again = s3.complete("k", &id, &conditions, &parts);
    assert_eq!((again.status(), again.element("ETag")), (200, Some(etag)));
    assert_eq!(s3.complete("other", &id, &[], &parts).error(), (404, "NoSuchUpload"));
    model.put_raw(BUCKET, "k", "overwritten");
    assert_eq!(s3.complete("k", &id, &conditions, &parts).error(), (404, "NoSuchUpload"));
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "overwritten");
}

#[test]
fn conditions_are_checked_when_the_upload_completes() {
    let (model, s3) = model();
    let etag = model.put_raw(BUCKET, "k", "old");
    let id = s3.create("k", &[("If-None-Match", "*")]);
    let part = s3.part("k", &id, 1, b"new");
    let complete = |headers: &[(&str, &str)]| s3.complete("k", &id, headers, &[(1, &part)]);
    assert_eq!(complete(&[("If-None-Match", "*")]).error(), (412, "PreconditionFailed"));
    assert_eq!(complete(&[("If-Match", "\"other\"")]).error(), (412, "PreconditionFailed"));
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "old");
    // A refused upload stays.
    assert_eq!(model.uploads(BUCKET).len(), 1);
    assert_eq!(complete(&[("If-Match", &etag)]).status(), 200);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "new");
    let id = s3.create("none", &[]);
    let part = s3.part("none", &id, 1, b"new");
    assert_eq!(s3.complete("none", &id, &[("If-Match", &etag)], &[(1, &part)]).error(), (404, "NoSuchKey"));
}

#[test]
fn of_racing_completes_exactly_one_wins() {
    let (model, s3) = model();
    for round in 0..20 {
        let key = format!("k{round}");
        let uploads: Vec<_> = (0..8)
            .map(|n| {
                let id = s3.create(&key, &[]);
                let part = s3.part(&key, &id, 1, format!("racer {n}").as_bytes());
                (id, part)
            })
            .collect();
        let won: Vec<usize> = std::thread::scope(|scope| {
            let racers: Vec<_> = uploads
                .iter()
                .map(|(id, part)| {
                    let (s3, key) = (&s3, &key);
                    scope.spawn(move || s3.complete(key, id, &[("If-None-Match", "*")], &[(1, part)]).status() == 200)
                })
                .collect();
            let outcomes = racers.into_iter().map(|racer| racer.join().unwrap());
            outcomes.enumerate().filter(|(_, won)| *won).map(|(n, _)| n).collect()
        });
        assert_eq!(won.len(), 1);
        assert_eq!(model.object(BUCKET, &key).unwrap().body, format!("racer {}", won[0]));
    }
}

#[test]
fn parts_must_be_there_in_order_and_large_enough() {
    let (model, s3) = model();
    let id = s3.create("k", &[]);
    let large = bytes(5 * MIB);
    let first = s3.part("k", &id, 1, &large);
    let small = s3.part("k", &id, 2, &large[1..]);
    let last = s3.part("k", &id, 10_000, b"end");
    let complete = |parts: &[(u32, &str)]| s3.complete("k", &id, &[], parts);
    assert_eq!(complete(&[(2, &small), (1, &first)]).error(), (400, "InvalidPartOrder"));
    assert_eq!(complete(&[(1, &first), (1, &first)]).error(), (400, "InvalidPartOrder"));
    assert_eq!(complete(&[(1, &first), (3, &last)]).error(), (400, "InvalidPart"));
    assert_eq!(complete(&[(1, &small)]).error(), (400, "InvalidPart"));
    assert_eq!(complete(&[(1, &first), (2, &small), (10_000, &last)]).error(), (400, "EntityTooSmall"));
    assert_eq!(complete(&[]).error(), (400, "MalformedXML"));
    assert_eq!(s3.send("POST", &format!("/b/k?uploadId={id}"), &[], b"<not xml").error(), (400, "MalformedXML"));
    assert!(model.objects(BUCKET).is_empty());
    assert_eq!(complete(&[(1, &first), (10_000, &last)]).status(), 200);
    for number in ["0", "10001", "x", "-1"] {
        let target = format!("/b/k?partNumber={number}&uploadId={id}");
        assert_eq!(s3.put(&target, &[], b"x").error(), (400, "InvalidArgument"), "{number}");
    }
}

#[test]
fn size_and_checksum_of_the_whole_are_verified() {
    let (model, s3) = model();
    let id = s3.create("k", &[("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "FULL_OBJECT")]);
    let part = s3.part("k", &id, 1, b"hello");
    let complete = |headers: &[(&str, &str)]| s3.complete("k", &id, headers, &[(1, &part)]);
    assert_eq!(complete(&[("x-amz-mp-object-size", "6")]).error(), (400, "InvalidRequest"));
    assert_eq!(complete(&[("x-amz-checksum-crc64nvme", "M3eFcAZSQlg=")]).error(), (400, "BadDigest"));
    assert_eq!(complete(&[("x-amz-checksum-crc32", "NhCmhg==")]).error(), (400, "InvalidRequest"));
    assert_eq!(complete(&[("x-amz-checksum-type", "COMPOSITE")]).error(), (400, "InvalidRequest"));
    assert!(model.objects(BUCKET).is_empty());
    assert_eq!(complete(&[("x-amz-checksum-crc64nvme", "M3eFcAZSQlc="), ("x-amz-mp-object-size", "5")]).status(), 200);
}

#[test]
fn parts_are_verified_as_they_come() {
    let (model, s3) = model();
    let id = s3.create("k", &[("x-amz-checksum-algorithm", "CRC64NVME")]);
    let target = format!("/b/k?partNumber=1&uploadId={id}");
    let sum = ("x-amz-checksum-crc64nvme", "M3eFcAZSQlc=");
    assert_eq!(s3.put(&target, &[sum], b"hellO").error(), (400, "BadDigest"));
    assert_eq!(s3.put(&target, &[("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==")], b"hellO").error(), (400, "BadDigest"));
    assert_eq!(s3.put(&target, &[("x-amz-checksum-crc32", "NhCmhg==")], b"hello").error(), (400, "InvalidRequest"));
    assert!(model.uploads(BUCKET)[0].parts.is_empty());
    assert_eq!(s3.put(&target, &[sum], b"hello").header(sum.0), Some(sum.1));
    // Without one S3 computes it.
    assert_eq!(s3.put(&target, &[], b"hello").header(sum.0), Some(sum.1));
    let trailing = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "5"),
        ("x-amz-trailer", sum.0),
    ];
    let coded = |sum: &str| aws_chunked(b"hello", false, &format!("x-amz-checksum-crc64nvme:{sum}"));
    assert_eq!(s3.put(&target, &trailing, &coded(sum.1)).status(), 200);
    assert_eq!(s3.put(&target, &trailing, &coded("M3eFcAZSQlg=")).error(), (400, "BadDigest"));
    // An upload that named no algorithm takes no checksum of another than the usual one.
    let id = s3.create("plain", &[]);
    let target = format!("/b/plain?partNumber=1&uploadId={id}");
    assert_eq!(s3.put(&target, &[("x-amz-checksum-crc32", "NhCmhg==")], b"hello").error(), (400, "InvalidRequest"));
}

#[test]
fn composite_checksums() {
    let (_model, s3) = model();
    let id = s3.create("k", &[("x-amz-checksum-algorithm", "SHA256")]);
    let target = format!("/b/k?partNumber=1&uploadId={id}");
    // Of "hello".
    let sum = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    assert_eq!(s3.put(&target, &[], b"hello").error(), (400, "InvalidRequest"));
    let part = s3.put(&target, &[("x-amz-checksum-sha256", sum)], b"hello");
    let etag = part.header("etag").unwrap().to_owned();
    assert_eq!(s3.complete("k", &id, &[], &[(1, &etag)]).error(), (400, "InvalidRequest"));
    let named = |sum: &str| {
        let document = String::from_utf8(parts_document(&[(1, &etag)])).unwrap();
        document.replace("</Part>", &format!("<ChecksumSHA256>{sum}</ChecksumSHA256></Part>")).into_bytes()
    };
    let target = format!("/b/k?uploadId={id}");
    assert_eq!(s3.send("POST", &target, &[], &named("AAAA")).error(), (400, "InvalidPart"));
    let done = s3.send("POST", &target, &[], &named(sum));
    assert_eq!(done.element("ChecksumType").as_deref(), Some("COMPOSITE"));
    assert!(done.element("ChecksumSHA256").unwrap().ends_with("=-1"));
    // What no algorithm can do is refused at the start.
    let create = |headers: &[(&str, &str)]| s3.send("POST", "/b/k?uploads", headers, b"").error().0;
    assert_eq!(create(&[("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "FULL_OBJECT")]), 400);
    assert_eq!(create(&[("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "COMPOSITE")]), 400);
    assert_eq!(create(&[("x-amz-checksum-type", "FULL_OBJECT")]), 400);
    assert_eq!(create(&[("x-amz-checksum-algorithm", "MD4")]), 400);
    assert_eq!(create(&[("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", "FULL_OBJECT")]), 200);
    assert_eq!(create(&[("x-amz-storage-class", "FOO")]), 400);
    assert_eq!(create(&[("x-amz-server-side-encryption", "bogus")]), 400);
}

#[test]
fn an_aborted_upload_is_gone() {
    let (model, s3) = model();
    let id = s3.create("k", &[]);
    let part = s3.part("k", &id, 1, b"x");
    let target = format!("/b/k?uploadId={id}");
    assert_eq!(s3.delete("/b/other?uploadId=none", &[]).error(), (404, "NoSuchUpload"));
    assert_eq!(s3.delete(&target, &[]).status(), 204);
    assert_eq!(s3.delete(&target, &[]).error(), (404, "NoSuchUpload"));
    assert_eq!(s3.complete("k", &id, &[], &[(1, &part)]).error(), (404, "NoSuchUpload"));
    assert_eq!(s3.put(&format!("/b/k?partNumber=1&uploadId={id}"), &[], b"x").error(), (404, "NoSuchUpload"));
    assert_eq!(s3.get(&target, &[]).error(), (404, "NoSuchUpload"));
    assert!(model.uploads(BUCKET).is_empty() && model.objects(BUCKET).is_empty());
}

#[test]
fn uploads_are_listed_in_pages_and_grow_old() {
    let (model, s3) = model();
    let ids: Vec<_> = ["a/1", "a/1", "a/2", "b"].into_iter().map(|key| (key.to_owned(), s3.create(key, &[]))).collect();
    let all = s3.get("/b?uploads", &[]);
    let pairs =
        |page: &support::Told| -> Vec<_> { page.elements("Key").into_iter().zip(page.elements("UploadId")).collect() };
    assert_eq!(pairs(&all), ids);
    assert_eq!(s3.get("/b?uploads&prefix=a%2F", &[]).elements("Key").len(), 3);
    let mut seen = Vec::new();
    let mut marker = String::new();
    loop {
        let page = s3.get(&format!("/b?uploads&max-uploads=1{marker}"), &[]);
        seen.extend(pairs(&page));
        let (Some(key), Some(id)) = (page.element("NextKeyMarker"), page.element("NextUploadIdMarker")) else {
            break;
        };
        marker = format!("&key-marker={key}&upload-id-marker={id}");
    }
    assert_eq!(seen, ids);
    assert_eq!(s3.get("/b?uploads&key-marker=a%2F1", &[]).elements("Key"), ["a/2", "b"]);

    let before = s3.get("/b?uploads&prefix=b", &[]).element("Initiated").unwrap();
    model.age_uploads(Duration::from_secs(48 * 3600));
    let after = s3.get("/b?uploads&prefix=b", &[]).element("Initiated").unwrap();
    assert!(after < before && after.ends_with(".000Z"), "{before} {after}");
}

#[test]
fn parts_are_listed_in_pages() {
    let (model, s3) = model();
    let id = s3.create("k", &[("x-amz-checksum-algorithm", "CRC64NVME")]);
    (1..=3).for_each(|number| drop(s3.part("k", &id, number, b"hello")));
    let page = s3.get(&format!("/b/k?uploadId={id}&max-parts=2"), &[]);
    assert_eq!(page.elements("PartNumber"), ["1", "2"]);
    assert_eq!(page.elements("Size"), ["5", "5"]);
    assert_eq!(page.elements("ChecksumCRC64NVME"), ["M3eFcAZSQlc=", "M3eFcAZSQlc="]);
    assert!(page.elements("LastModified").iter().all(|date| date.ends_with("Z")));
    assert_eq!(page.element("NextPartNumberMarker").as_deref(), Some("2"));
    let rest = s3.get(&format!("/b/k?uploadId={id}&part-number-marker=2"), &[]);
    assert_eq!(
        (rest.elements("PartNumber"), rest.element("IsTruncated")),
        (vec!["3".to_owned()], Some("false".to_owned()))
    );
    let upload = &model.uploads(BUCKET)[0];
    assert_eq!((upload.key.as_str(), upload.upload_id.as_str(), upload.parts.len()), ("k", id.as_str(), 3));
}

#[test]
fn a_server_may_not_list_uploads() {
    let model = S3Model::start_with(Rules { no_list_uploads: true, ..Rules::default() });
    model.create_bucket(BUCKET);
    assert_eq!(Client::of(&model.endpoint()).get("/b?uploads", &[]).error(), (501, "NotImplemented"));
}
