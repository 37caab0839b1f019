//! What watching costs over time.

use crate::events::wait_for;
use crate::harness::Harness;
use testkit::{figure, wait_until};

/// Anonymous and file-backed memory in use, KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Also with an answer that is an error every now and then, and connections that break.
#[test]
fn memory_and_files_stay_where_they_were() {
    let polls = figure(5_000, 20_000);
    let harness = Harness { interval: "1ms", ..Harness::new() };
    let run = harness.raising().start();
    let _ready = wait_for(&run, "ready", 1);
    harness.imds.fail(Box::new(|call| match call.number % 100 {
        17 => Some(testkit::ImdsFault::Status(503)),
        53 => Some(testkit::ImdsFault::Close),
        _ => None,
    }));
    let until = |polls: u64| {
        wait_until("polls", || {
            let seen = harness.imds.call_count() / 2;
            if seen >= polls { Ok(()) } else { Err(format!("{seen} polls")) }
        });
    };
    until(1_000);
    let (memory, files) = (resident(run.pid()), open_files(run.pid()));
    until(polls);
    let after = resident(run.pid());
    println!("{polls} polls: {memory} KiB after the first 1,000, {after} KiB at the end");
    assert!(after <= memory + 512, "{memory} KiB became {after} KiB");
    assert!(after <= 24 * 1024, "{after} KiB");
    assert!(open_files(run.pid()) <= files + 1);
}
