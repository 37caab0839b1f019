//! A server that refuses parts, refuses all, answers nothing or half: everything is indexed once, and no more is sent than has to be.

use crate::harness::{Harness, Record, check_stats, record_id};
use std::time::Duration;
use testkit::{BulkFault, BulkPlan, BulkProxy, Dialect, Running, wait_until};

fn lines(count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::line(&format!("{n:05}"), format!("line {n}"))).collect()
}

fn proxy(harness: &Harness) -> BulkProxy {
    BulkProxy::start(&harness.server, Dialect::OpenSearch)
}

fn ids(proxy: &BulkProxy, request: usize) -> Vec<String> {
    proxy.requests()[request].items.iter().map(|item| record_id(&item.id).to_owned()).collect()
}

#[test]
fn only_what_was_rejected_is_sent_again() {
    for dialect in [Dialect::OpenSearch, Dialect::Elasticsearch] {
        let harness = Harness::new(1);
        harness.produce(&lines(6));
        let proxy = BulkProxy::start(&harness.server, dialect);
        proxy.queue(BulkFault::RefuseAt(vec![1, 3, 5]));
        let run = harness.tool_at(&proxy.endpoint()).arg("--once").run().succeeds().stderr_is_empty();
        let stats = check_stats(&run.stdout);
        assert_eq!((&stats["created"], &stats["sent_again"]), (&6.into(), &3.into()));
        assert_eq!(proxy.count(), 2);
        assert_eq!(ids(&proxy, 1), ["00001", "00003", "00005"]);
        assert_eq!(harness.ids().len(), 6);
    }
}

#[test]
fn again_and_again() {
    let harness = Harness::new(1);
    harness.produce(&lines(40));
    let proxy = proxy(&harness);
    for seed in 0..6 {
        proxy.queue(BulkFault::RefuseSome { percent: 70, seed });
    }
    let run = harness.tool_at(&proxy.endpoint()).arg("--once").run().succeeds();
    check_stats(&run.stdout);
    // What was told as created is never in a later request.
    let mut created = std::collections::BTreeSet::new();
    for request in proxy.requests() {
        for item in request.items {
            assert!(!created.contains(&item.id), "{} is sent again", item.id);
            if item.status == Some(201) {
                created.insert(item.id);
            }
        }
    }
    assert_eq!(created.len(), 40);
    assert_eq!(harness.ids().len(), 40);
}

#[test]
fn whole_requests() {
    let stall = BulkFault::Stall(Duration::from_secs(60));
    let busy = |status, retry_after| BulkFault::Busy { status, retry_after };
    let faults =
        [busy(429, None), busy(503, Some(1)), busy(500, None), BulkFault::LostReply, BulkFault::Truncated, stall];
    for fault in faults {
        let harness = Harness::new(1);
        harness.produce(&lines(20));
        let proxy = proxy(&harness);
        proxy.queue(fault.clone());
        let run = harness.tool_at(&proxy.endpoint()).args(["--once", "--timeout", "10s"]).run().succeeds();
        let stats = check_stats(&run.stdout);
        let (created, existing) = (stats["created"].as_u64().unwrap(), stats["existing"].as_u64().unwrap());
        let reached = !matches!(fault, BulkFault::Busy { .. });
        assert_eq!((created, existing), if reached { (0, 20) } else { (20, 0) }, "{fault:?}");
        assert_eq!(harness.ids().len(), 20, "{fault:?}");
        assert_eq!(harness.committed(0), Some(20));
    }
}

#[test]
fn what_is_too_large_is_halved() {
    let harness = Harness::new(1);
    harness.produce(&lines(8));
    let proxy = proxy(&harness);
    for _ in 0..2 {
        proxy.queue(BulkFault::Busy { status: 413, retry_after: None });
    }
    let run = harness.tool_at(&proxy.endpoint()).arg("--once").run().succeeds().stderr_is_empty();
    check_stats(&run.stdout);
    let sizes: Vec<usize> = proxy.requests().iter().map(|request| request.items.len()).collect();
    assert_eq!(sizes, [8, 4, 2, 2, 2, 2]);
    assert_eq!(harness.ids().len(), 8);
}

/// The whole request fails for one of its documents: that one is found, and the others are indexed.
#[test]
fn one_document_that_spoils_the_request() {
    let harness = Harness::new(1);
    harness.produce(&lines(1));
    let proxy = proxy(&harness);
    let run = harness.tool_at(&proxy.endpoint()).start();
    await_ids(&harness, 1);
    proxy.set_plan(BulkPlan::With("00001".to_owned(), BulkFault::Busy { status: 400, retry_after: None }));
    let mut more = lines(5);
    more.remove(0);
    harness.produce(&more);
    await_ids(&harness, 4);
    wait_until("the dead letter", || {
        let stats = check_stats(&run.stdout_so_far());
        if stats["rejected"] == 1 { Ok(()) } else { Err(stats.to_string()) }
    });
    end(run);
    let letters = harness.read_topic(&format!("{}-dead-letters", harness.topic));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].header("id"), "00001");
}

fn await_ids(harness: &Harness, count: usize) {
    wait_until("the documents", || {
        let ids = harness.ids();
        if ids.len() == count { Ok(()) } else { Err(format!("{ids:?}")) }
    });
}

fn end(run: Running) -> serde_json::Value {
    run.terminate();
    check_stats(&run.wait().killed_by(15).stdout)
}

/// A member that waits for an answer for longer than its group would wait for a sign of life.
#[test]
fn the_group_is_not_left_while_waiting() {
    let harness = Harness::new(2);
    let many = lines(30_000);
    harness.produce(&many);
    let proxy = proxy(&harness);
    proxy.set_plan(BulkPlan::Always(BulkFault::Hold));
    let tool = harness.tool_at(&proxy.endpoint()).args(["--request-size", "64KiB", "--timeout", "60s"]);
    let tool = tool.args(["--kafka", "max.poll.interval.ms=6000", "--kafka", "session.timeout.ms=6000"]);
    let run = tool.start();
    let before = wait_until("the group", || harness.members().filter(|m| m.len() == 1).ok_or("none".to_owned()));
    wait_until("a long wait", || {
        let stats = check_stats(&run.stdout_so_far());
        if stats["oldest_ms"].as_u64() > Some(14_000) { Ok(()) } else { Err(stats.to_string()) }
    });
    assert_eq!(proxy.count(), 2, "two requests at a time");
    assert_eq!(harness.members(), Some(before));
    proxy.set_plan(BulkPlan::None);
    proxy.release();
    wait_until("all of them", || {
        let stats = check_stats(&run.stdout_so_far());
        if stats["acked"] == 30_000 { Ok(()) } else { Err(stats.to_string()) }
    });
    let stats = end(run);
    assert_eq!((&stats["read"], &stats["created"]), (&30_000.into(), &30_000.into()), "nothing was read twice");
    assert_eq!(harness.ids().len(), 30_000);
}

#[test]
fn trouble_that_lasts_is_said_once_and_its_end_too() {
    let harness = Harness::new(1);
    harness.produce(&lines(3));
    let proxy = proxy(&harness);
    proxy.set_plan(BulkPlan::Always(BulkFault::Busy { status: 503, retry_after: None }));
    let run = harness.tool_at(&proxy.endpoint()).start();
    let says = |text: &str| {
        wait_until(text, || {
            let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
            if said.contains(text) { Ok(()) } else { Err(said) }
        });
    };
    says("unable to index 3 records at http://127.0.0.1:");
    assert_eq!(String::from_utf8_lossy(&run.stderr_so_far()).lines().count(), 1);
    proxy.set_plan(BulkPlan::None);
    says("log-index: warning: records are indexed again\n");
    end(run);
    assert_eq!(harness.ids().len(), 3);
}

/// What a person has to mend is said at once, waits, and is no dead letter.
#[test]
fn an_index_that_is_closed_or_read_only() {
    for (block, unblock) in [("_close", "_open"), ("_block/write", "_settings")] {
        let harness = Harness::new(1);
        let index = format!("{}-2026.11.24", harness.prefix);
        harness.map(&index, "{}");
        harness.ask(if block == "_close" { "POST" } else { "PUT" }, &format!("/{index}/{block}"), "");
        harness.produce(&lines(3));
        let run = harness.tool().start();
        wait_until("its words", || {
            let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
            if said.contains("unable to index 3 records") && said.contains(&index) { Ok(()) } else { Err(said) }
        });
        let (method, body) = if unblock == "_open" { ("POST", "") } else { ("PUT", r#"{"index.blocks.write":false}"#) };
        harness.ask(method, &format!("/{index}/{unblock}"), body);
        await_ids(&harness, 3);
        let stats = end(run);
        assert_eq!(stats["rejected"], 0);
    }
}

/// An alias that leads nowhere in particular is no fault of the records: they wait.
#[test]
fn an_alias_without_an_index_to_write_to() {
    let harness = Harness::new(1);
    let (alias, index) =
        (format!("{}-2026.11.24", harness.prefix), |number: u8| format!("{}-{number}", harness.prefix));
    harness.map(&index(1), "{}");
    harness.map(&index(2), "{}");
    let point = |number: u8, writes: bool| {
        let add = format!(
            r#"{{"actions":[{{"add":{{"index":"{}","alias":"{alias}"{}}}}}]}}"#,
            index(number),
            if writes { r#","is_write_index":true"# } else { "" }
        );
        harness.ask("POST", "/_aliases", &add);
    };
    point(1, false);
    point(2, false);
    harness.produce(&lines(3));
    let run = harness.tool().start();
    wait_until("its words", || {
        let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
        if said.contains("no write index is defined for alias") { Ok(()) } else { Err(said) }
    });
    point(2, true);
    await_ids(&harness, 3);
    assert_eq!(end(run)["rejected"], 0);
}
