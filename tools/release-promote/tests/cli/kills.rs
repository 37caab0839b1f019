//! SIGKILL after every request and every step of git. A second run ends right, and `previous`, run again, never returns to
//! the release that it was leaving: once its last step (the row; with a tag, the push) is done, it is done, and before
//! that the second run finishes it instead of starting another.

use crate::harness::{Repo, Store, git, write_script};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use testkit::{KillPoint, Running, S3Model, Tool, figure, wait_until};

/// A store in which release 1 was promoted, then release 2; the tag `base` shows it.
fn two_promoted(repo: &Repo) -> BTreeMap<String, Vec<u8>> {
    let store = Store::s3(S3Model::start());
    store.releases(repo);
    let _first = store.promote_tag("1", repo, "base").run().succeeds();
    let _second = store.promote_tag("2", repo, "base").run().succeeds();
    assert_eq!(store.agrees(Some((repo, "base"))), 2);
    store.all()
}

fn copy(contents: &BTreeMap<String, Vec<u8>>) -> Store {
    let store = Store::s3(S3Model::start());
    contents.iter().for_each(|(key, bytes)| store.put(key, bytes));
    store
}

/// Runs `tool` and kills it when its `number`-th request is at `point`; false if it ended before that.
fn killed_at(store: &Store, tool: Tool, number: u64, point: KillPoint) -> bool {
    let running: Arc<Mutex<Option<Running>>> = Arc::default();
    let victim = Arc::clone(&running);
    let kill = move || {
        if let Some(running) = victim.lock().expect("no holder panics").as_mut() {
            running.kill();
        }
    };
    store.proxy().on_request(number, point, Box::new(kill));
    // Held until the run is in its place: the hook waits for it.
    let mut held = running.lock().expect("no holder panics");
    *held = Some(tool.start());
    drop(held);
    wait_until("the end of the run", || {
        let mut held = running.lock().expect("no holder panics");
        if held.as_mut().is_some_and(Running::is_running) { Err("running".to_owned()) } else { Ok(()) }
    });
    let ended = running.lock().expect("no holder panics").take().expect("it was started").wait();
    if ended.signal == Some(9) {
        return true;
    }
    let _ended = ended.succeeds();
    false
}

#[derive(Clone, Copy, PartialEq)]
enum Tag {
    None,
    /// It shows the promotion that stands.
    Shows,
    /// It was never pushed.
    Absent,
}

fn with_tag(store: &Store, release: &str, repo: &Repo, tag: Tag, name: &str) -> Tool {
    if tag == Tag::None { store.promote(release) } else { store.promote_tag(release, repo, name) }
}

fn prepare_tag(repo: &Repo, tag: Tag, name: &str) {
    if tag == Tag::Shows {
        git(&repo.remote(), &["update-ref", &format!("refs/tags/{name}"), "refs/tags/base"]);
    }
}

/// The run that was killed had done its last step: whoever runs `previous` now asks for something new.
fn is_done(store: &Store, repo: &Repo, tag: Tag, name: &str) -> bool {
    match tag {
        Tag::None => store.rows().len() == 3,
        _ => repo.tag(name).and_then(|shown| shown.promotion) == Some(3),
    }
}

fn check_after(store: &Store, repo: &Repo, tag: Tag, name: &str, release: u64, place: &str) {
    let shown = (tag != Tag::None).then_some((repo, name));
    assert_eq!(store.agrees(shown), release, "{place}");
    assert_eq!(store.rows().len(), 3, "{place}: {:?}", store.rows());
}

fn kill_after_every_request(release: &str, expected: u64, tag: Tag) {
    let repo = Repo::new(3);
    let contents = two_promoted(&repo);
    let store = copy(&contents);
    prepare_tag(&repo, tag, "whole");
    let _whole = with_tag(&store, release, &repo, tag, "whole").run().succeeds();
    check_after(&store, &repo, tag, "whole", expected, "unharmed");
    let requests = store.proxy().count();
    assert!(requests >= 6, "{:?}", store.proxy().log());
    for point in [KillPoint::BeforeForward, KillPoint::AfterCommit, KillPoint::AfterReply] {
        // After a reply is before the next request: in the quick run that is one case, but for the last reply.
        let first = if point == KillPoint::AfterReply { figure(requests, 1) } else { 1 };
        for number in first..=requests {
            let name = format!("{point:?}-{number}");
            let store = copy(&contents);
            prepare_tag(&repo, tag, &name);
            let killed = killed_at(&store, with_tag(&store, release, &repo, tag, &name), number, point);
            assert!(killed || point == KillPoint::AfterReply, "{name}");
            if release != "previous" || !is_done(&store, &repo, tag, &name) {
                let _again = with_tag(&store, release, &repo, tag, &name).run().succeeds();
            }
            check_after(&store, &repo, tag, &name, expected, &name);
        }
    }
}

#[test]
fn a_number_killed_at_any_request() {
    kill_after_every_request("3", 3, Tag::None);
}

#[test]
fn a_number_with_a_tag_killed_at_any_request() {
    kill_after_every_request("3", 3, Tag::Shows);
}

#[test]
fn previous_killed_at_any_request() {
    kill_after_every_request("previous", 1, Tag::None);
}

#[test]
fn previous_with_a_tag_killed_at_any_request() {
    kill_after_every_request("previous", 1, Tag::Shows);
}

#[test]
fn previous_with_a_new_tag_killed_at_any_request() {
    kill_after_every_request("previous", 1, Tag::Absent);
}

/// A git that kills who called it at its `number`-th call, before or after doing the work.
fn killing_git(repo: &Repo, number: usize, after: bool) -> String {
    let dir = repo.dir.path().join(format!("bin-{number}-{after}"));
    let count = dir.join("count");
    fs::create_dir_all(&dir).expect("directories can be made");
    fs::write(&count, "0").expect("files can be written");
    let count = count.display();
    let kill = if after { "\"$real\" \"$@\"; kill -9 $PPID; exit 1" } else { "kill -9 $PPID; exit 1" };
    let real = std::env::split_paths(&std::env::var_os("PATH").expect("there is a PATH"))
        .map(|dir| dir.join("git"))
        .find(|git| git.exists())
        .expect("git is installed");
    let script = format!(
        "real={}\nn=$(($(cat {count}) + 1))\necho $n > {count}\nif [ $n = {number} ]; then {kill}; fi\nexec \"$real\" \"$@\"",
        real.display()
    );
    write_script(&dir.join("git"), &script);
    let path = std::env::var("PATH").expect("PATH is text");
    format!("{}:{path}", dir.display())
}

fn kill_at_every_git_step(release: &str, expected: u64, tag: Tag) {
    let repo = Repo::new(3);
    let contents = two_promoted(&repo);
    for after in [false, true] {
        // In the quick run every second step, these before their work and those after it.
        let mut steps = figure(1 + usize::from(after), 1);
        loop {
            let name = format!("git-{after}-{steps}");
            let store = copy(&contents);
            prepare_tag(&repo, tag, &name);
            let path = killing_git(&repo, steps, after);
            let run = with_tag(&store, release, &repo, tag, &name).env("PATH", path).run();
            let whole = run.signal.is_none();
            let _run = if whole { run.succeeds() } else { run.killed_by(9) };
            if release != "previous" || !is_done(&store, &repo, tag, &name) {
                let _again = with_tag(&store, release, &repo, tag, &name).run().succeeds();
            }
            check_after(&store, &repo, tag, &name, expected, &name);
            if whole {
                break;
            }
            steps += figure(2, 1);
        }
        assert!(steps > 6, "{steps}");
    }
}

#[test]
fn a_number_killed_at_any_step_of_git() {
    kill_at_every_git_step("3", 3, Tag::Shows);
}

#[test]
fn previous_killed_at_any_step_of_git() {
    kill_at_every_git_step("previous", 1, Tag::Shows);
}

#[test]
fn previous_with_a_new_tag_killed_at_any_step_of_git() {
    kill_at_every_git_step("previous", 1, Tag::Absent);
}

#[test]
fn previous_is_one_step_and_reads_no_archive() {
    let repo = Repo::new(2);
    let store = copy(&two_promoted(&repo));
    prepare_tag(&repo, Tag::Shows, "production");
    let run = store.promote_tag("previous", &repo, "production").run().succeeds().stderr_is_empty();
    assert_eq!(run.stdout, store.pointer().to_bytes());
    assert_eq!(store.agrees(Some((&repo, "production"))), 1);
    assert_eq!(store.moves(), [">1", "1>2", "2>1"]);
    assert_eq!(store.archive_reads(), 0);
}
