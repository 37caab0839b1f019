//! Parsers of bytes that others wrote, with input that is almost right: whatever they make of it, they come to an end.

use archive::{Format, Limits};
use records::{HostReader, LogId};
use release::history::History;
use release::{Claim, Layout, Record, ReleaseNumber, Selector};
use store::StoreUrl;
use testkit::comes_to_an_end;
use testkit::tars::{Tar, gzip, zstd};

const RECORD: &str = "MODULE=a\nVERSION=7\nBUILD=117\nGIT_COMMIT=879238bccdffb9833749333e62607d1f26066cec\nTIMESTAMP=Sat Jan 23 \
                      11:20:02 UTC 2016\nFILE=a-7.tar\nSIZE=3072\nSHA256=96a98b601a1076cb3e38bba9d4ad1818490b51ced55545b7a23bacb1e5b69a46\n\
                      CRC64NVME=9c0094ad8fb1c283\nFORMAT=tar\nPROMOTION=3\nPROMOTED_AT=2026-01-23T11:20:02Z\nPROMOTED_BY=ops@build\n\
                      REASON=because\nRECORD_SHA256=4c2fe0a0d16d7e0718ccc185d096578449b207cd386652159ad3cf29cec8f9ba\n";
const CLAIM: &str = "STATE=claimed\nBUILD_UUID=6e2f0c7e-58c0-4b5e-8d3c-1f0a2b3c4d5e\nMACHINE_ID=m\nBOOT_ID=b\n\
                     PID_NAMESPACE=4026531836\nPID=1\nSTART_TIME=5\nHOST=h\n";
const HISTORY: &str =
    "n,time,who,from,to,commit,reason\n1,2026-01-23T11:20:02Z,ops@build,,7,879238b,\"of the \"\"week\"\"\"\n";
const HOSTS: &str = "instance_id,name,instance_state,private_ip,tags\ni-0123456789abcdef0,app,running,10.0.0.1,\"{\"\"a\"\":\"\"b\"\"}\"\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn records_and_claims() {
    comes_to_an_end("records_and_claims", &[RECORD.as_bytes(), CLAIM.as_bytes()], |bytes| {
        let _claim = Claim::parse(bytes);
        if let Ok(record) = Record::parse(bytes) {
            assert_eq!(Record::parse(&record.to_bytes()).as_ref(), Ok(&record), "what is written is read");
        }
    });
}

#[test]
fn histories() {
    comes_to_an_end("histories", &[HISTORY.as_bytes()], |bytes| drop(History::parse(bytes)));
}

#[test]
fn lists_of_hosts() {
    comes_to_an_end("lists_of_hosts", &[HOSTS.as_bytes()], |bytes| {
        if let Ok(hosts) = HostReader::new(bytes, &["instance_id"]) {
            hosts.take(1000).for_each(drop);
        }
    });
}

#[test]
fn words_of_command_lines_and_headers() {
    let words: [&[u8]; 8] = [
        b"s3://build/obelix/prod",
        b"file:///srv/my%20store",
        b"previous",
        b"latest-stable",
        b"obelix-42.tar.gz",
        b"1h30m",
        b"web-1/0000000000000abc/18446744073709551615",
        b"18446744073709551615",
    ];
    let layout: Layout = "obelix".parse().unwrap();
    comes_to_an_end("words_of_command_lines_and_headers", &words, |bytes| {
        let word = text(bytes);
        let _url = word.parse::<StoreUrl>();
        let _selector = word.parse::<Selector>();
        let _number = word.parse::<ReleaseNumber>();
        let _layout = word.parse::<Layout>();
        let _key = layout.parse(&word);
        let _duration = retry::duration(&word);
        let _id = word.parse::<LogId>();
    });
}

#[test]
fn archives() {
    let plain =
        Tar::new().file("RELEASE", RECORD.as_bytes()).dir("d").file("d/file", b"content").symlink("l", "d/file");
    let plain = plain.pax(&[("path", b"d/long")]).file("short", b"x").hard_link("h", "d/file").end();
    let (gzipped, zstandard) = (gzip(&plain), zstd(&plain));
    let limits = Limits { bytes: 1 << 20, members: 1000 };
    for (format, sample) in [(Format::Tar, &plain), (Format::TarGz, &gzipped), (Format::TarZst, &zstandard)] {
        comes_to_an_end("archives", &[sample], |bytes| {
            if let Ok(reader) = format.reader(bytes) {
                let _inspected = archive::inspect(reader, b"RELEASE", limits);
            }
        });
    }
}
