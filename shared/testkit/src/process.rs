//! Running a program the way a test can trust: a cleared environment, its own HOME, fed and drained so that no pipe can
//! deadlock, a deadline, and assertions that show everything known about the run when they fail.
#![expect(clippy::panic, reason = "a run that breaks its test's expectation is a failed test")]

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait::wait_until;

/// A program to run, in an environment that holds only `PATH`, `HOME` and `TMPDIR` (an empty directory of its own),
/// `LC_ALL=C` and `TZ=UTC`.
#[derive(Debug, Clone)]
#[must_use = "a tool does nothing until it is run or started"]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Vec<u8>,
    deadline: Duration,
}

impl Tool {
    /// Names the program: a path, or a name found in `PATH`.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: Vec::new(),
            deadline: crate::LIMIT,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable; the last value of a name wins.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Points every AWS client at `endpoint`, with credentials that are worth nothing, and away from the instance metadata.
    pub fn aws(self, endpoint: impl AsRef<str>) -> Self {
        self.env("AWS_ENDPOINT_URL", endpoint.as_ref())
            .env("AWS_ENDPOINT_URL_S3", endpoint.as_ref())
            .env("AWS_ACCESS_KEY_ID", "test-access-key")
            .env("AWS_SECRET_ACCESS_KEY", "test-secret-key")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
    }

    /// Sets the working directory; otherwise it is the run's own empty HOME.
    pub fn cwd(mut self, cwd: impl AsRef<Path>) -> Self {
        self.cwd = Some(cwd.as_ref().to_owned());
        self
    }

    /// Sets what the program reads on stdin; otherwise stdin is at its end.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Replaces the 120 s after which the run is killed and the test fails.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the program to its end.
    #[must_use = "check how the run ended: .succeeds() or .fails_with(code)"]
    pub fn run(self) -> Finished {
        self.start().wait()
    }

    /// Starts the program and returns at once.
    pub fn start(self) -> Running {
        let home = tempfile::Builder::new().prefix("testkit-home-").tempdir().expect("a temporary HOME can be made");
        let cwd = self.cwd.clone().unwrap_or_else(|| home.path().to_owned());
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&cwd).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command.env("HOME", home.path()).env("TMPDIR", home.path()).env("LC_ALL", "C").env("TZ", "UTC");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = describe(&self);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(err) => panic!("unable to start {line}\ncwd: {}\n{err}", cwd.display()),
        };

        // Fed from a thread of its own: a program that fills stdout before it has read stdin must not wait for us.
        let mut input = child.stdin.take().expect("stdin is piped");
        let bytes = self.stdin;
        // A program that leaves without reading its stdin breaks this pipe; that is its right.
        thread::spawn(move || drop(input.write_all(&bytes)));
        let stdout = Drain::start(child.stdout.take().expect("stdout is piped"));
        let stderr = Drain::start(child.stderr.take().expect("stderr is piped"));
        Running {
            line,
            cwd,
            child,
            stdout,
            stderr,
            deadline: Instant::now() + self.deadline,
            limit: self.deadline,
            home: Some(home),
        }
    }
}

/// Collects one output stream while the program runs, so that what it said so far can be shown at any time.
#[derive(Debug)]
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    fn start(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut block = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut block) {
                kept.lock().expect("no reader panics").extend_from_slice(&block[..count]);
            }
        });
        Self { bytes, thread: Some(thread) }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().expect("no reader panics").clone()
    }

    /// Waits for the stream's end. A grandchild may hold the pipe open after the program is gone: that wait has a limit.
    fn finish(&mut self) -> Vec<u8> {
        if let Some(thread) = self.thread.take() {
            let limit = Instant::now() + Duration::from_secs(5);
            while !thread.is_finished() && Instant::now() < limit {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.so_far()
    }
}

/// A program that is running. Dropping it kills it, so a failing test leaves nothing behind.
#[derive(Debug)]
#[must_use = "a running tool is killed when it is dropped"]
pub struct Running {
    line: String,
    cwd: PathBuf,
    child: Child,
    stdout: Drain,
    stderr: Drain,
    deadline: Instant,
    limit: Duration,
    home: Option<TempDir>,
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL and returns once the process is gone, so nothing it does can come after this call.
    pub fn kill(&mut self) {
        // An error means it is already gone and waited for, which is what was asked.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT and returns at once.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Waits until SIGTERM no longer ends the process by itself.
    ///
    /// # Panics
    /// The process has ended, or never catches it.
    pub fn wait_until_it_catches_signals(&self) {
        wait_until("the signals to be caught", || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default().trim();
            let terminate = u64::from_str_radix(caught, 16).is_ok_and(|mask| mask & (1 << 14) != 0);
            if terminate { Ok(()) } else { Err(caught.to_owned()) }
        });
    }

    /// Everything on stdout so far.
    pub fn stdout_so_far(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// Everything on stderr so far.
    pub fn stderr_so_far(&self) -> Vec<u8> {
        self.stderr.so_far()
    }

    /// True while the process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end, and fails the test if it has not come by the deadline.
    #[must_use = "check how the run ended: .succeeds() or .fails_with(code)"]
    pub fn wait(mut self) -> Finished {
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                break status;
            }
            if Instant::now() >= self.deadline {
                self.kill();
                let shown = show(&self.line, &self.cwd, "killed", &self.stdout.so_far(), &self.stderr.so_far());
                panic!("still running after {:?}\n{shown}", self.limit);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        Finished {
            line: std::mem::take(&mut self.line),
            cwd: std::mem::take(&mut self.cwd),
            status,
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            _home: self.home.take(),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child's pid is positive");
        // The child is not waited for yet, so its pid cannot have become somebody else's.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A run that has ended, with everything it left.
#[derive(Debug)]
pub struct Finished {
    line: String,
    cwd: PathBuf,
    /// How it ended.
    pub status: ExitStatus,
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: Vec<u8>,
    /// Kept until the test is done with the run, since HOME may be the working directory.
    _home: Option<TempDir>,
}

impl Finished {
    /// Asserts exit code 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.fails_with(0)
    }

    /// Asserts this exit code.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> Self {
        self.check(self.code == Some(code), &format!("expected exit code {code}"));
        self
    }

    /// Asserts that this signal ended the run.
    #[track_caller]
    pub fn killed_by(self, signal: i32) -> Self {
        self.check(self.signal == Some(signal), &format!("expected signal {signal}"));
        self
    }

    /// Asserts that stderr holds this text.
    #[track_caller]
    pub fn stderr_contains(self, text: &str) -> Self {
        self.check(self.stderr_str().contains(text), &format!("expected stderr to contain {text:?}"));
        self
    }

    /// Asserts that stderr is exactly one whole line.
    #[track_caller]
    pub fn stderr_is_one_line(self) -> Self {
        let one = self.stderr.len() > 1 && self.stderr.iter().position(|b| *b == b'\n') == Some(self.stderr.len() - 1);
        self.check(one, "expected one line on stderr");
        self
    }

    /// Asserts that stderr is empty.
    #[track_caller]
    pub fn stderr_is_empty(self) -> Self {
        self.check(self.stderr.is_empty(), "expected nothing on stderr");
        self
    }

    /// Asserts that stdout is exactly this text.
    #[track_caller]
    pub fn stdout_is(self, text: &str) -> Self {
        self.check(self.stdout == text.as_bytes(), &format!("expected stdout to be {text:?}"));
        self
    }

    /// Asserts that stdout holds this text.
    #[track_caller]
    pub fn stdout_contains(self, text: &str) -> Self {
        self.check(
            String::from_utf8_lossy(&self.stdout).contains(text),
            &format!("expected stdout to contain {text:?}"),
        );
        self
    }

    /// Stdout as text.
    #[track_caller]
    pub fn stdout_str(&self) -> &str {
        match std::str::from_utf8(&self.stdout) {
            Ok(text) => text,
            Err(_) => panic!("expected UTF-8 on stdout\n{}", self.report()),
        }
    }

    /// Stderr as text; bytes that are no UTF-8 are replaced.
    pub fn stderr_str(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Everything known about the run, for the message of an assertion made elsewhere.
    pub fn report(&self) -> String {
        show(&self.line, &self.cwd, &self.status.to_string(), &self.stdout, &self.stderr)
    }

    #[track_caller]
    fn check(&self, holds: bool, expectation: &str) {
        if !holds {
            panic!("{expectation}\n{}", self.report());
        }
    }
}

fn describe(tool: &Tool) -> String {
    let mut line = String::new();
    for (name, value) in &tool.env {
        write!(line, "{}={} ", name.display(), value.display()).expect("writing to a String cannot fail");
    }
    write!(line, "{}", tool.program.display()).expect("writing to a String cannot fail");
    for arg in &tool.args {
        write!(line, " {:?}", arg.to_string_lossy()).expect("writing to a String cannot fail");
    }
    line
}

fn show(line: &str, cwd: &Path, status: &str, stdout: &[u8], stderr: &[u8]) -> String {
    format!(
        "command: {line}\ncwd: {}\nstatus: {status}\nstdout ({} bytes):\n{}\nstderr ({} bytes):\n{}\n",
        cwd.display(),
        stdout.len(),
        excerpt(stdout),
        stderr.len(),
        excerpt(stderr),
    )
}

/// A binary of megabytes on stdout must not bury the message.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 16 * 1024;
    if bytes.len() <= SHOWN {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let (first, last) = (&bytes[..SHOWN / 2], &bytes[bytes.len() - SHOWN / 2..]);
    format!("{}\n[...]\n{}", String::from_utf8_lossy(first), String::from_utf8_lossy(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Tool {
        Tool::new("/bin/sh").arg("-c").arg(script)
    }

    #[test]
    fn the_environment_is_cleared() {
        let run = sh("env | cut -d= -f1 | sort | tr '\\n' ' '").env("EXTRA", "1").run().succeeds();
        let names: Vec<_> = run
            .stdout_str()
            .split_whitespace()
            .filter(|name| !["PWD", "_", "OLDPWD", "SHLVL"].contains(name))
            .collect();
        assert_eq!(names, ["EXTRA", "HOME", "LC_ALL", "PATH", "TMPDIR", "TZ"]);
    }

    #[test]
    fn more_than_a_pipe_holds_goes_in_and_comes_out() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let run = Tool::new("cat").stdin(bytes.clone()).run().succeeds();
        assert!(run.stdout == bytes);
    }

    #[test]
    fn a_program_may_leave_its_stdin_unread() {
        sh("exec 0<&-; echo done").stdin(vec![0; 3_000_000]).run().succeeds().stdout_is("done\n").stderr_is_empty();
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        sh("echo 'one line' >&2; exit 7").run().fails_with(7).stderr_is_one_line().stderr_contains("one");
        sh("kill -9 $$").run().killed_by(9);
    }

    #[test]
    fn a_running_tool_can_be_stopped_both_ways() {
        let mut killed = sh("exec sleep 600").start();
        assert!(killed.is_running());
        killed.kill();
        killed.wait().killed_by(9);
        let told = sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done").start();
        crate::wait_until("the trap", || {
            if told.stdout_so_far() == b"ready\n" { Ok(()) } else { Err("nothing printed".to_owned()) }
        });
        told.terminate();
        told.wait().fails_with(3);
    }

    #[test]
    #[should_panic(expected = "so far")]
    fn the_deadline_kills_and_shows_the_output() {
        let _run = sh("echo so far; exec sleep 600").deadline(Duration::from_millis(300)).run();
    }

    #[test]
    #[should_panic(expected = "stderr (4 bytes):\nwhy\n")]
    fn a_failed_expectation_shows_the_run() {
        let _run = sh("echo why >&2; exit 4").run().succeeds();
    }
}
