//! A real Nagios with a configuration of its own, and its daemon.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Running, Tool, wait_until};

pub(crate) fn nagios_gen() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_nagios-gen"))
}

pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What Nagios needs beside a fleet: it refuses a configuration without any host or service.
const BASE: &str = "
define command {
\tcommand_name\tnothing
\tcommand_line\t/bin/true
}
define timeperiod {
\ttimeperiod_name\talways
\talias\talways
}
define contact {
\tcontact_name\tnobody
\thost_notification_commands\tnothing
\tservice_notification_commands\tnothing
\thost_notification_period\talways
\tservice_notification_period\talways
}
define host {
\tname\tlinux-server
\tcheck_command\tnothing
\tmax_check_attempts\t3
\tcheck_period\talways
\tnotification_period\talways
\tcontacts\tnobody
\tregister\t0
}
define service {
\tname\thttp-service
\tcheck_command\tnothing
\tmax_check_attempts\t3
\tcheck_period\talways
\tnotification_period\talways
\tcontacts\tnobody
\tregister\t0
}
define host {
\tuse\tlinux-server
\thost_name\tmonitor
\taddress\t127.0.0.1
}
define service {
\tuse\thttp-service
\thost_name\tmonitor
\tservice_description\tself
}
";

/// A configuration in a directory that Nagios' own user can reach, and what runs on it.
pub(crate) struct Harness {
    dir: TempDir,
    daemon: Option<Running>,
}

impl Harness {
    /// A configuration that nothing runs on.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("nagios-harness-").tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let harness = Self { dir, daemon: None };
        for dir in ["conf.d", "var", "var/results", "var/rw", "bin"] {
            fs::create_dir(harness.path(dir)).unwrap();
        }
        let mut owner = ("nagios", "nagios");
        if rustix::process::geteuid().is_root() {
            let name = |flag| Tool::new("id").args([flag, "nagios"]).run().succeeds().stdout_str().trim().parse().ok();
            for dir in ["var", "var/results", "var/rw"] {
                chown(harness.path(dir), name("-u"), name("-g")).unwrap();
            }
        } else {
            owner = ("root", "root"); // not looked at by a Nagios without privileges to give up
        }
        fs::write(harness.path("base.cfg"), BASE).unwrap();
        let main = format!(
            "log_file=var/log\ncfg_file=base.cfg\ncfg_dir=conf.d\nobject_cache_file=var/objects.cache\n\
             precached_object_file=var/objects.precache\nstatus_file=var/status.dat\nstatus_update_interval=1\n\
             command_file=var/rw/cmd\ncheck_external_commands=1\nlock_file=var/lock\ntemp_file={dir}/var/tmp\n\
             temp_path={dir}/var\ncheck_result_path=var/results\nstate_retention_file=var/retention\n\
             query_socket=var/socket\nlog_archive_path=var\nnagios_user={}\nnagios_group={}\n\
             execute_host_checks=0\nexecute_service_checks=0\nenable_notifications=0\ncheck_for_updates=0\n\
             use_syslog=0\ncheck_workers=1\nallow_empty_hostgroup_assignment=1\n\
             illegal_object_name_chars=`~!$%^&*|'\"<>?,()=\nillegal_macro_output_chars=`~$&|'\"<>\n",
            owner.0,
            owner.1,
            dir = harness.dir.path().display(),
        );
        fs::write(harness.cfg(), main).unwrap();
        harness
    }

    /// The same with a daemon.
    pub(crate) fn live() -> Self {
        let mut harness = Self::new();
        harness.start();
        harness
    }

    pub(crate) fn start(&mut self) {
        let daemon = Tool::new("nagios4").arg(self.cfg()).cwd(self.dir.path()).deadline(Duration::from_secs(86_400));
        self.daemon = Some(daemon.start());
        wait_until("Nagios runs", || match self.watched() {
            hosts if hosts.contains(&"monitor".to_owned()) => Ok(()),
            hosts => Err(format!("it watches {hosts:?}; log: {}", self.log())),
        });
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn cfg(&self) -> PathBuf {
        self.path("nagios.cfg")
    }

    /// FILE.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("conf.d/fleet.cfg")
    }

    pub(crate) fn content(&self) -> Option<String> {
        fs::read_to_string(self.file()).ok()
    }

    /// nagios-gen on this harness's FILE.
    pub(crate) fn tool(&self, csv: impl Into<Vec<u8>>) -> Tool {
        nagios_gen().arg("--output").arg(self.file()).stdin(csv)
    }

    pub(crate) fn verified(&self, csv: impl Into<Vec<u8>>) -> Tool {
        self.tool(csv).arg("--verify").arg(self.cfg())
    }

    /// With the daemon's reload, each of which is counted.
    pub(crate) fn reloaded(&self, csv: impl Into<Vec<u8>>) -> Tool {
        self.reloaded_by(csv, &format!("kill -HUP {}", self.pid()))
    }

    pub(crate) fn reloaded_by(&self, csv: impl Into<Vec<u8>>, command: &str) -> Tool {
        let counter = self.path("reloads");
        self.verified(csv).arg("--reload").arg(format!("echo >>{}; {command}", counter.display()))
    }

    pub(crate) fn reloads(&self) -> usize {
        fs::read_to_string(self.path("reloads")).unwrap_or_default().lines().count()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().pid()
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.daemon.as_mut().unwrap().is_running()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("var/log")).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> String {
        fs::read_to_string(self.path("var/status.dat")).unwrap_or_default()
    }

    /// The hosts that the daemon says it watches.
    pub(crate) fn watched(&self) -> Vec<String> {
        let status = self.status();
        let blocks = status.split("hoststatus {").skip(1);
        let names = blocks.filter_map(|block| block.lines().find_map(|line| line.trim().strip_prefix("host_name=")));
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Waits until the daemon watches just these hosts of FILE.
    pub(crate) fn watches(&self, ids: impl IntoIterator<Item = u32>) {
        let mut expected: Vec<String> = ids.into_iter().map(|id| format!("ob-appengine-i-{id:08x}")).collect();
        expected.insert(0, "monitor".to_owned());
        wait_until("Nagios watches the fleet", || {
            let watched = self.watched();
            if watched == expected { Ok(()) } else { Err(format!("{watched:?} instead of {expected:?}")) }
        });
    }

    /// Everything Nagios knows after reading the live tree.
    ///
    /// # Panics
    /// It refuses the tree.
    pub(crate) fn precache(&self) -> String {
        let run = Tool::new("nagios4").arg("-vp").arg(self.cfg()).deadline(Duration::from_secs(600)).run().succeeds();
        assert!(run.stdout_str().contains("Things look okay"), "{}", run.report());
        fs::read_to_string(self.path("var/objects.precache")).unwrap()
    }

    /// What lies beside FILE, hidden from Nagios.
    pub(crate) fn hidden(&self) -> Vec<String> {
        let names = names_in(&self.path("conf.d"));
        names.into_iter().filter(|name| name.starts_with('.')).collect()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            // Its workers end with it; after a kill they would have to find out.
            daemon.terminate();
            let _ended = daemon.wait();
        }
    }
}
