//! The models of AWS as processes: what scripts read from them and write to them.

use testkit::Tool;

const SCALING: &str = env!("CARGO_BIN_EXE_scaling-model");
const IMDS: &str = env!("CARGO_BIN_EXE_imds-model");

#[test]
fn scaling_shows_its_groups_and_ends_with_stdin() {
    let groups = ["--policy", "a:b:up", "--group", "a:b:0:1:3", "--no-launch-template", "--group", "c:0:2:2"];
    let run = Tool::new(SCALING).args(groups).stdin("show\nhide\n").run().succeeds();
    let lines: Vec<&str> = run.stdout_str().lines().collect();
    assert!(lines[0].starts_with("AWS_ENDPOINT_URL_AUTO_SCALING=http://127.0.0.1:"), "{}", run.report());
    assert_eq!(lines[1..], ["a:b desired=1", "c desired=2"]);
    run.stderr_is_one_line().stderr_contains("scaling-model: \"hide\" is no command");
}

#[test]
fn imds_takes_commands_and_ends_with_stdin() {
    let options = ["--instance-id", "i-1", "--life-cycle", "on-demand", "--group-tag", "g", "--role", "r"];
    let commands = "notice terminate 120\nclear\nstate Terminated\nnotice terminate soon\n";
    let run = Tool::new(IMDS).args(options).stdin(commands).run().succeeds();
    assert!(run.stdout_str().starts_with("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:"), "{}", run.report());
    run.stderr_is_one_line().stderr_contains("imds-model: \"notice terminate soon\" is no command");
}

#[test]
fn wrong_usage_is_told() {
    for (model, args) in [
        (IMDS, &["--instance-id"][..]),
        (IMDS, &["--port", "1"]),
        (SCALING, &[]),
        (SCALING, &["--group", "g:0:1"]),
        (SCALING, &["--group", "g:0:1:2", "--policy", "h:up"]),
    ] {
        Tool::new(model).args(args).run().fails_with(2).stdout_is("").stderr_contains("usage: ");
    }
}
