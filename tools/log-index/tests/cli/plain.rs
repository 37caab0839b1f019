//! What a record becomes.

use crate::harness::{Harness, NOON, Record, check_stats, record_id};
use serde_json::{Value, json};
use testkit::{Document, wait_until};

fn sources(harness: &Harness) -> Vec<(String, Value)> {
    let parts = |document: Document| (record_id(&document.id).to_owned(), document.source);
    harness.documents().into_iter().map(parts).collect()
}

#[test]
fn a_line_is_a_message_with_its_host_path_and_time() {
    let harness = Harness::new(1);
    harness.produce(&[Record::line("web-1/00000000000000aa/0", "GET \"/\"\t\u{1f600}").with("env", "prod")]);
    let run = harness.once();
    let source = json!({
        "@timestamp": "2026-11-24T13:00:00.000Z", "message": "GET \"/\"\t\u{1f600}",
        "log": { "origin": { "host": "web-1", "path": "/var/log/a.log", "fields": { "env": "prod" } } },
    });
    let documents = harness.documents();
    assert_eq!(documents[0].index, format!("{}-2026.11.24", harness.prefix));
    assert_eq!(sources(&harness), [("web-1/00000000000000aa/0".to_owned(), source)]);
    assert!(documents[0].id.starts_with("web-1/00000000000000aa/0/"), "{}", documents[0].id);
    let stats = check_stats(&run.stdout);
    assert_eq!((&stats["read"], &stats["created"], &stats["existing"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(harness.committed(0), Some(1));
    run.stderr_is_empty();
}

#[test]
fn a_message_of_somebody_else() {
    let harness = Harness::new(2);
    harness.produce(&[Record::bare("one").in_partition(1), Record::bare("two").in_partition(1)]);
    harness.produce(&[Record::bare("").in_partition(0)]);
    harness.once();
    let text = |message: &str| json!({ "@timestamp": "2026-11-24T13:00:00.000Z", "message": message });
    let id = |place: &str| format!("{}-{place}-{NOON}", harness.topic);
    assert_eq!(sources(&harness), [(id("0-0"), text("")), (id("1-0"), text("one")), (id("1-1"), text("two"))]);
}

/// A message without a value is no document; its place is passed, also where there is nothing else.
#[test]
fn tombstones() {
    let harness = Harness::new(2);
    let none = |record: Record| Record { value: None, ..record };
    harness.produce(&[none(Record::bare("")), Record::line("1", "x"), none(Record::line("2", ""))]);
    harness.produce(&[none(Record::bare("")).in_partition(1)]);
    let stats = check_stats(&harness.once().stdout);
    assert_eq!((&stats["read"], &stats["created"], &stats["skipped"]), (&json!(1), &json!(1), &json!(3)));
    assert_eq!((harness.committed(0), harness.committed(1)), (Some(3), Some(1)));
    assert_eq!(harness.ids(), ["1"]);
}

#[test]
fn the_same_id_is_one_document_whatever_happened_to_the_topic() {
    let harness = Harness::new(1);
    let lines: Vec<Record> = (0..500).map(|n| Record::line(&format!("h/00000000000000aa/{n}"), "same")).collect();
    harness.produce(&lines);
    harness.produce(&lines);
    let stats = check_stats(&harness.once().stdout);
    assert_eq!((&stats["created"], &stats["existing"]), (&json!(500), &json!(500)));
    harness.produce(&lines);
    let stats = check_stats(&harness.once().stdout);
    assert_eq!((&stats["read"], &stats["existing"]), (&json!(500), &json!(500)), "read on from where it was");
    assert_eq!(harness.ids().len(), 500);
}

#[test]
fn ids_that_can_not_be_ids() {
    let harness = Harness::new(1);
    let raw = |id: &[u8]| Record { headers: vec![("id".to_owned(), id.to_vec())], ..Record::bare("x") };
    let all = [raw(&[b'a'; 513]), raw(&[0xff]), raw(b""), raw("ü".repeat(256).as_bytes())];
    harness.produce(&all);
    harness.produce(&all[..2]);
    harness.once();
    let mut expected = vec![
        // SHA-256 of 513 times `a`, and of the byte 255.
        "02425c0f5b0dabf3d2b9115f3f7723a02ad8bcfb1534a0d231614fd42b8188f6".to_owned(),
        "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89".to_owned(),
        format!("{}-0-2-{NOON}", harness.topic),
        // And of 512 bytes beside which there is no room.
        "3b929f5e476e3fac97c00ca1f14d3c95f2e36f565525c83c2ac38ab795676cdc".to_owned(),
    ];
    expected.sort();
    assert_eq!(harness.ids(), expected);
}

#[test]
fn objects_are_indexed_as_they_are() {
    let harness = Harness::new(1);
    let text = r#"{ "b": 1.0, "@timestamp":"2026-11-23T04:05:06+01:00", "a":{"é":[null,true]}, "n":1e3 }"#;
    let spread = "{\n  \"c\": \"x\\ny\"\r\n}\n";
    harness.produce(&[Record::line("1", text), Record::line("2", spread), Record::line("3", "{\"broken\": ")]);
    harness.produce(&[Record::line("4", "[1]"), Record::line("5", "\u{feff}{}")]);
    harness.once();
    let documents = harness.documents();
    let index = |n: usize| documents[n].index.strip_prefix(&harness.prefix).unwrap();
    assert_eq!((index(0), index(1)), ("-2026.11.23", "-2026.11.24"));
    let log = json!({ "origin": { "host": "web-1", "path": "/var/log/a.log" } });
    let mut expected: Value = serde_json::from_str(text).unwrap();
    expected["log"] = log.clone();
    expected["@timestamp"] = json!("2026-11-23T03:05:06.000Z");
    assert_eq!(documents[0].source, expected);
    assert_eq!(documents[1].source, json!({ "c": "x\ny", "@timestamp": "2026-11-24T13:00:00.000Z", "log": log }));
    assert_eq!(documents[2].source["message"], "{\"broken\": ");
    assert_eq!((&documents[2].source["parse_error"], &documents[3].source["message"]), (&Value::Null, &json!("[1]")));
    assert_eq!(documents[4].source["message"], "\u{feff}{}");
}

#[test]
fn parsed_or_said_why_not() {
    let harness = Harness::new(1);
    harness.produce(&[
        Record::line("1", "<165>1 2026-11-19T22:14:15.003Z db-1 pg 17 ID47 [ex@1 k=\"v\"] started"),
        Record::line("2", "Nov 23 23:59:59 db-1 sshd[812]: Accepted"),
        Record::line("3", "no syslog at all"),
        Record::line("4", vec![b'a', 0xff, b'b']),
        Record::line("5", b"{\"a\":\"\xff\"}".to_vec()),
    ]);
    let run = harness.tool().args(["--once", "--parse", "syslog"]).run().succeeds().stderr_is_empty();
    check_stats(&run.stdout);
    let documents = harness.documents();
    assert_eq!(documents[0].index, format!("{}-2026.11.19", harness.prefix), "the line's own time");
    let parts = json!({
        "facility": "local4", "severity": "notice", "hostname": "db-1", "appname": "pg", "procid": "17", "msgid": "ID47",
        "data": { "ex@1": { "k": "v" } },
    });
    let source = &documents[0].source;
    let host = &source["log"]["origin"]["host"];
    assert_eq!((&source["message"], &source["syslog"], host), (&json!("started"), &parts, &json!("web-1")));
    assert_eq!(source["@timestamp"], "2026-11-19T22:14:15.003Z");
    assert_eq!(documents[1].source["@timestamp"], "2026-11-23T23:59:59.000Z");
    assert_eq!(documents[1].source["syslog"]["procid"], "812");
    let third = &documents[2].source;
    assert_eq!(
        (&third["message"], &third["parse_error"]),
        (&json!("no syslog at all"), &json!("not a line of syslog"))
    );
    assert_eq!(third["@timestamp"], "2026-11-24T13:00:00.000Z");
    assert_eq!(documents[3].source["message"], "a\u{fffd}b");
    assert_eq!(documents[3].source["parse_error"], "not UTF-8: what isn't was replaced");
    assert_eq!(documents[4].source["message"], "{\"a\":\"\u{fffd}\"}", "an object that is not as it was is none");
    assert_eq!(documents[4].source["parse_error"], "not UTF-8: what isn't was replaced");

    let harness = Harness::new(1);
    harness.produce(&[Record::line("1", "{\"ts\":1795478399000}"), Record::line("2", "text")]);
    harness.tool().args(["--once", "--parse", "json", "--time-field", "ts"]).run().succeeds();
    let documents = harness.documents();
    assert_eq!(documents[0].index, format!("{}-2026.11.23", harness.prefix));
    assert_eq!(documents[1].source["parse_error"], "not a JSON object");
}

/// Headers become fields, but none takes the place of what log-index writes.
#[test]
fn hostile_headers() {
    let harness = Harness::new(1);
    let record = Record::line("1", "line").with("message", "forged").with("host", "forged").with("", "nameless");
    let record = record.with("twice", "first").with("twice", "second").with("dead-letter-error", "forged");
    let record = record.with("q\"}\n{\"index\":{}}", "v\"}\n{}").with("@timestamp", "forged").with("a.b", "dotted");
    harness.produce(&[record]);
    harness.once();
    let fields = json!({
        "message": "forged", "host": "forged", "twice": "first", "q\"}\n{\"index\":{}}": "v\"}\n{}", "@timestamp": "forged",
        "a_b": "dotted",
    });
    let source = json!({
        "@timestamp": "2026-11-24T13:00:00.000Z", "message": "line",
        "log": { "origin": { "host": "web-1", "path": "/var/log/a.log", "fields": fields } },
    });
    assert_eq!(sources(&harness), [("1".to_owned(), source)]);
}

#[test]
fn the_index_follows_from_the_time_and_nothing_else() {
    let harness = Harness::new(1);
    let midnight = NOON + 11 * 3_600_000;
    harness.produce(&[Record::line("1", "x").at(midnight - 1), Record::line("2", "x").at(midnight)]);
    harness.produce(&[Record::line("3", "x").at(1), Record::line("1", "x").at(midnight - 1)]);
    harness.once();
    let indices: Vec<String> = harness.documents().into_iter().map(|document| document.index).collect();
    let named = |day: &str| format!("{}-{day}", harness.prefix);
    assert_eq!(indices, [named("2026.11.24"), named("2026.11.25"), named("1970.01.01")]);
}

#[test]
fn packed_requests_of_any_size() {
    let harness = Harness::new(3);
    let lines: Vec<Record> =
        (0..3000).map(|n| Record::line(&format!("{n:04}"), format!("line {n}")).in_partition(n % 3)).collect();
    harness.produce(&lines);
    let long = "long ".repeat(180_000);
    harness.produce(&[Record::line("long", long.clone())]);
    let tool = harness.tool().args(["--once", "--compress", "gzip", "--request-size", "8KiB", "--requests", "5"]);
    check_stats(&tool.run().succeeds().stdout);
    let documents = harness.documents();
    assert_eq!(documents.len(), 3001);
    assert_eq!(documents[3000].source["message"], long);
}

/// A topic that isn't there yet is waited for, and new partitions are found.
#[test]
fn a_topic_that_comes_later() {
    let harness = Harness::without_topic();
    let run = harness.tool().arg("-v").start();
    wait_until("its start", || {
        let stats = check_stats(&run.stdout_so_far());
        if stats["read"] == 0 { Ok(()) } else { Err(stats.to_string()) }
    });
    harness.create_topic(&harness.topic, 2);
    harness.produce(&[Record::line("1", "x"), Record::line("2", "x").in_partition(1)]);
    wait_until("both", || {
        let ids = harness.ids();
        if ids == ["1", "2"] { Ok(()) } else { Err(format!("{ids:?}")) }
    });
    run.terminate();
    run.wait().killed_by(15);
    assert_eq!((harness.committed(0), harness.committed(1)), (Some(1), Some(1)));
}
