//! Archives that nobody honest packs: refused as a whole, with one line, and nothing is changed anywhere.

use crate::depot::{Depot, snapshot};
use crate::tars::{Tar, gzip, zstd};
use archive::Format;
use std::io::Write;
use tar::EntryType;
use testkit::Tool;

/// What stands before the hostile member: an archive is refused as a whole or not at all.
fn start() -> Tar {
    Tar::new().file("RELEASE", &crate::depot::five_lines(2)).dir("d").file("d/good", b"good")
}

/// Every archive is refused with its own words; neither the target nor anything beside it changes.
fn refused(cases: Vec<(&str, Vec<u8>, &str)>) {
    refused_as(Format::Tar, &[], cases);
}

fn refused_as(format: Format, args: &[&str], cases: Vec<(&str, Vec<u8>, &str)>) {
    let depot = Depot::with_first();
    std::fs::write(depot.root.path().join("outside"), "untouched").unwrap();
    for (what, archive, words) in cases {
        depot.publish_as(2, archive, format);
        let before = snapshot(depot.root.path());
        let run = depot.fetch().args(args).run();
        let told = format!("{what}\n{}", run.report());
        let lines = run.stderr.iter().filter(|byte| **byte == b'\n').count();
        assert!(run.code == Some(1) && lines == 1 && run.stdout.is_empty(), "{told}");
        assert!(run.stderr_str().contains(words), "expected {words:?}: {told}");
        assert!(snapshot(depot.root.path()) == before, "something changed: {told}");
        depot.assert_tidy();
    }
}

fn special(kind: EntryType) -> Vec<u8> {
    start().member(b"x", kind, b"", |_| {}).end()
}

fn long_name(name: &[u8]) -> Vec<u8> {
    start().long(EntryType::GNULongName, name).file("short", b"x").end()
}

#[test]
fn names_that_lead_elsewhere() {
    let long = |name: &str| long_name(name.as_bytes());
    let pax = |name: &[u8]| start().pax(&[("path", name)]).file("short", b"x").end();
    refused(vec![
        ("absolute", start().file("/tmp/artifact-fetch-evil", b"x").end(), "absolute"),
        ("absolute, doubled", start().file("//etc/evil", b"x").end(), "absolute"),
        ("absolute directory", start().dir("/tmp/artifact-fetch-evil").end(), "absolute"),
        ("absolute, by a long name", long("/tmp/artifact-fetch-evil"), "absolute"),
        ("absolute, by PAX", pax(b"/tmp/artifact-fetch-evil"), "absolute"),
        ("climbs first", start().file("../outside", b"x").end(), "'..'"),
        ("climbs within", start().file("d/../../outside", b"x").end(), "'..'"),
        ("climbs and comes back", start().file("d/../d/x", b"x").end(), "'..'"),
        ("ends climbing", start().dir("d/..").end(), "'..'"),
        ("climbs behind a dot", start().file("./../outside", b"x").end(), "'..'"),
        ("climbs, by a long name", long("d/../../../outside"), "'..'"),
        ("climbs, by PAX", pax(b"../outside"), "'..'"),
        ("a link that climbs by name", start().symlink("../outside", "d").end(), "'..'"),
        ("a hard link that climbs by name", start().hard_link("../outside2", "d/good").end(), "'..'"),
        ("a zero byte, by a long name", long("good\0/../../outside"), "zero byte"),
        ("a zero byte, by PAX", pax(b"a\0b"), "zero byte"),
        ("an empty name", start().file("", b"x").end(), "empty"),
        ("over 4096 bytes", long(&format!("{}/", "a".repeat(250)).repeat(20)), "longer than 4096"),
        ("256 parts", long(&"a/".repeat(256)), "more than 255 parts"),
        ("a part over 255 bytes", long(&"x".repeat(300)), "255"),
        (
            "a link over 4096 bytes",
            start()
                .long(EntryType::GNULongName, format!("{}/", "b".repeat(250)).repeat(20).as_bytes())
                .symlink("l", "d")
                .end(),
            "4096",
        ),
    ]);
}

#[test]
fn links_that_lead_out() {
    let outside = "/etc/passwd";
    let pax_link = |target: &[u8]| start().pax(&[("linkpath", target)]).symlink("l", "d").end();
    refused(vec![
        ("absolute", start().symlink("l", outside).end(), "absolute path"),
        ("climbing", start().symlink("l", "../outside").end(), "out of the tree"),
        ("climbing from below", start().symlink("d/l", "../../outside").end(), "out of the tree"),
        ("the parent itself", start().symlink("l", "..").end(), "out of the tree"),
        ("by what is not there", start().symlink("l", "no/../../outside").end(), "out of the tree"),
        ("a chain", start().symlink("d/up", "..").symlink("l", "d/up/../outside").end(), "out of the tree"),
        (
            "a chain, target first",
            start().symlink("l", "d/up/../outside").symlink("d/up", "..").end(),
            "out of the tree",
        ),
        (
            "a long chain",
            start().symlink("a", "d/b").symlink("d/b", "c").symlink("d/c", "../e").symlink("e", "d/../../x").end(),
            "out of the tree",
        ),
        ("a chain to an absolute one", start().symlink("a", "b").symlink("b", outside).end(), "absolute path"),
        ("no target", start().symlink("l", "").end(), "no usable target"),
        (
            "by a long link",
            start().long(EntryType::GNULongLink, b"../../../../outside").symlink("l", "d").end(),
            "out of the tree",
        ),
        (
            "with a target that Linux does not take",
            start().long(EntryType::GNULongLink, "y/".repeat(2_048).as_bytes()).symlink("l", "d").end(),
            "longer than 4095 bytes",
        ),
        ("by PAX", pax_link(b"../outside"), "out of the tree"),
        ("absolute by PAX", pax_link(outside.as_bytes()), "absolute path"),
        ("in place of the tree", start().symlink(".", "d").end(), "the tree itself"),
        ("hard, absolute", start().hard_link("h", outside).end(), "absolute"),
        ("hard, climbing", start().hard_link("h", "../outside").end(), "'..'"),
        ("hard, by PAX", start().pax(&[("linkpath", b"../outside")]).hard_link("h", "d/good").end(), "'..'"),
        ("hard, to nothing", start().hard_link("h", "nothing").end(), "no file of the archive"),
        ("hard, to itself", start().hard_link("h", "h").end(), "no file of the archive"),
        ("hard, to a directory", start().hard_link("h", "d").end(), "no file of the archive"),
        ("hard, to a link", start().symlink("l", "d/good").hard_link("h", "l").end(), "no file of the archive"),
        ("hard, through a link", start().symlink("l", "d").hard_link("h", "l/good").end(), "no file of the archive"),
    ]);
}

#[test]
fn members_that_meet() {
    let twice = "stands twice";
    refused(vec![
        ("a file through a link", start().symlink("l", "d").file("l/x", b"x").end(), twice),
        ("a file through a link to come", start().file("l/x", b"x").symlink("l", "d").end(), twice),
        ("a link replaced by a directory", start().symlink("l", "d").dir("l").end(), twice),
        ("a link replaced by a file", start().symlink("l", "d").file("l", b"x").end(), twice),
        ("a directory replaced by a link", start().symlink("d", "e").end(), twice),
        ("a file replaced by a link", start().symlink("d/good", "../e").end(), twice),
        ("a link twice", start().symlink("l", "d").symlink("l", "d/good").end(), twice),
        ("a link through a link", start().symlink("l", "d").symlink("l/m", "good").end(), twice),
        ("a file twice", start().file("d/good", b"other").end(), twice),
        ("a file twice, spelt otherwise", start().file("./d//good", b"other").end(), twice),
        ("a file replaced by a directory", start().dir("d/good").end(), twice),
        ("a directory replaced by a file", start().file("d", b"x").end(), twice),
        ("a hard link over a file", start().hard_link("RELEASE", "d/good").end(), twice),
        ("a file below a file", start().file("d/good/x", b"x").end(), "not a directory"),
        ("a directory below a file", start().dir("d/good/x").end(), "not a directory"),
        ("a link below a file", start().symlink("d/good/x", "y").end(), twice),
    ]);
}

#[test]
fn kinds_that_no_release_has() {
    let file_of_mode = |mode| start().member(b"x", EntryType::Regular, b"x", |header| header.set_mode(mode)).end();
    let sparse =
        start().member(b"x", EntryType::GNUSparse, b"", |header| header.as_gnu_mut().unwrap().set_real_size(0)).end();
    let sparse_keys: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    refused(vec![
        ("a character device", special(EntryType::Char), "a device"),
        ("a block device", special(EntryType::Block), "a device"),
        ("a pipe", special(EntryType::Fifo), "named pipe"),
        ("an unknown kind", special(EntryType::new(b'Z')), "not unpacked"),
        ("a volume label", special(EntryType::new(b'V')), "not unpacked"),
        ("setuid", file_of_mode(0o4755), "setuid"),
        ("setgid", file_of_mode(0o2755), "setuid or setgid"),
        ("a sparse file", sparse, "not unpacked"),
        ("a sparse file by PAX", start().pax(sparse_keys).file("GNUSparseFile.0/x", b"1\n0\n9\n").end(), "sparse"),
        ("a file with a directory's name", start().file("x/", b"x").end(), "directory's name"),
        ("a file in place of the tree", start().file("./", b"x").end(), "directory's name"),
    ]);
}

#[test]
fn bytes_that_are_no_archive() {
    let declared = |kind, size: u64| start().member(b"x", kind, b"", |header| header.set_size(size)).end();
    let wrong_sum = || {
        let mut bytes = start().end();
        bytes[512 * 2] ^= 1;
        bytes
    };
    let unread = "can't be read";
    let mut cases = vec![
        ("nothing", Vec::new(), "cut short"),
        ("text", b"<html>404</html>\n".repeat(100), unread),
        ("a header with a wrong sum", wrong_sum(), unread),
        ("no end mark", start().cut(), "cut short"),
        ("cut within a member", start().file("x", &[1; 900]).cut()[..512 * 6 + 100].to_vec(), unread),
        ("bytes behind the end mark", [start().end(), b"more".to_vec()].concat(), "cut short"),
        ("a second archive behind it", [start().end(), start().cut()].concat(), "cut short"),
        ("a file's zeros for an end mark", start().file("x", &[0; 4096]).cut(), "cut short"),
        ("PAX for no member", start().pax(&[("path", b"x")]).end(), unread),
        ("PAX twice", start().pax(&[("path", b"x")]).pax(&[("path", b"y")]).file("z", b"").end(), unread),
        (
            "PAX that is none",
            start().member(b"x", EntryType::XHeader, b"99 path=../x\n", |_| {}).file("z", b"").end(),
            unread,
        ),
        ("PAX size beyond the end", start().pax(&[("size", b"99999")]).file("x", b"x").end(), unread),
        ("PAX size below the header's", start().pax(&[("size", b"0")]).file("x", b"not a header").end(), unread),
        (
            "PAX size without end",
            start().pax(&[("size", b"18446744073709551615")]).file("x", b"x").end(),
            "can't be read",
        ),
        (
            "a long name twice",
            start().long(EntryType::GNULongName, b"x").long(EntryType::GNULongName, b"y").file("z", b"").end(),
            unread,
        ),
        ("a long name for no member", start().long(EntryType::GNULongName, b"x").end(), unread),
    ];
    for kind in [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link] {
        cases.push(("a size over the limit", declared(kind, 1 << 40), "more than"));
        cases.push(("a size beyond all numbers", declared(kind, u64::MAX), "can't be read"));
        cases.push(("a size beyond all disks", declared(kind, u64::MAX >> 2), "more than"));
    }
    cases.push(("a long name's size beyond the end", declared(EntryType::GNULongName, 1 << 40), unread));
    refused(cases);
    refused_as(
        Format::TarGz,
        &[],
        vec![
            ("gzip that is none", start().end(), unread),
            ("gzip cut short", gzip(&start().end())[..60].to_vec(), unread),
        ],
    );
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&start().end()).unwrap();
    wide.flush().unwrap();
    let wide = wide.finish().unwrap();
    refused_as(
        Format::TarZst,
        &[],
        vec![
            ("zstd that is none", start().end(), unread),
            ("zstd cut short", zstd(&start().end())[..60].to_vec(), unread),
            ("zstd that wants 128 MiB of memory", wide, unread),
        ],
    );
}

#[test]
fn bombs() {
    let zeros = vec![0; 100 << 20];
    let file = start().file("big", &zeros).end();
    let directory = start().member(b"big", EntryType::Directory, &zeros, |_| {}).end();
    // These are read into memory before anybody sees the member they belong to.
    let name = start().member(b"././@LongLink", EntryType::GNULongName, &zeros, |_| {}).file("x", b"x").end();
    let pax = start().member(b"x", EntryType::XHeader, &zeros, |_| {}).file("x", b"x").end();
    let tail = [start().end(), zeros].concat();
    let cases = |pack: fn(&[u8]) -> Vec<u8>| {
        vec![
            ("a file", pack(&file), "more than 1048576 bytes"),
            ("a directory with content", pack(&directory), "more than 1048576 bytes"),
            ("a name", pack(&name), "more headers or padding"),
            ("a PAX header", pack(&pax), "more headers or padding"),
            ("zeros behind the end", pack(&tail), "more headers or padding"),
        ]
    };
    refused_as(Format::TarGz, &["--max-size", "1MiB"], cases(gzip));
    refused_as(Format::TarZst, &["--max-size", "1MiB"], cases(zstd));
}

#[test]
fn too_many_members() {
    let files = (0..10).fold(start(), |tar, index| tar.file(&format!("x{index}"), b"")).end();
    let links = (0..10).fold(start(), |tar, index| tar.symlink(&format!("x{index}"), "d")).end();
    let deep = start().file(&format!("{}x", "a/".repeat(10)), b"x").end();
    let words = "more than 10 members";
    let cases = vec![("files", files, words), ("links", links, words), ("directories nobody named", deep, words)];
    refused_as(Format::Tar, &["--max-entries", "10"], cases);
}

/// Every name and target is kept until all have been seen, so small archives could take all memory.
#[test]
fn too_many_names() {
    let folder = format!("{}/", "n".repeat(250)).repeat(15);
    let target = "y/".repeat(2_000);
    let links = (0..9_000).fold(start(), |tar, index| {
        let tar = tar.long(EntryType::GNULongName, format!("{folder}{index}").as_bytes());
        tar.long(EntryType::GNULongLink, target.as_bytes()).symlink("l", "d")
    });
    refused_as(Format::TarGz, &[], vec![("links", gzip(&links.end()), "more than 64 MiB of memory")]);
}

/// More levels than this run may have files open.
#[test]
fn a_deep_tree_is_removed_with_few_files() {
    let depot = Depot::with_first();
    let limited = |number: u64| {
        let store = format!("file://{}", depot.store.display());
        let tool = Tool::new("sh").args(["-c", "ulimit -n 64; exec \"$@\"", "-", env!("CARGO_BIN_EXE_artifact-fetch")]);
        let tool = tool.args(["--artifact", crate::depot::ARTIFACT, "--store", &store, "--into"]).arg(&depot.into);
        tool.args(["--keep", "2", "--release"]).arg(number.to_string())
    };
    let deep = |number: u64| {
        let tar = Tar::new()
            .file("RELEASE", &crate::depot::five_lines(number))
            .file("bin/run", number.to_string().as_bytes());
        tar.long(EntryType::GNULongName, format!("{}f", "a/".repeat(254)).as_bytes()).file("f", b"x")
    };
    depot.publish(2, deep(2).file("../x", b"x").end());
    let _run = limited(2).run().fails_with(1).stderr_contains("'..'");
    depot.assert_tidy();
    for number in 2..=5 {
        depot.publish(number, deep(number).end());
        let _run = limited(number).run().succeeds().stderr_is_empty();
    }
    assert_eq!(depot.shelf(), [3, 4, 5]);
    depot.assert_tidy();
}

#[test]
fn a_tree_may_hold_the_names_that_the_shelf_uses() {
    let depot = Depot::with_first();
    let tar = start().file("bin/run", b"2").dir("current").file("current/x", b"x").dir(".artifact-fetch");
    let tar = tar.file(".artifact-fetch/lock", b"mine").symlink("app-3", "d").file("app-1/RELEASE", b"y");
    depot.publish(2, tar.file(&format!("{}x", durable::TEMPORARY_PREFIX), b"z").end());
    let first = snapshot(&depot.into.join("app-1"));
    let _run = depot.fetch().run().succeeds().stderr_is_empty();
    depot.assert_current(2);
    depot.assert_tidy();
    assert!(snapshot(&depot.into.join("app-1")) == first);
    assert_eq!(std::fs::read(depot.into.join("app-2/.artifact-fetch/lock")).unwrap(), b"mine");
}
