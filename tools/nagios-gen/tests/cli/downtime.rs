//! Events of spot-watch on stdin, commands for Nagios on stdout.

use crate::fleet::{csv, fleet};
use crate::harness::{Harness, nagios_gen};
use std::fs::{self, File};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::{Tool, wait_until};

fn event(kind: &str, id: &str, time: &str) -> String {
    format!(
        "{{\"schema\":1,\"event\":\"{kind}\",\"instance_id\":\"{id}\",\"time\":\"{time}\",\"notice_id\":\"n-1\",\
         \"deadline_ms\":120000,\"action\":\"terminate\"}}\n"
    )
}

fn downtime(harness: &Harness, events: &str) -> Tool {
    nagios_gen().arg("--downtime").arg(harness.file()).stdin(events)
}

fn harness() -> Harness {
    let harness = Harness::new();
    let _run = harness.tool(csv(&fleet(1..30))).run().succeeds();
    harness
}

#[test]
fn a_notice_is_one_command() {
    let harness = harness();
    let events = [
        event("ready", "i-00000012", "2026-01-23T09:00:00Z"),
        event("notice", "i-00000012", "2026-01-23T09:12:44.5Z"),
        event("done", "i-00000012", "2026-01-23T09:14:44Z"),
    ];
    let run = downtime(&harness, &events.concat()).run().succeeds().stderr_is_empty();
    let line = "[1769159564] SCHEDULE_HOST_DOWNTIME;ob-appengine-i-00000012;1769159564;1769163164;1;0;3600;nagios-gen;\
                instance i-00000012 is reclaimed\n";
    assert_eq!(run.stdout_str(), line);
    let run = downtime(&harness, &events[1]).args(["--downtime-for", "90s"]).run().succeeds();
    assert!(run.stdout_str().contains(";1769159564;1769159654;1;0;90;"), "{}", run.report());
}

#[test]
fn what_is_no_notice_of_a_known_host_is_no_command() {
    let harness = harness();
    let time = "2026-01-23T09:12:44Z";
    for id in
        ["i-000000", "00000012", "i-00000012;evil", "i-00000012\\n[0] SHUTDOWN_PROGRAM", "", "ob-appengine-i-00000012"]
    {
        let run = downtime(&harness, &event("notice", id, time)).run().succeeds().stdout_is("");
        let _told = run.stderr_is_one_line().stderr_contains("no downtime");
    }
    let _none = downtime(&harness, "").run().fails_with(75).stdout_is("").stderr_is_one_line();
    // A bad line is told, and the notices around it are served.
    let good = event("notice", "i-00000012", time);
    let wrong =
        ["nonsense\n", "{}\n", &good.replace("\"schema\":1", "\"schema\":2"), &good.replace(time, "soon"), "\n"];
    for wrong in wrong {
        let run = downtime(&harness, &format!("{good}{wrong}{good}")).run().fails_with(1);
        assert_eq!(run.stdout_str().lines().count(), 2, "{}", run.report());
        let _told = run.stderr_contains("event 2");
    }
    let run = nagios_gen().args(["--downtime", "/no/such/file"]).stdin(good).run().fails_with(1);
    let _told = run.stderr_contains("/no/such/file").stderr_contains("1 of 1 events on stdin were not served");
}

/// Events come one by one: each is served when it is there, with the fleet as it is then.
#[test]
fn a_stream_is_not_held_back() {
    let harness = harness();
    let fifo = harness.path("events");
    let _made = Tool::new("mkfifo").arg(&fifo).run().succeeds();
    let script = format!(
        "exec {} --downtime {} <{}",
        env!("CARGO_BIN_EXE_nagios-gen"),
        harness.file().display(),
        fifo.display()
    );
    let running = Tool::new("/bin/sh").arg("-c").arg(script).start();
    let mut events = File::options().write(true).open(&fifo).unwrap();
    for n in 1..4_usize {
        let _run = harness.tool(csv(&fleet(1..100 + u32::try_from(n).unwrap()))).run().succeeds();
        let id = format!("i-{:08x}", 99 + n);
        events.write_all(event("notice", &id, "2026-01-23T09:12:44Z").as_bytes()).unwrap();
        wait_until("the command for this event", || {
            let so_far = String::from_utf8(running.stdout_so_far()).unwrap();
            let right = so_far.lines().count() == n && so_far.contains(&id);
            if right { Ok(()) } else { Err(so_far) }
        });
    }
    drop(events);
    let _ended = running.wait().succeeds();
}

#[test]
fn a_real_nagios_plans_the_downtime() {
    let harness = Harness::live();
    let _run = harness.reloaded(csv(&fleet(1..4))).run().succeeds();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = Tool::new("date").args(["-u", "+%FT%TZ", "-d", &format!("@{now}")]).run().succeeds();
    let notice = event("notice", "i-00000002", time.stdout_str().trim());
    let tool = downtime(&harness, &notice).arg("--command-file").arg(harness.path("var/rw/cmd"));
    let _given = tool.run().succeeds().stdout_is("").stderr_is_empty();
    let depths = || {
        let status = harness.status();
        let blocks = status.split("hoststatus {").skip(1);
        let field = |block: &str, name: &str| {
            block.lines().find_map(|line| line.trim().strip_prefix(name).map(str::to_owned)).unwrap_or_default()
        };
        let depth = |block| (field(block, "host_name="), field(block, "scheduled_downtime_depth="));
        blocks.map(depth).filter(|(_, depth)| depth != "0").collect::<Vec<_>>()
    };
    wait_until("Nagios has the host in downtime", || match depths() {
        depths if depths == [("ob-appengine-i-00000002".to_owned(), "1".to_owned())] => Ok(()),
        depths => Err(format!("{depths:?}; log: {}", harness.log())),
    });
    let status = harness.status();
    let planned = status.split("hostdowntime {").nth(1).unwrap();
    for line in ["host_name=ob-appengine-i-00000002", "author=nagios-gen", "comment=instance i-00000002 is reclaimed"] {
        assert!(planned.contains(line), "{planned}");
    }
    assert_eq!(status.matches("hostdowntime {").count(), 1);
}

/// Without a reader the command would be lost, and without a pipe it would become a file.
#[test]
fn a_nagios_that_is_not_there_gets_no_command() {
    let harness = harness();
    let notice = event("notice", "i-00000012", "2026-01-23T09:12:44Z");
    let to =
        |pipe: &str| downtime(&harness, &notice).args(["--timeout", "100ms", "--command-file"]).arg(harness.path(pipe));
    let _none = to("none").run().fails_with(75).stdout_is("").stderr_contains("/none: ");
    assert!(!harness.path("none").exists());
    let _made = Tool::new("mkfifo").arg(harness.path("pipe")).run().succeeds();
    let _unread = to("pipe").run().fails_with(75).stdout_is("").stderr_contains("/pipe: ");
    fs::write(harness.path("file"), "").unwrap();
    let _file = to("file").run().fails_with(1).stdout_is("").stderr_contains("it is no pipe");
    assert_eq!(fs::read(harness.path("file")).unwrap(), b"");
    // A reader that comes a little later is waited for.
    let waiting = downtime(&harness, &notice).arg("--command-file").arg(harness.path("pipe")).start();
    let read = Tool::new("head").args(["-n", "1"]).arg(harness.path("pipe")).run().succeeds();
    assert!(read.stdout_str().contains(";ob-appengine-i-00000012;"), "{}", read.report());
    let _given = waiting.wait().succeeds();
}

/// A pipe or a FILE that is not there for a moment costs the events of that moment, not those behind them.
#[test]
fn one_event_that_is_lost_does_not_end_the_stream() {
    let harness = harness();
    let fifo = harness.path("events");
    let _made = Tool::new("mkfifo").arg(&fifo).run().succeeds();
    let script = format!(
        "exec {} --downtime {} <{}",
        env!("CARGO_BIN_EXE_nagios-gen"),
        harness.file().display(),
        fifo.display()
    );
    let running = Tool::new("/bin/sh").arg("-c").arg(script).start();
    let mut events = File::options().write(true).open(&fifo).unwrap();
    let notice = event("notice", "i-00000012", "2026-01-23T09:12:44Z");
    fs::rename(harness.file(), harness.path("aside")).unwrap();
    events.write_all(notice.as_bytes()).unwrap();
    wait_until("it says what it lacks", || match String::from_utf8(running.stderr_so_far()).unwrap() {
        told if told.contains("unable to serve event 1: unable to read ") => Ok(()),
        told => Err(told),
    });
    fs::rename(harness.path("aside"), harness.file()).unwrap();
    events.write_all(notice.as_bytes()).unwrap();
    drop(events);
    let run = running.wait().fails_with(1).stderr_contains("1 of 2 events on stdin were not served");
    assert_eq!(run.stdout_str().lines().count(), 1, "{}", run.report());
}
