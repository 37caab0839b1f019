//! Fetching over S3: bodies that are damaged, cut off, slow or never come.

use crate::harness::{ARTIFACT, Harness, Sealed, fetch, five_lines, sealed, snapshot};
use archive::Format;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use testkit::tars::Tar;
use testkit::{Fault, FaultProxy, Plan, RequestInfo, Rules, S3Model, Tool, wait_until};

pub const BUCKET: &str = "b";

/// A bucket behind a proxy. It is dropped in this order: the proxy first.
pub struct Remote {
    pub proxy: FaultProxy,
    pub model: S3Model,
}

impl Remote {
    pub fn new() -> Self {
        Self::with(Rules::default())
    }

    pub fn with(rules: Rules) -> Self {
        let model = S3Model::start_with(rules);
        model.create_bucket(BUCKET);
        let proxy = FaultProxy::start(&model.endpoint(), Plan::None);
        Self { proxy, model }
    }

    pub fn publish(&self, number: u64, archive: Vec<u8>) -> Sealed {
        let sealed = sealed(number, archive, Format::Tar);
        self.model.put_raw(BUCKET, &format!("p/{}", sealed.file), sealed.archive.clone());
        self.model.put_raw(BUCKET, &format!("p/{}", sealed.record_key), sealed.record.to_bytes());
        self.model.put_raw(BUCKET, "p/latest-stable.txt", sealed.promoted());
        sealed
    }

    pub fn fetch(&self, into: &Path) -> Tool {
        fetch("s3://b/p", into).aws(self.proxy.endpoint())
    }
}

/// An archive of several ranges.
pub fn large(number: u64) -> Vec<u8> {
    let content: Vec<u8> = (0..9_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9 + number) >> 24) as u8).collect();
    let tar = Tar::new().file("RELEASE", &five_lines(number)).file("bin/run", number.to_string().as_bytes());
    tar.file("big", &content).end()
}

fn is_archive(info: &RequestInfo) -> bool {
    info.method == "GET" && info.path.ends_with(".tar")
}

/// A harness with release 1 current, and release 2 in the bucket.
fn second() -> (Harness, Remote) {
    let harness = Harness::with_first();
    let remote = Remote::new();
    remote.publish(2, large(2));
    (harness, remote)
}

/// The fault meets the first request for the archive, and the run gets over it.
fn survives(fault: Fault, warns: bool) {
    let (harness, remote) = second();
    let met = std::sync::atomic::AtomicBool::new(false);
    let told = fault.clone();
    remote.proxy.set_plan(Plan::Custom(Box::new(move |info| {
        let first = is_archive(info) && !met.swap(true, std::sync::atomic::Ordering::SeqCst);
        first.then(|| told.clone())
    })));
    let run = remote.fetch(&harness.into).run().succeeds();
    assert!(remote.proxy.log().iter().any(|seen| seen.fault.is_some()), "the fault was never met");
    if warns {
        let _run = run.stderr_is_one_line().stderr_contains("downloaded twice");
    } else {
        let _run = run.stderr_is_empty();
    }
    harness.assert_current(2);
    harness.assert_tidy();
}

/// The fault meets every request for the archive: one line, the code, and nothing has changed.
fn fails(fault: Fault, code: i32, words: &str) {
    let (harness, remote) = second();
    remote.proxy.set_plan(Plan::Custom(Box::new(move |info| is_archive(info).then(|| fault.clone()))));
    let before = snapshot(&harness.into);
    let run = remote.fetch(&harness.into).args(["--timeout", "2s"]).run();
    let _run = run.fails_with(code).stderr_is_one_line().stdout_is("").stderr_contains(words);
    assert!(snapshot(&harness.into) == before);
}

/// Every answer is the whole archive: no memory would hold one for each range.
#[test]
fn a_store_that_ignores_ranges_is_told() {
    let (harness, remote) = (Harness::with_first(), Remote::with(Rules { ignore_ranges: true, ..Rules::default() }));
    remote.publish(2, large(2));
    let run = remote.fetch(&harness.into).run().fails_with(1).stderr_is_one_line();
    let _run = run.stderr_contains("the store ignores ranges");
    harness.assert_current(1);
    harness.assert_tidy();
}

#[test]
fn a_range_with_the_checksum_of_the_whole_is_taken() {
    let rules = Rules { range_checksums: true, ..Rules::default() };
    let (harness, remote) = (Harness::with_first(), Remote::with(rules));
    remote.publish(2, large(2));
    let _run = remote.fetch(&harness.into).run().succeeds().stderr_is_empty();
    harness.assert_current(2);
}

/// One answer that never comes, or stops half way: its range is asked for once more, long before any timeout.
#[test]
fn a_late_answer_is_asked_for_again() {
    for fault in [Fault::Stall, Fault::Slow { bytes_per_second: 1 }] {
        let (harness, remote) = second();
        let met = std::sync::atomic::AtomicBool::new(false);
        remote.proxy.set_plan(Plan::Custom(Box::new(move |info| {
            let its_turn =
                is_archive(info) && info.header("range").is_some_and(|range| range.starts_with("bytes=2097152-"));
            (its_turn && !met.swap(true, std::sync::atomic::Ordering::SeqCst)).then(|| fault.clone())
        })));
        let _run = remote.fetch(&harness.into).args(["--timeout", "1h"]).run().succeeds().stderr_is_empty();
        assert!(remote.proxy.log().iter().any(|seen| seen.fault.is_some()), "the fault was never met");
        harness.assert_current(2);
        harness.assert_tidy();
    }
}

#[test]
fn damaged_once_is_downloaded_once_more() {
    survives(Fault::CorruptBody { offset: 1_000 }, true);
}

#[test]
fn broken_off_once_is_no_trouble() {
    survives(Fault::TruncateBody { at: 1_000 }, false);
    survives(Fault::LostReply, false);
    survives(Fault::Reset, false);
    survives(Fault::SlowDown, false);
}

#[test]
fn damaged_always_is_refused_after_two_downloads() {
    fails(Fault::CorruptBody { offset: 1_000 }, 1, "also of a second download");
}

#[test]
fn troubles_that_last_are_temporary() {
    fails(Fault::TruncateBody { at: 1_000 }, 75, "broke off");
    fails(Fault::LostReply, 75, "app-2.tar");
    fails(Fault::SlowDown, 75, "SlowDown");
    fails(Fault::status(500, "InternalError"), 75, "InternalError");
}

#[test]
fn an_archive_that_was_replaced_meanwhile_is_not_mixed() {
    let (harness, remote) = second();
    let before = snapshot(&harness.into);
    let (another, endpoint) = (large(3), remote.model.endpoint());
    let met = std::sync::atomic::AtomicBool::new(false);
    // Within the plan: the other ranges are judged, and forwarded, after this one.
    remote.proxy.set_plan(Plan::Custom(Box::new(move |info| {
        if is_archive(info) && !met.swap(true, std::sync::atomic::Ordering::SeqCst) {
            let put = testkit::request(&endpoint, "PUT", "/b/p/app-2.tar", &[], &another).unwrap();
            assert_eq!(put.status, 200);
        }
        None
    })));
    let run = remote.fetch(&harness.into).run().fails_with(75).stderr_is_one_line();
    let _run = run.stderr_contains("app-2.tar: it was replaced while it was read");
    assert!(snapshot(&harness.into) == before);
}

#[test]
fn a_record_that_speaks_of_another_length_costs_no_download() {
    let (harness, remote) = second();
    remote.model.put_raw(BUCKET, "p/app-2.tar", &b"short"[..]);
    let _run =
        remote.fetch(&harness.into).run().fails_with(1).stderr_is_one_line().stderr_contains("5 bytes instead of");
    assert!(!remote.proxy.log().iter().any(|seen| seen.method == "GET" && seen.path.ends_with(".tar")));
}

#[test]
fn sigterm_in_the_middle_leaves_nothing() {
    for interrupt in [false, true] {
        let (harness, remote) = second();
        let before = snapshot(&harness.into);
        remote.proxy.set_plan(Plan::Custom(Box::new(|info| {
            is_archive(info).then_some(Fault::Slow { bytes_per_second: 100_000 })
        })));
        let run = remote.fetch(&harness.into).start();
        let hidden = harness.into.join(".artifact-fetch");
        wait_until("a tree that is being unpacked", || {
            let names = crate::harness::names(&hidden);
            let asked = remote.proxy.log().iter().any(|seen| seen.fault.is_some());
            if asked && names.iter().any(|name| name.starts_with("unpack-")) { Ok(()) } else { Err(names.join(" ")) }
        });
        if interrupt {
            run.interrupt();
        } else {
            run.terminate();
        }
        let _run = run.wait().killed_by(if interrupt { 2 } else { 15 }).stderr_is_empty().stdout_is("");
        assert!(snapshot(&harness.into) == before);
        remote.proxy.set_plan(Plan::None);
        let _run = remote.fetch(&harness.into).run().succeeds().stderr_is_empty();
        harness.assert_current(2);
    }
}

#[test]
fn the_bucket_needs_no_prefix() {
    let harness = Harness::new();
    let remote = Remote::new();
    let sealed = sealed(1, crate::harness::plain(1), Format::Tar);
    remote.model.put_raw(BUCKET, &sealed.file, sealed.archive.clone());
    remote.model.put_raw(BUCKET, &sealed.record_key, sealed.record.to_bytes());
    remote.model.put_raw(BUCKET, "canary.txt", sealed.promoted());
    let run = fetch("s3://b", &harness.into).aws(remote.proxy.endpoint()).args(["--release", "canary"]).run();
    let _run = run.succeeds().stdout_is(&String::from_utf8(sealed.record.to_bytes()).unwrap()).stderr_is_empty();
    harness.assert_current(1);
    assert!(fs::metadata(harness.into.join(format!("{ARTIFACT}-1/bin/run"))).is_ok());
}

/// Ten seconds are long without a word: where nobody sees a bar, a line tells how far it is.
#[test]
fn a_slow_link_is_reported_while_it_lasts() {
    let (harness, remote) = second();
    let slow = |info: &RequestInfo| is_archive(info).then_some(Fault::Slow { bytes_per_second: 100_000 });
    remote.proxy.set_plan(Plan::Custom(Box::new(slow)));
    let quiet = remote.fetch(&harness.root.path().join("quiet")).arg("-q").start();
    let run = remote.fetch(&harness.into).run().succeeds();
    let said = run.stderr_str();
    let lines: Vec<&str> = said.lines().collect();
    let is_progress =
        |line: &&str| line.starts_with("artifact-fetch: ") && line.contains(" MiB of ") && line.contains(" MiB in ");
    assert!(!lines.is_empty() && lines.iter().all(is_progress), "{said}");
    harness.assert_current(2);
    let _quiet = quiet.wait().succeeds().stderr_is_empty();
}

/// An answer in chunks promises no length, and this one has no end: the tool ends in its own time, with what it says.
#[test]
fn an_answer_without_an_end_is_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || endless(stream));
        }
    });
    let harness = Harness::with_first();
    let before = snapshot(&harness.into);
    let run = fetch("s3://b/p", &harness.into).aws(endpoint).run();
    let _run = run.fails_with(1).stderr_is_one_line().stdout_is("").stderr_contains("too large to be a record");
    assert!(snapshot(&harness.into) == before);
}

/// Answers whatever is asked with chunks, as long as somebody takes them.
fn endless(mut stream: TcpStream) {
    let mut request = [0; 4096];
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"x\"\r\n\r\n";
    let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x10000], b"\r\n"].concat();
    if stream.read(&mut request).is_ok() && stream.write_all(head).is_ok() {
        while stream.write_all(&chunk).is_ok() {}
    }
}
