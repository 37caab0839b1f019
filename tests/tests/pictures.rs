//! The pictures of the README show what the tools print.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{root, tool};
use regex::Regex;
use std::fs;

/// The lines of text in a picture, from above; spaces apart, since some characters are wider than others.
fn lines(name: &str) -> Vec<String> {
    let picture = fs::read_to_string(root().join("docs/pictures").join(name)).unwrap();
    assert!(!picture.contains("url(http"), "{name} fetches something");
    let piece = Regex::new(r#"<text class="[a-z]+-r\d+" x="[\d.]+" y="([\d.]+)"[^>]*>([^<]*)</text>"#).unwrap();
    let mut rows: Vec<(String, String)> = Vec::new();
    for found in piece.captures_iter(&picture) {
        let text = found[2].replace("&#160;", " ").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        let text = text.replace("&#x27;", "'").replace("&amp;", "&") + " ";
        match rows.last_mut() {
            Some((row, line)) if *row == found[1] => line.push_str(&text),
            _ => rows.push((found[1].to_owned(), text)),
        }
    }
    rows.into_iter().map(|(_, line)| words(&line)).filter(|line| !line.is_empty()).collect()
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_fleet() {
    let fixture = root().join("tools/asg-hosts/tests/fixtures/ec2py/describe-instances.json");
    let done = tool("asg-hosts").args(["--format", "table", "--input"]).arg(fixture).run().succeeds();
    let expected: Vec<String> = done.stdout_str().lines().map(words).filter(|line| !line.is_empty()).collect();
    let found = lines("fleet.svg");
    assert_eq!(found[0], "$ asg-hosts --format table");
    assert_eq!(found[1..], expected);
}

/// As in the demo, whose times and commits are others at each run.
#[test]
fn the_history() {
    let found = lines("history.svg");
    assert_eq!(found[..2], ["$ release-promote --store STORE --history", "n,time,who,from,to,commit,reason"]);
    let row = Regex::new(r"^\d,\d{4}-\d\d-\d\dT[\d:.]+Z,\S+,(\d*),(\d),[0-9a-f]{40},(.*)$").unwrap();
    let rows: Vec<_> = found[2..].iter().map(|line| row.captures(line).unwrap_or_else(|| panic!("{line}"))).collect();
    let rows: Vec<_> = rows.iter().map(|row| (row[1].to_owned(), row[2].to_owned(), row[3].to_owned())).collect();
    let demo = fs::read_to_string(root().join("scripts/demo")).unwrap();
    for (_, _, reason) in &rows {
        assert!(reason.is_empty() || demo.contains(&format!("\"{reason}\"")), "{reason}");
    }
    let ways: Vec<_> = rows.iter().map(|(from, to, _)| (from.as_str(), to.as_str())).collect();
    assert_eq!(ways, [("", "1"), ("1", "2"), ("2", "1")]);
}
