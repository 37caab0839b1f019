//! The scripts themselves, as Jenkins and an instance run them, against a directory, a real S3 server and any other S3.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::aws_cli::AWS_CLI;
use end_to_end::checker::leftovers;
use end_to_end::place::{ARTIFACT, Place};
use end_to_end::{bin_dir, root, stack_tool};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use testkit::{Fault, Finished, Plan, Running, Tool, wait_until};

/// A job: a checkout with a remote, and the environment that Jenkins sets.
struct Job {
    place: Place,
    dir: TempDir,
}

impl Job {
    fn new(place: Place) -> Self {
        let job = Self { place, dir: tempfile::tempdir().unwrap() };
        job.git(".", &["init", "-q", "--bare", "origin.git"]);
        job.git(".", &["clone", "-q", "origin.git", "checkout"]);
        for (file, text) in [("code/run.sh", "echo 1\n"), ("common/lib.sh", "x=1\n"), ("secret/key", "no\n")] {
            let path = job.checkout().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        job.commit("first");
        job
    }

    fn checkout(&self) -> PathBuf {
        self.dir.path().join("checkout")
    }

    fn commit(&self, message: &str) -> String {
        self.git("checkout", &["add", "-A"]);
        let who = ["-c", "user.name=jenkins", "-c", "user.email=jenkins@example.com"];
        self.git("checkout", &[&who[..], &["commit", "-q", "--allow-empty", "-m", message]].concat());
        self.git("checkout", &["push", "-q", "origin", "HEAD"]);
        self.git("checkout", &["rev-parse", "HEAD"])
    }

    fn git(&self, dir: &str, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.dir.path().join(dir)).args(args);
        let run = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(run.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    }

    fn script(&self, name: &str) -> Tool {
        let path = format!("{}:{}", bin_dir().display(), std::env::var("PATH").unwrap());
        let tool = Tool::new(root().join("scripts").join(name)).env("PATH", path);
        self.place
            .reach(tool)
            .env("ARTIFACT", ARTIFACT)
            .env("STORE", self.place.url())
            .env("WORKSPACE", self.checkout())
    }

    fn create_build(&self, number: &str) -> Finished {
        self.script("create-build").env("BUILD_NUMBER", number).args(["code", "common"]).run()
    }

    fn promote_build(&self, release: &str) -> Finished {
        self.script("promote-build").env("RELEASE_VERSION", release).env("GIT_TAG_NAME", "production").run()
    }

    /// Boots into `srv`; what the instance's script and failure hook say ends up in files beside it.
    fn boot(&self, version: &str, script: &str) -> Finished {
        self.boot_tool(version, script).run()
    }

    fn boot_tool(&self, version: &str, script: &str) -> Tool {
        let scripts = self.dir.path().join("deploy-scripts");
        fs::create_dir_all(&scripts).unwrap();
        fs::write(scripts.join(format!("{ARTIFACT}.sh")), script).unwrap();
        let mail = format!("cat > {}", self.dir.path().join("mail").display());
        self.script("instance-boot")
            .env("SERVICE", ARTIFACT)
            .env("VERSION", version)
            .env("ANS_ARTIFACT", "ansible")
            .env("ANS_STORE", format!("file://{}", self.dir.path().join("ansible-store").display()))
            .env("ANS_VERSION", "latest")
            .env("DEPLOY_SCRIPTS", format!("file://{}", scripts.display()))
            .env("INSTALL_DIR", self.srv())
            .env("ON_FAILURE", mail)
    }

    fn mail(&self) -> String {
        fs::read_to_string(self.dir.path().join("mail")).unwrap()
    }

    /// A release of the service and one of its Ansible code, neither promoted.
    fn build_both(&self) {
        self.create_build("1").succeeds();
        self.build_ansible();
    }

    fn build_ansible(&self) {
        let ansible = format!("file://{}", self.dir.path().join("ansible-store").display());
        let pack = ["--artifact", "ansible", "--store", &ansible, "-C"];
        end_to_end::tool("artifact-pack").args(pack).arg(self.checkout()).arg("common").run().succeeds();
    }

    fn srv(&self) -> PathBuf {
        self.dir.path().join("srv")
    }
}

fn value<'a>(record: &'a str, key: &str) -> &'a str {
    let line = record.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| unreachable!("{key} is missing in {record}"))
}

/// Build, promote, boot, build, promote, boot, revert, boot; tag and history on the way.
fn the_main_job(place: Place) {
    let job = Job::new(place);
    let first = job.git("checkout", &["rev-parse", "HEAD"]);
    let record = job.create_build("117").succeeds();
    let record = record.stdout_str();
    assert_eq!(
        (value(record, "VERSION"), value(record, "BUILD"), value(record, "GIT_COMMIT")),
        ("1", "117", first.as_str())
    );
    job.promote_build("1").succeeds();
    assert_eq!(job.git("origin.git", &["rev-parse", "production^{commit}"]), first);

    fs::write(job.checkout().join("code/run.sh"), "echo 2\n").unwrap();
    let second = job.commit("second");
    job.create_build("118").succeeds();
    job.promote_build("latest").succeeds();
    assert_eq!(job.git("origin.git", &["rev-parse", "production^{commit}"]), second);

    let ansible = format!("file://{}", job.dir.path().join("ansible-store").display());
    let pack = ["--artifact", "ansible", "--store", &ansible, "-C"];
    end_to_end::tool("artifact-pack").args(pack).arg(job.checkout()).arg("common").run().succeeds();
    let check = "set -eu\ntest \"$1\" = 1\ntest -f \"$ANS_DIR/common/lib.sh\"\ncat \"$SERVICE_DIR/code/run.sh\" > \"$SERVICE_DIR/../../ran-$2\"\n";
    job.boot("latest-stable", check).succeeds();
    assert_eq!(fs::read_to_string(job.srv().join("ran-2")).unwrap(), "echo 2\n");
    assert_eq!(fs::read_to_string(job.srv().join("healthy")).unwrap(), format!("{ARTIFACT}-2\n"));
    assert!(!job.srv().join(ARTIFACT).join("current/secret").exists(), "only the folders asked for are packed");

    job.promote_build("previous").succeeds();
    assert_eq!(job.git("origin.git", &["rev-parse", "production^{commit}"]), first);
    job.boot("latest-stable", check).succeeds();
    assert_eq!(fs::read_to_string(job.srv().join("ran-1")).unwrap(), "echo 1\n");
    assert_eq!(fs::read_to_string(job.srv().join("healthy")).unwrap(), format!("{ARTIFACT}-1\n"));

    let history = job.place.tool("release-promote").arg("--history").run().succeeds();
    let moves: Vec<(String, String)> = history
        .stdout_str()
        .lines()
        .skip(1)
        .map(|row| {
            let fields: Vec<&str> = row.split(',').collect();
            (fields[3].to_owned(), fields[4].to_owned())
        })
        .collect();
    assert_eq!(moves, [("", "1"), ("1", "2"), ("2", "1")].map(|(from, to)| (from.to_owned(), to.to_owned())));
    assert_eq!(leftovers(&job.place.look()), Vec::<String>::new());
}

#[test]
fn the_main_job_in_a_directory() {
    the_main_job(Place::files());
}

#[test]
fn the_main_job_on_a_real_server() {
    the_main_job(Place::server(Plan::None));
}

#[test]
fn the_main_job_on_any_other_s3() {
    the_main_job(Place::other());
}

/// Everything an instance boots from lies in buckets; the AWS CLI fetches the service's script.
#[test]
fn an_instance_boots_from_buckets_alone() {
    let job = Job::new(Place::server(Plan::None));
    job.create_build("1").succeeds();
    job.promote_build("1").succeeds();
    let ansible = format!("{}/ansible", job.place.url());
    let pack = ["--artifact", "ansible", "--store", &ansible, "-C"];
    let pack = end_to_end::tool("artifact-pack").args(pack).arg(job.checkout()).arg("common");
    job.place.reach(pack).run().succeeds();
    let cli = stack_tool(AWS_CLI);
    let path = format!("{}:{}:{}", bin_dir().display(), cli.display(), std::env::var("PATH").unwrap());

    let scripts = format!("{}/deploy-scripts", job.place.url());
    let target = format!("{scripts}/{ARTIFACT}.sh");
    let script = "test -f \"$SERVICE_DIR/code/run.sh\" && test -f \"$ANS_DIR/common/lib.sh\"\n";
    let put = Tool::new("aws").env("PATH", &path).args(["s3", "cp", "-", &target]).stdin(script);
    job.place.reach(put).run().succeeds();
    let boot = |release: &str| {
        let tool = job.script("instance-boot").env("PATH", &path).env("SERVICE", ARTIFACT).env("VERSION", release);
        let tool = tool.env("ANS_ARTIFACT", "ansible").env("ANS_STORE", &ansible).env("ANS_VERSION", "latest");
        tool.env("DEPLOY_SCRIPTS", &scripts).env("INSTALL_DIR", job.srv()).run()
    };
    boot("latest-stable").succeeds();
    assert_eq!(fs::read_to_string(job.srv().join("healthy")).unwrap(), format!("{ARTIFACT}-1\n"));
    let missing = job.script("instance-boot").env("PATH", &path).env("SERVICE", ARTIFACT).env("ANS_STORE", &ansible);
    let nowhere = format!("{}/nowhere", job.place.url());
    let missing = missing.env("DEPLOY_SCRIPTS", &nowhere).env("INSTALL_DIR", job.srv()).run().fails_with(75);
    let words = format!("\ninstance-boot: unable to copy {nowhere}/{ARTIFACT}.sh: aws s3 cp ended with 1\n");
    assert!(missing.stderr_str().ends_with(&words), "{}", missing.report());
    // A store that is away for a moment is a temporary failure of the boot too.
    job.place.proxy().set_plan(Plan::Custom(Box::new(|info| info.path.ends_with(".txt").then_some(Fault::SlowDown))));
    boot("latest-stable").fails_with(75);
    assert!(!job.srv().join("healthy").exists());
}

#[test]
fn a_boot_that_fails_is_not_healthy_and_says_so() {
    let job = Job::new(Place::files());
    job.build_both();
    job.boot("1", "true\n").succeeds();
    assert!(job.srv().join("healthy").exists());
    // The play fails: no health file any more, and a mail.
    job.boot("1", "echo the play broke >&2; exit 7\n").fails_with(7);
    assert!(!job.srv().join("healthy").exists());
    let mail = job.mail();
    assert!(mail.contains("exit code 7") && mail.contains("the play broke"), "{mail}");
    // A set-up script that says nothing of itself is named all the same.
    let run = job.boot("1", "exit 7\n").fails_with(7);
    let words = format!("/{ARTIFACT}.sh failed with exit code 7: {ARTIFACT}-1 is fetched but not set up\n");
    assert!(run.stderr_str().ends_with(&words) && job.mail().contains(&words), "{}", run.report());
    // Nothing is promoted: the release can't be resolved.
    job.boot("latest-stable", "true\n").fails_with(1);
    assert!(!job.srv().join("healthy").exists());
    let mail = job.mail();
    assert!(mail.contains("no release is latest-stable"), "{mail}");
}

/// The set-up script can't be had: one line with its place, and the code that says whether trying again helps.
#[test]
fn a_boot_without_its_script_says_where_it_looked() {
    let job = Job::new(Place::files());
    job.build_both();
    let scripts = job.dir.path().join("deploy-scripts");
    let missing = format!("file://{}/none", scripts.display());
    let wrong = scripts.display().to_string();
    let cases = [
        (missing.as_str(), 1, format!("unable to copy {missing}/{ARTIFACT}.sh: there is no such file\n")),
        (&wrong, 2, format!("DEPLOY_SCRIPTS={wrong} is neither s3://bucket/prefix nor file:///directory\n")),
        ("s3://b/p", 1, format!("unable to copy s3://b/p/{ARTIFACT}.sh: the AWS CLI (aws) is not on PATH\n")),
    ];
    // Everything that the script calls, and nothing else.
    let bin = job.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["bash", "cat", "cp", "env", "hostname", "mktemp", "rm", "sed", "tail", "tee", "timeout"] {
        std::os::unix::fs::symlink(program(name), bin.join(name)).unwrap();
    }
    for (place, code, words) in cases {
        let run = job.boot_tool("1", "true\n").env("DEPLOY_SCRIPTS", place).env("PATH", &bin).run().fails_with(code);
        assert_eq!(run.stderr_str(), format!("instance-boot: {words}"), "{}", run.report());
        assert!(job.mail().contains(&words) && job.mail().contains(&format!("exit code {code}\n")), "{}", job.mail());
    }
}

/// Where a program is found.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()).unwrap()
}

/// A signal ends what the boot is at, too: nothing goes on setting up a host that was given up.
#[test]
fn a_boot_that_is_ended_ends_its_script_and_says_so() {
    let job = Job::new(Place::files());
    job.build_both();
    let up = job.dir.path().join("up");
    let script = format!("sleep 600 & echo $$ $! > '{0}.new' && mv '{0}.new' '{0}' && wait\n", up.display());
    type SendSignal = fn(&Running);
    let signals: [(SendSignal, i32, &str); 2] =
        [(Running::terminate, 143, "SIGTERM"), (Running::interrupt, 130, "SIGINT")];
    for (send, code, name) in signals {
        job.boot("1", "true\n").succeeds();
        let mut run = job.boot_tool("1", &script).start();
        let pids = wait_until("the set-up script", || {
            let begun = fs::read_to_string(&up).map_err(|error| error.to_string());
            if run.is_running() { begun } else { Ok(String::new()) }
        });
        fs::remove_file(&up).unwrap();
        send(&run);
        let run = run.wait().fails_with(code).stderr_contains(&format!("instance-boot: ended by {name}\n"));
        for pid in pids.split_whitespace() {
            wait_until("the end of the script", || {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                // Nobody may be there to collect what an init would.
                if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
            });
        }
        assert!(!job.srv().join("healthy").exists(), "{}", run.report());
        assert!(job.mail().contains(&format!("exit code {code}\n")), "{}", job.mail());
    }
}

#[test]
fn a_failing_build_fails_the_pipe_and_promotes_nothing() {
    let job = Job::new(Place::files());
    let record = job.create_build("1").succeeds();
    let store = ["--artifact", ARTIFACT, "--store", job.place.url()];
    end_to_end::tool("release-promote")
        .args(store)
        .args(["--release", "-"])
        .stdin(record.stdout.clone())
        .run()
        .succeeds();
    let before = job.place.look().objects();
    let failed = job.script("create-build").arg("no-such-folder").run().fails_with(1);
    assert_eq!(failed.stdout, b"");
    let next = end_to_end::tool("release-promote").args(store).args(["--release", "-"]).run().fails_with(75);
    assert!(next.stderr_str().contains("no release record on stdin"));
    assert_eq!(job.place.look().objects(), before);
}

/// A job that was set up wrong is told how, before anything is touched.
#[test]
fn a_missing_variable_is_wrong_usage() {
    // A store has no default: a bucket's name belongs to whoever took it first.
    let cases: [(&str, &[&str]); 4] = [
        ("asg-code-push", &["SERVICE", "STORE", "ANS_STORE", "DEPLOY_SCRIPTS"]),
        ("create-build", &["WORKSPACE", "ARTIFACT", "STORE"]),
        ("promote-build", &["ARTIFACT", "RELEASE_VERSION", "WORKSPACE", "STORE"]),
        ("instance-boot", &["SERVICE", "STORE", "ANS_STORE", "DEPLOY_SCRIPTS"]),
    ];
    for (script, names) in cases {
        for missing in names {
            let tool = Tool::new(root().join("scripts").join(script));
            let set = names.iter().filter(|name| *name != missing);
            let run = set.fold(tool, |tool, name| tool.env(name, "x")).run().fails_with(2).stdout_is("");
            let said = run.stderr_str();
            assert!(said.starts_with(&format!("{script}: {missing} is not set; usage:\n")), "{said}");
            for name in names {
                assert!(said.lines().skip(1).any(|line| line.contains(name)), "{name}: {said}");
            }
            assert!(!said.contains("set -euo") && !said.contains("\n#"), "{said}");
        }
    }
}

/// User data that relied on a default has nobody at a terminal: the mail says what is missing.
#[test]
fn a_boot_without_a_store_is_mailed() {
    let job = Job::new(Place::files());
    job.build_both();
    for name in ["STORE", "ANS_STORE", "DEPLOY_SCRIPTS"] {
        job.boot("1", "true\n").succeeds();
        job.boot_tool("1", "true\n").env(name, "").run().fails_with(2);
        let mail = job.mail();
        assert!(
            mail.contains(&format!("instance-boot: {name} is not set")) && mail.contains("exit code 2\n"),
            "{mail}"
        );
        assert!(job.srv().join("healthy").exists(), "nothing was begun");
    }
}

/// Every script that somebody runs, with what it needs before it would begin its job.
const SCRIPTS: [(&str, &[&str]); 18] = [
    ("asg-code-push", &["SERVICE", "STORE", "ANS_STORE", "DEPLOY_SCRIPTS"]),
    ("bench", &[]),
    ("boot", &[]),
    ("create-build", &["WORKSPACE", "ARTIFACT", "STORE"]),
    ("dashboard", &["SERVICE", "LOAD_BALANCER", "TARGET_GROUP"]),
    ("demo", &[]),
    ("downtime-reclaimed", &[]),
    ("install", &[]),
    ("instance-boot", &["SERVICE", "STORE", "ANS_STORE", "DEPLOY_SCRIPTS"]),
    ("mirror-yum", &["ORIGIN", "STORE"]),
    ("package", &[]),
    ("peers", &[]),
    ("pictures", &[]),
    ("promote-build", &["ARTIFACT", "RELEASE_VERSION", "WORKSPACE", "STORE"]),
    ("refresh-nagios", &[]),
    ("ship-logs", &["KAFKA_BROKERS", "SERVICE"]),
    ("stack", &[]),
    ("test", &[]),
];

/// Help is printed, and nothing else is done. An option that nobody knows is wrong usage, said by the script or by the tool
/// that it hands its options to.
#[test]
fn help_and_unknown_options_run_no_job() {
    let all = fs::read_dir(root().join("scripts")).unwrap().map(|entry| entry.unwrap());
    let files = all.filter(|entry| entry.file_type().unwrap().is_file());
    let mut found: Vec<String> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, SCRIPTS.map(|(script, _)| script.to_owned()), "a script is missing in this table");

    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["bash", "dirname", "env", "mktemp", "realpath", "rm", "sed"] {
        std::os::unix::fs::symlink(program(name), bin.join(name)).unwrap();
    }
    // Whoever starts one of these has begun its job.
    let tried = dir.path().join("tried");
    let note = format!("#!/bin/sh\necho \"$0 $*\" >>'{}'\n", tried.display());
    for name in ["ansible-playbook", "artifact-fetch", "aws", "cargo", "curl", "dnf", "git", "jq", "mkdir", "unshare"] {
        fs::write(bin.join(name), &note).unwrap();
    }
    for name in ["artifact-pack", "release-promote", "asg-hosts", "nagios-gen", "log-ship"] {
        fs::write(bin.join(name), "#!/bin/sh\necho \"$0: wrong usage\" >&2\nexit 2\n").unwrap();
    }
    for name in fs::read_dir(&bin).unwrap().map(|entry| entry.unwrap().path()).filter(|path| !path.is_symlink()) {
        fs::set_permissions(name, PermissionsExt::from_mode(0o755)).unwrap();
    }
    for (script, names) in SCRIPTS {
        let run = |option: &str| {
            let tool = Tool::new(root().join("scripts").join(script)).cwd(dir.path()).env("PATH", &bin).arg(option);
            let tool = tool.env("HOME", dir.path()).env("WORK", dir.path().join("work"));
            let value = |name: &str| match name {
                "ORIGIN" => "http://127.0.0.1:1/".to_owned(),
                "STORE" | "ANS_STORE" | "DEPLOY_SCRIPTS" => format!("file://{}", dir.path().display()),
                _ => "x".to_owned(),
            };
            names.iter().fold(tool, |tool, name| tool.env(name, value(name))).run()
        };
        for option in ["--help", "-h"] {
            let run = run(option).succeeds().stderr_is_empty();
            let said = run.stdout_str();
            for name in names {
                assert!(said.contains(name), "{script}: {name}: {said}");
            }
            assert!(!said.is_empty() && !said.contains("set -euo") && !said.contains("\n#"), "{script}: {said}");
            assert!(!tried.exists(), "{script} {option} began its job: {:?}", fs::read_to_string(&tried));
        }
        // Options of these two are Ansible's and dnf's, and have tests of their own with them.
        if !matches!(script, "asg-code-push" | "mirror-yum") {
            let run = run("--no-such-option").fails_with(2).stdout_is("");
            assert!(!run.stderr.is_empty(), "{script}");
            assert!(!tried.exists(), "{script}: {:?}", fs::read_to_string(&tried));
        }
    }
}

/// A boot that was asked for something else than a boot takes nothing down.
#[test]
fn a_boot_with_options_boots_nothing() {
    let job = Job::new(Place::files());
    job.build_both();
    job.boot("1", "true\n").succeeds();
    let healthy = job.srv().join("healthy");
    for args in [&["--dry-run"][..], &["-n"], &["help"], &[ARTIFACT], &[ARTIFACT, "latest", "2"]] {
        let run = job.boot_tool("1", "exit 9\n").args(args).run().fails_with(2).stdout_is("");
        assert!(run.stderr_str().starts_with(&format!("instance-boot: no argument {}", args[0])), "{}", run.report());
    }
    job.boot_tool("1", "exit 9\n").arg("--help").run().succeeds().stderr_is_empty();
    assert!(healthy.exists() && !job.dir.path().join("mail").exists());
    // As asg-code-push runs it.
    job.boot_tool("1", "exit 9\n").args([ARTIFACT, "latest", "1"]).run().fails_with(9);
    assert!(!healthy.exists());
}

/// Options may come without folders, before them or behind them.
#[test]
fn a_build_with_options_of_its_own() {
    let cases: [(&[&str], &[&str]); 4] = [
        (&[], &["code/run.sh", "common/lib.sh", "secret/key"]),
        (&["--exclude", "secret"], &["code/run.sh", "common/lib.sh"]),
        (&["--exclude", "secret", "code"], &["code/run.sh"]),
        (&["code", "--exclude", "secret"], &["code/run.sh"]),
    ];
    for (args, packed) in cases {
        let job = Job::new(Place::files());
        let _record = job.script("create-build").args(args).run().succeeds();
        let archive = job.place.url().strip_prefix("file://").unwrap().to_owned() + "/obelix-1.tar";
        let listed = Tool::new("tar").args(["-t", "-f", &archive]).run().succeeds();
        let files: Vec<&str> = listed.stdout_str().lines().filter(|name| !name.ends_with('/')).skip(1).collect();
        assert_eq!(files, packed, "{args:?}");
    }
}

/// What the original jobs wrote is read, continued and promoted; what we write is read by the original's shell.
#[test]
fn a_store_of_the_original_scripts_goes_on() {
    let job = Job::new(Place::files());
    let store = PathBuf::from(job.place.url().strip_prefix("file://").unwrap());
    let commit = job.git("checkout", &["rev-parse", "HEAD"]);
    let shell = |script: &str, dir: &Path| {
        let run = Command::new("bash")
            .args(["-euc", script])
            .current_dir(dir)
            .env("STORE", &store)
            .env("COMMIT", &commit)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let old_build = "
        VERSION=$(($(grep VERSION $STORE/latest.txt | cut -d= -f2) + 1))
        printf 'MODULE=%s\\nVERSION=%s\\nBUILD=%s\\nGIT_COMMIT=%s\\nTIMESTAMP=%s\\n' obelix $VERSION 9 $COMMIT 'Mon Jan 23 11:20:02 IST 2016' > RELEASE
        tar -cf $STORE/obelix-$VERSION.tar --exclude .git code common RELEASE
        cp RELEASE $STORE/latest.txt; rm RELEASE";
    fs::write(store.join("latest.txt"), "MODULE=obelix\nVERSION=40\nBUILD=8\nTIMESTAMP=x\n").unwrap();
    shell(old_build, &job.checkout());
    fs::copy(store.join("latest.txt"), store.join("latest-stable.txt")).unwrap();

    // Fetched as it is, with leave and a warning; continued at 42; the old release promoted and so sealed.
    let into = job.dir.path().join("old");
    let fetch = || job.place.tool("artifact-fetch").arg("--into").arg(&into);
    fetch().run().fails_with(1).stderr_contains("--unverified");
    job.build_ansible();
    let boot = |leave: &str| job.boot_tool("latest-stable", "true\n").env("UNVERIFIED", leave).run();
    boot("").fails_with(1).stderr_contains("no checksum");
    boot("no").fails_with(1).stderr_contains("no checksum");
    boot("true").fails_with(2).stderr_contains("UNVERIFIED=true is neither yes nor no");
    boot("yes").succeeds().stderr_contains("no checksum");
    let fetched = fetch().arg("--unverified").run().succeeds();
    assert!(fetched.stderr_str().contains("no checksum"));
    assert!(into.join("current/code/run.sh").exists());
    let record = job.create_build("10").succeeds();
    assert_eq!(value(record.stdout_str(), "VERSION"), "42");
    job.promote_build("42").succeeds();
    job.promote_build("41").succeeds();
    let sealed = fs::read_to_string(store.join("obelix-41.release")).unwrap();
    let sum = shell("sha256sum < $STORE/obelix-41.tar | cut -d' ' -f1", &store);
    assert_eq!(value(&sealed, "SHA256"), sum.trim());
    let fetched = job.place.tool("artifact-fetch").arg("--into").arg(job.dir.path().join("new")).run().succeeds();
    assert!(!fetched.stderr_str().contains("no checksum"));

    // The original's own commands, on records with our keys.
    for file in ["latest.txt", "latest-stable.txt", "obelix-41.release", "obelix-42.release"] {
        let number = if file.contains("41") || file == "latest-stable.txt" { "41" } else { "42" };
        assert_eq!(shell(&format!("grep VERSION $STORE/{file} | cut -d'=' -f2"), &store).trim(), number, "{file}");
        assert_eq!(shell(&format!("grep GIT_COMMIT $STORE/{file} | cut -d'=' -f2"), &store).trim(), commit, "{file}");
    }
    assert_eq!(shell("tar -xOf $STORE/obelix-42.tar RELEASE | grep VERSION | cut -d'=' -f2", &store).trim(), "42");
    // And the original script builds on top of ours.
    shell(old_build, &job.checkout());
    assert_eq!(value(&fs::read_to_string(store.join("latest.txt")).unwrap(), "VERSION"), "43");
    let record = job.create_build("11").succeeds();
    assert_eq!(value(record.stdout_str(), "VERSION"), "44");
}

#[test]
fn the_demo_runs_on_a_caller_s_odd_environment() {
    let run = Tool::new(root().join("scripts/demo"))
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", std::env::var("HOME").unwrap())
        .env("CARGO_TARGET_DIR", bin_dir().parent().unwrap())
        .env("AWS_PROFILE", "no-such-profile")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("ARTIFACT", "other")
        .env("GIT_COMMIT", "feed")
        .run()
        .succeeds();
    assert!(run.stdout_str().ends_with("== done\n"));
}

/// What the demo can't do without is said in one line, and a build that fails is run once and ends it.
#[test]
fn the_demo_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let (bin, copy) = (dir.path().join("bin"), dir.path().join("copy/scripts/demo"));
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(root().join("scripts/demo"), &copy).unwrap();
    fs::create_dir(&bin).unwrap();
    for name in ["bash", "dirname", "env", "git"] {
        std::os::unix::fs::symlink(program(name), bin.join(name)).unwrap();
    }
    let demo = |script: &Path| {
        let tool = Tool::new(script).env("PATH", &bin).env("CARGO_TARGET_DIR", dir.path().join("empty"));
        // The tests may run as another user than the one whose checkout this is.
        let safe = [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")];
        safe.into_iter().fold(tool, |tool, (name, value)| tool.env(name, value))
    };
    let run = demo(&copy).env("GIT_CEILING_DIRECTORIES", dir.path()).run().fails_with(1).stderr_is_one_line();
    let _told =
        run.stderr_contains("demo: ").stderr_contains("/copy is not a git checkout, which the demo packs: fatal: ");
    let here = root().join("scripts/demo");
    let run = demo(&here).run().fails_with(1).stderr_is_one_line().stdout_is("");
    let _told = run.stderr_contains("demo: there is no cargo on PATH");
    fs::write(bin.join("cargo"), "#!/usr/bin/env bash\necho \"cargo $*\" >&2\nexit 101\n").unwrap();
    fs::set_permissions(bin.join("cargo"), PermissionsExt::from_mode(0o755)).unwrap();
    let run = demo(&here).run().fails_with(101).stdout_is("");
    let tools = ["artifact-pack", "release-promote", "artifact-fetch", "asg-hosts", "nagios-gen", "spot-watch"];
    let tools = [&tools[..], &["log-ship", "log-index", "kafka-model", "testkit"]].concat();
    let build = tools.iter().fold("cargo build --release --locked".to_owned(), |line, tool| line + " -p " + tool);
    assert_eq!(run.stderr_str(), format!("demo: building the tools, some minutes, once\n{build}\n"));
}
