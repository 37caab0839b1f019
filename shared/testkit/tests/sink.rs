//! The null sink: what it throws away, and what it still knows.

mod support;

use support::{BUCKET, Client, aws_chunked};
use testkit::NullSink;

fn sink() -> (NullSink, Client) {
    let sink = NullSink::start();
    sink.create_bucket(BUCKET);
    let client = Client::of(&sink.endpoint());
    (sink, client)
}

#[test]
fn large_bodies_are_counted_and_small_ones_kept() {
    let (sink, s3) = sink();
    let large = vec![7; 1 << 20];
    let headers = [
        ("x-amz-meta-a", "b"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-server-side-encryption", "AES256"),
        // Not what the body has: nobody looks.
        ("x-amz-checksum-crc64nvme", "M3eFcAZSQlc="),
        ("If-None-Match", "*"),
    ];
    assert_eq!(s3.put("/b/large", &headers, &large).status(), 200);
    let head = s3.head("/b/large", &[("x-amz-checksum-mode", "ENABLED")]);
    assert_eq!(head.header("content-length"), Some("1048576"));
    assert_eq!(head.header("x-amz-meta-a"), Some("b"));
    assert_eq!(head.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(head.header("x-amz-checksum-crc64nvme"), Some("M3eFcAZSQlc="));
    assert_eq!(s3.get("/b/large", &[]).error(), (501, "NotImplemented"));
    assert_eq!(s3.put("/b/large", &headers, &large).error(), (412, "PreconditionFailed"));
    let object = sink.object(BUCKET, "large").unwrap();
    assert_eq!((object.size, object.body.len()), (1 << 20, 0));

    let small = vec![7; 64 * 1024];
    assert_eq!(s3.put("/b/small", &headers[3..4], &small).error(), (400, "BadDigest"));
    assert_eq!(s3.put("/b/small", &headers[..3], &small).status(), 200);
    assert!(s3.get("/b/small", &[]).body == small);
    assert_eq!(s3.get("/b?list-type=2", &[]).elements("Size"), ["1048576", "65536"]);
}

#[test]
fn an_etag_is_the_md5_its_client_sent() {
    let (_sink, s3) = sink();
    let put = s3.put("/b/k", &[("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==")], &vec![0; 100_000]);
    assert_eq!(put.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    let one = s3.put("/b/k", &[], &vec![0; 100_000]).header("etag").map(str::to_owned);
    assert_ne!(one.as_deref(), s3.put("/b/k", &[], &vec![0; 100_000]).header("etag"));
}

#[test]
fn multipart_uploads_of_every_coding() {
    let (sink, s3) = sink();
    let large = vec![7; 5 << 20];
    let id = s3.create("k", &[("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-meta-a", "b")]);
    let target = |number: u32| format!("/b/k?partNumber={number}&uploadId={id}");
    let sum = "M3eFcAZSQlc=";
    let trailing = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "5242880"),
        ("x-amz-trailer", "x-amz-checksum-crc64nvme"),
    ];
    let part = s3.put(&target(1), &trailing, &aws_chunked(&large, false, &format!("x-amz-checksum-crc64nvme:{sum}")));
    assert_eq!((part.status(), part.header("x-amz-checksum-crc64nvme")), (200, Some(sum)), "{}", part.text());
    let first = part.header("etag").unwrap().to_owned();
    let second = s3.put(&target(2), &[("Expect", "100-continue")], &large);
    assert_eq!(second.header("x-amz-checksum-crc64nvme"), None);
    let second = second.header("etag").unwrap().to_owned();
    assert_eq!(sink.uploads(BUCKET)[0].parts.iter().map(|part| part.size).sum::<u64>(), 10 << 20);
    let parts = [(1, first.as_str()), (2, &second)];
    let size = ("x-amz-mp-object-size", "10485760");
    assert_eq!(s3.complete("k", &id, &[("x-amz-mp-object-size", "1")], &parts).status(), 400);
    let done = s3.complete("k", &id, &[size, ("x-amz-checksum-crc64nvme", sum), ("If-None-Match", "*")], &parts);
    assert_eq!((done.status(), done.element("ChecksumCRC64NVME").as_deref()), (200, Some(sum)), "{}", done.text());
    let head = s3.head("/b/k", &[]);
    assert_eq!((head.header("content-length"), head.header("x-amz-meta-a")), (Some("10485760"), Some("b")));
    let id = s3.create("k", &[]);
    assert_eq!(s3.delete(&format!("/b/k?uploadId={id}"), &[]).status(), 204);
    assert!(sink.uploads(BUCKET).is_empty());
}

#[test]
fn clients_may_create_their_bucket() {
    let (_sink, s3) = sink();
    assert_eq!(s3.send("PUT", "/new", &[], b"").status(), 200);
    assert_eq!(s3.put("/new/k", &[], b"x").status(), 200);
    assert_eq!(s3.put("/none/k", &[], &vec![0; 100_000]).error(), (404, "NoSuchBucket"));
}
