//! What a state directory is for: one topic.

use crate::stage::{Stage, append};

#[test]
fn a_state_directory_belongs_to_a_topic() {
    let stage = Stage::new();
    let path = stage.log("a.log");
    append(&path, "one\n");
    stage.once(&path);
    append(&path, "two\n");
    let other = format!("{}-other", stage.topic);
    // The later --topic would be wrong usage: the whole line anew.
    let tool =
        || testkit::Tool::new(env!("CARGO_BIN_EXE_log-ship")).args(["--brokers", &stage.brokers, "--topic", &other]);
    let to_other = |args: &[&str]| tool().arg("--state-dir").arg(stage.state()).args(args);
    for args in [&["--once", path.to_str().unwrap()][..], &[path.to_str().unwrap()], &[]] {
        let run = to_other(args).stdin("three\n").run().fails_with(1).stderr_is_one_line();
        let state = stage.state();
        run.stderr_contains(&format!(
            "unable to ship to topic {other}: {} holds the positions of topic {}; give each topic its own --state-dir",
            state.display(),
            stage.topic
        ));
    }
    stage.once(&path);
    assert_eq!(stage.values(), ["one", "two"]);
}
