//! Promotions one after the other: selectors, channels, history, dry runs, environment twins, and how a run ends.

use crate::harness::{ARTIFACT, BUCKET, Repo, Store, commit_of, sealed};
use release::history::History;
use release::record::Record;
use std::fs::File;
use std::process::{Command, Stdio};
use testkit::{Fault, Finished, Plan, S3Model, Tool, request, wait_until};

fn three(store: Store) -> Store {
    (1..=3).for_each(|number| drop(store.release(number, &commit_of(number))));
    store
}

fn both() -> [Store; 2] {
    [three(Store::files()), three(Store::s3(S3Model::start()))]
}

#[test]
fn numbers_and_back() {
    for store in both() {
        let run = store.promote("2").args(["--reason", "a, \"b\" and 'c'; d"]).run().succeeds().stderr_is_empty();
        assert_eq!(run.stdout, store.get("latest-stable.txt").unwrap());
        let record = Record::parse(&run.stdout).unwrap();
        let promotion = record.promotion().unwrap();
        assert_eq!((record.number().get(), promotion.n, promotion.reason.as_str()), (2, 1, "a, \"b\" and 'c'; d"));
        assert!(promotion.by.contains('@') && promotion.at.ends_with('Z'), "{promotion:?}");
        assert_eq!(record.without_promotion().to_bytes(), store.get("obelix-2.release").unwrap());
        let _run = store.promote("3").run().succeeds();
        let _run = store.promote("1").run().succeeds();
        let _run = store.promote("previous").run().succeeds();
        assert_eq!(store.agrees(None), 3);
        assert_eq!(store.moves(), [">2", "2>3", "3>1", "1>3"]);
        let list = store.get("promotions.csv").unwrap();
        assert_eq!(History::parse(&list).unwrap().rows()[0].reason, "a, \"b\" and 'c'; d");
        assert_eq!(store.rows()[1].commit, commit_of(3));
        let _run = store.tool().arg("--history").run().succeeds().stdout_is(&String::from_utf8(list).unwrap());
    }
}

#[test]
fn the_same_again_changes_nothing() {
    for store in both() {
        let _run = store.promote("2").run().succeeds();
        let before = store.all();
        let run = store.promote("2").args(["--reason", "again"]).run().succeeds();
        assert_eq!(run.stdout, before["latest-stable.txt"]);
        assert_eq!(store.all(), before);
    }
}

#[test]
fn latest_and_other_channels() {
    for store in both() {
        store.put("latest.txt", &store.get("obelix-3.release").unwrap());
        let _run = store.promote("latest").run().succeeds();
        assert_eq!(store.agrees(None), 3);
        let stable = store.all();
        let _run = store.promote("1").args(["--channel", "canary"]).run().succeeds();
        let _run = store.promote("2").args(["--channel", "canary"]).run().succeeds();
        let canary = Record::parse(&store.get("canary.txt").unwrap()).unwrap();
        assert_eq!((canary.number().get(), canary.promotion().unwrap().n), (2, 2));
        assert!(
            stable.iter().all(|(key, bytes)| store.get(key).as_ref() == Some(bytes)),
            "another channel was touched"
        );
        let list = History::parse(&store.get("promotions-canary.csv").unwrap()).unwrap();
        assert_eq!(list.rows().len(), 2);
        let _run = store.tool().args(["--history", "--channel", "canary"]).run().succeeds().stdout_contains("\n2,");
        let _run = store.promote("canary").run().succeeds();
        assert_eq!((store.agrees(None), store.moves()), (2, vec![">3".into(), "3>2".into()]));
        let _run = store.promote("latest-stable").run().succeeds();
        assert_eq!(store.rows().len(), 2);
    }
}

#[test]
fn a_record_on_stdin() {
    for store in both() {
        let own = store.get("obelix-2.release").unwrap();
        let _run = store.promote("-").stdin(own.clone()).run().succeeds();
        assert_eq!(store.agrees(None), 2);
        let before = store.all();
        let mut tampered = own.clone();
        let at = own.windows(5).position(|at| at == b"SIZE=").unwrap() + 5;
        tampered[at] ^= 1;
        let elsewhere = sealed(1, &commit_of(1), b"other bytes").to_bytes();
        let unsealed =
            Record::new(ARTIFACT, "1".parse().unwrap(), "9", &commit_of(1), "another time").unwrap().to_bytes();
        for (bytes, why) in [
            (tampered, "RECORD_SHA256"),
            (elsewhere, "not the one of release 1"),
            (unsealed, "not the one of release 1"),
            (b"hello\n".to_vec(), "not a release record"),
        ] {
            let _run = store
                .promote("-")
                .stdin(bytes)
                .run()
                .fails_with(1)
                .stderr_is_one_line()
                .stderr_contains(why)
                .stdout_is("");
        }
        let _run = store.promote("-").run().fails_with(75).stderr_is_one_line().stderr_contains("nothing is changed");
        assert_eq!(store.all(), before);
        // The five lines alone name the release as well.
        let five = Record::parse(&store.get("obelix-3.release").unwrap()).unwrap().original_lines();
        let _run = store.promote("-").stdin(five).run().succeeds();
        assert_eq!(store.agrees(None), 3);
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let repo = Repo::new(2);
    for store in [Store::files(), Store::s3(S3Model::start())] {
        store.releases(&repo);
        let told = |run: &Finished, lines: &[String]| {
            let lines: String = lines.iter().map(|line| format!("release-promote: dry run: {line}\n")).collect();
            assert_eq!(run.stderr_str(), lines, "{}", run.report());
        };
        let (first, second) = (repo.commit(1), repo.commit(2));
        let run = store.promote_tag("2", &repo, "new").arg("--dry-run").run().succeeds();
        told(
            &run,
            &[
                "latest-stable would change from no release to 2".into(),
                format!("the tag new would be made at {second}"),
            ],
        );
        let _run = store.promote_tag("1", &repo, "production").run().succeeds();
        let before = (store.all(), repo.refs());
        let again = store.promote_tag("1", &repo, "production").arg("--dry-run").run().succeeds();
        told(&again, &["latest-stable is 1 already".into(), format!("the tag production is at {first} already")]);
        let run = store.promote_tag("2", &repo, "production").arg("--dry-run").run().succeeds();
        told(
            &run,
            &[
                "latest-stable would change from 1 to 2".into(),
                format!("the tag production would move from {first} to {second}"),
            ],
        );
        let promised = Record::parse(&run.stdout).unwrap();
        assert_eq!((promised.number().get(), promised.promotion().unwrap().n), (2, 2));
        assert_eq!((store.all(), repo.refs()), before);
        // A promotion that was cut off is counted, and left alone.
        store.remove("promotions.csv");
        let before = store.all();
        let run = store.promote("2").arg("--dry-run").run().succeeds();
        assert_eq!(Record::parse(&run.stdout).unwrap().promotion().unwrap().n, 2);
        let run = store.promote("previous").arg("--dry-run").run().succeeds();
        assert_eq!(run.stdout, before["latest-stable.txt"]);
        let unfinished = "the promotion of release 1 is not finished: a run would finish it and not go back";
        told(&run, &[unfinished.into(), "latest-stable is 1 already".into()]);
        assert_eq!((store.all(), repo.refs()), (before, repo.refs()));
        store.remove("latest-stable.txt");
        let _run = store.promote_tag("1", &repo, "production").run().succeeds();
    }
}

#[test]
fn twins_in_the_environment() {
    let repo = Repo::new(2);
    let store = Store::files();
    store.releases(&repo);
    let url = store.url();
    let jenkins = || {
        let tool = Tool::new(env!("CARGO_BIN_EXE_release-promote")).args(["--store", &url]).cwd(repo.work());
        tool.env("ARTIFACT", ARTIFACT).env("GIT_TAG_NAME", "stable").env("RELEASE_VERSION", "2")
    };
    let _run = jenkins().run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "stable"))), 2);
    let _run = jenkins().args(["--release", "1"]).run().succeeds();
    assert_eq!(store.agrees(Some((&repo, "stable"))), 1);
    let before = (store.all(), repo.refs());
    let _run =
        jenkins().arg("--history").run().succeeds().stdout_is(&String::from_utf8_lossy(&before.0["promotions.csv"]));
    assert_eq!((store.all(), repo.refs()), before, "who asks for the history promotes nothing");
}

#[test]
fn pointer_and_list_are_kept_as_the_release_is() {
    let store = three(Store::s3(S3Model::start()));
    let body = store.get("obelix-2.release").unwrap();
    let headers = [("x-amz-storage-class", "REDUCED_REDUNDANCY"), ("x-amz-server-side-encryption", "AES256")];
    let put =
        request(&store.model().endpoint(), "PUT", "/build/obelix/prod/obelix-2.release", &headers, &body).unwrap();
    assert_eq!(put.status, 200, "{}", put.text());
    let _run = store.promote("2").run().succeeds();
    for key in ["latest-stable.txt", "promotions.csv"] {
        let object = store.model().object(BUCKET, &format!("obelix/prod/{key}")).unwrap();
        assert_eq!(
            (object.storage_class.as_str(), object.sse.as_deref()),
            ("REDUCED_REDUNDANCY", Some("AES256")),
            "{key}"
        );
    }
}

#[test]
fn sigterm_ends_it_by_the_signal() {
    let store = three(Store::s3(S3Model::start()));
    store
        .proxy()
        .set_plan(Plan::Custom(Box::new(|info| info.path.ends_with("obelix-2.release").then_some(Fault::Stall))));
    let before = store.all();
    let run = store.promote("2").start();
    wait_until("the request that hangs", || {
        let hangs = store.proxy().log().iter().any(|seen| seen.fault == Some(Fault::Stall));
        if hangs { Ok(()) } else { Err(format!("{:?}", store.proxy().log())) }
    });
    run.terminate();
    let _run = run.wait().killed_by(15);
    assert_eq!(store.all(), before);
}

#[test]
fn sigterm_ends_the_wait_for_stdin() {
    let store = three(Store::files());
    let mut child = Command::new(env!("CARGO_BIN_EXE_release-promote"))
        .args(["--artifact", ARTIFACT, "--store", &store.url(), "--release", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stat = format!("/proc/{}/syscall", child.id());
    // 0 is read(2), and its first argument stdin.
    wait_until("the wait for stdin", || {
        let doing = std::fs::read_to_string(&stat).unwrap_or_default();
        let reads = doing.starts_with("0 0x0 ") || doing.starts_with("63 0x0 ");
        if reads { Ok(()) } else { Err(doing) }
    });
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    use std::os::unix::process::ExitStatusExt;
    let signal = wait_until("its end", || child.try_wait().unwrap().ok_or_else(|| "running".to_owned()));
    assert_eq!(signal.signal(), Some(15));
}

#[test]
fn a_stdout_that_is_closed_or_full() {
    for store in both() {
        let run = |number: &str, stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_release-promote"));
            command.args(["--artifact", ARTIFACT, "--store", &store.url(), "--release", number]).stdin(Stdio::null());
            if let Some(proxy) = &store.proxy {
                command.env("AWS_ENDPOINT_URL_S3", proxy.endpoint()).env("AWS_REGION", "us-east-1");
                command.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "s");
            }
            command.stdout(stdout).output().unwrap()
        };
        let full = run("1", File::options().write(true).open("/dev/full").unwrap().into());
        let words = String::from_utf8_lossy(&full.stderr).into_owned();
        assert_eq!(full.status.code(), Some(1), "{words}");
        assert!(words.contains("release 1 is latest-stable, printing it failed"), "{words}");
        assert_eq!(store.agrees(None), 1);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = run("2", writer.into());
        assert_eq!((closed.status.code(), closed.stderr.as_slice()), (Some(0), &b""[..]));
        assert_eq!(store.agrees(None), 2);
    }
}

#[test]
fn help_version_and_wrong_usage() {
    let tool = || Tool::new(env!("CARGO_BIN_EXE_release-promote"));
    let _run =
        tool().arg("--help").run().succeeds().stdout_contains("Examples:").stdout_contains("75").stderr_is_empty();
    let _run = tool().arg("--version").run().succeeds().stdout_contains("release-promote ").stderr_is_empty();
    let store = three(Store::files());
    let before = store.all();
    let wrong: [&[&str]; 10] = [
        &[],
        &["--release", "0"],
        &["--release", "Latest"],
        &["--release", "1", "--channel", "latest"],
        &["--release", "1", "--channel", "../x"],
        &["--release", "1", "--reason", "two\nlines"],
        &["--release", "1", "--reason", "GIT_COMMIT of MYVERSION"],
        &["--release", "1", "--tag=-d"],
        &["--release", "1", "--tag", "t", "--remote=--upload-pack=x"],
        &["--history", "--dry-run"],
    ];
    for args in wrong {
        let _run = store.tool().args(args).run().fails_with(2).stderr_is_one_line().stdout_is("");
    }
    assert_eq!(store.all(), before);
}

const HEADER: &str = "n,time,who,from,to,commit,reason\n";

#[test]
fn history_of_nothing_is_its_header() {
    for store in [Store::files(), Store::s3(S3Model::start())] {
        // A wrong URL looks like this, so it is said; under -q the header alone comes.
        let run = store.tool().arg("--history").run().succeeds().stdout_is(HEADER);
        assert_eq!(run.stderr_str(), format!("release-promote: no release of obelix in {}/ yet\n", store.url()));
        let _quiet = store.tool().args(["--history", "-q"]).run().succeeds().stdout_is(HEADER).stderr_is_empty();
        let _run = store.promote("previous").run().fails_with(1).stderr_is_one_line().stderr_contains(&format!(
            "no release before: nothing was ever promoted to latest-stable in {}/\n",
            store.url()
        ));
        let built = store.release(1, &commit_of(1));
        store.put("latest.txt", &built.to_bytes());
        let _built = store.tool().arg("--history").run().succeeds().stdout_is(HEADER).stderr_is_empty();
    }
}

#[test]
fn history_of_another_artifact_is_refused() {
    for store in both() {
        let _run = store.promote("1").run().succeeds();
        let run = store.tool_of("asterix").arg("--history").run().fails_with(1).stderr_is_one_line().stdout_is("");
        let _told = run.stderr_contains("keeps the releases of another artifact");
        let _own = store.tool().arg("--history").run().succeeds().stderr_is_empty();
    }
}
