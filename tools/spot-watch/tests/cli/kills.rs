//! Runs that die at any moment, under trouble of any kind: what a reader of the events sees is what became of the group, and
//! what the disk has.

use crate::events::{events, of_kind};
use crate::harness::{Harness, ID, OWN, TARGET, TOOL};
use crate::webhooks::Catcher;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::{Finished, ImdsFault, Running, ScalingFault, Seed, Tool, figure, side_by_side, wait_until};

/// Where a run dies, counted in its requests for a rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    BeforeTheService,
    AfterTheCommit,
    AfterTheReply,
    /// So long after the notice.
    Moment(Duration),
}

#[derive(Debug)]
struct Trouble {
    rung: &'static str,
    moving: bool,
    lag: Duration,
    tokens: bool,
    deaths: Vec<Death>,
    api: Vec<ScalingFault>,
    imds: Option<u8>,
    second: bool,
    /// Hours that the wall clock jumps by after the notice.
    clock: Option<i32>,
    /// Places in the group, where they are few.
    room: Option<i64>,
    /// Others of the herd take them all just before a request for the rise is carried out.
    herd: bool,
}

const CHANGES: [&str; 2] = ["LaunchInstances", "ExecutePolicy"];

impl Trouble {
    fn draw(rng: &mut StdRng) -> Self {
        let death = |rng: &mut StdRng| match rng.random_range(0..5) {
            0 => Death::BeforeTheService,
            1 => Death::AfterTheCommit,
            2 => Death::AfterTheReply,
            _ => Death::Moment(Duration::from_micros(rng.random_range(0..60_000))),
        };
        let fault = |rng: &mut StdRng| match rng.random_range(0..9) {
            0 => ScalingFault::error(400, "Throttling"),
            1 => ScalingFault::error(400, "ScalingActivityInProgress"),
            2 => ScalingFault::error(500, "ResourceContention"),
            3 => ScalingFault::error(500, "InternalFailure"),
            4 => ScalingFault::CloseBefore,
            5 => ScalingFault::CloseAfter,
            6 => ScalingFault::HangAfter,
            7 => ScalingFault::Hang,
            _ => ScalingFault::Cut,
        };
        Self {
            rung: if rng.random_bool(0.5) { "launch" } else { "policy" },
            moving: rng.random_bool(0.5),
            lag: Duration::from_millis(if rng.random_bool(0.3) { rng.random_range(0..500) } else { 0 }),
            tokens: true,
            deaths: (0..rng.random_range(0..4)).map(|_| death(rng)).collect(),
            api: (0..rng.random_range(0..3)).map(|_| fault(rng)).collect(),
            imds: rng.random_bool(0.5).then(|| rng.random_range(0..7)),
            second: rng.random_bool(0.2),
            clock: rng.random_bool(0.25).then(|| if rng.random_bool(0.5) { 1 } else { -1 }),
            room: rng.random_bool(0.4).then(|| rng.random_range(0..3)),
            herd: rng.random_bool(0.5),
        }
    }
}

impl Trouble {
    /// How often nobody can know whether a request was carried out.
    fn doubts(&self) -> i64 {
        let lost = self
            .api
            .iter()
            .filter(|fault| !matches!(fault, ScalingFault::Error { status: 400.., code } if code != "InternalFailure"));
        i64::try_from(self.deaths.len() + lost.count()).unwrap()
    }
}

fn imds_fault(kind: u8) -> ImdsFault {
    match kind {
        0 => ImdsFault::Status(401),
        1 => ImdsFault::Status(403),
        2 => ImdsFault::Status(404),
        3 => ImdsFault::Status(503),
        4 => ImdsFault::Close,
        5 => ImdsFault::Cut,
        _ => ImdsFault::Body("<html>".to_owned()),
    }
}

/// What the group came to and what a reader of all runs' events was told of it.
struct Result {
    /// By this reclaim.
    risen: i64,
    /// By others of the herd.
    others: i64,
    told: Vec<Value>,
    disk: Value,
}

impl Result {
    /// What was told last.
    fn capacity(&self) -> Value {
        of_kind(&self.told, "capacity").pop().unwrap_or_default()
    }

    /// `certain`, `uncertain` or `failed`.
    fn outcome(&self) -> &'static str {
        let last = self.capacity();
        match (last["outcome"].as_str(), last["certain"].as_bool()) {
            (Some("raised"), Some(true)) => "certain",
            (Some("raised"), _) => "uncertain",
            (Some("failed"), _) => "failed",
            _ => "untold",
        }
    }

    /// What a reader was told wrongly, or not.
    fn lie(&self) -> Option<&'static str> {
        let capacities = of_kind(&self.told, "capacity");
        let certain = |one: &Value| one["outcome"] == "raised" && one["certain"] == true;
        if capacities.iter().any(|one| certain(one) && self.risen != 1) {
            return Some("certain, and not one");
        }
        let last = self.capacity();
        let done = of_kind(&self.told, "done").pop().unwrap_or_default();
        if last.is_null() || done.is_null() {
            return Some("untold");
        }
        if ["outcome", "group", "rung", "certain", "at_most"].iter().any(|field| done["capacity"][field] != last[field])
        {
            return Some("done says something else than capacity");
        }
        if self.risen > last["at_most"].as_i64().unwrap_or(0) {
            return Some("more than it can be at most");
        }
        if last["outcome"] == "failed" {
            return (self.disk["raise"]["state"] == "raised").then_some("the disk knows of a rise");
        }
        if self.risen == 0 && self.others == 0 {
            return Some("raised, and nobody has risen");
        }
        let raise = &self.disk["raise"];
        let kept = &self.disk["capacity"];
        if raise["state"] != "raised"
            || raise["certain"] != last["certain"]
            || kept["outcome"]["certain"] != last["certain"]
        {
            return Some("the disk says something else than the event");
        }
        (kept["told"] != true || self.disk["done"] != true).then_some("told, and not known to be")
    }
}

/// One reclaim under trouble, to its end.
fn reclaim(trouble: &Trouble, dir: &std::path::Path) -> Result {
    let harness = Harness::new();
    if let Some(room) = trouble.room {
        harness.change(|group| group.max = group.desired + room);
    }
    harness.scaling.lag(trouble.lag);
    harness.scaling.remember_tokens(trouble.tokens);
    let victim: Arc<AtomicU32> = Arc::default();
    let deaths = Arc::new(Mutex::new(trouble.deaths.clone()));
    let dies = {
        let (victim, deaths) = (Arc::clone(&victim), Arc::clone(&deaths));
        move |here: Death| {
            let mut deaths = deaths.lock().unwrap();
            let now = deaths.first() == Some(&here);
            if now {
                deaths.remove(0);
                kill(victim.load(Ordering::SeqCst));
            }
            now
        }
    };
    let faults = Mutex::new(trouble.api.clone());
    let before = dies.clone();
    let others = Arc::<AtomicI64>::default();
    let (taken, scaling) = (Arc::clone(&others), Arc::downgrade(&harness.scaling));
    let fills = trouble.herd && trouble.room.is_some();
    harness.scaling.fail(Box::new(move |call| {
        if !CHANGES.contains(&call.action.as_str()) {
            return None;
        }
        if let Some(scaling) = scaling.upgrade().filter(|_| fills) {
            taken.fetch_add(Harness::fill(&scaling), Ordering::SeqCst);
        }
        if before(Death::BeforeTheService) {
            return Some(ScalingFault::CloseBefore);
        }
        faults.lock().unwrap().pop()
    }));
    let after = dies.clone();
    harness.scaling.after(Box::new(move |call| {
        if CHANGES.contains(&call.action.as_str()) {
            after(Death::AfterTheCommit);
        }
    }));
    harness.scaling.replied(Box::new(move |call| {
        if CHANGES.contains(&call.action.as_str()) {
            dies(Death::AfterTheReply);
        }
    }));
    if let Some(kind) = trouble.imds {
        harness.imds.fail(Box::new(move |call| (call.number % 4 == 0).then(|| imds_fault(kind))));
    }
    if trouble.moving {
        harness.imds.moving_notice("terminate")
    } else {
        harness.notice("terminate", 120)
    }

    let clock = dir.join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let tool = || {
        let tool = harness.raising().args(["--capacity", trouble.rung, "--timeout", "300ms"]);
        if trouble.clock.is_some() { stepped(tool, &clock) } else { tool }
    };
    let mut restarts = 0;
    let mut told = Vec::new();
    loop {
        let mut run = tool().start();
        victim.store(run.pid(), Ordering::SeqCst);
        let second = trouble.second.then(|| tool().start());
        let moment = match deaths.lock().unwrap().first() {
            Some(Death::Moment(moment)) => Some(Instant::now() + *moment + Duration::from_millis(20)),
            _ => None,
        };
        if let Some(hours) = trouble.clock {
            std::fs::write(&clock, format!("{}{}h", if hours > 0 { "+" } else { "-" }, hours.abs())).unwrap();
        }
        let died = outlives(&mut run, second.as_ref(), &harness, moment);
        if let (true, Some(_)) = (died && moment.is_some(), moment) {
            let mut deaths = deaths.lock().unwrap();
            if matches!(deaths.first(), Some(Death::Moment(_))) {
                deaths.remove(0);
            }
        }
        if !died {
            run.terminate();
        }
        let run: Finished = run.wait();
        let seen = events(&run.stdout);
        assert!(of_kind(&seen, "degraded").len() <= 1 + of_kind(&seen, "recovered").len());
        told.extend(seen);
        // It stood by, and may have gone on where the first one died.
        if let Some(mut second) = second {
            second.kill();
            told.extend(events(&second.wait().stdout));
        }
        if !died {
            break;
        }
        restarts += 1;
        assert!(restarts < 20, "{trouble:?}");
    }
    let disk = serde_json::from_slice(&std::fs::read(harness.state().join("reclaim.json")).unwrap()).unwrap();
    let others = others.load(Ordering::SeqCst);
    Result { risen: harness.risen() - others, others, told, disk }
}

/// Waits until the reclaim is done, or the run is dead; kills it at `moment`.
fn outlives(run: &mut Running, second: Option<&Running>, harness: &Harness, moment: Option<Instant>) -> bool {
    wait_until("the end of the reclaim or of the run", || {
        let state = std::fs::read(harness.state().join("reclaim.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
        if moment.is_some_and(|moment| Instant::now() >= moment) {
            run.kill();
            return Ok(true);
        }
        // Either may hold the state.
        let failed = |run: &Running| {
            let done = of_kind(&events(&run.stdout_so_far()), "done").pop();
            done.is_some_and(|done| done["capacity"]["outcome"] == "failed")
        };
        // What failed is left to the next start, and never done.
        if moment.is_none() && (state["done"] == true || failed(run) || second.is_some_and(failed)) {
            return Ok(false);
        }
        if !run.is_running() {
            return Ok(true);
        }
        Err(format!("{state}, {}", String::from_utf8_lossy(&run.stderr_so_far())))
    })
}

fn kill(pid: u32) {
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
}

/// The tool under a wall clock that jumps; its steady clock is left alone.
fn stepped(tool: Tool, clock: &std::path::Path) -> Tool {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    assert!(std::path::Path::new(library).exists(), "{library} is missing: install libfaketime");
    tool.env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
}

/// Runs so many reclaims, several at a time, and gives how often capacity rose by how much on each rung, and what was
/// told of it.
fn runs(seed: Seed, count: u64, tokens: bool) -> BTreeMap<(&'static str, i64, &'static str), u64> {
    let figures = Mutex::new(BTreeMap::new());
    side_by_side(12, count, |number| {
        let trouble = Trouble { tokens, ..Trouble::draw(&mut seed.part(number).rng()) };
        let dir = tempfile::tempdir().unwrap();
        let result = reclaim(&trouble, dir.path());
        *figures.lock().unwrap().entry((trouble.rung, result.risen, result.outcome())).or_insert(0) += 1;
        if tokens {
            check(number, &trouble, &result);
        }
    });
    figures.into_inner().unwrap()
}

fn check(number: u64, trouble: &Trouble, result: &Result) {
    let told = || {
        let (capacities, disk) = (of_kind(&result.told, "capacity"), &result.disk);
        format!(
            "run {number}: rose by {} (others {}), {trouble:?}\n{capacities:?}\n{disk}",
            result.risen, result.others
        )
    };
    assert_eq!(result.lie(), None, "{}", told());
    assert!(result.risen >= 1 || trouble.room.is_some(), "{}", told());
    if trouble.rung == "launch" {
        assert_eq!(result.risen == 1, result.outcome() == "certain", "{}", told());
    } else {
        // After two lost answers the group is looked at before it is asked again.
        assert!(result.risen <= 2 && result.risen <= 1 + trouble.doubts(), "{}", told());
    }
}

#[test]
fn any_trouble_is_one_more_instance_or_is_told() {
    let count = figure(500, 2_500);
    let seed = Seed::from_env_or_random("reclaims");
    let figures = runs(seed, count, true);
    println!("{count} reclaims: (rung, rise, told) × {figures:?}");
    assert_eq!(figures.values().sum::<u64>(), count);
    for figure in
        [("policy", 1, "certain"), ("policy", 0, "failed"), ("policy", 0, "uncertain"), ("launch", 0, "failed")]
    {
        assert!(figures.contains_key(&figure), "{figure:?} of {figures:?}");
    }
}

/// The checks above find a service that forgets its client tokens.
#[test]
fn a_service_that_forgets_tokens_is_found_out() {
    let figures = runs(Seed::from_env_or_random("forgetful"), 60, false);
    let doubled: u64 =
        figures.iter().filter(|((rung, risen, _), _)| *rung == "launch" && *risen > 1).map(|(_, n)| n).sum();
    println!("forgetful service: {figures:?}");
    assert!(doubled > 0, "{figures:?}");
}

/// Runs `line` and dies at each system call that touches the state or stdout, each on an instance of its own with what
/// `prepare` puts around it; `check` looks at what the run and the next one told together.
fn at_every_write<T>(
    prepare: impl Fn() -> (Harness, Vec<String>, T) + Sync,
    check: impl Fn(&Harness, &T, &[Value], &str) + Sync,
) -> u32 {
    let die_at = |calls: &str, number: u32| {
        let (harness, args, around) = prepare();
        let inject = format!("inject={calls}:signal=KILL:when={number}");
        let line = Tool::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        let line = harness.on_this_instance(line.args(["-e", &inject, TOOL]), &harness.state());
        let killed = line.args(&args).run();
        let again = harness.tool().args(&args).run().succeeds();
        let told = [events(&killed.stdout), events(&again.stdout)].concat();
        check(&harness, &around, &told, &format!("{calls} {number}\n{told:?}"));
        killed.signal == Some(9)
    };
    let die_at = &die_at;
    std::thread::scope(|scope| {
        let kinds = ["/^(write|pwrite64)$", "/^f(data)?sync$", "/^rename", "/^unlink"];
        let kinds = kinds.map(|calls| scope.spawn(move || (1..).take_while(|number| die_at(calls, *number)).count()));
        kinds.into_iter().map(|points| u32::try_from(points.join().unwrap()).unwrap()).sum()
    })
}

fn is_told(told: &[Value], kind: &str) -> bool {
    !of_kind(told, kind).is_empty()
}

/// Every system call that touches the state or tells something: killed at it, and the next run ends right and tells what
/// became of the rise, of the program and of it all, to stdout and to the webhook.
fn killed_at_every_write(rung: &str) {
    let prepare = || {
        let (harness, catcher) = (Harness::new(), Catcher::start(|_| Some(200)));
        harness.notice("terminate", 120);
        let hook = harness.script("hook", "echo drained").display().to_string();
        let args = ["--raise", TARGET, "--once", "--capacity", rung, "--on-notice", &hook, "--notify", &catcher.url];
        let args = args.map(str::to_owned).to_vec();
        (harness, args, catcher)
    };
    let points = at_every_write(prepare, |harness, catcher, told, at| {
        let risen = harness.risen();
        assert!(risen == 1 || (rung == "policy" && risen == 2), "{rung} {at}: {risen}");
        let last = of_kind(told, "capacity").pop().unwrap_or_default();
        assert_eq!(last["outcome"], "raised", "{rung} {at}");
        assert!(risen == 1 || last["certain"] == false, "{rung} {at}");
        let done = of_kind(told, "done").pop().unwrap_or_default();
        assert_eq!(done["capacity"]["certain"], last["certain"], "{rung} {at}");
        assert_eq!(done["hook"]["output"], "drained\n", "{rung} {at}");
        assert!(is_told(told, "hook") && is_told(told, "notice"), "{rung} {at}");
        let taken = catcher.taken();
        assert!(["notice", "done"].iter().all(|kind| taken.iter().any(|one| one == kind)), "{rung} {at}: {taken:?}");
    });
    println!("{rung}: {points} system calls");
    assert!(points > 3, "{rung}: {points}");
}

#[test]
fn killed_at_every_write_of_a_launch() {
    killed_at_every_write("launch");
}

#[test]
fn killed_at_every_write_of_a_policy() {
    killed_at_every_write("policy");
}

/// The same for an end that the instance's own group brings about.
#[test]
fn killed_at_every_write_of_a_departure() {
    let prepare = || {
        let harness = Harness::new();
        harness.scaling.change(OWN, |group| {
            group.hooks = vec![("drain".to_owned(), "autoscaling:EC2_INSTANCE_TERMINATING".to_owned())];
        });
        harness.imds.lifecycle_state(Some("Terminated"));
        let hook = harness.script("hook", "echo drained").display().to_string();
        let args = ["--once", "--complete-lifecycle", "--on-notice", &hook].map(str::to_owned).to_vec();
        (harness, args, ())
    };
    let points = at_every_write(prepare, |harness, (), told, at| {
        let completed = vec![("drain".to_owned(), ID.to_owned(), "CONTINUE".to_owned())];
        assert_eq!(harness.scaling.group(OWN).completed, completed, "{at}");
        assert!(is_told(told, "hook"), "{at}");
        let lifecycle = of_kind(told, "lifecycle");
        assert!(lifecycle.iter().any(|one| one["completed"] == serde_json::json!(["drain"])), "{at}");
    });
    println!("departure: {points} system calls");
    assert!(points > 3, "{points}");
}
