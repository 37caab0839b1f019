//! Waiting: for files that change, for lines on stdin, for signals.

use cli::{Console, Signals};
use failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use std::collections::BTreeSet;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// What the wait may end with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// A file was made, renamed or removed.
    pub(crate) names: bool,
    /// Something was written.
    pub(crate) bytes: bool,
}

/// The things waited for.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Option<OwnedFd>,
    folders: BTreeSet<PathBuf>,
    /// Folders that can't be watched, which was said.
    unwatched: BTreeSet<PathBuf>,
    wakes: PipeReader,
    waker: Waker,
    signals: Signals,
    console: Console,
}

/// Ends a wait from another thread.
#[derive(Debug)]
pub(crate) struct Waker(PipeWriter);

impl Waker {
    /// Ends the present wait, or the next one.
    pub(crate) fn wake(&self) {
        // A full pipe will end the wait as well.
        let _ = (&self.0).write(&[0]);
    }

    fn another(&self) -> Result<Self, Failure> {
        self.0.try_clone().map(Self).map_err(|error| Failure::io("unable to make a pipe", error))
    }
}

impl Watch {
    /// From here on SIGTERM, SIGINT and SIGHUP no longer end the process by themselves.
    ///
    /// # Errors
    /// The kernel has no pipe or refuses the handlers.
    pub(crate) fn start(console: Console) -> Result<Self, Failure> {
        let (wakes, writer) = std::io::pipe().map_err(|error| Failure::io("unable to make a pipe", error))?;
        for end in
            [&OwnedFd::from(wakes.try_clone().map_err(no_pipe)?), &OwnedFd::from(writer.try_clone().map_err(no_pipe)?)]
        {
            rustix::io::ioctl_fionbio(end, true).map_err(|error| Failure::io("unable to make a pipe", error.into()))?;
        }
        let signals = Signals::catch(Some(&OwnedFd::from(writer.try_clone().map_err(no_pipe)?)))?;
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Ok(Self {
            inotify,
            folders: BTreeSet::new(),
            unwatched: BTreeSet::new(),
            wakes,
            waker: Waker(writer),
            signals,
            console,
        })
    }

    /// Something that ends a wait.
    ///
    /// # Errors
    /// The kernel has no more descriptors.
    pub(crate) fn waker(&self) -> Result<Waker, Failure> {
        self.waker.another()
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.signals.seen()
    }

    /// Watches these folders too. What can't be watched is looked at every second, as everything is.
    pub(crate) fn folders(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(inotify) = &self.inotify else { return };
        self.folders.retain(|folder| folders.contains(folder) && folder.is_dir());
        for folder in folders {
            if self.folders.contains(folder) {
                continue;
            }
            let changes = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::MODIFY;
            match add_watch(inotify, folder, changes | WatchFlags::ONLYDIR) {
                Ok(_) => {
                    self.unwatched.remove(folder);
                    self.folders.insert(folder.clone());
                }
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => {
                    if self.unwatched.insert(folder.clone()) {
                        let folder = folder.display();
                        self.console.warn(format!("unable to watch {folder}: {error}; it is looked at every second"));
                    }
                }
            }
        }
    }

    /// Waits at most `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Seen {
        let timeout = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(&self.wakes, PollFlags::IN)];
        if let Some(inotify) = &self.inotify {
            fds.push(PollFd::new(inotify, PollFlags::IN));
        }
        // A signal ends the wait early, which is as well.
        let _ = poll(&mut fds, Some(&timeout));
        let mut bytes = [0; 64];
        let woken = matches!(self.wakes.read(&mut bytes), Ok(1..));
        let mut seen = self.changes();
        seen.bytes |= woken;
        seen
    }

    /// Takes what inotify has to tell.
    fn changes(&self) -> Seen {
        let mut seen = Seen::default();
        let Some(inotify) = &self.inotify else { return seen };
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(inotify, &mut buffer);
        let names = ReadFlags::CREATE
            | ReadFlags::MOVED_FROM
            | ReadFlags::MOVED_TO
            | ReadFlags::DELETE
            | ReadFlags::QUEUE_OVERFLOW
            | ReadFlags::IGNORED;
        while let Ok(event) = reader.next() {
            seen.names |= event.events().intersects(names);
            seen.bytes |= event.events().contains(ReadFlags::MODIFY);
        }
        seen
    }
}

fn no_pipe(error: std::io::Error) -> Failure {
    Failure::io("unable to make a pipe", error)
}
