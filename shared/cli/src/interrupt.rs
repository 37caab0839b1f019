//! SIGTERM and SIGINT as something a tool can wait for, so that it can clean up before it ends by them.

use crate::signals::is_ignored;
use failure::Failure;
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a tool to end.
#[derive(Debug)]
pub struct Interrupts {
    /// `None` where it is ignored.
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
    /// One that came and has not ended the run yet.
    pending: Option<i32>,
}

async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

impl Interrupts {
    /// From here on SIGTERM, SIGINT and SIGHUP no longer end the process by themselves. One that was ignored stays so.
    ///
    /// # Errors
    /// The kernel refuses the handlers.
    pub fn catch() -> Result<Self, Failure> {
        let catch = |kind: SignalKind| {
            let caught = (!is_ignored(kind.as_raw_value())).then(|| signal(kind)).transpose();
            caught.map_err(|error| Failure::io("unable to catch signals", error))
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
            pending: None,
        })
    }

    /// Waits for a signal and returns its number.
    pub async fn next(&mut self) -> i32 {
        if let Some(signal) = self.pending {
            return signal;
        }
        tokio::select! {
            () = came(&mut self.terminate) => SignalKind::terminate(),
            () = came(&mut self.interrupt) => SignalKind::interrupt(),
            () = came(&mut self.hangup) => SignalKind::hangup(),
        }
        .as_raw_value()
    }

    /// Runs `work` to its end, or drops it at the first signal, which is then the failure returned.
    ///
    /// # Errors
    /// What `work` failed with, or the interruption.
    pub async fn or<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            signal = self.next() => Err(Failure::interrupted(signal)),
            result = work => result,
        }
    }

    /// Runs `work` that should not be dropped in the middle: after a signal it has `grace` to come to its end. What it
    /// came to counts then, and the signal is found by whatever asks next; a failure counts as the interruption.
    ///
    /// # Errors
    /// As [`Interrupts::or`].
    pub async fn or_after<T>(
        &mut self,
        grace: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        let signal = tokio::select! {
            biased;
            signal = self.next() => signal,
            result = &mut work => return result,
        };
        self.pending = Some(signal);
        match tokio::time::timeout(grace, work).await {
            Ok(Ok(done)) => Ok(done),
            _ => Err(Failure::interrupted(signal)),
        }
    }

    /// Fails if a signal has come: for work that must not be dropped in the middle.
    ///
    /// # Errors
    /// The interruption.
    pub async fn check(&mut self) -> Result<(), Failure> {
        // On the runtime's only thread signals are noticed between two tasks.
        tokio::task::yield_now().await;
        self.or(std::future::ready(Ok(()))).await
    }
}
