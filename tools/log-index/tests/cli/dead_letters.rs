//! Records that can't be indexed: kept with everything that was in them, and read again by the same tool.

use crate::harness::{Harness, NOON, Record, check_stats};
use serde_json::json;

fn harness() -> Harness {
    let harness = Harness::new(2);
    harness.map(&format!("{}-2026.11.24", harness.prefix), r#"{"n":{"type":"long"}}"#);
    harness
}

#[test]
fn kept_whole_and_replayed() {
    let harness = harness();
    let poison = Record::line("web-1/00000000000000aa/7", "{\"n\":\"no number\"}").with("env", "prod").in_partition(1);
    let bare =
        Record { key: Some(vec![0xff, 0]), ..Record::bare(" {\"n\":\"nor is this\"} ") }.with("b", "1").at(NOON + 7);
    harness.produce(&[Record::line("1", "{\"n\":1}"), bare.clone(), Record::line("2", "{\"n\":2}"), poison.clone()]);
    let run = harness.once();
    let stats = check_stats(&run.stdout);
    assert_eq!((&stats["read"], &stats["created"], &stats["rejected"]), (&json!(4), &json!(2), &json!(2)));
    assert_eq!((harness.committed(0), harness.committed(1)), (Some(3), Some(1)));
    let said = run.stderr_str();
    assert!(said.contains("unable to index the record at ") && said.contains("mapper_parsing_exception"), "{said}");

    let topic = format!("{}-dead-letters", harness.topic);
    let mut letters = harness.read_topic(&topic);
    letters.sort_by(|a, b| a.value.cmp(&b.value));
    let (first, second) = (&letters[0], &letters[1]);
    assert_eq!((&first.key, &first.value, first.timestamp), (&bare.key, &bare.value, bare.timestamp));
    let bare_id = format!("{}-0-1-{}", harness.topic, NOON + 7);
    assert_eq!(first.header("id"), bare_id, "the id that its document would have had");
    assert_eq!(first.header("dead-letter-id"), bare_id);
    assert_eq!(first.header("b"), "1");
    assert_eq!(first.header("dead-letter-position"), format!("{}-0-1", harness.topic));
    assert!(first.header("dead-letter-error").starts_with("400 mapper_parsing_exception: "));
    assert_eq!((&second.key, &second.value, second.timestamp), (&poison.key, &poison.value, poison.timestamp));
    for (key, _) in &poison.headers {
        assert_eq!(second.header(key), poison.header(key));
    }
    assert_eq!(letters.len(), 2);

    // As long as nothing is mended they are dead letters of dead letters.
    let replay =
        Harness { topic, group: format!("{}-replay", harness.group), prefix: harness.prefix.clone(), ..harness.same() };
    assert_eq!(check_stats(&replay.once().stdout)["rejected"], 2);
    let again = replay.read_topic(&format!("{}-dead-letters", replay.topic));
    assert_eq!(again.len(), 2);
    for letter in &again {
        assert!(letter.header("dead-letter-position").starts_with(&replay.topic));
        letter.header("id");
        letter.header("dead-letter-error");
    }

    replay.delete_indices();
    let replay = Harness { group: format!("{}-fixed", harness.group), ..replay.same() };
    check_stats(&replay.once().stdout);
    let documents = replay.documents();
    let ids: Vec<_> = documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids, [bare_id.as_str(), second.header("dead-letter-id").as_str()]);
    let origin = json!({ "host": "web-1", "path": "/var/log/a.log", "fields": { "env": "prod" } });
    let at = "2026-11-24T13:00:00.000Z";
    let expected = json!({ "n": "no number", "@timestamp": at, "log": { "origin": origin } });
    assert_eq!(documents[1].source, expected);
}

/// A record without any time belongs to no index: a dead letter without asking the server.
#[test]
fn no_time_at_all() {
    let harness = Harness::new(1);
    harness.produce(&[
        Record::line("1", "{\"@timestamp\":\"+999999-01-01T00:00:00Z\"}").at(i64::MAX),
        Record::line("2", "x"),
    ]);
    let run = harness.once();
    assert_eq!(check_stats(&run.stdout)["rejected"], 1);
    assert_eq!(harness.ids(), ["2"]);
    let letters = harness.read_topic(&format!("{}-dead-letters", harness.topic));
    assert_eq!(letters[0].header("dead-letter-error"), "it has no time of its own, and no time of its message");
}

/// A topic that can't take the letter: nothing moves, and nothing is lost.
#[test]
fn no_room_for_it() {
    let harness = harness();
    let topic = format!("{}-dead-letters", harness.topic);
    harness.create_topic_with(&topic, 1, &[("max.message.bytes", "200")]);
    harness.produce(&[Record::line("1", "{\"n\":1}"), Record::line("2", "{\"n\":\"no number\"}")]);
    let run = harness.tool().args(["--once", "--timeout", "2s"]).run().fails_with(75).stderr_is_one_line();
    let run = run.stderr_contains("unable to keep 1 records that can't be indexed: unable to write topic ");
    check_stats(&run.stdout);
    assert_eq!(harness.committed(0), None);
    harness.produce(&[Record::line("3", "{\"n\":3}")]);
    harness.tool().args(["--once", "--timeout", "2s"]).run().fails_with(75);
    let other = format!("{topic}-2");
    let run = harness.tool().args(["--once", "--dead-letters", &other]).run().succeeds();
    assert_eq!(check_stats(&run.stdout)["rejected"], 1);
    assert_eq!(harness.committed(0), Some(3));
    assert_eq!(harness.read_topic(&other)[0].header("id"), "2");
    assert_eq!(harness.ids(), ["1", "3"]);
}
