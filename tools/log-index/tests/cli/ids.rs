//! One document for each record, and none that takes another's place.

use crate::harness::{Harness, NOON, Record, check_stats, record_id};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use testkit::wait_until;

fn lines(count: usize) -> Vec<Record> {
    (0..count)
        .map(|n| {
            Record::line(&format!("web-1/00000000000000aa/{n}"), format!("line {n}"))
                .in_partition(i32::try_from(n % 2).unwrap())
        })
        .collect()
}

fn poison(partition: i32) -> [Record; 2] {
    let text = "{\"n\":\"no number\"}";
    [
        Record::line("web-1/00000000000000bb/0", text).with("env", "prod"),
        Record::bare(text).with("env", "test").at(NOON + 5),
    ]
    .map(|record| record.in_partition(partition))
}

/// Lines that are sent again, dead letters that are read again and again, a kill in the middle, and all of the topic once more.
#[test]
fn one_document_each() {
    let harness = Harness::new(2);
    let index = format!("{}-2026.11.24", harness.prefix);
    harness.map(&index, r#"{"n":{"type":"long"}}"#);
    let bare: Vec<Record> = (0..100).map(|n| Record::bare(format!("bare {n}")).in_partition(n % 2)).collect();
    harness.produce(&lines(1500));
    harness.produce(&bare);
    harness.produce(&poison(0));
    let mut run = harness.tool().args(["--request-size", "8KiB"]).start();
    wait_until("some of them", || {
        let count = harness.ids().len();
        if count > 0 { Ok(()) } else { Err(format!("{count}")) }
    });
    run.kill();
    drop(run);
    // Sent again within the hour of their first time.
    harness.produce(&lines(1500).into_iter().map(|record| record.at(NOON + 1_800_000)).collect::<Vec<_>>());
    harness.produce(&poison(1)[..1]);
    harness.once();
    let expect = |what: &str, letters: usize| {
        let ids: BTreeSet<String> = harness.documents().into_iter().map(|document| document.id).collect();
        assert_eq!(ids.len(), 1600 + letters, "{what}");
        ids
    };
    let before = expect("lines and messages", 0);

    let dead = format!("{}-dead-letters", harness.topic);
    let letters = harness.read_topic(&dead);
    let named: BTreeSet<String> = letters.iter().map(|letter| letter.header("dead-letter-id")).collect();
    assert_eq!(named.len(), 2, "the line that was sent twice has one id: {letters:?}");
    let place = format!("{}-0-801-{}", harness.topic, NOON + 5);
    assert!(named.iter().any(|id| record_id(id) == "web-1/00000000000000bb/0"), "{named:?}");
    assert!(named.contains(&place), "{named:?}: {place}");
    let replay = |topic: &str, group: &str| {
        let harness =
            Harness { topic: topic.to_owned(), group: format!("{}-{group}", harness.group), ..harness.same() };
        check_stats(&harness.once().stdout)
    };
    // First without anything fixed: letters of letters.
    assert_eq!(replay(&dead, "one")["created"], 0);
    let body = r#"{"properties":{"n":{"type":"long","ignore_malformed":true}}}"#;
    assert_eq!(harness.ask("PUT", &format!("/{index}/_mapping"), body)["acknowledged"], true);
    assert_eq!(replay(&dead, "two")["created"], 2);
    assert_eq!(replay(&dead, "three")["created"], 0);
    assert_eq!(replay(&format!("{dead}-dead-letters"), "four")["created"], 0);
    assert_eq!(replay(&harness.topic, "five")["created"], 0, "all of it once more");
    let after = expect("and two dead letters", 2);
    assert_eq!(&after - &before, named);
}

/// Records that somebody made beforehand with the ids of lines to come: the lines are there all the same.
#[test]
fn a_forged_id_takes_no_place() {
    let harness = Harness::new(1);
    let real = lines(200).into_iter().map(|record| record.in_partition(0)).collect::<Vec<_>>();
    let forge = |record: &Record| Record { value: Some("forged".into()), ..record.clone() };
    let forged: Vec<Record> = real.iter().map(forge).collect();
    let elsewhere = Record { key: Some("web-2".into()), ..real[0].clone() };
    let mut with_field = real[0].clone().with("service", "other");
    // Also as a dead letter, whose id is known: of the same record it is the same, and of another it is not believed.
    let id = "web-1/00000000000000aa/1";
    with_field.headers.push(("dead-letter-position".into(), "other-0-1".into()));
    let letter = Record::line(id, "forged").with("dead-letter-position", "other-0-1").with("dead-letter-id", id);
    harness.produce(&forged);
    harness.produce(&[elsewhere, with_field, letter]);
    harness.produce(&real);
    harness.produce(&real);
    harness.once();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for document in harness.documents() {
        let source = document.source;
        if source["log"]["origin"]["host"] == "web-1" && source["log"]["origin"]["fields"].is_null() {
            *found.entry(source["message"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(found.remove("forged"), Some(200));
    assert_eq!(found, (0..200).map(|n| (format!("line {n}"), 1)).collect());
}

/// `--ids v1`: as the version before this one named them.
#[test]
fn the_old_ids() {
    let harness = Harness::new(2);
    harness.map(&format!("{}-2026.11.24", harness.prefix), r#"{"n":{"type":"long"}}"#);
    let raw = |id: &[u8]| Record { headers: vec![("id".to_owned(), id.to_vec())], ..Record::bare("x") };
    harness.produce(&[
        Record::line("web-1/00000000000000aa/0", "x"),
        Record::bare("y").in_partition(1),
        raw(&[b'a'; 512]),
    ]);
    harness.produce(&[raw(&[b'a'; 513]), raw(&[0xff]), raw(b"")]);
    harness.produce(&poison(1));
    let once = |harness: &Harness| harness.tool().args(["--once", "--ids", "v1"]).run().succeeds();
    once(&harness);
    let ids = || harness.documents().into_iter().map(|document| document.id).collect::<BTreeSet<String>>();
    let mut expected = BTreeSet::from([
        "web-1/00000000000000aa/0".to_owned(),
        format!("{}-1-0", harness.topic),
        "a".repeat(512),
        // SHA-256 of 513 times `a`, and of the byte 255.
        "02425c0f5b0dabf3d2b9115f3f7723a02ad8bcfb1534a0d231614fd42b8188f6".to_owned(),
        "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89".to_owned(),
        format!("{}-0-4", harness.topic),
    ]);
    assert_eq!(ids(), expected);
    let dead = format!("{}-dead-letters", harness.topic);
    let letters: BTreeSet<String> = harness.read_topic(&dead).iter().map(|letter| letter.header("id")).collect();
    let named = BTreeSet::from(["web-1/00000000000000bb/0".to_owned(), format!("{}-1-2", harness.topic)]);
    assert_eq!(letters, named);
    let body = r#"{"properties":{"n":{"type":"long","ignore_malformed":true}}}"#;
    let mapped = harness.ask("PUT", &format!("/{}-2026.11.24/_mapping", harness.prefix), body);
    assert_eq!(mapped["acknowledged"], true);
    once(&Harness { topic: dead, ..harness.same() });
    expected.extend(named);
    assert_eq!(ids(), expected);
}

/// A topic that is deleted and recreated has the same offsets once more, and other records.
#[test]
fn a_recreated_topic() {
    let harness = Harness::new(1);
    let bare = |from: i64, to: i64| (from..to).map(|n| Record::bare(format!("{n}")).at(NOON + n)).collect::<Vec<_>>();
    harness.produce(&bare(0, 10));
    harness.once();
    harness.renew_topic(1);
    wait_until("the new topic", || {
        harness.produce(&bare(10, 11));
        let there = harness.read_topic(&harness.topic).len();
        if there > 0 { Ok(()) } else { Err("nothing is in it".to_owned()) }
    });
    harness.produce(&bare(11, 40));
    let anew = Harness { group: format!("{}-anew", harness.group), ..harness.same() };
    let stats = check_stats(&anew.once().stdout);
    assert_eq!(stats["existing"], json!(0), "{stats}");
    let messages: BTreeSet<String> =
        harness.documents().iter().map(|document| document.source["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(messages.len(), 40);
}
