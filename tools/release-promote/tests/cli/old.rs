//! Stores of the old scripts: archives without a record, and pointers that the scripts go on writing.

use crate::harness::{Repo, Store, commit_of, five, git};
use release::record::{Record, sha256};
use std::fs;
use std::path::Path;
use testkit::{S3Model, Tool};

/// What the old build job left: the archive by the real tar, and latest.txt. Returns the archive.
pub fn old_release(store: &Store, number: u64, commit: Option<&str>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("code")).unwrap();
    fs::write(dir.path().join("code/app"), vec![b'a'; 9 << 20]).unwrap();
    fs::write(dir.path().join("RELEASE"), five(number, commit)).unwrap();
    let packed = Tool::new("tar").args(["-cf", "-", "code", "RELEASE"]).cwd(dir.path()).run().succeeds();
    store.put(&format!("obelix-{number}.tar"), &packed.stdout);
    store.put("latest.txt", five(number, commit).as_bytes());
    packed.stdout
}

fn grep(file: &Path, key: &str) -> String {
    let script = format!("grep {key} '{}' | cut -d'=' -f2", file.display());
    Tool::new("sh").args(["-c", &script]).run().succeeds().stdout_str().trim_end().to_owned()
}

#[test]
fn an_old_release_is_read_once_and_sealed() {
    for store in [Store::files(), Store::s3(S3Model::start())] {
        let commit = commit_of(7);
        let bytes = old_release(&store, 7, Some(&commit));
        let _run = store.promote("latest").arg("--dry-run").run().succeeds();
        assert_eq!(store.get("obelix-7.release"), None, "a dry run seals nothing");
        let read = store.proxy.is_some().then(|| store.archive_reads());
        let _run = store.promote("latest").run().succeeds();
        assert_eq!(store.agrees(None), 7);
        let sealed = store.get("obelix-7.release").unwrap();
        let record = Record::parse(&sealed).unwrap();
        assert!(sealed.starts_with(five(7, Some(&commit)).as_bytes()));
        assert_eq!(record.get("SIZE"), Some(bytes.len().to_string().as_str()));
        assert_eq!(record.get("SHA256"), Some(hex::encode(sha256(&bytes)).as_str()));
        let dir = tempfile::tempdir().unwrap();
        for (key, bytes) in [("record", sealed), ("pointer", store.get("latest-stable.txt").unwrap())] {
            let file = dir.path().join(key);
            fs::write(&file, bytes).unwrap();
            assert_eq!((grep(&file, "VERSION"), grep(&file, "GIT_COMMIT")), ("7".into(), commit.clone()), "{key}");
        }
        if let Some(read) = read {
            // Ranges of 1 MiB at first, longer ones later: two readings would be more than this.
            let reads = store.archive_reads() - read;
            assert!(reads > 0 && reads <= bytes.len().div_ceil(1 << 20), "{reads}");
        }
        let read = store.proxy.is_some().then(|| store.archive_reads());
        store.release(8, &commit_of(8));
        let _run = store.promote("8").run().succeeds();
        let _run = store.promote("7").run().succeeds();
        assert_eq!(
            read,
            store.proxy.is_some().then(|| store.archive_reads()),
            "it is verified without its bytes from now on"
        );
        assert_eq!(store.moves(), [">7", "7>8", "8>7"]);
    }
}

#[test]
fn an_old_release_without_a_commit() {
    let repo = Repo::new(1);
    let store = Store::files();
    old_release(&store, 3, None);
    let before = store.get("latest-stable.txt");
    let _run =
        store.promote_tag("3", &repo, "production").run().fails_with(1).stderr_contains("names no commit to tag");
    assert_eq!((store.get("latest-stable.txt"), store.rows()), (before, Vec::new()));
    let _run = store.promote("3").run().succeeds();
    assert_eq!((store.agrees(None), store.pointer().git_commit()), (3, None));
}

#[test]
fn damaged_old_archives_are_refused() {
    let store = Store::files();
    let whole = old_release(&store, 3, Some(&commit_of(3)));
    store.put("obelix-4.tar", &whole);
    store.put("obelix-5.tar", &whole[..whole.len() - 1024 * 20]);
    store.put("obelix-6.tar", &[0; 10240]);
    store.put("obelix-7.tar", b"");
    let before = store.all();
    for (release, why) in
        [("4", "names release 3"), ("5", "obelix-5.tar"), ("6", "no RELEASE in it"), ("7", "obelix-7.tar")]
    {
        let run = store.promote(release).run().fails_with(1).stderr_is_one_line().stdout_is("");
        let _run = run.stderr_contains(why);
    }
    assert_eq!(store.all(), before);
}

#[test]
fn a_pointer_that_the_old_script_wrote_in_between() {
    for store in [Store::files(), Store::s3(S3Model::start())] {
        for number in 1..=4 {
            store.release(number, &commit_of(number));
        }
        let old_script =
            |number: u64| store.put("latest-stable.txt", five(number, Some(&commit_of(number))).as_bytes());
        // Before the tool ever ran.
        old_script(1);
        let _run = store.promote("2").run().succeeds();
        assert_eq!(store.moves(), [">1", "1>2"]);
        assert!(store.rows()[0].time.ends_with('Z'), "{:?}", store.rows());
        let _run = store.promote("3").run().succeeds();
        old_script(1);
        let _run = store.promote("previous").run().succeeds();
        assert_eq!(
            (store.agrees(None), store.moves()),
            (3, [">1", "1>2", "2>3", "3>1", "1>3"].map(str::to_owned).to_vec())
        );
        // Over the same release: the pointer gets its number again, and `previous` is not fooled by it.
        old_script(3);
        let _run = store.promote("3").run().succeeds();
        assert_eq!(store.agrees(None), 3);
        let _run = store.promote("previous").run().succeeds();
        assert_eq!(store.agrees(None), 1);
        // Or a copy of the newest sealed record, as the old job copied latest.txt.
        store.put("latest-stable.txt", &store.get("obelix-4.release").unwrap());
        let _run = store.promote("previous").run().succeeds();
        assert_eq!(store.agrees(None), 1);
    }
}

#[test]
fn a_pointer_set_back_by_hand() {
    let store = Store::files();
    (1..=3).for_each(|number| drop(store.release(number, &commit_of(number))));
    let _run = store.promote("1").run().succeeds();
    let _run = store.promote("2").run().succeeds();
    let saved = store.get("latest-stable.txt").unwrap();
    let _run = store.promote("3").run().succeeds();
    store.put("latest-stable.txt", &saved);
    let _run = store.promote("2").run().succeeds();
    assert_eq!((store.agrees(None), &store.moves()[3..]), (2, &["3>2".to_owned(), "2>2".to_owned()][..]));
    let _run = store.promote("previous").run().succeeds();
    assert_eq!(store.agrees(None), 3);
}

#[test]
fn an_old_record_with_a_line_of_its_own() {
    let store = Store::files();
    (1..=2).for_each(|number| drop(store.release(number, &commit_of(number))));
    store.put("latest-stable.txt", format!("{}STATE=abandoned\n", five(1, None)).as_bytes());
    let _run = store.promote("2").run().succeeds();
    assert_eq!(store.moves(), [">1", "1>2"]);
}

#[test]
fn an_old_pointer_of_another_module() {
    let store = Store::files();
    (1..=2).for_each(|number| drop(store.release(number, &commit_of(number))));
    // Another artifact's, which is in this store alone.
    store.put("latest-stable.txt", five(9, None).replace("obelix", "asterix").as_bytes());
    let run = store.promote("2").run().fails_with(1).stderr_is_one_line();
    let _told = run.stderr_contains("keeps the releases of another artifact: its MODULE is \"asterix\"");
    // A job that names its module otherwise than its artifact.
    store.put("latest-stable.txt", five(1, None).replace("obelix", "asterix").as_bytes());
    let _run = store.promote("2").run().succeeds();
    assert_eq!(store.moves(), [">1", "1>2"]);
}

#[test]
fn the_old_job_and_its_tag() {
    let repo = Repo::new(3);
    let store = Store::files();
    store.releases(&repo);
    store.put("latest-stable.txt", &store.get("obelix-2.release").unwrap());
    git(&repo.work(), &["tag", "-a", "-m", "production", "production", repo.commit(2)]);
    git(&repo.work(), &["push", "-q", "origin", "refs/tags/production"]);
    let _run = store.promote_tag("2", &repo, "production").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "production"))), 2);
    let _run = store.promote_tag("3", &repo, "production").run().succeeds();
    let _run = store.promote_tag("previous", &repo, "production").run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "production"))), 2);
}
