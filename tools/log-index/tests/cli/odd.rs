//! Good lines beside many odd ones: all the good ones are documents, soon, whatever the odd ones are.

use crate::harness::{Harness, Record, check_stats};
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;
use testkit::{Seed, wait_until};

const HOSTS: usize = 10;
const LINES: usize = 300;
const CLOSED: [&str; 2] = ["2026.11.22", "2026.11.23"];

fn good(n: usize) -> Record {
    let host = format!("web-{}", n % HOSTS);
    let id = format!("{host}/00000000000000aa/{n}");
    let record = Record::line(&id, format!("good {n}")).with("service", "obelix");
    Record { key: Some(host.into()), ..record }
}

/// Lines of a clock that is wrong, of other producers, and of somebody who forges; 5,000 of them, 1,000 for days that are closed.
fn odd() -> Vec<Record> {
    let line = |kind: &str, n: usize, text: String| Record::line(&format!("odd/{kind}/{n}"), text);
    let mut odd = Vec::new();
    for n in 0..500 {
        for day in CLOSED {
            let day = day.replace('.', "-");
            odd.push(line(&day, n, format!("{{\"@timestamp\":\"{day}T01:02:03Z\",\"message\":\"late {n}\"}}")));
        }
        odd.push(line(
            "year",
            n,
            format!("{{\"@timestamp\":\"{}-01-01T00:00:00Z\",\"message\":\"old {n}\"}}", 1966 + n % 60),
        ));
        odd.push(line("ecs", n, format!("{{\"host\":{{\"name\":\"web-{n}\"}},\"path\":[{n}],\"service\":{{\"name\":\"s\"}},\"log\":{{\"level\":\"info\",\"origin\":{{\"file\":{{\"line\":{n}}}}}}}}}")));
        odd.push(line("epoch", n, format!("{{\"@timestamp\":{}}}", 1_772_600_767 + n)));
        odd.push(line("float", n, format!("{{\"@timestamp\":1772600767.{n},\"message\":{{\"n\":{n}}}}}")));
        odd.push(line(
            "forged",
            n,
            format!(
                "{{\"log\":{{\"origin\":{{\"host\":{{\"a\":{n}}}}}}},\"log.origin.path\":{n},\"@timestamp\":\"soon\"}}"
            ),
        ));
        odd.push(line("text", n, format!("{{\"log\":\"text {n}\",\"message\":{n},\"parse_error\":[{n}]}}")));
        odd.push(Record { value: None, ..line("none", n, String::new()) });
        let forged = good(n % LINES).with("tenant.name", "forged");
        odd.push(Record { value: Some(format!("forged {n}").into()), ..forged });
    }
    assert_eq!(odd.len(), 5000);
    odd
}

fn run(seed: Seed, template: bool) {
    let harness = Harness::new(2);
    if template {
        harness.put_template(&[]);
    }
    for day in CLOSED {
        harness.map(&format!("{}-{day}", harness.prefix), "{}");
    }
    harness.ask("POST", &format!("/{}-{}/_close", harness.prefix, CLOSED[0]), "");
    harness.ask("PUT", &format!("/{}-{}/_block/write", harness.prefix, CLOSED[1]), "");
    let mut records = odd();
    records.extend((0..LINES).map(good));
    records.shuffle(&mut seed.rng());
    // The day begins with an object of ECS, and ends with a good line.
    records.insert(0, Record::line("odd/first", "{\"host\":{\"name\":\"first\"},\"message\":{\"a\":1}}"));
    records.push(good(LINES));
    let records: Vec<Record> =
        records.into_iter().enumerate().map(|(n, record)| record.in_partition(i32::try_from(n % 2).unwrap())).collect();
    let ends =
        [0, 1].map(|part| i64::try_from(records.iter().filter(|record| record.partition == part).count()).unwrap());
    let run = harness.tool().args(["--blocked-after", "3s"]).start();
    harness.produce(&records);
    let start = Instant::now();
    let expected: BTreeMap<String, Value> =
        (0..=LINES).map(|n| (format!("good {n}"), json!(format!("web-{}", n % HOSTS)))).collect();
    let documents = wait_until("all good lines", || {
        let documents = harness.documents();
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for document in &documents {
            let origin = &document.source["log"]["origin"];
            let message = document.source["message"].as_str().filter(|message| message.starts_with("good "));
            if let Some(message) = message {
                assert_eq!(origin["fields"]["service"], "obelix");
                assert_eq!(found.insert(message.to_owned(), origin["host"].clone()), None, "{message} is there once");
            }
        }
        if found == expected { Ok(documents) } else { Err(format!("{} of {}", found.len(), expected.len())) }
    });
    tell(&format!("template {template}: all good lines after {:.1} s", start.elapsed().as_secs_f64()));
    let today = format!("{}-2026.11.24", harness.prefix);
    assert!(documents.iter().all(|document| document.index == today), "no other index was made");
    for document in &documents {
        assert!(
            document.source["@timestamp"].as_str().unwrap().starts_with("2026-11-24T13:00:00.000Z"),
            "{document:?}"
        );
        assert!(document.source["log"]["origin"]["host"].as_str().unwrap().starts_with("web-"), "{document:?}");
    }
    wait_until("every position at its end", || {
        let at = [0, 1].map(|partition| harness.committed(partition).unwrap_or(0));
        let stats = check_stats(&run.stdout_so_far());
        if at == ends { Ok(()) } else { Err(format!("{at:?} of {ends:?}: {stats}")) }
    });
    run.terminate();
    let stats = check_stats(&run.wait().killed_by(15).stdout);
    // Only what is of a closed day is a dead letter.
    assert_eq!((&stats["rejected"], &stats["skipped"]), (&json!(1000), &json!(500)), "{stats}");
    assert_eq!(stats["created"], json!(5000 - 1500 + LINES + 2), "{stats}");
}

#[test]
fn good_lines_beside_odd_ones() {
    let seed = Seed::from_env_or_random("good_lines_beside_odd_ones");
    for template in [false, true] {
        run(seed.part(u64::from(template)), template);
    }
}

#[expect(clippy::print_stderr, reason = "figures that are told")]
fn tell(what: &str) {
    eprintln!("{what}");
}
