//! Killed at any moment, by any fault, with members that come and go: no record is lost, and none is two documents.

use crate::harness::{Harness, NOON, Record, check_stats, record_id};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use testkit::{
    BulkFault, BulkPlan, BulkProxy, Dialect, Document, FaultProxy, KillPoint, Plan, Running, Seed, figure,
    side_by_side, wait_until,
};

/// What should be there: for each id its index and text, and the ids of what can't be indexed.
struct Truth {
    records: Vec<Record>,
    documents: BTreeMap<String, (String, String)>,
    poison: BTreeSet<String>,
}

/// Records of two days; one in ten is sent twice, one in two hundred can't be indexed.
fn truth(harness: &Harness, rng: &mut StdRng, count: usize, partitions: i32) -> Truth {
    let mut truth = Truth { records: Vec::new(), documents: BTreeMap::new(), poison: BTreeSet::new() };
    for n in 0..count {
        let id = format!("web-{}/00000000000000aa/{n}", n % 3);
        let timestamp = NOON + 3_600_000 * i64::try_from(n % 24).unwrap();
        let partition = rng.random_range(0..partitions);
        let record = if rng.random_range(0..200) == 0 {
            truth.poison.insert(id.clone());
            Record::line(&id, "{\"n\":\"no number\"}")
        } else {
            let day = if n % 24 < 11 { "24" } else { "25" };
            let text = format!("line {n} {}", "x".repeat(rng.random_range(0..400)));
            truth.documents.insert(id.clone(), (format!("{}-2026.11.{day}", harness.prefix), text.clone()));
            Record::line(&id, text)
        };
        let record = record.at(timestamp).in_partition(partition);
        if rng.random_range(0..10) == 0 {
            truth.records.push(record.clone());
        }
        truth.records.push(record);
    }
    truth
}

impl Truth {
    /// What is lost, what is doubled, and what is not as it was written.
    fn check(&self, documents: &[Document]) -> Result<(), String> {
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for document in documents {
            let id = record_id(&document.id);
            *found.entry(id).or_default() += 1;
            let Some((index, text)) = self.documents.get(id) else {
                return Err(format!("{} was never written", document.id));
            };
            if (&document.index, document.source["message"].as_str()) != (index, Some(text)) {
                return Err(format!("{document:?} is not {text}"));
            }
        }
        let lost: Vec<_> = self.documents.keys().filter(|id| !found.contains_key(id.as_str())).collect();
        let doubled: Vec<_> = found.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id).collect();
        if lost.is_empty() && doubled.is_empty() {
            return Ok(());
        }
        Err(format!("{} lost {:?}, {} doubled {doubled:?}", lost.len(), lost.first(), doubled.len()))
    }
}

fn map_days(harness: &Harness) {
    for day in ["24", "25"] {
        harness.map(&format!("{}-2026.11.{day}", harness.prefix), r#"{"n":{"type":"long"}}"#);
    }
}

/// Figures of a run.
#[derive(Debug, Default)]
struct Figures {
    records: usize,
    kills: usize,
    requests: usize,
    existing: u64,
    letters: usize,
}

/// Ends a member by a signal; its counters. `has_a_ghost`: a member of its name was killed. A request of that one may come to
/// the broker after those of its successor, which the broker then takes for the older one: it ends by itself then, with 1.
fn end(member: Running, has_a_ghost: bool) -> Vec<u8> {
    member.terminate();
    let ended = member.wait();
    let is_replaced = ended.code == Some(1) && ended.stderr_str().contains("has joined the group as this member");
    if has_a_ghost && is_replaced { ended.stdout } else { ended.killed_by(15).stdout }
}

/// One run: members that are killed, that end and that come back, in front of a server that fails.
fn run(seed: Seed) -> Result<Figures, String> {
    let mut rng = seed.rng();
    let partitions = rng.random_range(1..=4);
    let harness = Harness::new(partitions);
    map_days(&harness);
    let truth = truth(&harness, &mut rng, 3000, partitions);
    let proxy = BulkProxy::start(&harness.server, Dialect::OpenSearch);
    let stall = Duration::from_millis(rng.random_range(100..6000));
    proxy.set_plan(BulkPlan::Random { seed: rng.random(), percent: rng.random_range(10..60), stall });
    let start = |name: usize| {
        let tool = harness.tool_at(&proxy.endpoint()).args(["--member", &format!("member-{name}"), "--timeout", "2s"]);
        tool.args(["--request-size", "32KiB", "--kafka", "session.timeout.ms=6000"]).start()
    };
    let mut members: BTreeMap<usize, Running> = BTreeMap::new();
    let mut figures = Figures { records: truth.records.len(), ..Figures::default() };
    let (mut outputs, mut killed) = (Vec::new(), BTreeSet::new());
    members.insert(0, start(0));
    for (part, records) in truth.records.chunks(500).enumerate() {
        harness.produce(records);
        let requests = proxy.count();
        // So many requests later something happens.
        let later = rng.random_range(0..6);
        wait_until("requests", || {
            let ledger = members.values().map(|run| check_stats(&run.stdout_so_far())).collect::<Vec<_>>();
            let idle = ledger.iter().all(|stats| stats["in_flight"] == 0 && stats["lag"].as_i64().unwrap_or(0) == 0);
            if proxy.count() >= requests + later || idle { Ok(()) } else { Err(format!("{ledger:?}")) }
        });
        thread::sleep(Duration::from_micros(rng.random_range(0..30_000)));
        let name = rng.random_range(0..3);
        match (members.remove(&name), rng.random_range(0..3)) {
            (Some(mut member), 0 | 1) => {
                member.kill();
                killed.insert(name);
                outputs.push(member.stdout_so_far());
                figures.kills += 1;
                // Back at once, or gone until somebody else has its partitions.
                if rng.random() || members.is_empty() {
                    members.insert(name, start(name));
                }
            }
            (Some(member), _) => {
                outputs.push(end(member, killed.contains(&name)));
                members.insert(name, start(name));
            }
            (None, _) if part < 5 => {
                members.insert(name, start(name));
            }
            (None, _) => {}
        }
    }
    let ends: Vec<i64> = (0..partitions)
        .map(|partition| truth.records.iter().filter(|record| record.partition == partition).count())
        .map(|count| i64::try_from(count).unwrap())
        .collect();
    wait_until("every position at its end", || {
        let at: Vec<i64> = (0..partitions).map(|partition| harness.committed(partition).unwrap_or(0)).collect();
        if at == ends {
            return Ok(());
        }
        let says = |(name, run): (&usize, &Running)| {
            let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
            format!("member {name}: {} {said}", check_stats(&run.stdout_so_far()))
        };
        let group = harness.describe();
        Err(format!("{at:?} of {ends:?}: {group}: {:?}", members.iter().map(says).collect::<Vec<_>>()))
    });
    for (name, member) in members {
        outputs.push(end(member, killed.contains(&name)));
    }
    for output in &outputs {
        figures.existing += check_stats(output)["existing"].as_u64().unwrap_or(0);
    }
    figures.requests = proxy.count();
    truth.check(&harness.documents())?;
    let letters = if truth.poison.is_empty() {
        Vec::new()
    } else {
        harness.read_topic(&format!("{}-dead-letters", harness.topic))
    };
    figures.letters = letters.len();
    let buried: BTreeSet<String> = letters.iter().map(|letter| letter.header("id")).collect();
    if buried == truth.poison { Ok(figures) } else { Err(format!("dead letters {buried:?} of {:?}", truth.poison)) }
}

#[test]
fn nothing_is_lost_and_nothing_is_two_documents() {
    let seed = Seed::from_env_or_random("nothing_is_lost_and_nothing_is_two_documents");
    let runs = figure(24, 80);
    let all = Mutex::new(Figures::default());
    side_by_side(4, runs, |number| {
        let figures = run(seed.part(number)).unwrap_or_else(|why| panic!("run {number} of {seed:?}: {why}"));
        let mut all = all.lock().unwrap();
        all.records += figures.records;
        all.kills += figures.kills;
        all.requests += figures.requests;
        all.existing += figures.existing;
        all.letters += figures.letters;
    });
    tell(&format!("{runs} runs: {:?}", all.lock().unwrap()));
}

#[expect(clippy::print_stderr, reason = "figures that are told")]
fn tell(what: &str) {
    eprintln!("{what}");
}

/// The checker finds what a server does that acknowledges and drops.
#[test]
fn a_server_that_lies_is_found_out() {
    let harness = Harness::new(2);
    map_days(&harness);
    let truth = truth(&harness, &mut Seed(7).rng(), 500, 2);
    harness.produce(&truth.records);
    let proxy = BulkProxy::start(&harness.server, Dialect::OpenSearch);
    proxy.queue(BulkFault::Lie);
    harness.tool_at(&proxy.endpoint()).args(["--once", "--request-size", "16KiB"]).run().succeeds();
    let found = truth.check(&harness.documents()).unwrap_err();
    assert!(found.contains(" lost ") && !found.starts_with("0 lost"), "{found}");
}

/// SIGKILL at each of the first requests: before the server has it, when it has it, when its answer has arrived.
#[test]
fn killed_at_every_request() {
    let points = [KillPoint::BeforeForward, KillPoint::AfterCommit, KillPoint::AfterReply];
    side_by_side(4, 3 * figure(4, 12), |place| {
        let (point, number) = (points[usize::try_from(place % 3).unwrap()], place / 3 + 1);
        let harness = Harness::new(2);
        map_days(&harness);
        let truth = truth(&harness, &mut Seed(number).rng(), 300, 2);
        harness.produce(&truth.records);
        let proxy = FaultProxy::start(&harness.server, Plan::None);
        let pid = Arc::new(AtomicI32::new(0));
        let of_hook = Arc::clone(&pid);
        let kill = move || {
            let pid = Pid::from_raw(of_hook.load(Ordering::SeqCst)).expect("the process runs");
            kill_process(pid, Signal::KILL).expect("it can be killed");
        };
        proxy.on_request(number, point, Box::new(kill));
        let tool = || harness.tool_at(&proxy.endpoint()).args(["--request-size", "8KiB", "--requests", "1"]);
        let running = tool().start();
        pid.store(i32::try_from(running.pid()).unwrap(), Ordering::SeqCst);
        running.wait().killed_by(9);
        tool().arg("--once").run().succeeds();
        truth.check(&harness.documents()).unwrap_or_else(|why| panic!("{point:?} {number}: {why}"));
    });
}
