//! Archives that nobody honest packs, and odd ones that somebody does: one table for every tool that has to tell them apart.

use crate::tars::{EntryType, Tar, gzip, zstd};
use std::io::Write;

/// An archive that is refused.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What is wrong with it.
    pub what: &'static str,
    /// How it is packed: `tar`, `tar.gz` or `tar.zst`.
    pub format: &'static str,
    /// Its bytes.
    pub archive: Vec<u8>,
    /// What the refusal says, among other words.
    pub words: &'static str,
}

type Case = (&'static str, Vec<u8>, &'static str);

fn packed(format: &'static str, cases: Vec<Case>) -> Vec<Hostile> {
    cases.into_iter().map(|(what, archive, words)| Hostile { what, format, archive, words }).collect()
}

/// All of them, in a release whose file `RELEASE` is `release`.
#[must_use]
pub fn all(release: &[u8]) -> Vec<Hostile> {
    let kinds = [
        names_that_lead_elsewhere(release),
        links_that_lead_out(release),
        members_that_meet(release),
        kinds_that_no_release_has(release),
        bytes_that_are_no_archive(release),
        headers_and_padding_without_end(release),
        too_many_names(release),
    ];
    kinds.concat()
}

/// What stands before the hostile member: an archive is refused as a whole or not at all.
fn start(release: &[u8]) -> Tar {
    Tar::new().file("RELEASE", release).dir("d").file("d/good", b"good")
}

/// Names that are absolute, climb, or that Linux does not take.
#[must_use]
pub fn names_that_lead_elsewhere(release: &[u8]) -> Vec<Hostile> {
    let long = |name: &str| long_name(release, name.as_bytes());
    let pax = |name: &[u8]| start(release).pax(&[("path", name)]).file("short", b"x").end();
    packed(
        "tar",
        vec![
            ("absolute", start(release).file("/tmp/artifact-fetch-evil", b"x").end(), "absolute"),
            ("absolute, doubled", start(release).file("//etc/evil", b"x").end(), "absolute"),
            ("absolute directory", start(release).dir("/tmp/artifact-fetch-evil").end(), "absolute"),
            ("absolute, by a long name", long("/tmp/artifact-fetch-evil"), "absolute"),
            ("absolute, by PAX", pax(b"/tmp/artifact-fetch-evil"), "absolute"),
            ("climbs first", start(release).file("../outside", b"x").end(), "'..'"),
            ("climbs within", start(release).file("d/../../outside", b"x").end(), "'..'"),
            ("climbs and comes back", start(release).file("d/../d/x", b"x").end(), "'..'"),
            ("ends climbing", start(release).dir("d/..").end(), "'..'"),
            ("climbs behind a dot", start(release).file("./../outside", b"x").end(), "'..'"),
            ("climbs, by a long name", long("d/../../../outside"), "'..'"),
            ("climbs, by PAX", pax(b"../outside"), "'..'"),
            ("a link that climbs by name", start(release).symlink("../outside", "d").end(), "'..'"),
            ("a hard link that climbs by name", start(release).hard_link("../outside2", "d/good").end(), "'..'"),
            ("a zero byte, by a long name", long("good\0/../../outside"), "zero byte"),
            ("a zero byte, by PAX", pax(b"a\0b"), "zero byte"),
            ("an empty name", start(release).file("", b"x").end(), "empty"),
            ("over 4096 bytes", long(&format!("{}/", "a".repeat(250)).repeat(20)), "longer than 4096"),
            ("256 parts", long(&"a/".repeat(256)), "more than 255 parts"),
            ("a part over 255 bytes", long(&"x".repeat(300)), "255"),
            (
                "a link over 4096 bytes",
                start(release)
                    .long(EntryType::GNULongName, format!("{}/", "b".repeat(250)).repeat(20).as_bytes())
                    .symlink("l", "d")
                    .end(),
                "4096",
            ),
        ],
    )
}

/// Links whose target is not in the tree, or is none.
#[must_use]
pub fn links_that_lead_out(release: &[u8]) -> Vec<Hostile> {
    let outside = "/etc/passwd";
    let pax_link = |target: &[u8]| start(release).pax(&[("linkpath", target)]).symlink("l", "d").end();
    packed(
        "tar",
        vec![
            ("absolute", start(release).symlink("l", outside).end(), "absolute path"),
            ("climbing", start(release).symlink("l", "../outside").end(), "out of the tree"),
            ("climbing from below", start(release).symlink("d/l", "../../outside").end(), "out of the tree"),
            ("the parent itself", start(release).symlink("l", "..").end(), "out of the tree"),
            ("by what is not there", start(release).symlink("l", "no/../../outside").end(), "out of the tree"),
            ("a chain", start(release).symlink("d/up", "..").symlink("l", "d/up/../outside").end(), "out of the tree"),
            (
                "a chain, target first",
                start(release).symlink("l", "d/up/../outside").symlink("d/up", "..").end(),
                "out of the tree",
            ),
            (
                "a long chain",
                start(release)
                    .symlink("a", "d/b")
                    .symlink("d/b", "c")
                    .symlink("d/c", "../e")
                    .symlink("e", "d/../../x")
                    .end(),
                "out of the tree",
            ),
            (
                "a chain to an absolute one",
                start(release).symlink("a", "b").symlink("b", outside).end(),
                "absolute path",
            ),
            ("no target", start(release).symlink("l", "").end(), "no usable target"),
            (
                "by a long link",
                start(release).long(EntryType::GNULongLink, b"../../../../outside").symlink("l", "d").end(),
                "out of the tree",
            ),
            (
                "with a target that Linux does not take",
                start(release).long(EntryType::GNULongLink, "y/".repeat(2_048).as_bytes()).symlink("l", "d").end(),
                "longer than 4095 bytes",
            ),
            ("by PAX", pax_link(b"../outside"), "out of the tree"),
            ("absolute by PAX", pax_link(outside.as_bytes()), "absolute path"),
            ("in place of the tree", start(release).symlink(".", "d").end(), "the tree itself"),
            ("hard, absolute", start(release).hard_link("h", outside).end(), "absolute"),
            ("hard, climbing", start(release).hard_link("h", "../outside").end(), "'..'"),
            ("hard, by PAX", start(release).pax(&[("linkpath", b"../outside")]).hard_link("h", "d/good").end(), "'..'"),
            ("hard, to nothing", start(release).hard_link("h", "nothing").end(), "no file of the archive"),
            ("hard, to itself", start(release).hard_link("h", "h").end(), "no file of the archive"),
            ("hard, to a directory", start(release).hard_link("h", "d").end(), "no file of the archive"),
            (
                "hard, to a link",
                start(release).symlink("l", "d/good").hard_link("h", "l").end(),
                "no file of the archive",
            ),
            (
                "hard, through a link",
                start(release).symlink("l", "d").hard_link("h", "l/good").end(),
                "no file of the archive",
            ),
        ],
    )
}

/// Names that stand twice, or below what is no directory.
#[must_use]
pub fn members_that_meet(release: &[u8]) -> Vec<Hostile> {
    let twice = "stands twice";
    packed(
        "tar",
        vec![
            ("a file through a link", start(release).symlink("l", "d").file("l/x", b"x").end(), twice),
            ("a file through a link to come", start(release).file("l/x", b"x").symlink("l", "d").end(), twice),
            ("a link replaced by a directory", start(release).symlink("l", "d").dir("l").end(), twice),
            ("a link replaced by a file", start(release).symlink("l", "d").file("l", b"x").end(), twice),
            ("a directory replaced by a link", start(release).symlink("d", "e").end(), twice),
            ("a file replaced by a link", start(release).symlink("d/good", "../e").end(), twice),
            ("a link twice", start(release).symlink("l", "d").symlink("l", "d/good").end(), twice),
            ("a link through a link", start(release).symlink("l", "d").symlink("l/m", "good").end(), twice),
            ("a file twice", start(release).file("d/good", b"other").end(), twice),
            ("a file twice, spelt otherwise", start(release).file("./d//good", b"other").end(), twice),
            ("a file replaced by a directory", start(release).dir("d/good").end(), twice),
            ("a directory replaced by a file", start(release).file("d", b"x").end(), twice),
            ("a hard link over a file", start(release).hard_link("RELEASE", "d/good").end(), twice),
            ("a file below a file", start(release).file("d/good/x", b"x").end(), "not a directory"),
            ("a directory below a file", start(release).dir("d/good/x").end(), "not a directory"),
            ("a link below a file", start(release).symlink("d/good/x", "y").end(), twice),
        ],
    )
}

/// Devices, pipes, setuid files and what nobody knows.
///
/// # Panics
/// Never.
#[must_use]
pub fn kinds_that_no_release_has(release: &[u8]) -> Vec<Hostile> {
    let file_of_mode =
        |mode| start(release).member(b"x", EntryType::Regular, b"x", |header| header.set_mode(mode)).end();
    let sparse = start(release)
        .member(b"x", EntryType::GNUSparse, b"", |header| header.as_gnu_mut().expect("it is GNU's").set_real_size(0))
        .end();
    let sparse_keys: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    packed(
        "tar",
        vec![
            ("a character device", special(release, EntryType::Char), "a device"),
            ("a block device", special(release, EntryType::Block), "a device"),
            ("a pipe", special(release, EntryType::Fifo), "named pipe"),
            ("an unknown kind", special(release, EntryType::new(b'Z')), "not unpacked"),
            ("a volume label", special(release, EntryType::new(b'V')), "not unpacked"),
            ("setuid", file_of_mode(0o4755), "setuid"),
            ("setgid", file_of_mode(0o2755), "setuid or setgid"),
            ("a sparse file", sparse, "not unpacked"),
            (
                "a sparse file by PAX",
                start(release).pax(sparse_keys).file("GNUSparseFile.0/x", b"1\n0\n9\n").end(),
                "sparse",
            ),
            ("a file with a directory's name", start(release).file("x/", b"x").end(), "directory's name"),
            ("a file in place of the tree", start(release).file("./", b"x").end(), "directory's name"),
        ],
    )
}

/// Damaged, cut and empty ones, and sizes beyond every disk.
///
/// # Panics
/// Never.
#[must_use]
pub fn bytes_that_are_no_archive(release: &[u8]) -> Vec<Hostile> {
    let declared = |kind, size: u64| start(release).member(b"x", kind, b"", |header| header.set_size(size)).end();
    let wrong_sum = || {
        let mut bytes = start(release).end();
        bytes[512 * 2] ^= 1;
        bytes
    };
    let unread = "can't be read";
    let mut cases = vec![
        ("nothing", Vec::new(), "cut short"),
        ("text", b"<html>404</html>\n".repeat(100), unread),
        ("a header with a wrong sum", wrong_sum(), unread),
        ("no end mark", start(release).cut(), "cut short"),
        ("cut within a member", start(release).file("x", &[1; 900]).cut()[..512 * 6 + 100].to_vec(), unread),
        ("bytes behind the end mark", [start(release).end(), b"more".to_vec()].concat(), "cut short"),
        ("a second archive behind it", [start(release).end(), start(release).cut()].concat(), "cut short"),
        ("a file's zeros for an end mark", start(release).file("x", &[0; 4096]).cut(), "cut short"),
        ("PAX for no member", start(release).pax(&[("path", b"x")]).end(), unread),
        ("PAX twice", start(release).pax(&[("path", b"x")]).pax(&[("path", b"y")]).file("z", b"").end(), unread),
        (
            "PAX that is none",
            start(release).member(b"x", EntryType::XHeader, b"99 path=../x\n", |_| {}).file("z", b"").end(),
            unread,
        ),
        ("PAX size beyond the end", start(release).pax(&[("size", b"99999")]).file("x", b"x").end(), unread),
        ("PAX size below the header's", start(release).pax(&[("size", b"0")]).file("x", b"not a header").end(), unread),
        (
            "PAX size without end",
            start(release).pax(&[("size", b"18446744073709551615")]).file("x", b"x").end(),
            "can't be read",
        ),
        (
            "a long name twice",
            start(release).long(EntryType::GNULongName, b"x").long(EntryType::GNULongName, b"y").file("z", b"").end(),
            unread,
        ),
        ("a long name for no member", start(release).long(EntryType::GNULongName, b"x").end(), unread),
    ];
    for kind in [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link] {
        cases.push(("a size over the limit", declared(kind, 1 << 40), "more than"));
        cases.push(("a size beyond all numbers", declared(kind, u64::MAX), "can't be read"));
        cases.push(("a size beyond all disks", declared(kind, u64::MAX >> 2), "more than"));
    }
    cases.push(("a long name's size beyond the end", declared(EntryType::GNULongName, 1 << 40), unread));
    let gzips = vec![
        ("gzip that is none", start(release).end(), unread),
        ("gzip cut short", gzip(&start(release).end())[..60].to_vec(), unread),
    ];
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory takes every byte");
    wide.window_log(27).expect("memory takes every byte");
    wide.write_all(&start(release).end()).expect("memory takes every byte");
    wide.flush().expect("memory takes every byte");
    let wide = wide.finish().expect("memory takes every byte");
    let zstds = vec![
        ("zstd that is none", start(release).end(), unread),
        ("zstd cut short", zstd(&start(release).end())[..60].to_vec(), unread),
        ("zstd that wants 128 MiB of memory", wide, unread),
    ];
    [packed("tar", cases), packed("tar.gz", gzips), packed("tar.zst", zstds)].concat()
}

/// Names, headers and padding that would be read for ever, packed so that they are small.
#[must_use]
pub fn headers_and_padding_without_end(release: &[u8]) -> Vec<Hostile> {
    let zeros = vec![0; 100 << 20];
    let start = || start(release);
    // These are read into memory before anybody sees the member they belong to.
    let name = start().member(b"././@LongLink", EntryType::GNULongName, &zeros, |_| {}).file("x", b"x").end();
    let pax = start().member(b"x", EntryType::XHeader, &zeros, |_| {}).file("x", b"x").end();
    let tail = [start().end(), zeros].concat();
    let cases = |pack: fn(&[u8]) -> Vec<u8>| {
        vec![
            ("a name", pack(&name), "more headers or padding"),
            ("a PAX header", pack(&pax), "more headers or padding"),
            ("zeros behind the end", pack(&tail), "more headers or padding"),
        ]
    };
    [packed("tar.gz", cases(gzip)), packed("tar.zst", cases(zstd))].concat()
}

/// Every name and target is kept until all have been seen, so small archives could take all memory.
#[must_use]
pub fn too_many_names(release: &[u8]) -> Vec<Hostile> {
    let folder = format!("{}/", "n".repeat(250)).repeat(15);
    let target = "y/".repeat(2_000);
    let links = (0..9_000).fold(start(release), |tar, index| {
        let tar = tar.long(EntryType::GNULongName, format!("{folder}{index}").as_bytes());
        tar.long(EntryType::GNULongLink, target.as_bytes()).symlink("l", "d")
    });
    packed("tar.gz", vec![("links", gzip(&links.end()), "more than 64 MiB of memory")])
}

/// Odd archives that are fine: what refuses one of them refuses too much.
#[must_use]
pub fn odd(release: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let start = || start(release);
    let deep = format!("{}f", "a/".repeat(254));
    vec![
        ("plain", start().end()),
        ("names with dots and doubled slashes", start().file("./d//more", b"x").dir("./").end()),
        ("directories that only names speak of", start().file("a/b/c/d", b"x").end()),
        ("255 parts", start().long(EntryType::GNULongName, deep.as_bytes()).file("f", b"x").end()),
        ("a directory twice", start().dir("d").dir("d/").end()),
        ("a directory after its file", start().file("e/x", b"x").dir("e").end()),
        ("links within", start().symlink("d/up", "..").symlink("l", "d/up/d/good").symlink("d/loop", "loop").end()),
        ("a link below directories of its own", start().symlink("x/y/z", "../../d").end()),
        ("a link to nothing", start().symlink("l", "not/there").end()),
        ("hard links to files, also to each other", start().hard_link("h", "d/good").hard_link("a/h", "h").end()),
        ("a name by PAX", start().pax(&[("path", "d/\u{fc}".as_bytes()), ("mtime", b"1.5")]).file("short", b"x").end()),
        ("a record of the usual size", {
            let mut bytes = start().end();
            bytes.resize(bytes.len().next_multiple_of(10_240), 0);
            bytes
        }),
    ]
}

/// Archives that don't speak of the release they are named for. With a sealed record nobody asks them.
#[must_use]
pub fn of_another_release(other: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let of = |release: &[u8]| Tar::new().file("RELEASE", release).file("d/good", other).end();
    vec![
        ("no RELEASE", Tar::new().file("d/good", other).end()),
        ("RELEASE in a directory", Tar::new().file("d/RELEASE", other).end()),
        ("RELEASE of another number", of(other)),
        ("RELEASE that is no record", of(b"hello\n")),
        ("RELEASE that is empty", of(b"")),
        ("RELEASE without end", of(&b"A=x\n".repeat(40_000))),
        ("RELEASE that is a directory", Tar::new().dir("RELEASE").end()),
        ("RELEASE that is a link", Tar::new().symlink("RELEASE", "d/good").file("d/good", b"x").end()),
    ]
}

fn special(release: &[u8], kind: EntryType) -> Vec<u8> {
    start(release).member(b"x", kind, b"", |_| {}).end()
}

fn long_name(release: &[u8], name: &[u8]) -> Vec<u8> {
    start(release).long(EntryType::GNULongName, name).file("short", b"x").end()
}
