//! Every option of every tool with odd values: refused or taken, never a fault of the tool's own, never a hang.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{bin_dir, tool, tools};
use regex::Regex;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use testkit::{Tool, side_by_side, wait_until};

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

fn odd_values() -> Vec<String> {
    let short = [
        "",
        "-1",
        "0",
        "1",
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775807s",
        "36501d",
        "nan",
        "é\u{202e}\n",
        "/dev/zero",
        "%s%n",
    ];
    short.iter().map(|&value| value.to_owned()).chain(["x".repeat(5000)]).collect()
}

/// A command line that works, but for what listens nowhere.
fn usual(name: &str, dir: &Path) -> Vec<String> {
    let at = |file: &str| dir.join(file).display().to_string();
    let store = format!("file://{}", at("store"));
    let kafka = "--brokers 127.0.0.1:1 --topic t --once --timeout 1s";
    let words = match name {
        "artifact-pack" => format!("--artifact a --store {store} -C {} .", at("tree")),
        "artifact-fetch" => format!("--artifact a --store {store} --into {}", at("into")),
        "release-promote" => format!("--artifact a --store {store} --release 1"),
        "asg-hosts" => format!("--input {}", at("fleet.json")),
        "nagios-gen" => format!("--output {}", at("fleet.cfg")),
        "spot-watch" => "--once --dry-run --timeout 1s --interval 1s".to_owned(),
        "log-ship" => format!("{kafka} --state-dir {} {}", at("state"), at("log")),
        _ => format!("{kafka} --group g --index i --url {NOBODY}"),
    };
    words.split(' ').map(str::to_owned).collect()
}

/// The options of a tool that take a value, as its help lists them.
fn options(name: &str) -> Vec<String> {
    let help = tool(name).arg("--help").run().succeeds();
    let line = Regex::new(r"(?m)^\s+(?:-\w, )?(--[a-z0-9-]+)[ =]?[<\[]").unwrap();
    let options: Vec<String> = line.captures_iter(help.stdout_str()).map(|found| found[1].to_owned()).collect();
    assert!(options.len() > 8, "{options:?}");
    options
}

/// A tool that finds neither AWS nor an instance's metadata.
fn alone(tool: Tool, dir: &Path) -> Tool {
    let tool = tool.aws(NOBODY).env("AWS_EC2_METADATA_DISABLED", "false");
    let tool = tool.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", NOBODY).cwd(dir);
    tool.deadline(Duration::from_secs(120))
}

/// The words without an option and its value.
fn without(words: &[String], option: &str) -> Vec<String> {
    let at = words.iter().position(|word| word == option).unwrap_or(words.len());
    words[..at].iter().chain(words.iter().skip(at + 2)).cloned().collect()
}

fn every_option_with_odd_values(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    fs::write(dir.path().join("tree/file"), "x").unwrap();
    fs::write(dir.path().join("log"), "a line\n").unwrap();
    fs::write(dir.path().join("fleet.json"), r#"{"Reservations": []}"#).unwrap();
    let (options, values, usual) = (options(name), odd_values(), usual(name, dir.path()));
    let ended = alone(tool(name).args(&usual), dir.path()).run();
    assert!(ended.code != Some(2), "with a wrong line every value would be refused: {}", ended.report());
    let cases: Vec<(&String, &String)> =
        options.iter().flat_map(|option| values.iter().map(move |value| (option, value))).collect();
    side_by_side(8, cases.len() as u64, |number| {
        let (option, value) = cases[usize::try_from(number).unwrap()];
        let run = tool(name).arg(format!("{option}={value}")).args(without(&usual, option));
        let run = alone(run, dir.path()).run();
        let is_an_end = matches!(run.code, Some(0 | 1 | 2 | 75));
        assert!(is_an_end && !run.stderr_str().contains("panicked"), "{option} {value:.40}: {}", run.report());
    });
}

/// Too few files that may be open are a line, whatever the tool has to do; a soft limit that may be raised is none.
#[test]
fn few_open_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in tools() {
        let run = |limit: &str| {
            let limited = format!("ulimit {limit} && exec \"$@\"");
            let run = Tool::new("bash")
                .args(["-c", &limited, "bash"])
                .arg(bin_dir().join(&name))
                .args(usual(&name, dir.path()));
            alone(run, dir.path()).run()
        };
        for files in 5..12 {
            let ended = run(&format!("-n {files}")).fails_with(75).stderr_is_one_line();
            let _ended = ended.stderr_contains(&format!("{name}: unable to work with {files} open files at most"));
        }
        let raised = run("-Sn 6");
        assert!(!raised.stderr_str().contains("open files"), "{}", raised.report());
    }
}

/// Too few processes, as a user who is not root, and too little memory.
#[test]
fn few_processes_and_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let names = tools();
    side_by_side(names.len(), names.len() as u64, |number| {
        let name = &names[usize::try_from(number).unwrap()];
        let run = |limit: &str| {
            let limited = format!("ulimit {limit} && exec \"$@\"");
            let run = Tool::new("setpriv").args(["--reuid=54322", "--regid=54322", "--clear-groups", "bash", "-c"]);
            let run = run.args([limited.as_str(), "bash"]).arg(bin_dir().join(name)).args(usual(name, dir.path()));
            alone(run, dir.path()).run()
        };
        for processes in [1, 2, 4] {
            let ended = run(&format!("-u {processes}")).fails_with(75).stderr_is_one_line();
            let _ended = ended.stderr_contains(&format!("{name}: unable to start more than "));
        }
        for limit in ["-v 60000", "-v 200000", "-v 400000", "-v 786000", "-d 100000"] {
            let ended = run(limit).fails_with(75).stderr_is_one_line();
            let _ended = ended.stderr_contains("MiB of memory at most: 768 are needed");
        }
        let ended = run("-s 64").fails_with(75).stderr_is_one_line();
        let _ended = ended.stderr_contains("unable to work with 64 KiB of stack at most: 1024 are needed (ulimit -s)");
        for enough in ["-u 64", "-v 1000000", "-s 1024"] {
            let ended = run(enough);
            let is_an_end = matches!(ended.code, Some(0 | 1 | 75)) && !ended.stderr_str().contains("needed");
            assert!(is_an_end, "{name} {enough}: {}", ended.report());
        }
    });
}

/// The least memory that is not refused is enough for real work, and a file that may not grow is an error, not the end.
#[test]
fn limits_while_a_release_is_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("work")).unwrap();
    let noise: Vec<u8> = (0..30_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    fs::write(dir.path().join("work/noise"), noise).unwrap();
    let store = format!("file://{}/store", dir.path().display());
    fs::create_dir(dir.path().join("store")).unwrap();
    let limited = |limit: &str, program: &str, args: &str| {
        let limited = format!("ulimit {limit} && exec \"$@\"");
        let tool = Tool::new("bash").args(["-c", &limited, "bash"]).arg(bin_dir().join(program));
        tool.args(args.split(' ')).args(["--artifact", "a", "--store", &store]).cwd(dir.path()).run()
    };
    for (number, format) in ["none", "gzip", "zstd"].into_iter().enumerate() {
        let _pack = limited("-v 800000", "artifact-pack", &format!("--compress {format} -C work .")).succeeds();
        let _fetch = limited("-v 800000", "artifact-fetch", &format!("--into srv --release {}", number + 1)).succeeds();
    }
    for (program, args) in [("artifact-pack", "-C work ."), ("artifact-fetch", "--into other --release 1")] {
        let run = limited("-f 100", program, args).fails_with(1);
        assert!(
            run.stderr_str().lines().last().is_some_and(|line| line.contains("File too large")),
            "{}",
            run.report()
        );
    }
}

/// A server that says nothing: git's helper, which waits for it, does not wait without end.
#[test]
fn git_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let git = |words: &[&str]| {
        let run = Tool::new("git").arg("-C").arg(dir.path()).args(words).run().succeeds();
        run.stdout_str().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]);
    let head = git(&["rev-parse", "HEAD"]);
    let store = format!("file://{}/store", dir.path().display());
    fs::create_dir(dir.path().join("store")).unwrap();
    fs::write(dir.path().join("code"), "1\n").unwrap();
    let pack = tool("artifact-pack").args(["--artifact", "a", "--store", &store, "--commit", &head, "code"]);
    let _packed = pack.cwd(dir.path()).run().succeeds();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("http://{}/x.git", silent.local_addr().unwrap());
    let promote = tool("release-promote").args(["--artifact", "a", "--store", &store, "--release", "1", "--tag", "t"]);
    let promote = promote.args(["--repo", ".", "--remote", &remote, "--timeout", "2s"]).cwd(dir.path());
    let _run = promote.run().fails_with(75);
    wait_until("git's helper to end", || {
        let lines = Tool::new("ps").args(["-eo", "args"]).run().succeeds().stdout_str().to_owned();
        let left: Vec<String> = lines.lines().filter(|line| line.contains(&remote)).map(str::to_owned).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// stdin, stdout and stderr that are closed, full, a directory, or not what they should be.
#[test]
fn odd_streams() {
    const STREAMS: [&str; 9] =
        ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "</", "</dev/full >&-"];
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for name in tools() {
        for words in [usual(&name, dir.path()), vec!["--help".to_owned()], vec!["--nonsense".to_owned()]] {
            cases.extend(STREAMS.map(|streams| (name.clone(), words.clone(), streams)));
        }
    }
    side_by_side(8, cases.len() as u64, |number| {
        let (name, words, streams) = &cases[usize::try_from(number).unwrap()];
        let run = Tool::new("bash").args(["-c", &format!("exec \"$@\" {streams}"), "bash"]);
        let run = alone(run.arg(bin_dir().join(name)).args(words), dir.path()).run();
        let is_an_end = matches!(run.code, Some(0 | 1 | 2 | 75)) && !run.stderr_str().contains("panicked");
        assert!(is_an_end, "{name} {words:?} {streams}: {}", run.report());
    });
}

/// As nohup and a shell's & make it: a signal that is ignored at the start stays so; others end the run as ever.
#[test]
fn an_ignored_signal_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log"), "a line\n").unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let kafka = "--brokers 127.0.0.1:1 --topic t";
    for (name, words) in [
        ("log-ship", format!("{kafka} --state-dir {} {}", at("state"), at("log"))),
        ("log-index", format!("{kafka} --group g --index i --url {NOBODY}")),
        ("spot-watch", format!("--state-dir {}", at("watch"))),
    ] {
        let run = Tool::new("bash").args(["-c", "trap '' HUP; exec \"$@\"", "bash"]);
        let run = alone(run.arg(bin_dir().join(name)).args(words.split(' ')), dir.path()).start();
        let status = format!("/proc/{}/status", run.pid());
        let mask = |kind: &str| {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let mask = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default().trim().to_owned();
            u64::from_str_radix(&mask, 16).unwrap_or_default()
        };
        // SIGTERM is caught, so SIGHUP would be.
        wait_until("the signals to be caught", || {
            if mask("SigCgt:") >> 14 & 1 == 1 { Ok(()) } else { Err(status.clone()) }
        });
        assert_eq!((mask("SigIgn:") & 1, mask("SigCgt:") & 1), (1, 0), "{name}");
        let pid = rustix::process::Pid::from_raw(run.pid().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        run.terminate();
        let _run = run.wait().killed_by(15);
    }
}

#[test]
fn artifact_pack() {
    every_option_with_odd_values("artifact-pack");
}

#[test]
fn artifact_fetch() {
    every_option_with_odd_values("artifact-fetch");
}

#[test]
fn release_promote() {
    every_option_with_odd_values("release-promote");
}

#[test]
fn asg_hosts() {
    every_option_with_odd_values("asg-hosts");
}

#[test]
fn nagios_gen() {
    every_option_with_odd_values("nagios-gen");
}

#[test]
fn spot_watch() {
    every_option_with_odd_values("spot-watch");
}

#[test]
fn log_ship() {
    every_option_with_odd_values("log-ship");
}

#[test]
fn log_index() {
    every_option_with_odd_values("log-index");
}
