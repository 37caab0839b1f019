//! Passwords, keys and tokens given in a wrong way: in another option's place, in another form, in a file or a URL that does
//! not take them. What a tool says names what is wrong, and never holds the secret.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::tool;
use std::fs;
use std::path::Path;
use std::process::Command;
use testkit::{Finished, Tool};

/// The secret, in shapes that a message could hold it in.
const SECRET: &str = "Xq7hunter2zW";

/// A way to give it: words of a command line, variables as `NAME=value`, and what the message holds. `SECRET` and `DIR` stand
/// for the secret and a directory of the test.
struct Way {
    words: &'static str,
    environment: &'static [&'static str],
    code: i32,
    says: &'static str,
}

const fn way(words: &'static str, environment: &'static [&'static str], code: i32, says: &'static str) -> Way {
    Way { words, environment, code, says }
}

const INDEX: [Way; 20] = [
    way("--url http://127.0.0.1:1 --user ops --password SECRET", &[], 2, "unexpected argument '--password' found"),
    way("--url http://127.0.0.1:1 --user ops --password=SECRET", &[], 2, "unexpected argument '--password' found"),
    way("--url http://127.0.0.1:1 --user ops -pSECRET", &[], 2, "unexpected argument '-p' found"),
    way("--url http://127.0.0.1:1 --user ops SECRET", &[], 2, "it belongs to no option (not shown"),
    way("--url http://127.0.0.1:1 --user ops:SECRET", &[], 2, "--user"),
    way("--url http://127.0.0.1:1 --user ops:SECRET", &["SEARCH_PASSWORD=x"], 2, "a user's name has no colon"),
    way("--url http://127.0.0.1:1", &["SEARCH_USER=ops:SECRET", "SEARCH_PASSWORD=x"], 2, "a user's name has no colon"),
    way("--url http://127.0.0.1:1 --user ops --password-file SECRET", &[], 1, "unable to read --password-file FILE"),
    way("--url http://127.0.0.1:1 --user ops --password-file=SECRET/a+b==", &[], 1, "its name is not shown"),
    way(
        "--url http://127.0.0.1:1 --user ops --password-file DIR/none",
        &[],
        1,
        "--password-file DIR/none: No such file",
    ),
    way("--url http://127.0.0.1:1 --api-key SECRET", &[], 2, "unexpected argument '--api-key' found"),
    way("--url http://127.0.0.1:1 --api-key-file SECRET", &[], 1, "unable to read --api-key-file FILE"),
    way("--url http://127.0.0.1:1 --api-key-file /SECRET", &[], 1, "unable to read --api-key-file FILE"),
    way("--url http://127.0.0.1:1 --kafka-file SECRET", &[], 2, "unable to read --kafka-file FILE"),
    way("--url http://ops:SECRET@127.0.0.1:1", &[], 2, "no user in the URL"),
    way("--url http://127.0.0.1:1/?token=SECRET", &[], 2, "expected a URL without ? and #"),
    way("", &["SEARCH_URL=http://ops:SECRET@127.0.0.1:1"], 2, "no user in the URL"),
    way("", &["SEARCH_URL=SECRET"], 2, "invalid value for '--url"),
    way("--url http://127.0.0.1:1 --apikeySECRET", &[], 2, "unexpected argument '--apikey…' found"),
    way("--url http://127.0.0.1:1 --password:SECRET", &[], 2, "unexpected argument '--password…' found"),
];

const STORE: [Way; 29] = [
    way("--store s3://KEY:SECRET@bucket/p", &[], 2, "invalid value for '--store"),
    way("--store https://KEY:SECRET@bucket/p", &[], 2, "invalid value for '--store"),
    way("--store KEY:SECRET@bucket/p", &[], 2, "invalid value for '--store"),
    way("--store s3:KEY:SECRET@bucket/p", &[], 2, "invalid value for '--store"),
    way("--store s3://bucket/p?secret_key=SECRET", &[], 2, "invalid value for '--store"),
    way("--store KEY:SECRET", &[], 2, "invalid value for '--store"),
    way("--store s3://KEY:SECRET", &[], 2, "invalid value for '--store"),
    way("--store s3://KEY:SECRET%40b/p", &[], 2, "invalid value for '--store"),
    way("--store s3://b/p#SECRET", &[], 2, "invalid value for '--store"),
    way("--store s3://b/p --endpoint-url KEY:SECRET", &[], 2, "invalid value for '--endpoint-url"),
    way("--store s3://b/p", &["AWS_ENDPOINT_URL=KEY:SECRET"], 1, "AWS_ENDPOINT_URL is no URL"),
    way("--store s3://b/p", &["AWS_ENDPOINT_URL_S3=http://h/#SECRET"], 1, "AWS_ENDPOINT_URL_S3 is no URL"),
    way("--store s3://b/p SECRET", &[], 2, "it belongs to no option (not shown"),
    way("--store s3://b/p --secret-key SECRET", &[], 2, "unexpected argument '--secret-key' found"),
    way("--store s3://b/p --endpoint-url http://KEY:SECRET@127.0.0.1:1", &[], 75, "unable to read s3://b/p/"),
    way("--store s3://b/p --endpoint-url KEY:SECRET@127.0.0.1:1", &[], 2, "invalid value for '--endpoint-url"),
    way("--store s3://b/p --endpoint-url http://127.0.0.1:1/?key=SECRET", &[], 2, "invalid value for '--endpoint-url"),
    way("--store s3://b/p", &["AWS_ENDPOINT_URL=http://127.0.0.1:1/?key=SECRET"], 1, "AWS_ENDPOINT_URL is"),
    way("--store s3://b/p", &["HTTP_PROXY=ops:SECRET@127.0.0.1:1"], 75, "unable to read s3://b/p/"),
    way("--store s3://b/p", &["HTTP_PROXY=http://ops:SECRET@127.0.0.1:1"], 75, "unable to read s3://b/p/"),
    way("--store s3://b/p", &["AWS_ACCESS_KEY_ID=SECRET\nx"], 1, "the access key ID holds"),
    way("--store s3://b/p", &["AWS_SECRET_ACCESS_KEY=SECRET\n"], 1, "the secret access key holds"),
    way("--store s3://b/p", &["AWS_SECRET_ACCESS_KEY= SECRET"], 1, "the secret access key holds"),
    way("--store s3://b/p", &["AWS_SESSION_TOKEN=SECRET\rx"], 1, "the session token holds"),
    way("--store s3://b/p", &["AWS_SESSION_TOKEN=SECRETé"], 1, "the session token holds"),
    way(
        "--store s3://b/p",
        &["AWS_ACCESS_KEY_ID=SECRET", "AWS_SECRET_ACCESS_KEY=SECRET"],
        75,
        "unable to read s3://b/p/",
    ),
    way("--store s3://b/p", &["AWS_ACCESS_KEY_ID=", "AWS_WEB_IDENTITY_TOKEN_FILE=SECRET"], 75, "no credentials"),
    way("--store s3://b/p", &["AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=SECRET"], 75, "no credentials"),
    way(
        "--store s3://b/p -v",
        &["AWS_ACCESS_KEY_ID=SECRET", "AWS_SESSION_TOKEN=SECRET"],
        75,
        "unable to read s3://b/p/",
    ),
];

const WATCH: [Way; 8] = [
    way("--notify hooks.example/services/SECRET", &[], 2, "--notify or SPOT_WATCH_NOTIFY is no http"),
    way("--notify SECRET", &[], 2, "--notify or SPOT_WATCH_NOTIFY is no http"),
    way("--notify http://ops:SECRET@[::1/x", &[], 2, "--notify or SPOT_WATCH_NOTIFY is no http"),
    way("--notify http://127.0.0.1:99999/SECRET", &[], 2, "--notify or SPOT_WATCH_NOTIFY is no http"),
    way("--notify http://127.0.0.1:1/a http://127.0.0.1:1/SECRET", &[], 2, "it belongs to no option (not shown"),
    way("--notify:http://127.0.0.1:1/SECRET", &[], 2, "unexpected argument '--notify…' found"),
    way("--notify-url http://127.0.0.1:1/SECRET", &[], 2, "unexpected argument '--notify-url' found"),
    way("", &["SPOT_WATCH_NOTIFY=SECRET"], 2, "--notify or SPOT_WATCH_NOTIFY is no http"),
];

const PROMOTE: [Way; 7] = [
    way("--remote https://ops:SECRET@127.0.0.1:1/x.git", &[], 75, "127.0.0.1"),
    way("--remote https://SECRET@127.0.0.1:1/x.git", &[], 75, "127.0.0.1"),
    way("--remote https://127.0.0.1:1/x.git?private_token=SECRET", &[], 75, "127.0.0.1"),
    way("--remote https://127.0.0.1:1/x.git#SECRET", &[], 75, "127.0.0.1"),
    way("--remote https://x:SECRET%40127.0.0.1:1/x", &[], 75, "git ls-remote"),
    way("--remote origin", &[], 75, "127.0.0.1"),
    way("--remote origin --tag-token SECRET", &[], 2, "unexpected argument '--tag-token' found"),
];

/// Files of AWS, almost right.
const FILES: [(&str, &str); 16] = [
    ("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key SECRET\n"),
    ("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key : SECRET\n"),
    ("credentials", "[default\naws_access_key_id = a\naws_secret_access_key = SECRET\n"),
    ("credentials", "aws_access_key_id = a\naws_secret_access_key = SECRET\n"),
    ("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key =\nSECRET\n"),
    ("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key =\n  SECRET\n"),
    ("credentials", "[default]\naws_secret_access_key = SECRET\n"),
    ("credentials", "[default]\naws_access_key_id = SECRET \u{e9}\naws_secret_access_key = SECRET\n"),
    ("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key = SECRET x\n"),
    ("credentials", "SECRET\n"),
    ("credentials", "AKIA,SECRET\n"),
    ("credentials", "[default]\nAKIA:SECRET\n"),
    ("config", "[default]\ncredential_process = SECRET\n"),
    ("config", "[default]\ncredential_process = echo SECRET\n"),
    ("config", "[default]\ncredential_process = echo SECRET >&2; exit 1\n"),
    ("config", "[default]\ncredential_process = echo '{\"Version\": 1, \"SecretAccessKey\": \"SECRET\"}'\n"),
];

fn check(way: &str, dir: &Path, run: &Finished, code: i32, says: &str) {
    let all = format!("{}{}", run.stderr_str(), run.stdout_str());
    assert!(!all.contains("hunter2"), "{way}: {}", run.report());
    let says = says.replace("DIR", dir.to_str().unwrap());
    assert!(run.code == Some(code) && run.stderr_str().contains(&says), "{way}: {}", run.report());
}

/// Runs the tool in each of these ways.
fn try_all(ways: &[Way], dir: &Path, base: impl Fn() -> Tool) {
    for way in ways {
        let filled = |text: &str| text.replace("SECRET", SECRET).replace("DIR", dir.to_str().unwrap());
        let words = way.words.split_whitespace().map(filled);
        let tool = way.environment.iter().fold(base().args(words).cwd(dir), |tool, variable| {
            let (name, value) = variable.split_once('=').unwrap();
            tool.env(name, filled(value))
        });
        check(&format!("{} {:?}", way.words, way.environment), dir, &tool.run(), way.code, way.says);
    }
}

/// A tool that asks a store which is not there.
fn asking(home: &Path) -> Tool {
    let tool = tool("artifact-fetch").args(["--artifact", "a", "--into", "into", "--timeout", "1s"]).env("HOME", home);
    tool.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "eu-west-1")
}

#[test]
fn of_a_search_server() {
    let dir = tempfile::tempdir().unwrap();
    let fixed = "--brokers 127.0.0.1:1 --topic t --group g --index i --once --timeout 1s";
    try_all(&INDEX, dir.path(), || tool("log-index").args(fixed.split(' ')));
}

#[test]
fn of_a_store() {
    let dir = tempfile::tempdir().unwrap();
    try_all(&STORE, dir.path(), || {
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let at = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        keys.into_iter().chain([at]).fold(asking(dir.path()), |tool, (name, value)| tool.env(name, value))
    });
}

#[test]
fn in_the_files_of_aws() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".aws")).unwrap();
    for (name, text) in FILES {
        let path = dir.path().join(".aws").join(name);
        fs::write(&path, text.replace("SECRET", SECRET)).unwrap();
        let store = ["--store", "s3://b/p", "--endpoint-url", "http://127.0.0.1:1", "-v"];
        let run = asking(dir.path()).args(store).cwd(dir.path()).run();
        assert!(matches!(run.code, Some(1 | 75)), "{text}: {}", run.report());
        check(text, dir.path(), &run, run.code.unwrap(), "artifact-fetch: ");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn of_a_webhook() {
    let dir = tempfile::tempdir().unwrap();
    let fixed = "--raise target --once --timeout 1s --state-dir state";
    try_all(&WATCH, dir.path(), || tool("spot-watch").args(fixed.split(' ')));
}

#[test]
fn of_a_git_server() {
    let dir = tempfile::tempdir().unwrap();
    let git = |words: &[&str]| {
        let status = Command::new("git").arg("-C").arg(dir.path()).args(words).status().unwrap();
        assert!(status.success(), "{words:?}");
    };
    let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
    git(&["init", "-q"]);
    git(&[&identity[..], &["commit", "-q", "--allow-empty", "-m", "x"]].concat());
    git(&["remote", "add", "origin", &format!("https://ops:{SECRET}@127.0.0.1:1/x.git")]);
    let head = Command::new("git").arg("-C").arg(dir.path()).args(["rev-parse", "HEAD"]).output().unwrap();
    let (head, store) = (String::from_utf8(head.stdout).unwrap(), format!("file://{}/store", dir.path().display()));
    fs::create_dir(dir.path().join("store")).unwrap();
    fs::write(dir.path().join("code"), "1\n").unwrap();
    let sealed = tool("artifact-pack").args(["--artifact", "a", "--build", "1", "--store", &store]).cwd(dir.path());
    sealed.args(["--commit", head.trim(), "code"]).run().succeeds();
    try_all(&PROMOTE, dir.path(), || {
        let fixed = ["--artifact", "a", "--store", &store, "--release", "latest", "--repo", ".", "--tag", "stable"];
        tool("release-promote").args(fixed).args(["--timeout", "5s"])
    });
}
