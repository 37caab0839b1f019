//! Where a record ends: long lines, joined lines, last lines without a newline.

use crate::harness::{Harness, append, check_stats, end};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use std::fs;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use testkit::wait_until;

#[test]
fn long_lines_are_split_or_rejected_and_counted() {
    let long = format!("{}{}", "x".repeat(2_500_000), "y");
    for (what, values, rejected) in [("split", 5, 0), ("reject", 2, 1)] {
        let harness = Harness::new();
        let path = harness.log("a.log");
        append(&path, &format!("before\n{long}\nafter\n"));
        let run = harness.tool().args(["--once", "--stats", "1h", "--long-lines", what]).arg(&path).run().succeeds();
        let stats = check_stats(&run.stdout);
        assert_eq!((stats["acked"].as_u64(), stats["rejected"].as_u64()), (Some(values), Some(rejected)), "{stats}");
        let shipped = harness.shipped();
        let pieces: Vec<u8> = shipped[1..shipped.len() - 1].iter().flat_map(|one| one.value.clone()).collect();
        if what == "split" {
            assert_eq!(pieces, long.as_bytes());
            assert_eq!(shipped.iter().map(|one| one.id.offset).collect::<Vec<_>>()[..4], [0, 7, 1_000_007, 2_000_007]);
        } else {
            run.stderr_is_one_line().stderr_contains("unable to ship the line at 7 of ");
        }
        harness.once(&path);
        assert_eq!(harness.shipped().len(), shipped.len(), "a second run sends nothing more");
    }
}

/// A topic that takes less than log-ship sends: the one line that is too large is found, rejected and counted.
#[test]
fn a_line_that_the_broker_refuses_holds_up_no_other() {
    let harness = Harness::new();
    make_topic(&harness, "max.message.bytes", "20000");
    let path = harness.log("a.log");
    // Not to be compressed below the limit by a default to come.
    let large: String = (0..6000).map(|number| format!("{number:05}")).collect();
    append(&path, &format!("one\ntwo\n{large}\nthree\n"));
    let run = harness.tool().args(["--once", "--stats", "1h"]).arg(&path).run().succeeds();
    let stats = check_stats(&run.stdout);
    assert_eq!((stats["rejected"].as_u64(), stats["in_flight"].as_u64()), (Some(1), Some(0)), "{stats}");
    run.stderr_contains("unable to ship the line at 8 of ");
    let mut values = harness.values();
    values.dedup();
    assert_eq!(values.iter().filter(|value| value.len() < 10).collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn joined_lines() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "2024 one\n at x\n at y\n2024 two\n at z\n");
    let join = ["--first-line", "^20[0-9]{2} "];
    let run = harness.tool().args(join).arg(&path).start();
    // The last one may go on: it is shipped when nothing came for 5 s.
    harness.await_values(&["2024 one\n at x\n at y"]);
    append(&path, " at zz\n2024 three\n");
    harness.await_values(&["2024 one\n at x\n at y", "2024 two\n at z\n at zz", "2024 three"]);
    end(run);
    append(&path, "2024 four\n at w\n");
    harness.tool().args(join).arg("--once").arg(&path).run().succeeds().stderr_is_empty();
    assert_eq!(harness.values().last().unwrap(), "2024 four\n at w");
}

#[test]
fn a_last_line_without_newline_is_shipped_when_its_file_was_renamed() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\nlast");
    let run = harness.tool().arg(&path).start();
    harness.await_values(&["one"]);
    fs::rename(&path, harness.log("a.log.1")).unwrap();
    harness.await_values(&["one", "last"]);
    // A writer that still has it open goes on: what it adds is a line of its own.
    append(&harness.log("a.log.1"), " word\n");
    harness.await_values(&["one", "last", " word"]);
    end(run);
}

#[test]
fn a_last_line_without_newline_is_shipped_when_its_file_was_deleted() {
    let harness = Harness::new();
    let path = harness.log("a.log");
    append(&path, "one\nlast");
    let run = harness.tool().arg(&path).start();
    harness.await_values(&["one"]);
    fs::remove_file(&path).unwrap();
    harness.await_values(&["one", "last"]);
    end(run);
}

/// Makes the harness's topic with one option.
fn make_topic(harness: &Harness, key: &str, value: &str) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<_> = config.set("bootstrap.servers", &harness.brokers).create().unwrap();
    let topic = NewTopic::new(&harness.topic, 1, TopicReplication::Fixed(1)).set(key, value);
    let options = AdminOptions::new();
    let mut making = pin!(admin.create_topics([&topic], &options));
    wait_until("the topic", || match making.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(made) => Ok(made.unwrap()[0].clone().unwrap()),
        Poll::Pending => Err("not made".to_owned()),
    });
}
