//! How the store on S3 is reached: whose credentials, which region, which endpoint, and what is said when one is missing.

use crate::harness::{Harness, last_line, tree};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use testkit::{Plan, Tool};

/// AWS files with a profile that has everything, and one that has a region alone.
fn files() -> TempDir {
    tree(&[
        ("config", "[profile ops]\nregion = eu-west-3\n[profile bare]\nregion = eu-west-3\n"),
        ("credentials", "[ops]\naws_access_key_id = KEYOFOPS\naws_secret_access_key = s\n"),
    ])
}

fn with(tool: Tool, files: &Path) -> Tool {
    tool.env("AWS_CONFIG_FILE", files.join("config")).env("AWS_SHARED_CREDENTIALS_FILE", files.join("credentials"))
}

#[test]
fn a_profile_wins_over_the_environment() {
    let files = files();
    let harness = Harness::s3();
    let signed: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&signed);
    harness.proxy().set_plan(Plan::Custom(Box::new(move |info| {
        seen.lock().unwrap().push(info.header("authorization").unwrap_or_default().to_owned());
        None
    })));
    let cases: [(&[&str], &str, &str); 3] = [
        (&[], "test-access-key", "us-east-1"),
        (&["--profile", "ops"], "KEYOFOPS", "eu-west-3"),
        (&["--profile", "ops", "--region", "us-west-1"], "KEYOFOPS", "us-west-1"),
    ];
    for (args, key, region) in cases {
        let _run = with(harness.tool().arg("--audit").args(args), files.path()).run().succeeds();
        let signed = std::mem::take(&mut *signed.lock().unwrap());
        assert!(!signed.is_empty());
        for header in signed {
            assert!(header.contains(&format!("Credential={key}/")), "{args:?}: {header}");
            assert!(header.contains(&format!("/{region}/s3/")), "{args:?}: {header}");
        }
    }
}

/// No other credentials take the place of those that were asked for.
#[test]
fn a_profile_that_is_not_there() {
    let files = files();
    let harness = Harness::s3();
    for name in ["nope", "bare"] {
        for tool in [harness.tool(), with(harness.tool(), files.path())] {
            let run = tool.args(["--audit", "--profile", name]).run().fails_with(1).stderr_is_one_line();
            let _told = run.stderr_contains(&format!("have no profile {name} with credentials, or none of the name"));
        }
    }
    assert_eq!(harness.proxy().count(), 0, "nothing was asked");
}

/// One short line that says what to do.
#[test]
fn what_is_missing_is_said() {
    let harness = Harness::s3();
    let bare = || crate::harness::tool().args(["--artifact", "obelix", "--store", &harness.url, "--audit"]);
    let bare =
        || bare().env("AWS_ENDPOINT_URL_S3", harness.proxy().endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
    let run = bare().env("AWS_REGION", "us-east-1").run().fails_with(75).stderr_is_one_line();
    let line = last_line(&run);
    assert!(line.contains(": no credentials: neither the environment, "), "{line}");
    assert!(!line.contains("\\n") && !line.contains("was not enabled") && line.len() < 200, "{line}");
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let run = keys.into_iter().fold(bare(), |tool, (name, value)| tool.env(name, value)).run();
    let _told = run.fails_with(1).stderr_is_one_line().stderr_contains(": no region: give --region or set AWS_REGION");
    assert_eq!(harness.proxy().count(), 0);
}

#[test]
fn an_endpoint_is_a_url() {
    let harness = Harness::s3();
    for wrong in ["127.0.0.1:1", "localhost:8333", "ftp://x", "http://", ""] {
        let run = harness.tool().args(["--audit", "--endpoint-url", wrong]).run().fails_with(2).stderr_is_one_line();
        let _told = run.stderr_contains("expected a URL such as http://");
    }
    let _right = harness.tool().args(["--audit", "--endpoint-url", &harness.proxy().endpoint()]).run().succeeds();
    assert!(harness.proxy().count() > 0);
}
