//! A fresh Debian, by chroot or booted, and the package of this build.

use end_to_end::{bin_dir, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;
use testkit::{Finished, Running, Tool, wait_until};

/// A script of this repository, for the tools of this build.
pub(crate) fn script(name: &str) -> Tool {
    let target = bin_dir().parent().unwrap().to_owned();
    // Downloads are kept at home.
    let home = std::env::var_os("HOME").unwrap();
    Tool::new(root().join("scripts").join(name)).env("CARGO_TARGET_DIR", target).env("HOME", home)
}

/// A fresh Debian.
pub(crate) struct Debian {
    dir: TempDir,
}

impl Debian {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        script("stack").arg("debian").arg(dir.path()).run().succeeds();
        Self { dir }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    /// A command in it, by a shell.
    pub(crate) fn sh(&self, command: &str) -> Finished {
        let chroot = Tool::new("chroot").arg(self.dir.path()).args(["/usr/bin/env", "-i"]);
        let chroot = chroot.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=xterm", "LC_ALL=C.UTF-8"]);
        chroot.args(["/bin/bash", "-c", command]).run()
    }

    /// The same under its own systemd.
    pub(crate) fn boot(self) -> Booted {
        let systemd = script("boot").arg(self.dir.path()).start();
        let pid = wait_until("systemd to come up", || {
            let said = String::from_utf8_lossy(&systemd.stdout_so_far()).into_owned();
            let pid = said.strip_suffix('\n').map(str::to_owned);
            pid.ok_or_else(|| String::from_utf8_lossy(&systemd.stderr_so_far()).into_owned())
        });
        Booted { systemd, pid, debian: self }
    }

    pub(crate) fn install(&self, package: &Path) -> Finished {
        fs::copy(package, self.path("/tmp/package.deb")).unwrap();
        let done = self.sh("dpkg --install --force-confold /tmp/package.deb </dev/null");
        fs::remove_file(self.path("/tmp/package.deb")).unwrap();
        done
    }

    /// Every path but those of what the system notes of itself.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.dir.path().to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = format!("/{}", path.strip_prefix(self.dir.path()).unwrap().display());
                if ["/var/lib/dpkg", "/var/log", "/var/cache", "/proc", "/root", "/run"].contains(&name.as_str()) {
                    continue;
                }
                if fs::symlink_metadata(&path).unwrap().is_dir() {
                    open.push(path);
                }
                found.insert(name);
            }
        }
        found
    }
}

/// The package of this build: the one that `TEST_PACKAGE` names, or one of this process's own.
pub(crate) fn package() -> &'static Path {
    static MADE: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(made) = std::env::var_os("TEST_PACKAGE") {
            return PathBuf::from(made);
        }
        // Tests are processes of their own, which make theirs at the same time.
        let test = std::thread::current().name().unwrap_or("package").replace("::", "-");
        let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        fs::create_dir_all(&into).unwrap();
        let made = script("package").arg(into).run().succeeds().stderr_is_empty();
        PathBuf::from(made.stdout_str().trim_end())
    });
    &MADE
}

/// A Debian whose systemd runs, on this host's network.
pub(crate) struct Booted {
    systemd: Running,
    pid: String,
    pub(crate) debian: Debian,
}

impl Booted {
    /// A command in it, by a shell.
    pub(crate) fn sh(&self, command: &str) -> Finished {
        let inside = Tool::new("nsenter").args(["--target", &self.pid]);
        let inside =
            inside.args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd", "/usr/bin/env", "-i"]);
        let inside = inside.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8"]);
        inside.args(["/bin/bash", "-c", command]).run()
    }

    /// What systemd knows of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.sh(&format!("systemctl show --property {name} --value {unit}")).succeeds();
        shown.stdout_str().trim_end().to_owned()
    }

    /// What a unit has written since it was started first.
    pub(crate) fn journal(&self, unit: &str) -> String {
        self.sh(&format!("journalctl --unit {unit} --output cat --no-pager")).succeeds().stdout_str().to_owned()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.systemd.terminate();
        // What still runs in it could write into the directory while that is removed.
        let systemd = &mut self.systemd;
        wait_until("systemd to end", || if systemd.is_running() { Err("it runs".to_owned()) } else { Ok(()) });
    }
}
