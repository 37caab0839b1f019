//! The tag on the remote: what it says, whom it obeys, and a pointer that moved without it.

use crate::harness::{Repo, Store, git, row_writes, write_script};
use testkit::{KillPoint, S3Model};

fn stage() -> (Repo, Store) {
    let repo = Repo::new(3);
    let store = Store::files();
    store.releases(&repo);
    (repo, store)
}

#[test]
fn what_the_tag_says() {
    let (repo, store) = stage();
    let run = |number: &str| store.promote_tag(number, &repo, "prod/obelix").args(["--reason", "why, \"indeed\""]);
    // Where a host has a mail name, git makes an identity up from it.
    git(&repo.work(), &["config", "user.useConfigOnly", "true"]);
    let _run = run("1").run().succeeds().stderr_is_empty();
    let shown = repo.tag("prod/obelix").unwrap();
    assert_eq!(shown.commit, repo.commit(1));
    for line in ["tag prod/obelix", "PROMOTION=1", "RELEASE=obelix-1", "REASON=why, \"indeed\""] {
        assert!(shown.text.lines().any(|shown| shown == line), "{line}: {}", shown.text);
    }
    assert!(shown.text.contains("\ntagger release-promote <release-promote@"), "{}", shown.text);
    git(&repo.work(), &["config", "user.name", "Ann Ops"]);
    git(&repo.work(), &["config", "user.email", "ann@example.org"]);
    let _run = run("2").run().succeeds();
    assert!(repo.tag("prod/obelix").unwrap().text.contains("\ntagger Ann Ops <ann@example.org> "));
    assert_eq!(store.agrees(Some((&repo, "prod/obelix"))), 2);
    let _fsck = git(&repo.remote(), &["fsck", "--strict"]);
    assert_eq!(git(&repo.work(), &["tag"]), "", "the checkout's own tags are left alone");
}

#[test]
fn steps_are_said_on_request() {
    let (repo, store) = stage();
    let run = store.promote_tag("2", &repo, "production").arg("-v").run().succeeds();
    let place = store.url();
    let lines = [
        format!("{place}/latest-stable.txt does not exist yet"),
        "release 2 is there and fits its record".to_owned(),
        format!("{place}/latest-stable.txt names release 2 now"),
        format!("{place}/promotions.csv has the row of promotion 1"),
        format!("the tag production is at {} on origin", repo.commit(2)),
    ];
    let said = run.stderr_str();
    let mut rest = said.as_str();
    for line in &lines {
        let found = rest.split_once(&format!("release-promote: {line}\n"));
        assert!(found.is_some(), "{line}, in this order\n{said}");
        rest = found.unwrap().1;
    }
    let again = store.promote_tag("2", &repo, "production").arg("-v").run().succeeds();
    let _told =
        again.stderr_contains("latest-stable.txt names release 2\n").stderr_contains("is latest-stable already");
}

#[test]
fn tags_of_the_old_job_and_tags_moved_by_hand() {
    let (repo, store) = stage();
    let work = repo.work();
    git(&work, &["push", "-q", "origin", &format!("{}:refs/tags/light", repo.commit(3))]);
    git(&work, &["tag", "-a", "-m", "old", "old", repo.commit(3)]);
    git(&work, &["push", "-q", "origin", "refs/tags/old"]);
    git(&work, &["tag", "-d", "old"]);
    for name in ["light", "old"] {
        let _run = store.promote_tag("1", &repo, name).run().succeeds();
        assert_eq!(store.agrees(Some((&repo, name))), 1);
    }
    // By hand: to another commit, with the right number on the wrong commit, and away.
    git(&work, &["push", "-qf", "origin", &format!("{}:refs/tags/old", repo.commit(2))]);
    let _run = store.promote_tag("1", &repo, "old").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "old"))), 1);
    git(&work, &["tag", "-a", "-m", "x\n\nPROMOTION=1", "wrong", repo.commit(3)]);
    git(&work, &["push", "-qf", "origin", "refs/tags/wrong:refs/tags/old"]);
    let _run = store.promote_tag("1", &repo, "old").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "old"))), 1);
    git(&repo.remote(), &["update-ref", "-d", "refs/tags/old"]);
    let _run = store.promote_tag("1", &repo, "old").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "old"))), 1);
    assert_eq!(store.rows().len(), 1);
    let _run = store.promote_tag("2", &repo, "old").run().succeeds();
    git(&repo.remote(), &["update-ref", "-d", "refs/tags/old"]);
    let _run = store.promote_tag("previous", &repo, "old").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "old"))), 1, "a tag that is gone stops nobody from going back");
}

#[test]
fn a_tag_moved_between_read_and_push() {
    let repo = Repo::new(3);
    let store = Store::s3(S3Model::start());
    store.releases(&repo);
    let _run = store.promote_tag("1", &repo, "production").run().succeeds();
    let (remote, commit) = (repo.remote(), repo.commit(3).to_owned());
    // The pointer is read after the tag; that read, after the write of the list, is where somebody else pushes.
    let push = move || drop(git(&remote, &["update-ref", "refs/tags/production", &commit]));
    let hook = Box::new(push);
    store.proxy().on_match(Box::new(row_writes()), KillPoint::AfterCommit, hook);
    let _run = store.promote_tag("2", &repo, "production").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "production"))), 2);
}

#[test]
fn a_pointer_that_moved_without_its_tag() {
    let (repo, store) = stage();
    let promote = |release: &str| store.promote_tag(release, &repo, "production");
    let _run = promote("1").run().succeeds();
    let _run = promote("2").run().succeeds();
    for (release, stands, before_it) in [("3", 3, "2"), ("previous", 2, "3")] {
        repo.hook("pre-receive", "echo 'frozen until Monday' >&2; exit 1");
        let run = promote(release).run().fails_with(75).stdout_is("").stderr_is_one_line();
        let words = format!(
            "release {stands} is latest-stable, but the tag production was not moved; run again with --release {stands} to move it"
        );
        let run = run.stderr_contains(&words).stderr_contains("frozen until Monday");
        assert!(
            !run.stderr_str().contains("\\t") && !run.stderr_str().contains("was not promoted"),
            "{}",
            run.report()
        );
        assert_eq!(store.agrees(None), stands);
        let before = store.all();
        // The same again says the same; what is asked for beyond it was not begun.
        let _run = promote(&stands.to_string()).run().fails_with(75).stderr_contains(&format!("promote: {words}"));
        for (asked, meant) in [("1", "1"), ("previous", before_it)] {
            let run = promote(asked).run().fails_with(75).stderr_is_one_line();
            let _told = run.stderr_contains(&format!("promote: release {meant} was not promoted: {words}"));
        }
        let _run = promote("canary").run().fails_with(75).stderr_contains(&format!(": nothing was promoted: {words}"));
        assert_eq!(store.all(), before, "nothing else moves while the tag is behind");
        repo.unhook("pre-receive");
        // Finished first, and `previous` stops there.
        let run = promote("previous").run().succeeds().stderr_contains("finished the promotion");
        let run = run.stderr_contains("; this run did not go back: run it again to do so\n").stderr_is_one_line();
        assert_eq!(run.stdout, before["latest-stable.txt"]);
        assert_eq!((store.agrees(Some((&repo, "production"))), store.all()), (stands, before));
    }
    // Any other promotion goes on from there.
    repo.hook("pre-receive", "exit 1");
    let _run = promote("1").run().fails_with(75);
    repo.unhook("pre-receive");
    let run = promote("3").run().succeeds().stderr_contains("finished the promotion of release 1");
    assert!(!run.stderr_str().contains("go back"), "{}", run.report());
    assert_eq!(store.agrees(Some((&repo, "production"))), 3);
}

#[test]
fn a_remote_that_goes_away() {
    let (repo, store) = stage();
    let promote = |release: &str| store.promote_tag(release, &repo, "production");
    // Gone from the start: nothing moves, not even the first time.
    let away = repo.dir.path().join("away.git");
    std::fs::rename(repo.remote(), &away).unwrap();
    let before = store.all();
    let _run =
        promote("1").run().fails_with(1).stderr_is_one_line().stderr_contains("does not appear to be a git repository");
    assert_eq!(store.all(), before);
    std::fs::rename(&away, repo.remote()).unwrap();
    // Gone when the tag is pushed: a git that takes the remote away first.
    let bin = repo.dir.path().join("bin");
    let path = std::env::var("PATH").unwrap();
    let script = format!(
        "PATH='{path}'\ncase \" $* \" in *' --dry-run '*) ;; *' push '*) mv '{}' '{}';; esac\nexec git \"$@\"",
        repo.remote().display(),
        away.display()
    );
    write_script(&bin.join("git"), &script);
    let run = promote("2").env("PATH", format!("{}:{path}", bin.display())).run();
    let _run = run.fails_with(75).stderr_is_one_line().stderr_contains("but the tag production was not moved");
    assert_eq!(store.agrees(None), 2);
    std::fs::rename(&away, repo.remote()).unwrap();
    let _run = promote("2").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "production"))), 2);
    assert_eq!(store.rows().len(), 1);
}

#[test]
fn a_shallow_clone_fetches_the_commit_and_the_tag() {
    let (repo, store) = stage();
    let _run = store.promote_tag("2", &repo, "production").run().succeeds();
    let shallow = repo.dir.path().join("shallow");
    let from = format!("file://{}", repo.remote().display());
    git(repo.dir.path(), &["clone", "-q", "--depth=1", "--no-tags", &from, "shallow"]);
    let run = store.promote("1").args(["--tag", "production", "--repo"]).arg(&shallow).run().succeeds();
    let _run = run.stderr_is_empty();
    assert_eq!(store.agrees(Some((&repo, "production"))), 1);
    // An abbreviated commit, a bare repository, a remote by its URL.
    store.release(4, &repo.commit(3)[..12]);
    git(repo.dir.path(), &["clone", "-q", "--bare", &from, "bare.git"]);
    let bare = repo.dir.path().join("bare.git");
    let _run =
        store.promote("4").args(["--tag", "production", "--remote", &from, "--repo"]).arg(&bare).run().succeeds();
    assert_eq!(repo.tag("production").unwrap().commit, repo.commit(3));
}

#[test]
fn what_can_not_be_tagged_is_not_promoted() {
    let (repo, store) = stage();
    let _run = store.promote_tag("1", &repo, "production").run().succeeds();
    store.release(4, "0123456789012345678901234567890123456789");
    store.release(5, "");
    store.release(6, "main");
    let before = (store.all(), repo.refs());
    for (release, why) in [("4", "has it"), ("5", "names no commit"), ("6", "not a commit id")] {
        let _run = store
            .promote_tag(release, &repo, "production")
            .run()
            .fails_with(1)
            .stderr_is_one_line()
            .stderr_contains(why);
    }
    let elsewhere = repo.dir.path().display().to_string();
    for (dir, why) in [(elsewhere.as_str(), "not a git repository"), ("/nowhere", "cannot change to")] {
        let run =
            store.promote("2").args(["--tag", "production", "--repo", dir]).env("GIT_CEILING_DIRECTORIES", "/").run();
        let run = run.fails_with(1).stderr_is_one_line().stderr_contains(why);
        let _named = run.stderr_contains(&format!("release-promote: git rev-parse in {dir}: "));
    }
    let run = store.promote_tag("2", &repo, "production").args(["--remote", "nosuch"]).run();
    let run = run.fails_with(1).stderr_is_one_line();
    let _named = run.stderr_contains(&format!("git ls-remote in {}: ", repo.work().display()));
    assert_eq!((store.all(), repo.refs()), before);
    // Without a tag, a release needs no commit.
    let _run = store.promote("5").run().succeeds();
    // Nor does an untaggable present one keep anybody from going back.
    let _run = store.promote_tag("previous", &repo, "another").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "another"))), 1);
}

#[test]
fn two_tags_and_two_channels_of_one_tag() {
    let (repo, store) = stage();
    let _run = store.promote_tag("1", &repo, "a").run().succeeds();
    let _run = store.promote_tag("2", &repo, "b").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "b"))), 2);
    assert_eq!(repo.tag("a").unwrap().promotion, Some(1));
    // The same number on another channel is another promotion.
    let _run = store.promote_tag("3", &repo, "shared").args(["--channel", "canary"]).run().succeeds();
    let _run = store.promote_tag("1", &repo, "shared").args(["--channel", "beta"]).run().succeeds();
    let shown = repo.tag("shared").unwrap();
    assert_eq!((shown.promotion, shown.commit.as_str()), (Some(1), repo.commit(1)));
    // A hook's environment does not choose another repository.
    let run = store.promote_tag("3", &repo, "b").env("GIT_DIR", "/nowhere").run().succeeds();
    let _run = run.stderr_is_empty();
    assert_eq!(store.agrees(Some((&repo, "b"))), 3);
}
