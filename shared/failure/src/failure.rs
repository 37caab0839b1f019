//! What a failed run ends as: a message for people and a class that decides the exit code.

use std::fmt;
use std::io;

/// Whether trying again can help; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Trying again will not help: exit code 1.
    Permanent,
    /// The command line is wrong: exit code 2.
    Usage,
    /// Trying again later can help: exit code 75, `EX_TEMPFAIL` of sysexits.h.
    Temporary,
}

impl Class {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Permanent => 1,
            Self::Usage => 2,
            Self::Temporary => 75,
        }
    }

    /// Class of an operating system error met while working on files.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as K;
        match error.kind() {
            K::NotFound
            | K::PermissionDenied
            | K::AlreadyExists
            | K::NotADirectory
            | K::IsADirectory
            | K::ReadOnlyFilesystem
            | K::InvalidInput
            | K::InvalidData
            | K::InvalidFilename
            | K::FileTooLarge
            | K::CrossesDevices
            | K::Unsupported => Self::Permanent,
            _ => Self::Temporary,
        }
    }
}

/// Why a run ends without being done.
#[derive(Debug)]
pub struct Failure(Reason);

/// What ended the run.
#[derive(Debug)]
pub enum Reason {
    /// The work could not be done.
    Failed {
        /// Whether trying again can help.
        class: Class,
        /// What was being done, and why it failed.
        error: anyhow::Error,
    },
    /// The reader of stdout went away. Only what writes to stdout may say so: a dead socket must never look like this.
    StdoutClosed,
    /// A signal asked the run to end.
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

impl Failure {
    /// A failure that stays one however often it is tried.
    pub fn permanent(what: impl fmt::Display) -> Self {
        Self::new(Class::Permanent, what)
    }

    /// A failure that may be gone at the next try.
    pub fn temporary(what: impl fmt::Display) -> Self {
        Self::new(Class::Temporary, what)
    }

    /// A command line that can't be carried out as written.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self::new(Class::Usage, what)
    }

    /// A failure of the given class.
    pub fn new(class: Class, what: impl fmt::Display) -> Self {
        Self(Reason::Failed { class, error: anyhow::Error::msg(what.to_string()) })
    }

    /// An operating system error on files; `what` says verb and object.
    pub fn io(what: impl fmt::Display, error: io::Error) -> Self {
        let class = Class::of_io(&error);
        Self(Reason::Failed { class, error: anyhow::Error::new(error).context(what.to_string()) })
    }

    /// The run was asked to end by a signal and has cleaned up.
    #[must_use]
    pub fn interrupted(signal: i32) -> Self {
        Self(Reason::Interrupted { signal })
    }

    /// The same failure, with what was being done in front.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        match self.0 {
            Reason::Failed { class, error } => Self(Reason::Failed { class, error: error.context(what.to_string()) }),
            other => Self(other),
        }
    }

    /// The same failure, as one of another class.
    #[must_use]
    pub fn with_class(self, class: Class) -> Self {
        match self.0 {
            Reason::Failed { error, .. } => Self(Reason::Failed { class, error }),
            other => Self(other),
        }
    }

    /// Its class, unless it is no failure of the work (stdout closed, interrupted).
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        match &self.0 {
            Reason::Failed { class, .. } => Some(*class),
            _ => None,
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.class() == Some(Class::Temporary)
    }

    /// The reader of stdout went away.
    #[must_use]
    pub fn stdout_closed() -> Self {
        Self(Reason::StdoutClosed)
    }

    /// What ended the run.
    #[must_use]
    pub fn into_reason(self) -> Reason {
        self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Failed { error, .. } => write!(f, "{error:#}"),
            Reason::StdoutClosed => f.write_str("stdout is closed"),
            Reason::Interrupted { signal } => write!(f, "ended by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_the_chain_on_one_line() {
        let failure =
            Failure::io("unable to read /x", io::Error::from(io::ErrorKind::PermissionDenied)).context("release 42");
        assert_eq!(failure.to_string(), "release 42: unable to read /x: permission denied");
        assert_eq!(failure.class(), Some(Class::Permanent));
    }

    #[test]
    fn a_full_disk_is_temporary() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Class::of_io(&full), Class::Temporary);
    }

    #[test]
    fn a_broken_pipe_is_an_ordinary_failure_here() {
        let pipe = Failure::io("unable to send", io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(pipe.class(), Some(Class::Temporary));
    }
}
