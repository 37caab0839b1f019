//! Values made to break out: of CSV, of JSON, of a shell's list, of Ansible's templates.

use crate::harness::{HERE, asg_hosts, at, group, instance, member};
use records::{COLUMNS, read_hosts};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::{FleetInstance, FleetModel, Tool};

/// What AWS takes and gives back: everything but control characters other than newline, tab and carriage return.
pub fn corpus() -> Vec<String> {
    let mut corpus: Vec<String> = [
        "a\nb",
        "\n",
        "a\r\nb",
        "\r",
        "tab\there",
        "\"",
        "a\"b\"c",
        "\"\"",
        "'",
        ";",
        "a;b",
        "trailing\\",
        "\\",
        "\\n",
        "}",
        "}\ndefine command{\n\tcommand_name\tx\n\tcommand_line\t/bin/touch /tmp/x\n}",
        "define command{ command_line touch /tmp/x }",
        "$(touch /tmp/x)",
        "`touch /tmp/x`",
        "{{ lookup('pipe','touch /tmp/x') }}",
        "{% for x in [1] %}{{ x }}{% endfor %}",
        "{# comment #}",
        "\u{202e}drowssap",
        "\u{2066}a\u{2069}",
        "\u{200f}",
        "\u{61c}",
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@sum",
        ",",
        "a,b,,c",
        " leading and trailing ",
        "",
        "null",
        "ünïcödé 主 🚀",
        "\u{feff}bom",
        "[{\"a\":1}]",
    ]
    .map(str::to_owned)
    .to_vec();
    corpus.push("x".repeat(256));
    corpus.push("\u{1f680}".repeat(256));
    corpus
}

/// The same, and what only a saved file can bring.
fn corpus_of_files() -> Vec<String> {
    let mut corpus = corpus();
    corpus.extend((0..0x20_u8).chain([0x7f]).map(|byte| format!("a{}b", char::from(byte))));
    corpus.extend(
        ["\u{1b}[31mred\u{1b}[0m", "\u{1b}]0;title\u{7}", "\u{9b}31m", "\u{85}", "\u{2028}"].map(str::to_owned),
    );
    corpus
}

fn of_file(values: &[String]) -> Tool {
    asg_hosts().args(["--input", "-"]).stdin(testkit::saved_fleet(values))
}

/// What Python's csv module makes of the bytes.
fn python(csv: &[u8]) -> Vec<Vec<String>> {
    let script = "import csv, io, json, sys\n\
                  text = io.TextIOWrapper(sys.stdin.buffer, encoding='utf-8', newline='')\n\
                  sys.stdout.write(json.dumps(list(csv.reader(text, strict=True))))";
    let read = Tool::new("python3").args(["-c", script]).stdin(csv).run().succeeds();
    serde_json::from_slice(&read.stdout).unwrap()
}

#[test]
fn csv_gives_every_byte_back() {
    let values = corpus_of_files();
    let run = of_file(&values).run().succeeds().stderr_is_empty();
    // Python's reader takes no NUL in some versions; ours does.
    let hosts = read_hosts(run.stdout.as_slice()).unwrap();
    let found: BTreeMap<String, _> = hosts.into_iter().map(|host| (host.instance_id.clone(), host)).collect();
    let rows = python(&run.stdout);
    assert_eq!(rows[0], COLUMNS);
    assert_eq!(rows.len(), values.len() + 1);
    for row in &rows[1..] {
        let value = &values[row[0][2..].parse::<usize>().unwrap()];
        assert_eq!((&row[1], &row[2]), (value, value));
        let tags: BTreeMap<String, String> = serde_json::from_str(&row[14]).unwrap();
        assert_eq!(tags[&format!("key {value}")], *value);
        assert_eq!((&found[&row[0]].name, &found[&row[0]].tags), (value, &tags));
    }
    let columns = of_file(&values).args(["--columns", "tag:Name"]).run().succeeds();
    let mut cells: Vec<String> = python(&columns.stdout).into_iter().skip(1).flatten().collect();
    cells.sort();
    let mut wanted = values.clone();
    wanted.sort();
    assert_eq!(cells, wanted);
}

#[test]
fn json_gives_every_character_back() {
    let values = corpus_of_files();
    let run = of_file(&values).args(["--format", "jsonl"]).run().succeeds();
    assert_eq!(run.stdout.iter().filter(|byte| **byte == b'\n').count(), values.len(), "one object a line");
    for line in run.stdout_str().split_terminator('\n') {
        let host: Value = serde_json::from_str(line).unwrap();
        let value = &values[host["instance_id"].as_str().unwrap()[2..].parse::<usize>().unwrap()];
        assert_eq!((host["name"].as_str(), host["asg"].as_str()), (Some(&**value), Some(&**value)));
    }
}

#[test]
fn the_same_values_come_from_aws_itself() {
    let model = FleetModel::start();
    let values = corpus();
    for (number, value) in values.iter().enumerate() {
        let id = format!("i-{number:03}");
        let asg = if value.is_empty() { "empty" } else { value };
        model.add_group(HERE, group(asg, &[member(&id, "InService", "Healthy")]));
        let tags = vec![("Name".to_owned(), value.clone()), ("aws:autoscaling:groupName".to_owned(), asg.to_owned())];
        model.add_instance(HERE, FleetInstance { tags, ..instance(&id, asg) });
    }
    let run = at(&model).run().succeeds().stderr_is_empty();
    let rows = python(&run.stdout);
    assert_eq!(rows.len(), values.len() + 1);
    for row in &rows[1..] {
        assert_eq!(row[1], values[row[0][2..].parse::<usize>().unwrap()]);
    }
}

#[test]
fn values_ended_by_nul_hold_none() {
    let values: Vec<String> = corpus();
    let run = of_file(&values).args(["--columns", "name", "-0"]).run().succeeds();
    let found: Vec<&str> = run.stdout_str().split_terminator('\0').collect();
    let mut wanted: Vec<&str> = values.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "sorted by group, which has the same name");
    let run = of_file(&["a\0b".to_owned()]).args(["--columns", "name", "-0"]).run();
    let _run = run.fails_with(1).stdout_is("").stderr_is_one_line().stderr_contains("holds a NUL");
}

#[test]
fn addresses_are_addresses() {
    let instances: Vec<Value> = corpus_of_files()
        .into_iter()
        .chain(["10.0.0.1".to_owned()])
        .enumerate()
        .map(|(number, value)| json!({ "InstanceId": format!("i-{number}"), "PrivateIpAddress": value }))
        .collect();
    let text = json!({ "Reservations": [{ "Instances": instances }] }).to_string();
    let run = asg_hosts().args(["--input", "-", "--format", "ips"]).stdin(text).run().succeeds();
    let _run = run.stdout_is("10.0.0.1\n").stderr_contains("without a private address");
}

#[test]
fn no_message_moves_a_cursor() {
    for value in corpus_of_files().iter().filter(|value| !value.is_empty() && !value.contains('\0')) {
        let run = of_file(&corpus()).args(["--asg", &format!("nope{}", value.replace(['*', '?', '['], ""))]).run();
        let run = run.fails_with(1).stdout_is("").stderr_is_one_line();
        let told = run.stderr_str();
        assert!(!told.trim_end_matches('\n').chars().any(char::is_control), "{told:?}");
    }
}

#[test]
fn the_inventory_marks_every_text() {
    let values = corpus_of_files();
    let run = of_file(&values).args(["--list", "--full-hostvars", "--allow-merge"]).run().succeeds().stderr_is_empty();
    let list: Value = serde_json::from_slice(&run.stdout).unwrap();
    let hosts = list["_meta"]["hostvars"].as_object().unwrap();
    assert_eq!(hosts.len(), values.len());
    for vars in hosts.values() {
        let vars = vars.as_object().unwrap();
        assert!(vars.values().all(|value| !value.is_string()), "{vars:?}");
        let value = &values[vars["ec2_id"]["__ansible_unsafe"].as_str().unwrap()[2..].parse::<usize>().unwrap()];
        assert_eq!(vars["ec2_tag_Name"]["__ansible_unsafe"], json!(value));
    }
    for name in list.as_object().unwrap().keys() {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        assert!(name.chars().all(plain), "{name:?}");
    }
}
