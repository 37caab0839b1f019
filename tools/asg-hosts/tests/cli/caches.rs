//! The last answers: when they are used, and that nobody takes them for the present ones.

use crate::harness::{HERE, THERE, at, fleet, group};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use testkit::{Finished, FleetFault, FleetModel, Tool};

const COLUMN: [&str; 3] = ["--columns", "instance_id", "-q"];
const IDS: &str = "instance_id\ni-11\ni-01\ni-02\ni-03\n";

/// The tool with a cache. HOME belongs to the question, so it is the same for every run.
fn cached(model: &FleetModel, dir: &TempDir) -> Tool {
    at(model).env("HOME", dir.path()).args([Path::new("--cache"), &dir.path().join("kept/here")])
}

/// A temporary failure that is not worth a second try at once.
fn down(model: &FleetModel) {
    model.fail(Box::new(|_| Some(FleetFault::error(400, "ExpiredToken"))));
}

fn file(dir: &TempDir) -> PathBuf {
    let files: Vec<_> = fs::read_dir(dir.path().join("kept/here")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn fresh_answers_are_not_asked_for_again() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is(IDS);
    assert_eq!(model.calls().len(), 2);
    let run = cached(&model, &dir).args(["--columns", "instance_id", "-v"]).run().succeeds().stdout_is(IDS);
    let _run =
        run.stderr_contains(" s ago is fresh").stderr_contains("3 listed, 1 skipped (1 in no group), 1 unresolved");
    // Selectors choose from the same answers; but other groups, regions or users are other questions.
    let _run = cached(&model, &dir).args(COLUMN).args(["--state", "stopped"]).run().succeeds();
    assert_eq!(model.calls().len(), 2);
    let _run = cached(&model, &dir).args(COLUMN).args(["--max-age", "0s"]).run().succeeds();
    assert_eq!(model.calls().len(), 4);
    for other in [&["--asg", "obelix_spot"][..], &["--asg", "obelix_*"], &["--region", THERE], &["--list"]] {
        let before = model.calls().len();
        let column: &[&str] = if other == ["--list"] { &[] } else { &COLUMN };
        let _run = cached(&model, &dir).args(column).args(other).run().succeeds();
        assert!(model.calls().len() > before, "{other:?}");
    }
    let before = model.calls().len();
    let _run = cached(&model, &dir).args(COLUMN).env("AWS_ACCESS_KEY_ID", "another").run().succeeds();
    assert!(model.calls().len() > before);
}

#[test]
fn an_empty_fleet_is_an_answer_too() {
    let (model, dir) = (FleetModel::start(), tempfile::tempdir().unwrap());
    for _ in 0..2 {
        let _run = cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is("instance_id\n");
    }
    assert_eq!(model.calls().len(), 2);
}

#[test]
fn only_its_owner_may_read_it() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file(&dir)), mode(&dir.path().join("kept/here"))), (0o600, 0o700));
}

#[test]
fn answers_that_are_no_longer_fresh_need_leave() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds();
    down(&model);
    // Without leave: nothing, cache or not.
    let old = |more: &[&str]| cached(&model, &dir).args(["--max-age", "0s"]).args(more).run();
    let run = old(&["--columns", "instance_id"]).fails_with(75).stdout_is("").stderr_is_one_line();
    let _run = run.stderr_contains("ExpiredToken");
    let _run = old(&["--list", "--in-service"]).fails_with(75).stdout_is("").stderr_is_one_line();
    // With leave: the last good list, and stderr says how old it is.
    let run = old(&["--columns", "instance_id", "--stale-ok"]).succeeds().stdout_is(IDS);
    let told = run.stderr_str();
    let (why, counts) = told.split_once('\n').unwrap();
    assert!(why.contains("ExpiredToken") && why.contains("; using the list of ") && why.ends_with(" s ago"), "{told}");
    assert_eq!(counts.lines().count(), 1, "{told}");
    let _run = old(&["--columns", "instance_id", "--stale-ok", "-q"]).succeeds().stdout_is(IDS).stderr_is_empty();
    // A question that was never answered has no last list.
    let _run = old(&["--columns", "instance_id", "--stale-ok", "--asg", "obelix_*"]).fails_with(75).stdout_is("");
}

#[test]
fn ansible_reads_the_age_instead() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let list = |more: &[&str]| cached(&model, &dir).arg("--list").args(more).run();
    let age = |run: &Finished| {
        let list: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        list["_meta"].get("age_seconds").map(|age| age.as_u64().unwrap())
    };
    assert_eq!(age(&list(&[]).succeeds().stderr_is_empty()), None);
    down(&model);
    assert_eq!(age(&list(&[]).succeeds().stderr_is_empty()), None, "fresh");
    assert!(age(&list(&["--max-age", "0s", "--stale-ok"]).succeeds().stderr_is_empty()).is_some());
}

#[test]
fn a_failure_that_stays_is_no_reason_for_an_old_list() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds();
    model.fail(Box::new(|_| Some(FleetFault::error(403, "AccessDenied"))));
    let run = cached(&model, &dir).args(COLUMN).args(["--max-age", "0s", "--stale-ok"]).run();
    let _run = run.fails_with(1).stdout_is("").stderr_contains("AccessDenied");
}

#[test]
fn a_damaged_file_is_no_list() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds();
    let path = file(&dir);
    let whole = fs::read(&path).unwrap();
    down(&model);
    let asked = || cached(&model, &dir).args(COLUMN).arg("--stale-ok").run();
    let _run = asked().succeeds().stdout_is(IDS);
    for at in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let _run = asked().fails_with(75).stdout_is("");
        fs::write(&path, &whole[..at]).unwrap();
        let _run = asked().fails_with(75).stdout_is("");
    }
    // Nor is one from the future.
    let text = String::from_utf8(whole).unwrap();
    let time = text.lines().nth(1).unwrap();
    assert!(time.parse::<u64>().unwrap() <= SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    model.recover();
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is(IDS);
    down(&model);
    let _run = asked().succeeds().stdout_is(IDS);
}

/// Beside what others put there: neither waited for, nor followed, nor taken.
#[test]
fn what_is_no_file_is_no_list() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds();
    let path = file(&dir);
    let asked = || cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is(IDS);
    fs::remove_file(&path).unwrap();
    let _made = Tool::new("mkfifo").arg(&path).run().succeeds();
    let _run = asked();
    assert!(fs::symlink_metadata(file(&dir)).unwrap().is_file(), "the new list takes its place");
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    let _run = asked();
    assert!(fs::symlink_metadata(file(&dir)).unwrap().is_file());
    let new = path.with_file_name(format!(".{}.new", path.file_name().unwrap().to_str().unwrap()));
    let _made = Tool::new("mkfifo").arg(&new).run().succeeds();
    let _run = cached(&model, &dir).args(COLUMN).args(["--max-age", "0s"]).run().succeeds().stdout_is(IDS);
    fs::remove_file(&new).unwrap();
    // What a killed run left is what the next one writes to.
    fs::write(&new, vec![b'x'; 100_000]).unwrap();
    let _run = cached(&model, &dir).args(COLUMN).args(["--max-age", "0s"]).run().succeeds().stdout_is(IDS);
    assert!(fs::metadata(file(&dir)).unwrap().len() < 100_000);
}

#[test]
fn a_group_that_was_not_there_is_asked_for_again() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let asked = || cached(&model, &dir).args(COLUMN).args(["--asg", "new"]).run();
    let _none = asked().fails_with(1).stdout_is("").stderr_contains("unable to list group new: not found");
    model.add_group(HERE, group("new", &[crate::harness::member("i-99", "InService", "Healthy")]));
    let _run = asked().succeeds().stdout_is("instance_id\ni-99\n");
}

#[test]
fn many_runs_at_once_keep_one_whole_list() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let runs: Vec<_> = (0..8).map(|_| cached(&model, &dir).args(COLUMN).args(["--max-age", "0s"]).start()).collect();
    for run in runs {
        let _run = run.wait().succeeds().stdout_is(IDS).stderr_is_empty();
    }
    let _path = file(&dir);
    down(&model);
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is(IDS);
}

#[test]
fn a_refresh_replaces_the_list() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is(IDS);
    model.add_group(HERE, group("new", &[crate::harness::member("i-99", "InService", "Healthy")]));
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is(IDS);
    let wanted = "instance_id\ni-99\ni-11\ni-01\ni-02\ni-03\n";
    let _run = cached(&model, &dir).args(COLUMN).args(["--max-age", "0s"]).run().succeeds().stdout_is(wanted);
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds().stdout_is(wanted);
    let _path = file(&dir);
}

#[test]
fn a_list_that_can_not_be_kept_is_still_printed() {
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    File::create(dir.path().join("kept")).unwrap();
    let run = cached(&model, &dir).args(["--columns", "instance_id"]).run().succeeds().stdout_is(IDS);
    let _run = run.stderr_contains("asg-hosts: warning: unable to open ");
    let _run = cached(&model, &dir).arg("--list").run().succeeds().stderr_is_empty();
}

#[test]
fn age_is_counted_in_time() {
    // A list of the year 2001, sealed as the tool seals it: fresh for a century, stale for an hour.
    let (model, dir) = (fleet(), tempfile::tempdir().unwrap());
    let _run = cached(&model, &dir).args(COLUMN).run().succeeds();
    let path = file(&dir);
    let text = fs::read_to_string(&path).unwrap();
    let answers = format!("1000000000\n{}", text.lines().nth(2).unwrap());
    let digest = Tool::new("sha256sum").stdin(answers.clone()).run().succeeds();
    let sum = digest.stdout_str().split(' ').next().unwrap().to_owned();
    fs::write(&path, format!("asg-hosts cache 3\n{answers}\n{sum}\n")).unwrap();
    let before = model.calls().len();
    let _run = cached(&model, &dir).args(COLUMN).args(["--max-age", "876000h"]).run().succeeds().stdout_is(IDS);
    assert_eq!(model.calls().len(), before);
    down(&model);
    let run = cached(&model, &dir).args(["--columns", "instance_id", "--stale-ok"]).run().succeeds().stdout_is(IDS);
    let told = run.stderr_str();
    let age = told.split("using the list of ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(Duration::from_secs(age.parse().unwrap()) > Duration::from_secs(700_000_000), "{told}");
    let _run = cached(&model, &dir).args(COLUMN).run().fails_with(75);
}
