//! The index template: types of the fields that log-index writes, whatever comes first.

use crate::harness::{Harness, Record, check_stats};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use testkit::Tool;

fn tool() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_log-index"))
}

/// How many documents a query finds.
fn found(harness: &Harness, query: &str) -> Value {
    harness.ask("POST", &format!("/{}*/_refresh", harness.prefix), "");
    harness.ask("GET", &format!("/{}*/_count?q={query}", harness.prefix), "")["count"].clone()
}

#[test]
fn printed_without_any_server() {
    let run = tool().args(["--index", "logs-%Y.%m.%d", "--print-template"]).run().succeeds().stderr_is_empty();
    let template: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(template["index_patterns"], json!(["logs-*.*.*"]));
    let properties = &template["template"]["mappings"]["properties"];
    assert_eq!(properties["@timestamp"], json!({ "type": "date" }));
    let origin = &properties["log"]["properties"]["origin"]["properties"];
    assert_eq!((&origin["host"]["type"], &origin["path"]["type"]), (&json!("keyword"), &json!("keyword")));
    assert_eq!((&properties["message"]["type"], &properties["host"]), (&json!("text"), &Value::Null));
    let longer = tool().args(["--index", "logs-app-%Y.%m.%d", "--print-template"]).run().succeeds();
    let longer: Value = serde_json::from_slice(&longer.stdout).unwrap();
    assert!(longer["priority"].as_u64() > template["priority"].as_u64(), "the more special one counts");
    tool().args(["--index", "i", "--put-template"]).run().fails_with(2).stderr_contains("--url");
    tool()
        .args(["--index", "i", "--url", "http://127.0.0.1:1", "--put-template"])
        .run()
        .fails_with(75)
        .stderr_is_one_line();
}

/// A page of something in between is no template that was put.
#[test]
fn only_what_is_acknowledged_is_put() {
    for answer in ["<html>sign in</html>", "{}", "{\"acknowledged\":false}", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _asked = stream.read(&mut [0; 65_536]);
                let _answered = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            }
        });
        let run = tool().args(["--index", "i", "--url", &url, "--put-template"]).run().fails_with(75);
        run.stderr_is_one_line().stderr_contains("an answer that does not acknowledge it");
    }
}

/// A line that is a date alone, a header that is one, and objects of ECS come first; all the others are documents all the same,
/// and are found by their fields.
#[test]
fn the_first_document_decides_nothing() {
    let harness = Harness::new(1);
    harness.put_template(&["--time-field", "ts"]);
    let ecs = "{\"host\":{\"name\":\"db-1\"},\"log\":{\"level\":\"info\",\"origin\":{\"function\":\"main\"}},\"ts\":\"soon\"}";
    let first =
        Record { key: Some("2026-11-30".into()), ..Record::line("1", "2026-11-30").with("service", "2026-11-30") };
    harness.produce(&[first, Record::line("2", ecs).with("service", "2")]);
    harness.produce(&[
        Record::line("3", "text").with("service", "obelix"),
        Record::line("4", "{\"ts\":\"2026-11-24T12:00:00Z\"}"),
    ]);
    let run = harness.tool().args(["--once", "--time-field", "ts"]).run().succeeds().stderr_is_empty();
    assert_eq!(check_stats(&run.stdout)["created"], 4);
    for (query, count) in [
        ("log.origin.host:web-1", 3),
        ("log.origin.host:%222026-11-30%22", 1),
        ("log.origin.fields.service:obelix", 1),
        ("log.origin.path:%22/var/log/a.log%22", 4),
        ("host.name:db-1", 1),
        ("log.origin.function:main", 1),
        ("@timestamp:%222026-11-24T12:00:00Z%22", 1),
        ("ts:%222026-11-24T12:00:00Z%22", 1),
    ] {
        assert_eq!(found(&harness, query), json!(count), "{query}");
    }
}

/// Where lines bring no fields, old dashboards find the new ones by the old names.
#[test]
fn old_names_where_lines_bring_no_fields() {
    let harness = Harness::new(1);
    harness.put_template(&["--parse", "none"]);
    harness.produce(&[Record::line("1", "{\"host\":{\"name\":\"db-1\"}}"), Record::line("2", "text")]);
    let run = harness.tool().args(["--once", "--parse", "none"]).run().succeeds().stderr_is_empty();
    assert_eq!(check_stats(&run.stdout)["created"], 2);
    assert_eq!(found(&harness, "host:web-1"), json!(2));
    assert_eq!(found(&harness, "path:%22/var/log/a.log%22"), json!(2));
    assert_eq!(harness.documents()[0].source["message"], "{\"host\":{\"name\":\"db-1\"}}");
}

#[test]
fn of_syslog() {
    let harness = Harness::new(1);
    harness.put_template(&["--parse", "syslog"]);
    let line = |id: &str, app: &str, value: &str| {
        Record::line(id, format!("<13>1 2026-11-24T10:00:00Z h {app} - - [e@1 k=\"{value}\"] text"))
    };
    harness.produce(&[
        Record::line("1", "{\"syslog\":1}"),
        line("2", "2026-11-30", "2026-11-30"),
        line("3", "cron", "v"),
    ]);
    let run = harness.tool().args(["--once", "--parse", "syslog"]).run().succeeds().stderr_is_empty();
    assert_eq!(check_stats(&run.stdout)["created"], 3);
    assert_eq!(found(&harness, "syslog.appname:cron"), json!(1));
}
