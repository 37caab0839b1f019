//! Remotes and checkouts as they are found: mirrors, odd configuration, locks, hooks, slow answers.

use crate::harness::{Repo, Store, git, write_script};
use std::fs;
use testkit::wait_until;

fn stage() -> (Repo, Store) {
    let repo = Repo::new(3);
    let store = Store::files();
    store.releases(&repo);
    (repo, store)
}

#[test]
fn a_mirror_clone() {
    let (repo, store) = stage();
    git(repo.dir.path(), &["clone", "-q", "--mirror", "remote.git", "mirror.git"]);
    let mirror = repo.dir.path().join("mirror.git");
    for release in ["1", "2"] {
        let run = store.promote(release).args(["--tag", "production", "--repo"]).arg(&mirror).run().succeeds();
        let _run = run.stderr_is_empty();
    }
    assert_eq!(store.agrees(Some((&repo, "production"))), 2);
    assert_eq!(git(&mirror, &["tag"]), "");
}

#[test]
fn configuration_for_other_pushes() {
    for (key, value) in [("push.gpgSign", "true"), ("push.pushOption", "ci.skip"), ("push.followTags", "true")] {
        let (repo, store) = stage();
        git(&repo.work(), &["config", key, value]);
        let _run = store.promote_tag("2", &repo, "production").run().succeeds();
        assert_eq!(store.agrees(Some((&repo, "production"))), 2, "{key}");
    }
}

#[test]
fn a_remote_that_is_pushed_to_elsewhere() {
    let (repo, store) = stage();
    git(repo.dir.path(), &["clone", "-q", "--bare", "remote.git", "push.git"]);
    let push = repo.dir.path().join("push.git");
    git(&repo.work(), &["remote", "set-url", "--push", "origin", &push.display().to_string()]);
    for release in ["1", "2", "previous"] {
        let _run = store.promote_tag(release, &repo, "production").run().succeeds().stderr_is_empty();
    }
    assert_eq!((store.agrees(None), repo.tag("production")), (1, None));
    assert_eq!(git(&push, &["rev-parse", "production^{commit}"]), repo.commit(1));
}

#[test]
fn a_remote_that_takes_no_push() {
    let (repo, store) = stage();
    let before = store.all();
    git(&repo.work(), &["config", "remote.origin.pushurl", "/nowhere/else.git"]);
    let _run = store.promote_tag("1", &repo, "production").run().fails_with(1).stderr_is_one_line();
    git(&repo.work(), &["config", "--unset", "remote.origin.pushurl"]);
    // It can be read, but not pushed to.
    let script = repo.dir.path().join("read-only");
    write_script(&script, "if [ $1 = git-receive-pack ]; then echo read only >&2; exit 1; fi\nexec \"$@\"");
    let url = format!("ext::{} %S {}", script.display(), repo.remote().display());
    git(&repo.work(), &["config", "protocol.ext.allow", "always"]);
    git(&repo.work(), &["config", "remote.origin.url", &url]);
    let _run = store.promote_tag("1", &repo, "production").run().fails_with(75).stderr_contains("git push in ");
    assert_eq!(store.all(), before, "found before the pointer moved");
}

#[test]
fn a_name_that_no_tag_can_have() {
    let (repo, store) = stage();
    git(&repo.remote(), &["update-ref", "refs/tags/prod/x", repo.commit(1)]);
    let before = store.all();
    for name in ["prod", "prod/x/y"] {
        let run = store.promote_tag("1", &repo, name).run().fails_with(1).stderr_is_one_line();
        let _told = run.stderr_contains(&format!("there can't be a tag {name} on origin, which has refs/tags/prod/x"));
        assert_eq!(store.all(), before, "{name}");
    }
    let _run = store.promote_tag("1", &repo, "prod/y").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "prod/y"))), 1);
}

#[test]
fn refusals_that_look_like_a_race() {
    let (repo, store) = stage();
    let lock = repo.remote().join("refs/tags/production.lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    fs::write(&lock, "").unwrap();
    let run = store.promote_tag("1", &repo, "production").run().fails_with(75).stderr_is_one_line();
    let _told = run.stderr_contains("the tag production was not moved").stderr_contains("[remote rejected]");
    fs::remove_file(&lock).unwrap();
    repo.hook("pre-receive", "echo 'failed to update ref: policy' >&2; exit 1");
    let run = store.promote_tag("1", &repo, "production").run().fails_with(75).stderr_is_one_line();
    let _told = run.stderr_contains("pre-receive hook declined").stderr_contains("policy");
    repo.unhook("pre-receive");
    let _run = store.promote_tag("1", &repo, "production").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "production"))), 1);
}

#[test]
fn a_push_whose_answer_comes_too_late() {
    let (repo, store) = stage();
    for release in ["1", "2"] {
        let _run = store.promote_tag(release, &repo, "production").run().succeeds();
    }
    let gate = repo.dir.path().join("gate");
    let _made = testkit::Tool::new("mkfifo").arg(&gate).run().succeeds();
    let ended = repo.dir.path().join("ended");
    // Held until the gate opens: the tag is moved by then, and nobody has been told.
    repo.hook("post-receive", &format!("cat '{}'; : > '{}'", gate.display(), ended.display()));
    let _run = store.promote_tag("previous", &repo, "production").args(["--timeout", "3s"]).run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "production"))), 1);
    fs::write(&gate, "").unwrap();
    wait_until("the hook's end", || if ended.exists() { Ok(()) } else { Err("running".to_owned()) });
}

#[test]
fn a_fetch_leaves_the_checkouts_refs_alone() {
    let (repo, store) = stage();
    let from = format!("file://{}", repo.remote().display());
    git(repo.dir.path(), &["clone", "-q", &from, "clone"]);
    let clone = repo.dir.path().join("clone");
    git(&clone, &["tag", "mine"]);
    git(&clone, &["config", "fetch.prune", "true"]);
    git(&clone, &["config", "fetch.pruneTags", "true"]);
    let work = repo.work();
    git(&work, &["commit", "-q", "--allow-empty", "-m", "later"]);
    git(&work, &["push", "-q", "origin", "main"]);
    let later = git(&work, &["rev-parse", "HEAD"]);
    store.release(4, &later[..12]);
    let before = git(&clone, &["for-each-ref"]);
    let _run = store.promote("4").args(["--tag", "production", "--repo"]).arg(&clone).run().succeeds();
    assert_eq!(repo.tag("production").unwrap().commit, later);
    assert_eq!(git(&clone, &["for-each-ref"]), before);
}

#[test]
fn names_that_look_like_something_else() {
    let (repo, store) = stage();
    let before = store.all();
    git(&repo.work(), &["branch", "abcdef12", repo.commit(1)]);
    store.release(4, "abcdef12");
    let run = store.promote_tag("4", &repo, "production").run().fails_with(1);
    let _told = run.stderr_contains("unable to tag commit abcdef12: neither ");
    store.remove("obelix-4.tar");
    store.remove("obelix-4.release");
    assert_eq!(store.all(), before);
    for (release, line) in [("1", "\nPROMOTION=1\n"), ("2", "\nPROMOTION=2\n")] {
        let _run = store.promote_tag(release, &repo, "PROMOTION=99").run().succeeds();
        assert!(repo.tag("PROMOTION=99").unwrap().text.contains(line), "{release}");
    }
}

#[test]
fn an_environment_meant_for_another_repository() {
    let (repo, store) = stage();
    let wrong = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"];
    for (name, release) in wrong.into_iter().zip(["1", "2", "3", "1", "2"]) {
        let _run = store.promote_tag(release, &repo, "production").env(name, "/nowhere").run().succeeds();
        assert_eq!(store.agrees(Some((&repo, "production"))).to_string(), release, "{name}");
    }
}
