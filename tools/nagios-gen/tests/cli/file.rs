//! FILE: replaced whole or not at all, with what lies around it left as it is.

use crate::fleet::{csv, fleet, host};
use crate::harness::{Harness, names_in};
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use testkit::Tool;

#[test]
fn mode_and_owner_stay() {
    let harness = Harness::new();
    let _first = harness.tool(csv(&fleet(1..3))).run().succeeds().stdout_is("").stderr_is_empty();
    assert_eq!(fs::metadata(harness.file()).unwrap().mode() & 0o7777, 0o644, "Nagios can read it");
    fs::set_permissions(harness.file(), Permissions::from_mode(0o640)).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        chown(harness.file(), Some(12_345), Some(54_321)).unwrap();
    }
    let before = fs::metadata(harness.file()).unwrap();
    let _second = harness.tool(csv(&fleet(1..4))).run().succeeds();
    let after = fs::metadata(harness.file()).unwrap();
    assert_ne!(before.ino(), after.ino(), "a new file, renamed into place");
    let owner = |metadata: &fs::Metadata| (metadata.mode(), metadata.uid(), metadata.gid());
    assert_eq!(owner(&before), owner(&after));
    assert_eq!(harness.hidden(), [".fleet.cfg.lock"]);
    let _same = harness.tool(csv(&fleet(1..4))).run().succeeds();
    assert_eq!(fs::metadata(harness.file()).unwrap().ino(), after.ino());
}

/// Nagios gives its privileges up before it checks, so it finds out.
#[test]
fn a_file_that_nagios_can_not_read_is_refused() {
    let harness = Harness::new();
    let _first = harness.verified(csv(&fleet(1..4))).run().succeeds();
    let before = harness.content();
    fs::set_permissions(harness.file(), Permissions::from_mode(0o200)).unwrap();
    let refused = harness.verified(csv(&fleet(1..5))).run().fails_with(1).stderr_is_one_line();
    let why = if rustix::process::geteuid().is_root() { "unable to verify" } else { "unable to read" };
    let _told = refused.stderr_contains(why);
    fs::set_permissions(harness.file(), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(harness.content(), before);
}

#[test]
fn a_link_stays_a_link() {
    let harness = Harness::new();
    fs::create_dir(harness.path("elsewhere")).unwrap();
    fs::write(harness.path("elsewhere/real.cfg"), "").unwrap();
    symlink(harness.path("elsewhere/real.cfg"), harness.file()).unwrap();
    // Nagios reads it through the link.
    let _run = harness.verified(csv(&fleet(1..3))).run().succeeds();
    assert!(fs::symlink_metadata(harness.file()).unwrap().is_symlink());
    assert!(fs::read_to_string(harness.path("elsewhere/real.cfg")).unwrap().contains("i-00000002"));
}

/// A rename would put a file where the device, the pipe or the link was.
#[test]
fn what_is_no_file_stays_what_it_is() {
    let harness = Harness::new();
    symlink(harness.path("elsewhere.cfg"), harness.file()).unwrap();
    let run = harness.tool(csv(&fleet(1..3))).run().fails_with(1).stderr_is_one_line();
    let _told = run.stderr_contains("it is a link to a file that does not exist");
    fs::remove_file(harness.file()).unwrap();
    let _made = Tool::new("mkfifo").arg(harness.file()).run().succeeds();
    let run = harness.tool(csv(&fleet(1..3))).run().fails_with(1).stderr_is_one_line();
    let _told = run.stderr_contains("it is a device or a pipe");
    assert!(fs::symlink_metadata(harness.file()).unwrap().file_type().is_fifo());
    assert!(harness.hidden().is_empty());
}

#[test]
fn an_empty_or_shrunken_list_is_refused() {
    let harness = Harness::new();
    let empty = csv(&[]);
    let refused = harness.tool(empty.clone()).run().fails_with(1).stderr_is_one_line();
    let _told = refused.stderr_contains("no host to watch (--allow-empty accepts that)");
    assert_eq!(harness.content(), None);
    let _ten = harness.tool(csv(&fleet(0..10))).run().succeeds();
    let before = harness.content();
    for list in [csv(&fleet(0..6)), empty.clone(), Vec::new()] {
        let code = if list.is_empty() { 75 } else { 1 };
        let _refused = harness.tool(list).run().fails_with(code).stdout_is("").stderr_is_one_line();
        assert_eq!(harness.content(), before);
    }
    // All of them stopped: not a host is left, however long the list is.
    let mut stopped = fleet(0..10);
    stopped.iter_mut().for_each(|host| host.instance_state = "stopped".to_owned());
    let _refused = harness.tool(csv(&stopped)).arg("-q").run().fails_with(1).stderr_is_one_line();
    assert_eq!(harness.content(), before);

    let _exactly = harness.tool(csv(&fleet(0..7))).run().succeeds();
    let refused = harness.tool(csv(&fleet(0..1))).args(["--max-shrink", "85%"]).run().fails_with(1);
    let _told = refused.stderr_contains("1 hosts are left of 7, which is a loss of more than 85%");
    let _wider = harness.tool(csv(&fleet(0..1))).args(["--max-shrink", "86"]).run().succeeds();
    let _none = harness.tool(empty).arg("--allow-empty").run().succeeds();
    assert_eq!(harness.content().as_deref(), Some(""));
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let harness = Harness::live();
    let _first = harness.reloaded(csv(&fleet(1..5))).run().succeeds();
    let before = (harness.content(), names_in(&harness.path("conf.d")), harness.reloads());
    let mut next = fleet(2..7);
    next[0].private_ip = "172.31.0.9".to_owned();
    let run = harness.reloaded(csv(&next)).arg("--dry-run").run().succeeds();
    let run = run.stdout_is(
        "added\tob-appengine-i-00000005\nadded\tob-appengine-i-00000006\nchanged\tob-appengine-i-00000002\n\
         removed\tob-appengine-i-00000001\n",
    );
    let _told = run.stderr_contains("dry run: nothing was changed: 2 hosts added, 1 removed, 1 changed, 5 now");
    // It verifies, and it refuses what a run would refuse.
    let _run = harness.reloaded(csv(&next)).args(["--dry-run", "--use", "none"]).run().fails_with(1).stdout_is("");
    let _run = harness.reloaded(csv(&fleet(1..2))).arg("--dry-run").run().fails_with(1).stdout_is("");
    assert_eq!((harness.content(), names_in(&harness.path("conf.d")), harness.reloads()), before);
}

#[test]
fn a_file_that_nagios_does_not_read_is_not_verified() {
    let harness = Harness::new();
    for outside in ["fleet.cfg", "conf.d/fleet.txt", "conf.d/.fleet.cfg"] {
        let run = crate::harness::nagios_gen().stdin(csv(&fleet(1..3))).arg("--output").arg(harness.path(outside));
        let run = run.arg("--verify").arg(harness.cfg()).run().fails_with(1).stderr_is_one_line();
        let _told = run.stderr_contains("no cfg_file or cfg_dir names it");
        assert!(!harness.path(outside).exists());
    }
    // Named by a line of its own, or somewhere below.
    let main = fs::read_to_string(harness.cfg()).unwrap();
    fs::write(harness.cfg(), format!("{main}cfg_file=fleet.cfg\n")).unwrap();
    fs::create_dir_all(harness.path("conf.d/eu/west")).unwrap();
    for (n, inside) in ["fleet.cfg", "conf.d/eu/west/fleet.cfg"].into_iter().enumerate() {
        let n = u32::try_from(n).unwrap() * 10;
        let run = crate::harness::nagios_gen().stdin(csv(&fleet(n..n + 3))).arg("--output").arg(harness.path(inside));
        let run = run.args(["--no-hostgroups", "--verify"]).arg(harness.cfg());
        fs::write(harness.path("groups.cfg"), "define hostgroup {\n hostgroup_name obelix-spot-servers\n}\n").unwrap();
        if n == 0 {
            let main = fs::read_to_string(harness.cfg()).unwrap();
            fs::write(harness.cfg(), format!("{main}cfg_file=groups.cfg\n")).unwrap();
        }
        let _run = run.run().succeeds();
    }
    assert_eq!(harness.precache().matches("define host {").count(), 7);
}

#[test]
fn what_is_in_the_way_is_named() {
    let harness = Harness::new();
    let list = csv(&fleet(1..3));
    let run = crate::harness::nagios_gen().stdin(list.clone()).arg("--output").arg(harness.path("no/such/dir.cfg"));
    let _run = run.run().fails_with(1).stderr_is_one_line().stderr_contains("no/such/dir.cfg");
    let run = crate::harness::nagios_gen().stdin(list.clone()).arg("--output").arg(harness.path("conf.d"));
    let _run = run.run().fails_with(1).stderr_contains("it is a directory");
    let run = harness.tool(list.clone()).arg("--verify").arg(harness.path("none.cfg")).run().fails_with(1);
    let _told = run.stderr_is_one_line().stderr_contains("none.cfg");
    let run = harness.verified(list.clone()).args(["--nagios", "/no/such/nagios"]).run().fails_with(1);
    let _told = run.stderr_is_one_line().stderr_contains("unable to run /no/such/nagios");
    let run = harness.verified(list.clone()).args(["--nagios", "/bin/sleep"]).run().fails_with(1);
    let _told = run.stderr_is_one_line().stderr_contains("unable to verify");
    // No evidence to be had: said before anything is changed.
    let main = fs::read_to_string(harness.cfg()).unwrap();
    fs::write(harness.cfg(), main.replace("status_file=var/status.dat", "status_file=/dev/null")).unwrap();
    let run = harness.reloaded_by(list, "true").run().fails_with(1).stderr_is_one_line();
    let _told = run.stderr_contains("names no status_file");
    assert_eq!((harness.content(), harness.reloads()), (None, 0));
    assert_eq!(harness.hidden(), [".fleet.cfg.lock"]);
}

/// What root's Nagios is given to read can't be changed by the user to whom FILE's directory belongs: a check there takes a
/// check of a tree that nobody else can write.
#[test]
fn a_check_in_another_users_directory() {
    const SOMEBODY: u32 = 54_321;
    assert!(rustix::process::geteuid().is_root(), "the test is about what root believes");
    let harness = Harness::new();
    let list = csv(&fleet(1..3));
    let nagios = harness.path("bin/nagios");
    let script = format!(
        "#!/bin/sh\nfor file; do :; done\ndir=$(dirname \"$file\")\nstat -c '%u %a' \"$dir\" >>{told}\necho \"$dir\" >>{told}\nexec nagios4 \"$@\"\n",
        told = harness.path("told").display()
    );
    fs::write(&nagios, script).unwrap();
    fs::set_permissions(&nagios, Permissions::from_mode(0o755)).unwrap();
    let conf = harness.path("conf.d");
    for owner in [0, SOMEBODY] {
        chown(&conf, Some(owner), None).unwrap();
        let _told = fs::remove_file(harness.path("told"));
        let more = csv(&fleet(1..4 + owner % 2));
        let _run = harness
            .verified(if owner == 0 { list.clone() } else { more })
            .arg("--nagios")
            .arg(&nagios)
            .run()
            .succeeds();
        let told = fs::read_to_string(harness.path("told")).unwrap();
        let (access, dir) = told.trim_end().split_once('\n').unwrap();
        let (user, mode) = access.split_once(' ').unwrap();
        let in_conf = Path::new(dir).starts_with(&conf);
        let others = u32::from_str_radix(mode, 8).unwrap() & 0o022;
        assert_eq!((user, others, in_conf), ("0", 0, owner == 0), "{told}");
        assert!(!Path::new(dir).exists(), "{dir} is left");
    }
}

#[test]
fn services_for_every_host() {
    let harness = Harness::new();
    let hosts = [host("i-1", "ob", &[("service", "obelix")]), host("i-2", "ob", &[])];
    let services = ["--service", "HTTP=http-service", "--service", "Load 5 min=http-service"];
    let _run = harness.verified(csv(&hosts)).args(services).run().succeeds();
    let text = harness.content().unwrap();
    let first = "define service {\n\tuse\thttp-service\n\thost_name\tob-i-1\n\tservice_description\tHTTP\n}\n";
    assert!(text.contains(first), "{text}");
    assert_eq!(harness.precache().matches("define service {").count(), 5);
}

/// Whoever may write the directory and reach Nagios needs no root.
#[test]
fn without_privileges() {
    let harness = Harness::new();
    let program = harness.path("bin/nagios-gen");
    fs::copy(env!("CARGO_BIN_EXE_nagios-gen"), &program).unwrap();
    let tool = if rustix::process::geteuid().is_root() {
        let id = |flag| Tool::new("id").args([flag, "nagios"]).run().succeeds().stdout_str().trim().parse().ok();
        chown(harness.path("conf.d"), id("-u"), id("-g")).unwrap();
        Tool::new("setpriv").args(["--reuid=nagios", "--regid=nagios", "--clear-groups"]).arg(&program)
    } else {
        Tool::new(&program)
    };
    let tool = tool.cwd("/").arg("--output").arg(harness.file()).arg("--verify").arg(harness.cfg());
    let _first = tool.clone().stdin(csv(&fleet(1..4))).run().succeeds().stderr_is_empty();
    assert!(harness.precache().contains("i-00000003"));
    let _refused = tool.clone().arg("--use").arg("none").stdin(csv(&fleet(1..5))).run().fails_with(1);
    let locks: &[&str] = if rustix::process::geteuid().is_root() {
        // Beside a configuration of root's, this user can't have one.
        &[".fleet.cfg.lock", ".nagios.cfg.lock"]
    } else {
        &[".fleet.cfg.lock"]
    };
    assert_eq!(harness.hidden(), locks);
    if rustix::process::geteuid().is_root() {
        // A file that was somebody else's can't stay theirs: said, and nothing is changed.
        chown(harness.file(), Some(0), Some(0)).unwrap();
        let before = harness.content();
        let run = tool.stdin(csv(&fleet(1..5))).run().fails_with(1).stderr_is_one_line();
        let _told = run.stderr_contains("Operation not permitted");
        assert_eq!(harness.content(), before);
    }
}
