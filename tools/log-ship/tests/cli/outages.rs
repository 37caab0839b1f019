//! A broker that is away.

use crate::harness::{Harness, append, check_stats, end};
use crate::plain::peak_kib;
use std::fs;
use std::io::{BufWriter, Write};
use std::time::Instant;
use testkit::{Link, LinkMode, figure, wait_until};

/// 200,000 lines (long: 10 million) wait for a broker: in little memory, said once, and sent when it is back.
#[test]
fn a_broker_that_is_away() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    link.set(LinkMode::Cut);
    let path = harness.log("a.log");
    let lines: u64 = figure(200_000, 10_000_000);
    let mut file = BufWriter::new(fs::File::create(&path).unwrap());
    for line in 0..lines {
        writeln!(file, "{line:010} {:089}", 0).unwrap();
    }
    file.into_inner().unwrap();
    let run = harness.tool_via(&link.address()).args(["--stats", "50ms"]).arg(&path).start();
    wait_until("the message about it", || {
        let said = String::from_utf8(run.stderr_so_far()).unwrap();
        if said.contains("unable to send ") { Ok(()) } else { Err(said) }
    });
    let (said, peak) = (run.stderr_so_far(), peak_kib(run.pid()));
    assert_eq!(said.iter().filter(|b| **b == b'\n').count(), 1, "{}", String::from_utf8_lossy(&said));
    assert!(peak <= 32 * 1024, "{peak} KiB at most");
    let waiting = check_stats(&run.stdout_so_far());
    assert_eq!(waiting["acked"].as_u64(), Some(0));
    link.set(LinkMode::Up);
    wait_until("all lines", || {
        let stats = check_stats(&run.stdout_so_far());
        if stats["acked"].as_u64() == Some(lines) { Ok(()) } else { Err(stats.to_string()) }
    });
    end(run);
    if lines < 1_000_000 {
        let shipped = harness.shipped();
        assert_eq!(shipped.len() as u64, lines, "each once");
    }
}

/// How soon lines come again is told, and bounded only by what a stuck client would take.
#[test]
fn a_broker_that_is_back_gets_lines_at_once() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    let path = harness.log("a.log");
    append(&path, "one\n");
    let run = harness.tool_via(&link.address()).arg(&path).start();
    harness.await_values(&["one"]);
    link.set(LinkMode::Cut);
    append(&path, "two\n");
    wait_until("the message about it", || {
        let said = String::from_utf8(run.stderr_so_far()).unwrap();
        if said.contains("unable to send ") { Ok(()) } else { Err(said) }
    });
    let back = Instant::now();
    link.set(LinkMode::Up);
    harness.await_values(&["one", "two"]);
    tell(&format!("first line {} ms after the broker was back", back.elapsed().as_millis()));
    wait_until("the message about its return", || {
        let said = String::from_utf8(run.stderr_so_far()).unwrap();
        if said.contains("the broker takes lines again") { Ok(()) } else { Err(said) }
    });
    end(run);
}

#[test]
fn once_gives_up_on_a_silent_broker() {
    let harness = Harness::new();
    let link = Link::to(&harness.brokers);
    let path = harness.log("a.log");
    append(&path, "one\n");
    for mode in [LinkMode::Cut, LinkMode::Frozen] {
        link.set(mode);
        let run = harness.tool_via(&link.address()).args(["--once", "--timeout", "1s"]).arg(&path).run();
        run.fails_with(75).stderr_is_one_line().stderr_contains("unable to send lines to topic ");
    }
    harness.once(&path);
    assert_eq!(harness.values(), ["one"]);
}

#[expect(clippy::print_stderr, reason = "a figure that is told, not asserted")]
fn tell(what: &str) {
    eprintln!("{what}");
}
