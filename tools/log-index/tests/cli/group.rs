//! Members of a group.

use crate::harness::{Harness, Record, check_stats};
use testkit::{BulkFault, BulkPlan, BulkProxy, Dialect, Running, wait_until};

fn lines(from: usize, to: usize) -> Vec<Record> {
    let partition = |n: usize| i32::try_from(n % 4).unwrap();
    (from..to).map(|n| Record::line(&format!("{n:06}"), format!("line {n}")).in_partition(partition(n))).collect()
}

fn await_documents(harness: &Harness, count: usize) {
    wait_until("all documents", || {
        let found = harness.ids().len();
        if found == count { Ok(()) } else { Err(format!("{found} of {count}")) }
    });
}

#[test]
fn members_share_the_partitions_and_come_and_go() {
    let harness = Harness::new(4);
    harness.produce(&lines(0, 2000));
    let start = |name: &str| harness.tool().args(["--member", name]).start();
    let (one, two) = (start("one"), start("two"));
    let shared = |run: &testkit::Running, partitions: u64| {
        wait_until("its share", || {
            let stats = check_stats(&run.stdout_so_far());
            if stats["partitions"] == partitions { Ok(()) } else { Err(stats.to_string()) }
        });
    };
    shared(&one, 2);
    shared(&two, 2);
    harness.produce(&lines(2000, 4000));
    await_documents(&harness, 4000);
    // A restart within the session is no new member: nobody else moves.
    two.terminate();
    let ended = two.wait().killed_by(15);
    check_stats(&ended.stdout);
    let two = start("two");
    shared(&two, 2);
    harness.produce(&lines(4000, 5000));
    await_documents(&harness, 5000);
    // One that is gone for longer leaves its partitions to the others.
    let mut two = two;
    two.kill();
    drop(two);
    shared(&one, 4);
    harness.produce(&lines(5000, 6000));
    await_documents(&harness, 6000);
    one.terminate();
    let ended = one.wait().killed_by(15);
    let stats = check_stats(&ended.stdout);
    assert_eq!(stats["in_flight"], 0, "{stats}");
    let committed: Option<i64> = (0..4).map(|partition| harness.committed(partition)).sum();
    assert_eq!(committed, Some(6000));
}

/// A member's place in its group is one of its topic.
#[test]
fn another_topic_of_the_same_group_and_member() {
    let lines = |from: usize, to: usize| -> Vec<Record> {
        (from..to).map(|n| Record::line(&format!("{n:06}"), format!("line {n}"))).collect()
    };
    let one = Harness::new(1);
    one.produce(&lines(0, 10));
    one.once();
    let two = Harness { group: one.group.clone(), ..Harness::new(1) };
    // What the first topic gets meanwhile is none of the second's.
    one.produce(&lines(10, 20));
    two.produce(&lines(20, 25));
    two.once();
    assert_eq!((two.ids().len(), two.committed(0)), (5, Some(5)));
    assert_eq!((one.ids().len(), one.committed(0)), (10, Some(10)));
    one.once();
    assert_eq!((one.ids().len(), one.committed(0)), (20, Some(20)));
}

/// Partitions that are taken away while nothing can be sent come back later: they are read on.
#[test]
fn taken_away_while_waiting() {
    let harness = Harness::new(4);
    harness.produce(&lines(0, 8000));
    let proxy = BulkProxy::start(&harness.server, Dialect::OpenSearch);
    proxy.set_plan(BulkPlan::Always(BulkFault::Hold));
    let one = harness.tool_at(&proxy.endpoint()).args(["--member", "one", "--request-size", "32KiB"]);
    let one = one.args(["--timeout", "100s"]).start();
    let state = |run: &Running, what: &str, holds: &dyn Fn(&serde_json::Value) -> bool| {
        wait_until(what, || {
            let stats = check_stats(&run.stdout_so_far());
            if holds(&stats) { Ok(()) } else { Err(stats.to_string()) }
        });
    };
    state(&one, "a wait so long that it no longer fetches", &|stats| stats["oldest_ms"].as_u64() > Some(3000));
    let mut two = harness.tool().args(["--member", "two", "--kafka", "session.timeout.ms=6000"]).start();
    state(&two, "half of the partitions", &|stats| stats["partitions"] == 2);
    proxy.set_plan(BulkPlan::None);
    proxy.release();
    two.kill();
    harness.produce(&lines(8000, 10_000));
    state(&one, "all of the partitions", &|stats| stats["partitions"] == 4);
    await_documents(&harness, 10_000);
    one.terminate();
    check_stats(&one.wait().killed_by(15).stdout);
}

#[test]
fn two_of_one_name() {
    let harness = Harness::new(1);
    let first = harness.tool().args(["--member", "same"]).start();
    wait_until("its partition", || {
        let stats = check_stats(&first.stdout_so_far());
        if stats["partitions"] == 1 { Ok(()) } else { Err(stats.to_string()) }
    });
    let second = harness.tool().args(["--member", "same"]).start();
    let text = "another log-index has joined the group as this member: give each a --member";
    first.wait().fails_with(1).stderr_is_one_line().stderr_contains(text);
    second.terminate();
    second.wait().killed_by(15);
}

#[test]
fn a_new_group_starts_at_the_earliest_record_and_what_is_gone_is_said() {
    let harness = Harness::new(4);
    harness.produce(&lines(0, 400));
    harness.once().stderr_is_empty();
    assert_eq!(harness.committed(0), Some(100));
    harness.produce(&lines(400, 800));
    harness.delete_records(0, 150);
    let run = harness.once().stderr_is_one_line();
    run.stderr_contains("unable to index offsets 100 to 149 of partition 0 of ");
    assert_eq!(harness.ids().len(), 750);
}
