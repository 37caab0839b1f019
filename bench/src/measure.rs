//! One measured run: the stages of a pipeline as processes of their own, with wall time, CPU time and peak memory.
//!
//! No shell stands between: every stage is waited for by itself, so each has its own peak and no failure hides behind a
//! pipe. Memory of a stage is that of the largest single process in its tree, as the kernel reports it. A child begins with
//! the peak of its parent, so this process must never grow: what is large is made in a process of its own, or line by line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use wait4::{ResUse, Wait4};

/// Far above any run here: it ends a hang, it judges no speed.
const DEADLINE: Duration = Duration::from_secs(1800);

/// The processes' whole environment: nothing is inherited, least of all credentials and endpoints.
pub type Env = BTreeMap<String, String>;

/// Commands joined by pipes; the last one's stdout is thrown away unless `output` names a file.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Program and arguments of every stage.
    pub stages: Vec<Vec<String>>,
    /// The stages' environment.
    pub env: Env,
    /// Where the last stage's stdout goes.
    pub output: Option<PathBuf>,
}

impl Pipeline {
    /// Makes a pipeline of `stages`.
    pub fn new(env: &Env, stages: Vec<Vec<String>>) -> Self {
        Self { stages, env: env.clone(), output: None }
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// From the first spawn to the last exit.
    pub wall: Duration,
    /// User and system time of all processes.
    pub cpu: Duration,
    /// Peak resident bytes of the largest process.
    pub largest: u64,
    /// Sum of the stages' peaks, in bytes: what a pipeline needs when they fall together.
    pub sum: u64,
}

impl Sample {
    /// What this run and then `next` take.
    fn then(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            largest: self.largest.max(next.largest),
            sum: self.sum.max(next.sum),
        }
    }
}

/// Runs `steps` one after the other.
///
/// # Errors
/// When a stage of any of them cannot be started or does not end with 0.
pub fn run(steps: &[Pipeline]) -> Result<Sample> {
    steps.iter().try_fold(Sample::default(), |sum, step| Ok(sum.then(run_one(step)?)))
}

fn run_one(pipeline: &Pipeline) -> Result<Sample> {
    let mut errors = tempfile::tempfile()?;
    let start = Instant::now();
    let children = spawn(pipeline, &errors)?;
    let (done, watched) = mpsc::channel::<()>();
    let pids: Vec<_> = children.iter().filter_map(|child| Pid::from_raw(i32::try_from(child.id()).ok()?)).collect();
    let watch = std::thread::spawn(move || {
        if watched.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
            for pid in pids {
                // One that has ended since is what was wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    });
    let ended: io::Result<Vec<ResUse>> = children.into_iter().map(Wait4::wait4).collect();
    let wall = start.elapsed();
    drop(done);
    watch.join().ok().context("the watchdog died")?;
    let ended = ended?;
    for (stage, end) in pipeline.stages.iter().zip(&ended) {
        if !end.status.success() {
            let mut said = String::new();
            errors.rewind()?;
            errors.read_to_string(&mut said)?;
            bail!("{}: {}: {}", stage.join(" "), end.status, said.trim_end());
        }
    }
    Ok(Sample {
        wall,
        cpu: ended.iter().map(|end| end.rusage.utime + end.rusage.stime).sum(),
        largest: ended.iter().map(|end| end.rusage.maxrss).max().unwrap_or(0),
        sum: ended.iter().map(|end| end.rusage.maxrss).sum(),
    })
}

fn spawn(pipeline: &Pipeline, errors: &File) -> Result<Vec<std::process::Child>> {
    let mut children = Vec::new();
    let mut stdin = Stdio::null();
    let last = pipeline.stages.len().saturating_sub(1);
    for (at, stage) in pipeline.stages.iter().enumerate() {
        let [program, args @ ..] = stage.as_slice() else {
            bail!("a stage without a program");
        };
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(&pipeline.env)
            .stdin(std::mem::replace(&mut stdin, Stdio::null()))
            .stderr(errors.try_clone()?);
        if at == last {
            command.stdout(match &pipeline.output {
                Some(file) => Stdio::from(File::create(file)?),
                None => Stdio::null(),
            });
        } else {
            let (reader, writer) = io::pipe()?;
            stdin = reader.into();
            command.stdout(writer);
        }
        // Dropping `command` afterwards closes our end of the pipe; held open, the next stage would never see its end.
        match command.spawn() {
            Ok(child) => children.push(child),
            Err(err) => {
                drop(command);
                drop(stdin);
                for mut child in children {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                return Err(err).with_context(|| format!("unable to start {program}"));
            }
        }
    }
    Ok(children)
}
