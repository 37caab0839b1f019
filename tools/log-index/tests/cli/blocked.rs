//! Indices that refuse writes: they are in nobody's way, and a server that takes nothing is waited for.

use crate::harness::{Harness, Record, check_stats};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::{Running, wait_until};

const TODAY: &str = "2026.11.24";
const YESTERDAY: &str = "2026.11.23";

/// So many lines with the time of their message.
fn good(name: &str, count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::line(&format!("{name}-{n:04}"), format!("{name} {n}"))).collect()
}

/// A line whose own time is yesterday's.
fn late(id: &str) -> Record {
    Record::line(id, format!("{{\"@timestamp\":\"2026-11-23T12:00:00Z\",\"late\":\"{id}\"}}"))
}

fn index(harness: &Harness, day: &str) -> String {
    format!("{}-{day}", harness.prefix)
}

fn close(harness: &Harness, day: &str) {
    harness.map(&index(harness, day), "{}");
    let closed = harness.ask("POST", &format!("/{}/_close", index(harness, day)), "");
    assert_eq!(closed["acknowledged"], true, "{closed}");
}

/// Sets a block of an index, or takes it away.
fn set_block(harness: &Harness, day: &str, name: &str, value: &Value) {
    let body = json!({ format!("index.blocks.{name}"): value }).to_string();
    let set = harness.ask("PUT", &format!("/{}/_settings", index(harness, day)), &body);
    assert_eq!(set["acknowledged"], true, "{set}");
}

fn await_ids(harness: &Harness, what: &str, holds: impl Fn(&[String]) -> bool) {
    wait_until(what, || {
        let ids = harness.ids();
        if holds(&ids) { Ok(()) } else { Err(format!("{ids:?}")) }
    });
}

fn await_committed(harness: &Harness, position: i64) {
    wait_until("its position", || {
        let at = harness.committed(0);
        if at == Some(position) { Ok(()) } else { Err(format!("{at:?}")) }
    });
}

fn end(run: Running) -> Value {
    run.terminate();
    check_stats(&run.wait().killed_by(15).stdout)
}

/// Two lines of a day that is closed: the others are indexed, these become dead letters, and the topic goes on.
#[test]
fn a_closed_day_does_not_stop_the_others() {
    let harness = Harness::new(1);
    close(&harness, YESTERDAY);
    let mut records = good("first", 50);
    records.insert(10, late("late-1"));
    records.insert(30, late("late-2"));
    harness.produce(&records);
    let run = harness.tool().args(["--blocked-after", "2s", "--request-size", "1KiB"]).start();
    harness.await_stats(&run, "all but two", |stats| stats["created"] == 50);
    harness.await_stats(&run, "two dead letters", |stats| stats["rejected"] == 2);
    await_committed(&harness, 52);
    let letters = harness.read_topic(&format!("{}-dead-letters", harness.topic));
    let ids: BTreeSet<String> = letters.iter().map(|letter| letter.header("id")).collect();
    assert_eq!(ids, BTreeSet::from(["late-1".to_owned(), "late-2".to_owned()]));
    assert!(letters[0].header("dead-letter-error").contains("index_closed_exception"), "{letters:?}");
    let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
    let closed = index(&harness, YESTERDAY);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("unable to index ") && lines[0].contains(&closed), "{said}");
    assert!(lines[1].contains(&format!("index {closed} refuses writes: ")), "{said}");

    // Later ones go the same way, and when the index is opened they are documents again.
    harness.produce(&[late("late-3")]);
    harness.produce(&good("second", 5));
    harness.await_stats(&run, "the third", |stats| stats["rejected"] == 3 && stats["created"] == 55);
    let opened = harness.ask("POST", &format!("/{closed}/_open"), "");
    assert_eq!(opened["acknowledged"], true, "{opened}");
    for number in 0.. {
        let id = format!("later-{number}");
        harness.produce(&[late(&id)]);
        harness.await_stats(&run, "one more", |stats| stats["in_flight"] == 0 && stats["read"] == 59 + number);
        if harness.ids().contains(&id) {
            break;
        }
    }
    assert!(String::from_utf8_lossy(&run.stderr_so_far()).contains(&format!("index {closed} takes records again")));
    end(run);
}

/// With `--once` they are set aside too, and the run is done.
#[test]
fn once_beside_a_read_only_day() {
    let harness = Harness::new(1);
    harness.map(&index(&harness, YESTERDAY), "{}");
    set_block(&harness, YESTERDAY, "write", &json!(true));
    let mut records = vec![late("late-1"), late("late-2")];
    records.extend(good("good", 20));
    harness.produce(&records);
    let run = harness.tool().args(["--once", "--blocked-after", "1s"]).run().succeeds();
    let stats = check_stats(&run.stdout);
    assert_eq!((&stats["created"], &stats["rejected"]), (&json!(20), &json!(2)));
    assert_eq!(harness.committed(0), Some(22));
    let letters = harness.read_topic(&format!("{}-dead-letters", harness.topic));
    assert!(letters[0].header("dead-letter-error").starts_with("403 cluster_block_exception: "), "{letters:?}");
}

/// A full disk blocks every index; an operator may too. Then nothing becomes a dead letter, and all goes on when it is over.
#[test]
fn a_server_that_takes_nothing_is_waited_for() {
    for block in ["read_only_allow_delete", "write"] {
        let harness = Harness::new(1);
        for day in [YESTERDAY, TODAY] {
            harness.map(&index(&harness, day), "{}");
            set_block(&harness, day, block, &json!(true));
        }
        let mut records = vec![late("late-1")];
        records.extend(good("good", 20));
        harness.produce(&records);
        let run = harness.tool().args(["--blocked-after", "500ms", "--request-size", "1KiB"]).start();
        let stats = harness.await_stats(&run, "a long wait", |stats| stats["oldest_ms"].as_u64() > Some(6000));
        assert_eq!((&stats["rejected"], &stats["created"]), (&json!(0), &json!(0)));
        for day in [YESTERDAY, TODAY] {
            set_block(&harness, day, block, &Value::Null);
        }
        await_ids(&harness, "all of them", |ids| ids.len() == 21);
        await_committed(&harness, 21);
        assert_eq!(end(run)["rejected"], 0);
        // With --once it fails, and nothing moves.
        set_block(&harness, TODAY, block, &json!(true));
        harness.produce(&good("more", 3));
        let run = harness.tool().args(["--once", "--blocked-after", "1s", "--timeout", "1s"]).run();
        let run = run.fails_with(if block == "write" { 1 } else { 75 });
        run.stderr_contains("unable to index 3 records at ");
        assert_eq!(harness.committed(0), Some(21));
        set_block(&harness, TODAY, block, &Value::Null);
    }
}

/// An index without a shard: the server would wait for it for as long as it is told to, and the answer about all others with it.
#[test]
fn an_index_without_its_shard() {
    let harness = Harness::new(1);
    let body = r#"{"settings":{"index.routing.allocation.require._name":"none"}}"#;
    let made = harness.ask("PUT", &format!("/{}?wait_for_active_shards=0", index(&harness, YESTERDAY)), body);
    assert_eq!(made["acknowledged"], true, "{made}");
    let mut records = good("good", 20);
    records.insert(5, late("late-1"));
    harness.produce(&records);
    let run = harness.tool().args(["--once", "--timeout", "10s", "--blocked-after", "2s"]).run().succeeds();
    let stats = check_stats(&run.stdout);
    assert_eq!((&stats["acked"], &stats["rejected"]), (&json!(20), &json!(1)));
    let letters = harness.read_topic(&format!("{}-dead-letters", harness.topic));
    assert!(letters[0].header("dead-letter-error").contains("unavailable_shards_exception"), "{letters:?}");
}

/// A dead letter that its topic does not take holds the position, and nothing else.
#[test]
fn a_letter_that_can_not_be_kept_is_in_nobody_s_way() {
    let harness = Harness::new(1);
    harness.map(&index(&harness, TODAY), r#"{"n":{"type":"long"}}"#);
    let topic = format!("{}-dead-letters", harness.topic);
    harness.create_topic_with(&topic, 1, &[("max.message.bytes", "200")]);
    let poison = |id: &str| Record::line(id, "{\"n\":\"no number\"}");
    harness.produce(&[poison("p1")]);
    let run = harness.tool().args(["--timeout", "1s", "--requests", "1"]).start();
    harness.await_stats(&run, "the first", |stats| stats["read"] == 1 && stats["in_flight"] == 1);
    for n in 0..3 {
        harness.produce(&[poison(&format!("p{n}"))]);
        harness.produce(&good(&format!("good-{n}"), 3));
        // A server that takes its time is asked again, and then has some already.
        let settled = |stats: &Value| stats["created"].as_u64().unwrap() + stats["existing"].as_u64().unwrap();
        harness.await_stats(&run, "the good ones", |stats| settled(stats) == 3 * (n + 1));
    }
    assert_eq!(harness.committed(0), None);
    assert_eq!(end(run)["rejected"], 0);
}

/// More dead letters than somebody allows are a fault elsewhere: it ends before it moves past them.
#[test]
fn too_many_dead_letters() {
    let harness = Harness::new(1);
    harness.map(&index(&harness, TODAY), r#"{"n":{"type":"long"}}"#);
    let poison = |count: usize| -> Vec<Record> {
        (0..count).map(|n| Record::line(&format!("p{n}"), "{\"n\":\"no number\"}")).collect()
    };
    harness.produce(&good("good", 9));
    harness.produce(&poison(1));
    let run = |share: &str| harness.tool().args(["--once", "--max-dead-letters", share]).run();
    let failed = run("5%").fails_with(1);
    let failed = failed.stderr_contains("1 of the last 10 records can't be indexed, more than --max-dead-letters 5%");
    check_stats(&failed.stdout);
    assert_eq!(harness.committed(0), None);
    run("10%").succeeds();
    assert_eq!(harness.committed(0), Some(10));

    let mut records = good("more", 500);
    records.extend(poison(500));
    harness.produce(&records);
    let service = harness.tool().args(["--max-dead-letters", "0.2", "--request-size", "8KiB", "--requests", "1"]);
    let ended = service.run().fails_with(1).stderr_contains("more than --max-dead-letters 20%");
    let stats = check_stats(&ended.stdout);
    let at = harness.committed(0).unwrap();
    assert!((10..910).contains(&at), "{at}: {stats}");
}
