//! The AWS CLI for many calls. It takes most of a second of CPU to load, so one process stays and takes them all.

use crate::stack_tool;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// The Python package of the AWS CLI.
pub const AWS_CLI: &str = "awscli==1.46.3";

/// A loaded AWS CLI, which ends when it is dropped.
pub struct AwsCli(Mutex<Loaded>);

struct Loaded {
    process: Child,
    calls: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl AwsCli {
    /// Of this endpoint and region.
    ///
    /// # Panics
    /// It can't be installed or started.
    #[must_use]
    pub fn of(endpoint: &str, region: &str) -> Self {
        let mut python = Command::new(stack_tool(AWS_CLI).join("python"));
        python.args(["-c", include_str!("aws_cli.py")]).env_clear().env("AWS_ENDPOINT_URL", endpoint);
        python.envs([("AWS_ACCESS_KEY_ID", "test-access-key"), ("AWS_SECRET_ACCESS_KEY", "test-secret-key")]);
        python.envs([("AWS_DEFAULT_REGION", region), ("AWS_DEFAULT_OUTPUT", "json"), ("LC_ALL", "C.UTF-8")]);
        let mut process = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the AWS CLI starts");
        let calls = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Self(Mutex::new(Loaded { process, calls, answers }))
    }

    /// What a command prints: JSON, or nothing where it is something else.
    ///
    /// # Panics
    /// The command fails.
    pub fn run(&self, args: &[&str]) -> Value {
        let mut loaded = self.0.lock().expect("no call panics before its answer is read");
        let calls = loaded.calls.as_mut().expect("it is open until the end");
        writeln!(calls, "{}", Value::from(args.to_vec())).expect("the AWS CLI reads");
        let mut line = String::new();
        loaded.answers.read_line(&mut line).expect("the AWS CLI answers");
        drop(loaded);
        let (code, out, said): (i32, String, String) = serde_json::from_str(&line).expect("an answer");
        assert_eq!(code, 0, "aws {args:?}: {said}");
        serde_json::from_str(&out).unwrap_or(Value::Null)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.calls = None;
        let _ = self.process.wait();
    }
}
