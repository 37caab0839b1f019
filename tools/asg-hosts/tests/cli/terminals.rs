//! What a terminal is shown. `script` gives the tool one.

use crate::harness::{at, fleet};
use serde_json::json;
use std::fs;
use testkit::Tool;

/// What the tool writes when its stdout is a terminal; stderr is left out.
fn shown(tool: &Tool, words: &str, env: &str) -> String {
    let command = format!("{env} {} {words} 2>/dev/null", env!("CARGO_BIN_EXE_asg-hosts"));
    let run = tool.clone().args(["-qec", &command, "/dev/null"]).run().succeeds();
    // The terminal's own line ends.
    run.stdout_str().replace("\r\n", "\n")
}

fn script() -> Tool {
    Tool::new("script").env("TERM", "xterm")
}

#[test]
fn states_are_coloured_on_a_terminal_only() {
    let model = fleet();
    let tool = script()
        .env("AWS_ENDPOINT_URL", model.endpoint())
        .env("AWS_ACCESS_KEY_ID", "k")
        .env("AWS_SECRET_ACCESS_KEY", "s")
        .env("AWS_REGION", crate::harness::HERE);
    let coloured = shown(&tool, "--format table -q", "");
    let green = |word: &str| coloured.contains(&format!("\u{1b}[38;5;10m {word} "));
    assert!(green("InService") && green("Healthy") && green("running"), "{coloured:?}");
    assert!(
        coloured.contains("\u{1b}[38;5;9m Unhealthy ") && coloured.contains("\u{1b}[38;5;9m stopped "),
        "{coloured:?}"
    );
    assert!(coloured.contains("\u{1b}[38;5;11m Pending "), "{coloured:?}");
    let plain = at(&model).args(["--format", "table", "-q"]).run().succeeds();
    assert_eq!(shown(&tool, "--format table -q", "NO_COLOR=1"), plain.stdout_str());
    assert_eq!(shown(&tool, "--format table -q", "TERM=dumb"), plain.stdout_str());
    assert_ne!(shown(&tool, "--format table -q", "NO_COLOR="), plain.stdout_str());
    assert_eq!(without_colours(&coloured), plain.stdout_str(), "aligned alike");
}

#[test]
fn no_value_moves_a_cursor_or_turns_the_writing() {
    let hostile = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{2066}\u{200f}\u{61c}\r\n\t\u{8}\u{0}\u{7f}";
    let instances = json!([{
        "InstanceId": format!("i-1{hostile}"),
        "ImageId": hostile,
        "State": { "Name": hostile },
        "Placement": { "AvailabilityZone": format!("eu-west-1a{hostile}") },
        "PrivateIpAddress": "10.0.0.1",
        "SubnetId": "s",
        "Tags": [{ "Key": "Name", "Value": hostile }, { "Key": hostile, "Value": hostile },
                 { "Key": "aws:autoscaling:groupName", "Value": hostile }],
    }]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.json");
    fs::write(&path, json!({ "Reservations": [{ "Instances": instances }] }).to_string()).unwrap();
    let input = format!("--input {}", path.display());
    for words in [
        "--format table",
        "--format table --columns tags,tag:Name",
        "--format csv",
        "--format json",
        "--format jsonl",
        "--columns name -0",
        "--list --state all --full-hostvars",
        "--host 10.0.0.1 --state all",
    ] {
        let text = without_colours(&shown(&script(), &format!("{input} {words} || true"), ""));
        let bad = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(bad), "{words}: {text:?}");
    }
    // Into a pipe it goes as it is.
    let run = crate::harness::asg_hosts().arg("--input").arg(&path).args(["--columns", "name"]).run().succeeds();
    assert!(run.stdout_str().contains(hostile.trim_end_matches('\u{7f}')));
    // A table is for eyes, wherever it goes.
    let run = crate::harness::asg_hosts().arg("--input").arg(&path).args(["--format", "table"]).run().succeeds();
    assert!(!run.stdout_str().contains(|c: char| c.is_control() && c != '\n'), "{}", run.report());
}

/// The text without the colours that the table itself sets.
fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find('m').filter(|end| after[..*end].chars().all(|c| c.is_ascii_digit() || c == ';'));
        let Some(end) = end else {
            plain.push_str("\u{1b}[");
            rest = after;
            continue;
        };
        rest = &after[end + 1..];
    }
    plain + rest
}
