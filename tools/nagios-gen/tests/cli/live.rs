//! A running Nagios: what it takes is confirmed, what it does not take is rolled back, and it never goes down.

use crate::fleet::{csv, fleet};
use crate::harness::{Harness, names_in};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use testkit::{Tool, wait_until};

#[test]
fn a_fleet_is_taken_and_confirmed() {
    let mut harness = Harness::live();
    let run = harness.reloaded(csv(&fleet(1..4))).arg("-v").run().succeeds().stdout_is("");
    let run = run.stderr_contains("3 hosts added, 0 removed, 0 changed, 3 now");
    let _told = run.stderr_contains("the running Nagios has taken it");
    assert_eq!(harness.watched().len(), 4, "confirmed means that it is so already");
    harness.watches(1..4);
    // One gone, two new.
    let _run = harness.reloaded(csv(&fleet(2..6))).run().succeeds().stdout_is("").stderr_is_empty();
    harness.watches(2..6);
    assert_eq!(harness.reloads(), 2);
    assert!(harness.is_up());
    assert_eq!(harness.hidden(), [".fleet.cfg.good", ".fleet.cfg.lock"]);
}

#[test]
fn an_unchanged_fleet_is_neither_written_nor_reloaded() {
    let harness = Harness::live();
    let list = csv(&fleet(1..4));
    let _first = harness.reloaded(list.clone()).run().succeeds();
    let look = || {
        let file = |name: &String| {
            let metadata = fs::symlink_metadata(harness.path("conf.d").join(name)).unwrap();
            (name.clone(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
        };
        let mut seen: Vec<_> = names_in(&harness.path("conf.d")).iter().map(file).collect();
        let dir = fs::metadata(harness.path("conf.d")).unwrap();
        seen.push((String::new(), dir.ino(), dir.ctime(), dir.ctime_nsec()));
        seen
    };
    let before = look();
    for _ in 0..3 {
        let _again = harness.reloaded(list.clone()).run().succeeds().stdout_is("").stderr_is_empty();
    }
    assert_eq!(look(), before, "not even a temporary file was made");
    assert_eq!(harness.reloads(), 1);
}

/// What else is in the tree may have changed, and the next reload would end Nagios.
#[test]
fn an_unchanged_file_is_still_verified() {
    let harness = Harness::live();
    let list = csv(&fleet(1..4));
    let _first = harness.reloaded(list.clone()).run().succeeds();
    let before = names_in(&harness.path("conf.d"));
    let dir = || fs::metadata(harness.path("conf.d")).unwrap().ctime_nsec();
    let untouched = dir();
    let again = |words: &[&str]| harness.tool(list.clone()).args(words).run();
    for words in [&[][..], &["--dry-run"], &["--reload", "true"]] {
        let run = again(&[&["--verify", "/no/such/nagios.cfg"], words].concat()).fails_with(1).stderr_is_one_line();
        let _named = run.stdout_is("").stderr_contains("/no/such/nagios.cfg");
        let run = harness.verified(list.clone()).args(words).args(["--nagios", "/no/such/nagios"]).run().fails_with(1);
        let _named = run.stderr_is_one_line().stderr_contains("unable to run /no/such/nagios");
    }
    let _run = again(&["--template", "/no/such/template"]).fails_with(1).stderr_contains("/no/such/template");
    assert_eq!(dir(), untouched);
    fs::write(harness.path("conf.d/other.cfg"), "define host {\n").unwrap();
    let run = harness.reloaded(list.clone()).run().fails_with(1).stdout_is("").stderr_is_one_line();
    let _named = run.stderr_contains("unable to verify").stderr_contains("other.cfg");
    fs::remove_file(harness.path("conf.d/other.cfg")).unwrap();
    let main = fs::read_to_string(harness.cfg()).unwrap();
    fs::write(harness.cfg(), main.replace("cfg_dir=conf.d\n", "")).unwrap();
    let _unread = harness.reloaded(list.clone()).run().fails_with(1).stderr_contains("no cfg_file or cfg_dir names it");
    fs::write(harness.cfg(), main).unwrap();
    let run = harness.reloaded(list).arg("-v").run().succeeds();
    let _told = run.stderr_contains("Nagios accepts it").stderr_contains("is up to date");
    assert_eq!((names_in(&harness.path("conf.d")), harness.reloads()), (before, 1));
}

/// The program that verifies, the command that reloads, the daemon: none of them holds a run up for longer than it may.
#[test]
fn a_nagios_that_hangs_is_given_up() {
    let mut harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let before = harness.content();
    let is_gone = |run: &str| {
        let sleeping = || Tool::new("pgrep").args(["-f", &format!("^sleep {run}$")]).run();
        wait_until("its whole group to be gone", || {
            let found = sleeping();
            if found.stdout_str().is_empty() { Ok(()) } else { Err(found.report()) }
        });
    };
    // A length that no other sleep has.
    let hang = format!("86{:05}", std::process::id() % 100_000);
    let nagios = harness.path("bin/nagios");
    fs::write(&nagios, format!("#!/bin/sh\nsleep {hang} & sleep {hang}\n")).unwrap();
    fs::set_permissions(&nagios, fs::Permissions::from_mode(0o755)).unwrap();
    // Changed and unchanged.
    for list in [fleet(1..4), fleet(1..3)] {
        let run = harness.verified(csv(&list)).args(["--timeout", "1s", "--nagios"]).arg(&nagios).run();
        let run = run.fails_with(75).stdout_is("").stderr_is_one_line();
        let _told = run.stderr_contains("has not ended within 1 s and was killed");
        is_gone(&hang);
    }
    let command = format!("sleep {hang} & sleep {hang}");
    let run = harness.reloaded_by(csv(&fleet(1..4)), &command).args(["--timeout", "1s"]).run().fails_with(75);
    let _told = run.stderr_is_one_line().stderr_contains("has not ended within 1 s and was killed");
    is_gone(&hang);
    // The daemon itself does not move.
    let _stopped = Tool::new("kill").args(["-STOP", &harness.pid().to_string()]).run().succeeds();
    let run = harness.reloaded(csv(&fleet(1..4))).args(["--timeout", "1s"]).run().fails_with(75).stderr_is_one_line();
    let _told = run.stderr_contains("Nagios has not taken it within 1 s");
    // A command that takes its time takes it from the same limit: else it would be given three times.
    let given = harness.reloads();
    let command = format!("sleep 0.8; kill -HUP {}", harness.pid());
    let run = harness.reloaded_by(csv(&fleet(1..4)), &command).args(["--timeout", "1s"]).run().fails_with(75);
    let _told = run.stderr_is_one_line().stderr_contains("Nagios has not taken it within 1 s");
    assert_eq!(harness.reloads(), given + 2, "once for the new file and once for the old one");
    let _goes_on = Tool::new("kill").args(["-CONT", &harness.pid().to_string()]).run().succeeds();
    assert_eq!(harness.content(), before);
    // What should be its configuration, and has no end.
    let _made = Tool::new("mkfifo").arg(harness.path("pipe.cfg")).run().succeeds();
    let run = harness.tool(csv(&fleet(1..4))).arg("--verify").arg(harness.path("pipe.cfg")).run().fails_with(1);
    let _told = run.stderr_is_one_line().stderr_contains("pipe.cfg is not a file");
    assert!(harness.is_up());
    let _run = harness.reloaded(csv(&fleet(1..4))).run().succeeds();
    harness.watches(1..4);
}

/// The command fails: Nagios goes on with what it had, and so does FILE.
#[test]
fn a_reload_command_that_fails_is_rolled_back() {
    let mut harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let before = harness.content();
    let run = harness.reloaded_by(csv(&fleet(1..4)), "echo no bus >&2; exit 7").run().fails_with(1);
    let run = run.stdout_is("").stderr_is_one_line().stderr_contains("is rolled back to the last good one");
    let run = run.stderr_contains("failed (exit status: 7): no bus");
    let _told = run.stderr_contains("which is not confirmed either");
    assert_eq!(harness.content(), before);
    assert!(harness.is_up());
    harness.watches(1..3);
    // What was not confirmed is not forgotten: the same old list is reloaded once more, and then never again.
    for _ in 0..2 {
        let _run = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    }
    assert_eq!(harness.reloads(), 4, "one, two of the failed run, one");
    let _run = harness.reloaded(csv(&fleet(1..4))).run().succeeds();
    harness.watches(1..4);
}

/// The command works the second time: the old fleet is confirmed, and nothing is left to do.
#[test]
fn a_rollback_is_confirmed_too() {
    let mut harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let before = harness.content();
    let flag = harness.path("flag");
    let command = format!("test -e {0} && exec kill -HUP {1}; touch {0}; exit 75", flag.display(), harness.pid());
    let run = harness.reloaded_by(csv(&fleet(1..4)), &command).run().fails_with(75).stderr_is_one_line();
    let _told = run.stderr_contains("is rolled back to the last good one, which Nagios has taken");
    assert_eq!(harness.content(), before);
    assert!(harness.is_up());
    harness.watches(1..3);
    assert_eq!(harness.hidden(), [".fleet.cfg.good", ".fleet.cfg.lock"]);
    let reloads = harness.reloads();
    let _same = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    assert_eq!(harness.reloads(), reloads);
}

/// A command that says yes and does nothing is not believed.
#[test]
fn a_reload_that_nagios_does_not_take_is_rolled_back() {
    let mut harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let before = harness.content();
    let run = harness.reloaded_by(csv(&fleet(1..4)), "true").args(["--timeout", "1s"]).run().fails_with(75);
    let run = run.stderr_is_one_line().stderr_contains("Nagios has not taken it within 1 s");
    let _told = run.stderr_contains("objects.cache was not written again");
    assert_eq!(harness.content(), before);
    assert!(harness.is_up());
    harness.watches(1..3);
}

/// Nagios reads something else than what was verified.
#[test]
fn another_configuration_than_the_verified_one_is_no_confirmation() {
    let harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let other = harness.path("conf.d/other.cfg");
    let command = format!(
        "printf 'define host {{\\n use linux-server\\n host_name other\\n address 1.2.3.4\\n}}\\n' >{}; kill -HUP {}",
        other.display(),
        harness.pid()
    );
    let run = harness.reloaded_by(csv(&fleet(1..4)), &command).args(["--timeout", "4s"]).run().fails_with(75);
    let run = run.stderr_contains("has other objects than the verified configuration");
    // The way back was verified with the other file in place, so it is confirmed.
    let _told = run.stderr_contains("is rolled back to the last good one, which Nagios has taken");
}

#[test]
fn a_dead_nagios_confirms_nothing() {
    let mut harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let before = harness.content();
    let command = format!("kill -KILL {}", harness.pid());
    let run = harness.reloaded_by(csv(&fleet(1..4)), &command).args(["--timeout", "1s"]).run().fails_with(75);
    let _told = run.stderr_contains("is rolled back to the last good one, which is not confirmed either");
    assert_eq!(harness.content(), before);
    harness.start();
    let _again = harness.reloaded(csv(&fleet(1..4))).run().succeeds();
    harness.watches(1..4);
}

/// The first file of a tree: going back means a file without hosts, which a `cfg_file` line can still name.
#[test]
fn there_is_a_way_back_from_the_first_file() {
    let harness = Harness::live();
    let _run = harness.reloaded_by(csv(&fleet(1..4)), "false").run().fails_with(1);
    assert_eq!(harness.content().as_deref(), Some(""));
    let _accepted = harness.precache();
    let _run = harness.reloaded(csv(&fleet(1..4))).run().succeeds();
    harness.watches(1..4);
}

#[test]
fn what_nagios_refuses_never_reaches_it() {
    let mut harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let before = harness.content();
    let run = harness.reloaded(csv(&fleet(1..4))).args(["--use", "no-such-template"]).run().fails_with(1);
    let run = run.stdout_is("").stderr_is_one_line().stderr_contains("unable to verify");
    let _told = run.stderr_contains("Error: Template 'no-such-template' specified in host definition could not be");
    // Somebody else's file is broken: a reload now would end Nagios.
    fs::write(harness.path("conf.d/other.cfg"), "define host {\n").unwrap();
    let run = harness.reloaded(csv(&fleet(1..4))).run().fails_with(1).stderr_contains("other.cfg");
    let _one = run.stderr_is_one_line();
    assert_eq!(harness.content(), before);
    assert_eq!(harness.reloads(), 1);
    assert_eq!(harness.hidden(), [".fleet.cfg.good", ".fleet.cfg.lock"]);
    fs::remove_file(harness.path("conf.d/other.cfg")).unwrap();
    assert!(harness.is_up());
    harness.watches(1..3);
}

#[test]
fn a_run_that_was_killed_before_the_reload_is_finished_by_the_next() {
    let harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..3))).run().succeeds();
    let list = csv(&fleet(1..4));
    let _killed = harness.reloaded_by(list.clone(), "kill -KILL $PPID").run().killed_by(9);
    assert!(harness.content().unwrap().contains("i-00000003"), "it was replaced");
    harness.watches(1..3);
    let _next = harness.reloaded(list.clone()).run().succeeds();
    harness.watches(1..4);
    assert_eq!(harness.hidden(), [".fleet.cfg.good", ".fleet.cfg.lock"]);
    let reloads = harness.reloads();
    let _same = harness.reloaded(list).run().succeeds();
    assert_eq!(harness.reloads(), reloads);
}

#[test]
fn a_signal_ends_the_wait_and_the_next_run_finishes() {
    let harness = Harness::live();
    let list = csv(&fleet(1..4));
    let waiting = harness.reloaded_by(list.clone(), "echo reloading >&2; sleep 600").start();
    wait_until("the reload command runs", || match harness.reloads() {
        1 => Ok(()),
        n => Err(format!("{n} reloads")),
    });
    waiting.terminate();
    let _ended = waiting.wait().killed_by(15).stdout_is("").stderr_is_empty();
    assert!(!harness.path("conf.d/.fleet.cfg.verify").exists());
    let _next = harness.reloaded(list).run().succeeds();
    harness.watches(1..4);
}

/// A run waits for the one before it, whichever file it writes: another file changes the tree that was verified.
#[test]
fn runs_at_once_take_turns() {
    let harness = Harness::live();
    let (log, gate) = (harness.path("log"), harness.path("gate"));
    let command = |name: &str| {
        let (log, gate) = (log.display(), gate.display());
        format!(
            "echo begin {name} >>{log}; until test -e {gate}; do sleep 0.01; done; kill -HUP {}; echo end {name} >>{log}",
            harness.pid()
        )
    };
    let first = harness.reloaded_by(csv(&fleet(1..3)), &command("first")).start();
    let said = |what: &str| fs::read_to_string(&log).unwrap_or_default().contains(what);
    wait_until("the first run reloads", || if said("begin first") { Ok(()) } else { Err("not yet".to_owned()) });
    // One more on this file, and one on another file of the same tree.
    let mut second = harness.reloaded_by(csv(&fleet(1..4)), &command("second")).start();

    let third =
        crate::harness::nagios_gen().stdin(csv(&fleet(7..9))).arg("--output").arg(harness.path("conf.d/third.cfg"));
    let third =
        third.arg("--no-hostgroups").arg("--verify").arg(harness.cfg()).arg("--reload").arg(command("third")).start();
    let refused = harness.verified(csv(&fleet(1..5))).args(["--timeout", "100ms"]).run().fails_with(75);
    let _told = refused.stderr_contains("another run is at work");
    assert!(second.is_running());
    fs::write(&gate, "").unwrap();
    for run in [first, second, third] {
        let _run = run.wait().succeeds();
    }
    let log = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 6, "{log}");
    for pair in lines.chunks(2) {
        assert_eq!(pair[0].strip_prefix("begin "), pair[1].strip_prefix("end "), "{log}");
    }
    harness.watches([1, 2, 3, 7, 8]);
}
