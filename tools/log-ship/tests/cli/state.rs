//! What a state directory is for: one topic of one cluster, and files that are remembered whether they are asked for or not.

use crate::harness::{Harness, append, check_stats};
use std::fs;
use testkit::{Broker, Finished, Link, LinkMode, wait_until};

#[test]
fn a_state_directory_belongs_to_a_topic() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\n");
    harness.once(&path);
    append(&path, "two\n");
    let other = format!("{}-other", harness.topic);
    // The later --topic would be wrong usage: the whole line anew.
    let tool =
        || testkit::Tool::new(env!("CARGO_BIN_EXE_log-ship")).args(["--brokers", &harness.brokers, "--topic", &other]);
    let to_other = |args: &[&str]| tool().arg("--state-dir").arg(harness.state()).args(args);
    for args in [&["--once", path.to_str().unwrap()][..], &[path.to_str().unwrap()], &[]] {
        let run = to_other(args).stdin("three\n").run().fails_with(1).stderr_is_one_line();
        let state = harness.state();
        run.stderr_contains(&format!(
            "unable to ship to topic {other}: {} holds the positions of topic {}; give each topic its own --state-dir",
            state.display(),
            harness.topic
        ));
    }
    harness.once(&path);
    assert_eq!(harness.values(), ["one", "two"]);
}

/// What one cluster has is missing from another: with or without something new to send, nothing is taken for shipped there.
#[test]
fn a_state_directory_belongs_to_a_cluster() {
    let harness = Harness::new();
    let place = tempfile::tempdir().unwrap();
    let other = Broker::start(place.path());
    let path = harness.log("a.log");
    append(&path, "one\n");
    harness.once(&path);
    let refused = |run: Finished| {
        let run = run.fails_with(1).stderr_is_one_line().stderr_contains("unable to ship to cluster ");
        let run = run.stderr_contains(&format!(": {} holds the positions of cluster ", harness.state().display()));
        run.stderr_contains("; give each cluster its own --state-dir");
    };
    let to_other = || harness.tool_via(&other.address());
    let met = wait_until("the answer of the other cluster", || {
        // A run that has nothing to send waits no longer than a second for it.
        let run = to_other().arg("--once").arg(&path).run();
        if run.code == Some(0) { Err(run.report()) } else { Ok(run) }
    });
    refused(met);
    append(&path, "two\n");
    refused(to_other().arg("--once").arg(&path).run());
    refused(to_other().arg(&path).run());
    // A broker that is away refuses nothing.
    let link = Link::to(&other.address());
    link.set(LinkMode::Cut);
    append(&path, "three\n");
    let run = harness.tool_via(&link.address()).arg(&path).start();
    link.set(LinkMode::Up);
    refused(run.wait());
    harness.once(&path);
    assert_eq!(harness.values(), ["one", "two", "three"]);
    link.set(LinkMode::Cut);
    harness.tool_via(&link.address()).arg("--once").arg(&path).run().succeeds().stderr_is_empty();
}

/// One PATH, then another one: neither is lost, and nothing is said to be destroyed that is there.
#[test]
fn other_paths_on_one_state_directory() {
    let harness = Harness::new();
    fs::create_dir(harness.log("sub")).unwrap();
    // In another folder, and in the same one.
    for (one, two) in [("a.log", "sub/b.log"), ("c.log", "d.log"), ("sub/e.log", "f.log")] {
        let (one, two) = (harness.log(one), harness.log(two));
        let before = harness.shipped().len();
        append(&one, "one\nand a line without its en");
        append(&two, "two\n");
        let once = |path: &std::path::Path| harness.tool().args(["--once", "--stats", "1h"]).arg(path).run().succeeds();
        once(&one).stderr_contains("have no newline yet");
        append(&one, "d\nthree\n");
        for _ in 0..2 {
            let run = once(&two).stderr_is_one_line();
            let run =
                run.stderr_contains(&format!("{} is no longer watched, 33 bytes of it are not shipped", one.display()));
            assert_eq!(check_stats(&run.stdout)["destroyed_bytes"].as_u64(), Some(0));
        }
        assert_eq!(harness.shipped().len(), before + 2, "what nobody asks for is not shipped");
        // Rotated while nobody watches it.
        let rotated = one.with_extension("log.1");
        fs::rename(&one, &rotated).unwrap();
        append(&one, "four\n");
        once(&one).stderr_is_empty();
        let values = harness.values();
        let mut new = values[before..].to_vec();
        new.sort();
        assert_eq!(new, ["and a line without its end", "four", "one", "three", "two"]);
        // It was shipped to its end, so there is nothing to say.
        once(&two).stderr_is_empty();
        once(&one).stderr_is_empty();
        assert_eq!(harness.shipped().len(), before + 5);
        // Gone while nobody watches it: now it is destroyed.
        append(&two, "half a li");
        once(&two).stderr_contains("have no newline yet");
        fs::remove_file(&two).unwrap();
        once(&one).stderr_contains(&format!("of {}: destroyed before they were read", two.display()));
        once(&one).stderr_is_empty();
    }
}
