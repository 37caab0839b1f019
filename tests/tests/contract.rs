//! What every tool does alike, checked from one table. A tool that is not in it fails the first test.

use end_to_end::{bin_dir, root, tool};
use std::fs::{self, File};
use std::process::{Command, Stdio};

/// Every tool, with a command line that prints records and changes nothing.
const TOOLS: [(&str, &[&str]); 8] = [
    ("artifact-fetch", &["--help"]),
    ("artifact-pack", &["--artifact", "a", "--store", "file:///", "--audit", "-q"]),
    ("asg-hosts", &["--input", SAVED]),
    ("log-index", &["--help"]),
    ("log-ship", &["--help"]),
    ("nagios-gen", &["--help"]),
    ("release-promote", &["--artifact", "a", "--store", "file:///", "--history", "-q"]),
    ("spot-watch", &["--raise", "g", "--iam-policy"]),
];

/// Saved answers of AWS, so that a list needs no server.
const SAVED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/asg-hosts/tests/fixtures/ec2py/describe-instances.json");

#[test]
fn the_table_knows_every_tool() {
    assert_eq!(end_to_end::tools(), TOOLS.map(|(name, _)| name));
}

#[test]
fn help_opens_with_a_sentence_and_examples_and_ends_with_the_exit_codes() {
    for (name, _) in TOOLS {
        let help = tool(name).arg("--help").run().succeeds().stderr_is_empty();
        let help = help.stdout_str();
        let lines: Vec<&str> = help.lines().collect();
        assert!(lines[0].chars().next().is_some_and(char::is_uppercase), "{name}: {}", lines[0]);
        assert_eq!(lines[2], "Examples:", "{name}");
        assert!(help.contains(&format!("    {name} --")) || help.contains(&format!("| {name} ")), "{name}");
        for line in ["Exit codes:", "  0   done", "  1   failed", "  2   wrong usage", "  75  temporary"] {
            assert!(help.contains(line), "{name}: {line}");
        }
        assert!(help.contains("SIGTERM, SIGINT or SIGHUP"), "{name}");
    }
}

/// A tool's own options stand under its own headings, so that people find them.
#[test]
fn help_lists_under_aws_what_is_about_aws() {
    let expected = ["--region", "--profile", "--endpoint-url", "--timeout"];
    for (name, _) in TOOLS {
        let help = tool(name).arg("--help").run().succeeds();
        let mut heading = "";
        let mut listed = Vec::new();
        for line in help.stdout_str().lines() {
            if line.ends_with(':') && !line.starts_with(' ') {
                heading = line;
            }
            let option = line.split_whitespace().find(|word| word.starts_with("--"));
            if let Some(option) = option.filter(|_| heading == "AWS:" && line.trim_start().starts_with('-')) {
                listed.push(option);
            }
        }
        let expected = if ["log-index", "log-ship", "nagios-gen"].contains(&name) { &[][..] } else { &expected };
        assert_eq!(listed, expected, "{name}");
    }
}

#[test]
fn version_names_the_commit() {
    for (name, _) in TOOLS {
        let version = tool(name).arg("--version").run().succeeds();
        let words: Vec<&str> = version.stdout_str().split_whitespace().collect();
        assert_eq!(words[0], name);
        assert!(words[2].starts_with('(') && words[2].len() == 14, "{name}: {words:?}");
    }
}

#[test]
fn wrong_usage_is_one_line_and_exit_2() {
    let of_releases =
        [&["--no-such-option"][..], &[], &["--artifact", "../x", "--store", "file:///tmp"], &["--store", "ftp://x"]];
    let of_hosts = [
        &["--no-such-option"][..],
        &["--use", "a b"],
        &["file"],
        &["--verify", "nagios.cfg"],
        &["--output", "f", "--reload", "true"],
        &["--downtime", "f", "--output", "g"],
        &["--output", "f", "--max-shrink", "all"],
    ];
    let of_groups = [&["--no-such-option"][..], &["--columns", "nope"], &["--list", "--format", "csv"], &["-0"]];
    let of_notices = [
        &["--no-such-option"][..],
        &["--ensure-policy"],
        &["--raise", "a", "--raise-from-tag", "b"],
        &["--interval", "0s"],
        &["--notify", "ftp://x"],
    ];
    let of_logs = [
        &["--no-such-option"][..],
        &["--brokers", "b:1", "--topic", "a/b"],
        &["--brokers", "b:1", "--topic", "t", "--kafka", "acks=1"],
        &["--brokers", "b:1", "--topic", "t", "--kafka", "no.such.option=1"],
        &["--brokers", "b:1", "--topic", "t", "--confirm", "--once"],
        &["--brokers", "b:1", "--topic", "t", "--first-line", "("],
        &["--brokers", "b:1", "--topic", "t", "--once", "a["],
    ];
    let of_records = [
        &["--no-such-option"][..],
        &["--brokers", "b:1", "--topic", "t", "--group", "g", "--url", "ftp://s", "--index", "i"],
        &["--brokers", "b:1", "--topic", "t", "--group", "g", "--url", "http://s", "--index", "I"],
        &["--brokers", "b:1", "--topic", "t", "--group", "g", "--url", "http://s", "--index", "i", "--kafka", "acks=1"],
    ];
    for (name, _) in TOOLS {
        let lines = match name {
            "log-index" => &of_records[..],
            "log-ship" => &of_logs[..],
            "asg-hosts" => &of_groups[..],
            "spot-watch" => &of_notices[..],
            "nagios-gen" => &of_hosts[..],
            _ => &of_releases[..],
        };
        for line in lines {
            let run = tool(name).args(*line).run().fails_with(2).stderr_is_one_line();
            assert!(run.stderr_str().starts_with(&format!("{name}: ")), "{}", run.report());
            assert_eq!(run.stdout, b"");
        }
    }
}

#[test]
fn a_full_stdout_is_temporary() {
    for (name, line) in TOOLS {
        for args in [line, &["--help"][..], &["--version"]] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let run = Command::new(bin_dir().join(name)).args(args).stdout(full).output().unwrap();
            assert_eq!(run.status.code(), Some(75), "{name} {args:?}");
            let words = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(words.starts_with(&format!("{name}: unable to write stdout: ")), "{words}");
        }
    }
}

#[test]
fn a_closed_stdout_ends_silently_with_0() {
    for (name, line) in TOOLS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = Command::new(bin_dir().join(name)).args(line).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((run.status.code(), run.stderr.as_slice()), (Some(0), &b""[..]), "{name}");
    }
}

#[test]
fn every_tool_and_its_page_are_complete() {
    for (name, _) in TOOLS {
        let page = fs::read_to_string(root().join("tools").join(name).join("README.md")).unwrap();
        for heading in ["Usage", "Input", "Output", "Exit codes", "Examples", "Guarantees and their limits"] {
            assert!(page.contains(&format!("\n## {heading}\n")), "{name}/README.md has no part {heading}");
        }
        let main = fs::read_to_string(root().join("tools").join(name).join("src/main.rs")).unwrap();
        assert!(main.lines().count() <= 40, "{name}: main.rs is more than one screen");
    }
}

/// The table of dependencies is counted, not remembered.
#[test]
fn docs_count_the_crates_of_each_tool() {
    let docs = fs::read_to_string(root().join("docs/DEPENDENCIES.md")).unwrap();
    for (name, _) in TOOLS {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--locked", "--target", "x86_64-unknown-linux-gnu", "-e", "normal", "--prefix", "none"]);
        let tree = tree.args(["--no-dedupe", "--format", "{p}", "-p", name]).current_dir(root()).output().unwrap();
        let tree = String::from_utf8(tree.stdout).unwrap();
        // Our own have a path.
        let crates: std::collections::BTreeSet<&str> = tree.lines().filter(|line| !line.contains("(/")).collect();
        let row = format!("| {name} | {} |", crates.len());
        assert!(docs.contains(&row), "docs/DEPENDENCIES.md should say {row}");
    }
}
