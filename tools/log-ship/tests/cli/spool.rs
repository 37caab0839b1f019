//! A spool that its disk has damaged: what is whole is sent under the ids it has, the rest is counted, kept aside, and the exit
//! code says so.

use crate::harness::{Harness, append, check_stats};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use testkit::{Link, LinkMode, wait_until};

/// Length of the head before the checksums.
const HEAD: usize = 72;
/// Length of a checksum.
const SUM: usize = 24;

/// Lines of a thousand bytes, some of which end where a group does.
fn lines(count: usize) -> Vec<String> {
    (0..count).map(|line| format!("{line:06} {}", "x".repeat(992))).collect()
}

/// Leaves `input` in the spool of a run that was killed, and returns the file.
fn left_behind(harness: &Harness, input: &str) -> PathBuf {
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let mut run = harness.tool_via(&link.address()).stdin(input).start();
    let data = wait_until("the spool", || {
        let held = sums(&harness.state()).map(|sums| (groups(&sums).iter().map(|group| group.end).max(), sums));
        match held {
            Some((Some(end), sums)) if end == input.len() as u64 => Ok(sums.with_extension("")),
            other => Err(format!("{other:?} of {}", input.len())),
        }
    });
    let id = data.file_name().and_then(|name| name.to_str()).unwrap();
    let slots = [0, 1].map(|number| harness.state().join(format!("positions.{number}")));
    wait_until("its position on disk", || {
        let knows = |slot: &PathBuf| fs::read_to_string(slot).is_ok_and(|text| text.contains(id));
        if slots.iter().any(knows) { Ok(()) } else { Err("none yet".to_owned()) }
    });
    run.kill();
    data
}

fn sums(state: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(state.join("spool")).into_iter().flatten().flatten().map(|file| file.path());
    files.find(|path| path.extension().is_some_and(|kind| kind == "sums"))
}

/// The groups that a file of checksums lists.
pub(crate) fn groups(sums: &Path) -> Vec<Range<u64>> {
    let bytes = fs::read(sums).unwrap_or_default();
    let number = |sum: &[u8], at: usize| u64::from_le_bytes(sum[at..at + 8].try_into().unwrap());
    let sums = bytes.get(HEAD..).unwrap_or_default().chunks_exact(SUM);
    sums.map(|sum| number(sum, 0)..number(sum, 0) + number(sum, 8)).collect()
}

/// Flips a bit of a file.
fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Which lines of `truth` touch these bytes.
fn touched(truth: &[String], range: &Range<u64>) -> Vec<usize> {
    let length = truth[0].len() as u64 + 1;
    let touches = |line: &usize| (*line as u64) * length < range.end && (*line as u64 + 1) * length > range.start;
    (0..truth.len()).filter(touches).collect()
}

#[test]
fn a_damaged_group_is_all_that_is_lost() {
    let harness = Harness::new();
    let truth = lines(6000);
    let data = left_behind(&harness, &(truth.join("\n") + "\n"));
    let groups = groups(&data.with_extension("sums"));
    assert!(groups.len() >= 5, "{groups:?}");
    // One in the middle, and the last one.
    let hit = [groups[2].clone(), groups.last().unwrap().clone()];
    hit.iter().for_each(|group| flip(&data, group.start + 500));
    let lost: Vec<usize> = hit.iter().flat_map(|group| touched(&truth, group)).collect();
    let run = harness.tool().args(["--stats", "1h"]).stdin("and one more\n").run().fails_with(1);
    let (said, bytes) = (run.stderr_str(), lost.len() * 1000);
    let aside = format!("{}.damaged", data.display());
    assert_eq!(said.lines().count(), 2, "{said}");
    let (first, last) = said.split_once('\n').unwrap();
    assert!(
        first.starts_with(&format!(
            "log-ship: warning: {bytes} bytes of stdin are lost: {} is damaged at",
            data.display()
        ))
    );
    assert!(first.ends_with(&format!(" and in 1 more places; kept as {aside}")), "{first}");
    assert!(last.starts_with(&format!("log-ship: {bytes} bytes of stdin were lost from a damaged spool")), "{last}");
    assert!(last.contains(&aside), "{last}");
    let stats = check_stats(&run.stdout);
    assert_eq!(stats["destroyed_bytes"].as_u64(), Some(bytes as u64), "{stats}");
    let whole: Vec<(u64, &str)> = truth
        .iter()
        .enumerate()
        .filter(|(line, _)| !lost.contains(line))
        .map(|(line, text)| (line as u64 * 1000, text.as_str()))
        .collect();
    assert_eq!(stats["acked"].as_u64(), Some(whole.len() as u64 + 1), "{stats}");
    let shipped = harness.shipped();
    let spooled = shipped.iter().filter(|one| one.value != b"and one more");
    let spooled: Vec<(u64, &str)> =
        spooled.map(|one| (one.id.offset, std::str::from_utf8(&one.value).unwrap())).collect();
    assert!(spooled == whole, "{} shipped, {} whole", spooled.len(), whole.len());
    // Kept, and never looked at again.
    let mut names: Vec<PathBuf> =
        fs::read_dir(data.parent().unwrap()).unwrap().map(|file| file.unwrap().path()).collect();
    names.sort();
    assert_eq!(names, [PathBuf::from(&aside), PathBuf::from(format!("{}.sums.damaged", data.display()))]);
    assert_eq!(fs::metadata(&aside).unwrap().len(), 6_000_000);
    harness.tool().stdin("later\n").run().succeeds().stderr_is_empty();
    assert_eq!(harness.shipped().len(), whole.len() + 2);
}

/// A spool of one group, and one whose checksums are gone: nothing of it can be told to be whole.
#[test]
fn a_spool_that_is_lost_altogether() {
    let harness = Harness::new();
    let data = left_behind(&harness, "one\ntwo\n");
    flip(&data, 4);
    let run = harness.tool().args(["--stats", "1h"]).run().fails_with(1).stderr_contains("8 bytes of stdin are lost");
    assert_eq!(check_stats(&run.stdout)["destroyed_bytes"].as_u64(), Some(8));
    let data = left_behind(&harness, "one\ntwo\n");
    fs::remove_file(data.with_extension("sums")).unwrap();
    harness.tool().run().fails_with(1).stderr_contains("8 bytes of stdin are lost");
    // The position of it is on disk, and its bytes are not.
    let data = left_behind(&harness, "one\ntwo\n");
    fs::remove_file(&data).unwrap();
    harness
        .tool()
        .run()
        .fails_with(1)
        .stderr_contains(&format!("8 bytes of stdin are lost: {} is gone", data.display()));
    // The checksums tell how much it was, beyond what the position does. Those of the one before stay where they are.
    let harness = Harness::new();
    let data = left_behind(&harness, &(lines(1500).join("\n") + "\n"));
    fs::remove_file(&data).unwrap();
    harness.tool().run().fails_with(1).stderr_contains("1500000 bytes of stdin are lost");
    harness.tool().stdin("three\n").run().succeeds().stderr_is_empty();
    assert_eq!(harness.values(), ["three"]);
}

/// A run that found the damage is killed when it has gone past it: the next one, which finds nothing damaged any more, says so
/// all the same. Files that are shipped along end with the code, too.
#[test]
fn damage_outlives_the_run_that_found_it() {
    let harness = Harness::new();
    let truth = lines(3000);
    let data = left_behind(&harness, &(truth.join("\n") + "\n"));
    flip(&data, 500);
    let path = harness.log("a.log");
    fs::write(&path, "one\n").unwrap();
    let mut run = harness.tool().arg(&path).start();
    wait_until("all that is whole", || {
        let count = harness.shipped().len();
        if count > 1900 && harness.values().last().is_some() { Ok(()) } else { Err(format!("{count}")) }
    });
    harness.await_saved(3_000_004);
    assert!(String::from_utf8(run.stderr_so_far()).unwrap().contains(" bytes of stdin are lost"), "at once");
    run.kill();
    let count = harness.shipped().len();
    let run = harness.tool().arg("--once").arg(&path).run().fails_with(1).stderr_is_one_line();
    run.stderr_contains(&format!("{}.damaged", data.display()));
    harness.once(&path);
    assert_eq!(harness.shipped().len(), count, "nothing is sent again");
}

/// Whatever becomes of the end of the checksums, or of both files: each line is shipped, or counted as lost.
#[test]
fn a_damaged_end_is_counted() {
    type Damage = fn(&Path, &Path);
    let cases: [(&str, Damage); 7] = [
        ("the last sector of the checksums is zeros", |_, sums| {
            let length = fs::metadata(sums).unwrap().len();
            let sector = length.min(512);
            let file = fs::File::options().write(true).open(sums).unwrap();
            file.write_all_at(&[0; 512][..sector as usize], length - sector).unwrap();
        }),
        ("the checksums are a sector shorter", |_, sums| shorten(sums, |length| length.saturating_sub(512))),
        ("half of the checksums", |_, sums| shorten(sums, |length| length / 2)),
        ("no checksums", |_, sums| shorten(sums, |_| 0)),
        ("the last two are damaged", |_, sums| {
            let length = fs::metadata(sums).unwrap().len();
            (1..=2).for_each(|last| flip(sums, length - last * SUM as u64 + 20));
        }),
        ("half of both", |data, sums| {
            shorten(data, |length| length / 2);
            shorten(sums, |length| length / 2);
        }),
        ("no bytes", |data, _| shorten(data, |_| 0)),
    ];
    for (name, damage) in cases {
        let harness = Harness::new();
        let truth = lines(6000);
        let data = left_behind(&harness, &(truth.join("\n") + "\n"));
        let groups = groups(&data.with_extension("sums"));
        assert!(groups.len() >= 5, "{name}: {groups:?}");
        damage(&data, &data.with_extension("sums"));
        let run = harness.tool().args(["--stats", "1h"]).run().fails_with(1).stderr_contains("bytes of stdin are lost");
        let stats = check_stats(&run.stdout);
        let shipped = harness.values();
        let bytes = 1000 * (truth.len() - shipped.len()) as u64;
        assert_eq!(stats["destroyed_bytes"].as_u64(), Some(bytes), "{name}: {stats}");
        assert!(shipped == truth[..shipped.len()], "{name}: {} shipped", shipped.len());
        let kept = ["damaged", "sums.damaged"].map(|kind| data.with_extension(kind));
        assert!(kept.iter().all(|path| path.exists()), "{name}");
        harness.tool().stdin("later\n").run().succeeds().stderr_is_empty();
    }
}

/// Makes a file shorter.
fn shorten(path: &Path, to: fn(u64) -> u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(to(file.metadata().unwrap().len())).unwrap();
}

/// As a crash leaves it: what was being written is left out, and that is no damage.
#[test]
fn an_unfinished_end_is_no_damage() {
    let harness = Harness::new();
    let truth = lines(3000);
    let data = left_behind(&harness, &(truth.join("\n") + "\n"));
    append(&data, &truth[..50].join("\n"));
    let run = harness.tool().run().succeeds().stderr_is_one_line();
    run.stderr_contains(&format!("the last 49999 bytes of {}", data.display()));
    assert!(harness.values() == truth);
    assert_eq!(fs::read_dir(data.parent().unwrap()).unwrap().count(), 0);
}
