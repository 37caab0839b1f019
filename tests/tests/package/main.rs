//! The package and `scripts/install`, in a Debian that nobody has installed anything in. Needs root, for chroot.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod debian;
mod units;

use debian::{Debian, package, script};
use end_to_end::tools;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use testkit::Tool;

/// The same with a higher version and another setting.
fn next(package: &Path, into: &Path) -> PathBuf {
    let tree = into.join("next");
    Tool::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree).run().succeeds();
    let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
    let raised = control.replacen("Version: ", "Version: 1:", 1);
    assert_ne!(control, raised);
    fs::write(tree.join("DEBIAN/control"), raised).unwrap();
    for name in ["ship-logs", "spot-watch"] {
        let setting = tree.join("etc/default").join(name);
        let text = fs::read_to_string(&setting).unwrap();
        fs::write(&setting, format!("{text}# Since the next version.\n")).unwrap();
    }
    let made = into.join("next.deb");
    Tool::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&made).run().succeeds();
    made
}

#[test]
fn installed_upgraded_removed() {
    let dir = tempfile::tempdir().unwrap();
    let package = package();
    let debian = Debian::new();
    let before = debian.files();
    debian.install(package).succeeds();
    fs::remove_file(debian.path("/usr/sbin/policy-rc.d")).ok();

    for tool in tools() {
        debian.sh(&format!("{tool} --version")).succeeds().stdout_contains(&tool);
        debian.sh(&format!("{tool} --help")).succeeds().stdout_contains("Exit codes:");
        let page = debian.sh(&format!("man --warnings=w {tool} | cat")).succeeds().stderr_is_empty();
        // Lines are filled with spaces.
        let page = page.stdout_str().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains(&format!("NAME {tool} - ")) && page.contains("--help"), "{page}");
        debian.sh(&format!("[ -s /usr/share/doc/asg-tools/{tool}.md ]")).succeeds();
        // What each shell offers after an option's first letters.
        let bash = format!(
            ". /usr/share/bash-completion/bash_completion; _completion_loader {tool}; \
             COMP_WORDS=({tool} --verb) COMP_CWORD=1 COMP_LINE='{tool} --verb' COMP_POINT=99; \
             $(complete -p {tool} | sed 's/.*-F \\([^ ]*\\) .*/\\1/') {tool} --verb {tool}; echo \"${{COMPREPLY[@]}}\""
        );
        debian.sh(&bash).succeeds().stdout_is("--verbose\n");
        let zsh = format!("zsh -fc 'autoload -U compinit; compinit -D; echo $_comps[{tool}]'");
        debian.sh(&zsh).succeeds().stdout_is(&format!("_{tool}\n"));
        debian.sh(&format!("fish -c 'complete -C \"{tool} --verb\"'")).succeeds().stdout_contains("--verbose\t");
    }
    for pipeline in
        ["create-build", "promote-build", "instance-boot", "asg-code-push", "ship-logs", "mirror-yum", "dashboard"]
    {
        debian.sh(pipeline).fails_with(2).stderr_contains("is not set; usage:");
    }
    debian.sh("ls /usr/share/asg-tools/ansible/code-push.yml").succeeds();
    let units = "/usr/lib/systemd/system/{spot-watch,log-ship,log-index}.service";
    debian.sh(&format!("systemd-analyze verify --man=no {units}")).succeeds().stderr_is_empty();
    debian.sh("logrotate --debug /etc/logrotate.d/asg-tools").succeeds();
    for path in ["/usr/bin/log-ship", "/etc/default/ship-logs", "/usr/lib/systemd/system/spot-watch.service"] {
        let meta = fs::metadata(debian.path(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o022), (0, 0, 0), "{path}");
    }

    // Settings and state are the team's. What may hold a secret is root's to read alone.
    let mode = |name: &str| fs::metadata(debian.path(&format!("/etc/default/{name}"))).unwrap().mode() & 0o777;
    let modes = || ["log-index", "ship-logs", "spot-watch"].map(mode);
    assert_eq!(modes(), [0o600; 3]);
    // An earlier version had them all at 644. Another mode, or an override, is somebody's decision.
    let override_one = "dpkg-statoverride --update --add root root 0644 /etc/default/log-index";
    debian.sh(&format!("cd /etc/default && chmod 644 spot-watch && chmod 640 ship-logs && {override_one}")).succeeds();
    let mine = "SPOT_WATCH_OPTIONS=--raise obelix_ondemand_asg\n";
    fs::write(debian.path("/etc/default/spot-watch"), mine).unwrap();
    fs::create_dir_all(debian.path("/var/lib/private/log-ship/spool")).unwrap();
    fs::write(debian.path("/var/lib/private/log-ship/positions-1"), "positions").unwrap();
    debian.install(&next(package, dir.path())).succeeds();
    assert_eq!(fs::read_to_string(debian.path("/etc/default/spot-watch")).unwrap(), mine);
    let other = fs::read_to_string(debian.path("/etc/default/ship-logs")).unwrap();
    assert!(other.ends_with("# Since the next version.\n"), "{other}");
    assert_eq!(modes(), [0o644, 0o640, 0o600]);
    assert_eq!(mode("spot-watch.dpkg-dist"), 0o600);
    debian.sh("dpkg-statoverride --remove /etc/default/log-index").succeeds();

    debian.sh("dpkg --remove asg-tools").succeeds();
    let kept: Vec<String> = debian.files().difference(&before).cloned().collect();
    let expected = [
        "/etc/default/log-index",
        "/etc/default/ship-logs",
        "/etc/default/spot-watch",
        "/etc/default/spot-watch.dpkg-dist",
        "/etc/logrotate.d/asg-tools",
        "/var/lib/private/log-ship",
        "/var/lib/private/log-ship/positions-1",
        "/var/lib/private/log-ship/spool",
    ];
    let kept: Vec<&str> = kept.iter().map(String::as_str).filter(|path| *path != "/var/lib/private").collect();
    assert_eq!(kept, expected);
    debian.sh("dpkg --purge asg-tools").succeeds();
    let left: Vec<String> = debian.files().difference(&before).cloned().collect();
    assert!(left.iter().all(|path| path == "/var/lib/private"), "{left:?}");
    assert!(before.is_subset(&debian.files()), "nothing of the system is gone");
}

#[test]
fn on_a_plain_host() {
    let dir = tempfile::tempdir().unwrap();
    let install = || script("install").arg("--destdir").arg(dir.path());
    let first = install().run().succeeds().stderr_is_empty();
    for path in first.stdout_str().lines() {
        assert!(dir.path().join(&path[1..]).exists(), "{path}");
    }
    for tool in tools() {
        let installed = dir.path().join("usr/local/bin").join(&tool);
        Tool::new(installed).arg("--version").run().succeeds().stdout_contains(&tool);
    }
    let unit = fs::read_to_string(dir.path().join("etc/systemd/system/log-ship.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/ship-logs "), "{unit}");
    // By a link, it finds what lies beside it.
    let push = dir.path().join("usr/local/bin/asg-code-push");
    Tool::new(push).run().fails_with(2).stderr_contains("SERVICE is not set");

    let mine = dir.path().join("etc/default/ship-logs");
    let mode = || fs::metadata(&mine).unwrap().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let drain =
        fs::read_to_string(dir.path().join("usr/local/share/doc/asg-tools/examples/systemd/spot-watch-drain.conf"))
            .unwrap();
    assert!(drain.contains("install -D -m 644 /usr/local/share/doc/asg-tools/examples/"), "{drain}");
    fs::write(&mine, "KAFKA_BROKERS=kafka:9092\n").unwrap();
    install().run().succeeds().stderr_contains("/etc/default/ship-logs stays as it is");
    assert_eq!(fs::read_to_string(&mine).unwrap(), "KAFKA_BROKERS=kafka:9092\n");
    for (before, after) in [(0o644, 0o600), (0o640, 0o640)] {
        fs::set_permissions(&mine, fs::Permissions::from_mode(before)).unwrap();
        install().run().succeeds();
        assert_eq!(mode(), after);
    }
    script("install").arg("--what").run().fails_with(2);
}

/// Asked of a tool: what it generates and how it refuses the rest.
#[test]
fn generated() {
    for tool in tools() {
        for (what, word) in [("man", ".TH"), ("bash", "COMPREPLY"), ("fish", "complete -c"), ("zsh", "#compdef")] {
            end_to_end::tool(&tool).args(["--generate", what]).run().succeeds().stderr_is_empty().stdout_contains(word);
        }
        for wrong in [&["--generate"][..], &["--generate", "csh"], &["--generate", "man", "bash"]] {
            let refused = end_to_end::tool(&tool).args(wrong).run().fails_with(2).stderr_is_one_line();
            refused.stderr_contains("--generate takes one of man, bash, fish, zsh");
        }
    }
}
