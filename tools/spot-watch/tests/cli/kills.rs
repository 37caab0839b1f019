//! Runs that die at any moment, under trouble of any kind: capacity rises by one, or the event says that it may be more.

use crate::events::{LIMIT, events, of_kind};
use crate::post::{Post, TARGET, TOOL};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::{Finished, ImdsFault, Running, ScalingFault, Seed, Tool, wait_until};

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

/// What the group came to and what was said of it.
struct Result {
    risen: i64,
    certain: bool,
    at_most: i64,
}

/// One reclaim under trouble, to its end.
fn reclaim(trouble: &Trouble, dir: &std::path::Path) -> Result {
    let post = Post::new();
    post.scaling.lag(trouble.lag);
    post.scaling.remember_tokens(trouble.tokens);
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
    post.scaling.fail(Box::new(move |call| {
        if !CHANGES.contains(&call.action.as_str()) {
            return None;
        }
        if before(Death::BeforeTheService) {
            return Some(ScalingFault::CloseBefore);
        }
        faults.lock().unwrap().pop()
    }));
    let after = dies.clone();
    post.scaling.after(Box::new(move |call| {
        if CHANGES.contains(&call.action.as_str()) {
            after(Death::AfterTheCommit);
        }
    }));
    post.scaling.replied(Box::new(move |call| {
        if CHANGES.contains(&call.action.as_str()) {
            dies(Death::AfterTheReply);
        }
    }));
    if let Some(kind) = trouble.imds {
        post.imds.fail(Box::new(move |call| (call.number % 4 == 0).then(|| imds_fault(kind))));
    }
    if trouble.moving {
        post.imds.moving_notice("terminate")
    } else {
        post.notice("terminate", 120)
    }

    let clock = dir.join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let tool = || {
        let tool = post.raising().args(["--capacity", trouble.rung, "--timeout", "300ms"]);
        if trouble.clock.is_some() { stepped(tool, &clock) } else { tool }
    };
    let mut restarts = 0;
    let run = loop {
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
        let died = outlives(&mut run, &post, moment);
        if let (true, Some(_)) = (died && moment.is_some(), moment) {
            let mut deaths = deaths.lock().unwrap();
            if matches!(deaths.first(), Some(Death::Moment(_))) {
                deaths.remove(0);
            }
        }
        drop(second);
        if !died {
            break run;
        }
        restarts += 1;
        assert!(restarts < 20, "{trouble:?}");
    };
    run.terminate();
    let run: Finished = run.wait();
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(post.state().join("reclaim.json")).unwrap()).unwrap();
    let raise = &state["raise"];
    assert_eq!(raise["state"], "raised", "{trouble:?}\n{state}\n{}", run.report());
    let certain = raise["certain"].as_bool().unwrap();
    let doubts = raise["request"]["doubts"].as_i64().unwrap();
    assert!(of_kind(&events(&run.stdout), "degraded").len() <= 1 + of_kind(&events(&run.stdout), "recovered").len());
    Result { risen: post.risen(), certain, at_most: if certain { 1 } else { 1 + doubts } }
}

/// Waits until the reclaim is done, or the run is dead; kills it at `moment`.
fn outlives(run: &mut Running, post: &Post, moment: Option<Instant>) -> bool {
    wait_until("the end of the reclaim or of the run", LIMIT, || {
        let state = std::fs::read(post.state().join("reclaim.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
        if moment.is_some_and(|moment| Instant::now() >= moment) {
            run.kill();
            return Ok(true);
        }
        if moment.is_none() && state["done"] == true {
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

/// Runs so many reclaims, several at a time, and gives how often capacity rose by how much on each rung.
fn runs(seed: Seed, count: u64, tokens: bool) -> BTreeMap<(&'static str, i64, bool), u64> {
    let next = AtomicU32::new(0);
    let figures = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let number = u64::from(next.fetch_add(1, Ordering::SeqCst));
                    if number >= count {
                        return;
                    }
                    let trouble = Trouble { tokens, ..Trouble::draw(&mut seed.part(number).rng()) };
                    let dir = tempfile::tempdir().unwrap();
                    let result = reclaim(&trouble, dir.path());
                    *figures.lock().unwrap().entry((trouble.rung, result.risen, result.certain)).or_insert(0) += 1;
                    if tokens {
                        check(number, &trouble, &result);
                    }
                }
            });
        }
    });
    figures.into_inner().unwrap()
}

fn check(number: u64, trouble: &Trouble, result: &Result) {
    let told = || format!("run {number}: rose by {}, certain: {}, {trouble:?}", result.risen, result.certain);
    if trouble.rung == "launch" {
        assert!(result.risen == 1 && result.certain, "{}", told());
    } else {
        assert!(result.risen >= 1, "{}", told());
        assert!(!result.certain || result.risen == 1, "{}", told());
        assert!(result.risen <= result.at_most, "{}", told());
        // After two lost answers the group is looked at before it is asked again.
        assert!(result.risen <= 2 && result.risen <= 1 + trouble.doubts(), "{}", told());
    }
}

#[test]
fn any_trouble_is_one_more_instance() {
    let count = if std::env::var_os("TEST_LONG").is_some() { 10_000 } else { 500 };
    let seed = Seed::from_env_or_random("reclaims");
    let figures = runs(seed, count, true);
    println!("{count} reclaims: (rung, rise, certain) × {figures:?}");
    assert_eq!(figures.values().sum::<u64>(), count);
    assert!(figures.contains_key(&("policy", 1, true)));
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

/// Every system call that touches the state: killed at it, and the next run ends right.
#[test]
fn killed_at_every_write() {
    for rung in ["launch", "policy"] {
        let mut points = 0;
        for calls in ["/^(write|pwrite64)$", "/^f(data)?sync$", "/^rename", "/^unlink"] {
            for number in 1.. {
                let post = Post::new();
                post.notice("terminate", 120);
                let inject = format!("inject={calls}:signal=KILL:when={number}");
                let line = Tool::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
                let line =
                    post.on_this_instance(line.args(["-e", &inject, TOOL]), &post.state()).args(["--raise", TARGET]);
                let killed = line.args(["--once", "--capacity", rung]).run().signal == Some(9);
                let _again = post.raising().args(["--once", "--capacity", rung]).run().succeeds();
                let risen = post.risen();
                assert!(risen == 1 || (rung == "policy" && risen == 2), "{rung} {calls} {number}: {risen}");
                if !killed {
                    break;
                }
                points += 1;
            }
        }
        println!("{rung}: {points} system calls");
        assert!(points > 3, "{rung}: {points}");
    }
}
