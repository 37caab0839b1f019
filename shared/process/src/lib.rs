//! Other programs: each runs in a process group of its own, which is ended with it when its time is over.

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// What somebody left behind may hold a pipe open; what the program itself wrote is there by then.
const LAST_READ: Duration = Duration::from_millis(200);

/// Where a program's stdout and stderr go.
#[derive(Debug)]
pub enum Output {
    /// To this file, which what the program leaves running may hold open for as long as it likes.
    File(File),
    /// To this process, which keeps so many bytes: the last of both.
    Tail(usize),
    /// The same of stdout alone; stderr goes nowhere.
    TailOfStdout(usize),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<C> {
    /// By itself. What it left running, a daemon perhaps, is meant to be.
    Itself(ExitStatus),
    /// It was ended with all of its group, for this reason.
    Cut(C, Option<ExitStatus>),
}

/// A program that runs. Its group is killed when this is dropped before the program has ended.
#[derive(Debug)]
pub struct Program {
    child: Child,
    group: Group,
    tail: Tail,
    /// They go on reading when the program has ended: what it left behind may still write.
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts a program. What it reads on stdin is `input`, or nothing.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(mut command: Command, input: Option<Vec<u8>>, output: Output) -> io::Result<Self> {
        let kept = match output {
            Output::File(file) => {
                command.stdout(file.try_clone()?).stderr(file);
                0
            }
            Output::Tail(kept) => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                kept
            }
            Output::TailOfStdout(kept) => {
                command.stdout(Stdio::piped()).stderr(Stdio::null());
                kept
            }
        };
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.process_group(0).spawn()?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        if let Some((mut stdin, input)) = child.stdin.take().zip(input) {
            // A program that does not read its stdin breaks this pipe, as it may.
            tokio::spawn(async move { drop(stdin.write_all(&input).await) });
        }
        let tail = Tail { kept, bytes: Arc::default() };
        let out = child.stdout.take().map(|out| tokio::spawn(tail.clone().drain(out)));
        let err = child.stderr.take().map(|err| tokio::spawn(tail.clone().drain(err)));
        Ok(Self { child, group, tail, readers: out.into_iter().chain(err).collect() })
    }

    /// Waits for its end. When `cut` is there first, a deadline for instance, all of the group is asked to end and, after
    /// `grace`, killed.
    ///
    /// # Errors
    /// It can't be waited for.
    pub async fn wait<C>(&mut self, cut: impl Future<Output = C>, grace: Duration) -> io::Result<End<C>> {
        let why = tokio::select! {
            biased;
            status = self.child.wait() => {
                self.group.0 = None;
                return status.map(End::Itself);
            }
            why = cut => why,
        };
        self.group.signal(Signal::TERM);
        let status = tokio::time::timeout(grace, self.child.wait()).await;
        // Also when the program itself has ended: its children may not have.
        self.group.signal(Signal::KILL);
        self.group.0 = None;
        let status = match status {
            Ok(status) => status,
            Err(_) => self.child.wait().await,
        };
        Ok(End::Cut(why, status.ok()))
    }

    /// The last that it wrote, when it has ended; nothing where that went to a file.
    pub async fn output(self) -> Vec<u8> {
        let read = async {
            for reader in self.readers {
                // One that is gone has read what there was.
                let _ = reader.await;
            }
        };
        let _ = tokio::time::timeout(LAST_READ, read).await;
        self.tail.bytes.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// A process group that is killed when this is dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // An error means that nobody is left in it.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The last bytes of both outputs.
#[derive(Clone, Debug)]
struct Tail {
    kept: usize,
    bytes: Arc<Mutex<VecDeque<u8>>>,
}

impl Tail {
    async fn drain(self, mut from: impl AsyncRead + Unpin) {
        const BLOCK: usize = 4096;
        let mut block = vec![0; BLOCK];
        while let Ok(count @ 1..) = from.read(&mut block).await {
            let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.extend(&block[..count]);
            let excess = bytes.len().saturating_sub(self.kept);
            drop(bytes.drain(..excess));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{kill_process, test_kill_process};
    use std::future::{pending, ready};
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::os::unix::process::ExitStatusExt;

    const GRACE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]);
        shell
    }

    /// A program whose whole group is gone when what is returned beside it can be read to its end.
    fn seen(script: &str) -> (Program, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let output = Output::File(File::from(OwnedFd::from(writer)));
        (Program::start(shell(script), None, output).unwrap(), reader)
    }

    /// Waits for the line that says that all of the group is there.
    fn await_line(from: &mut PipeReader) {
        let mut byte = [0];
        while byte != *b"\n" {
            from.read_exact(&mut byte).unwrap();
        }
    }

    fn await_end_of_group(mut from: PipeReader) {
        from.read_to_end(&mut Vec::new()).unwrap();
    }

    #[tokio::test]
    async fn it_reads_its_input_and_the_end_of_both_outputs_is_kept() {
        let script = "cat; echo first >&2; exit 3";
        let mut program = Program::start(shell(script), Some(b"many words\n".to_vec()), Output::Tail(12)).unwrap();
        let End::Itself(status) = program.wait(pending::<()>(), GRACE).await.unwrap() else { panic!("it was not cut") };
        assert_eq!(status.code(), Some(3));
        let output = String::from_utf8(program.output().await).unwrap();
        assert!(["words\nfirst\n", "many words\n"].iter().any(|end| output.ends_with(end)), "{output:?}");
        assert_eq!(output.len(), 12);
    }

    #[tokio::test]
    async fn stdout_alone_is_kept() {
        let mut program = Program::start(shell("echo one >&2; echo two"), None, Output::TailOfStdout(100)).unwrap();
        assert!(matches!(program.wait(pending::<()>(), GRACE).await, Ok(End::Itself(status)) if status.success()));
        assert_eq!(program.output().await, b"two\n");
    }

    #[tokio::test]
    async fn more_input_than_it_reads_holds_nothing_up() {
        let mut program = Program::start(shell("exit 0"), Some(vec![b'x'; 1 << 20]), Output::Tail(10)).unwrap();
        assert!(matches!(program.wait(pending::<()>(), GRACE).await, Ok(End::Itself(status)) if status.success()));
        assert_eq!(program.output().await, b"");
    }

    #[tokio::test]
    async fn all_of_the_group_is_asked_to_end() {
        let (mut program, mut pipe) = seen("sleep 1000 & echo; wait");
        await_line(&mut pipe);
        let end = program.wait(ready("late"), GRACE).await.unwrap();
        assert_eq!(end, End::Cut("late", Some(ExitStatus::from_raw(Signal::TERM.as_raw()))));
        await_end_of_group(pipe);
    }

    #[tokio::test]
    async fn who_does_not_end_when_asked_is_killed() {
        let (mut program, mut pipe) = seen("trap '' TERM; sleep 1000 & echo; wait");
        await_line(&mut pipe);
        let end = program.wait(ready(()), Duration::from_millis(10)).await.unwrap();
        assert_eq!(end, End::Cut((), Some(ExitStatus::from_raw(Signal::KILL.as_raw()))));
        await_end_of_group(pipe);
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_with_its_parent_is_killed_too() {
        let (mut program, mut pipe) = seen("(trap '' TERM; echo; sleep 1000) & trap 'exit 4' TERM; wait");
        await_line(&mut pipe);
        let end = program.wait(ready(()), GRACE).await.unwrap();
        assert!(matches!(end, End::Cut((), Some(_))), "{end:?}");
        await_end_of_group(pipe);
    }

    #[tokio::test]
    async fn a_dropped_one_ends_with_its_group() {
        let (program, mut pipe) = seen("sleep 1000 & echo; wait");
        await_line(&mut pipe);
        drop(program);
        await_end_of_group(pipe);
    }

    #[tokio::test]
    async fn what_it_leaves_running_stays() {
        let script = "sleep 1000 & echo $!";
        let mut program = Program::start(shell(script), None, Output::Tail(100)).unwrap();
        assert!(matches!(program.wait(pending::<()>(), GRACE).await, Ok(End::Itself(status)) if status.success()));
        let left = String::from_utf8(program.output().await).unwrap();
        let left = Pid::from_raw(left.trim().parse().unwrap()).unwrap();
        test_kill_process(left).unwrap();
        kill_process(left, Signal::KILL).unwrap();
    }
}
