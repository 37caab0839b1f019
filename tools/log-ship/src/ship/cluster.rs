//! The cluster that everything was acknowledged by: what is acknowledged by one is missing from another.

use super::Ship;
use failure::Failure;
use std::mem;
use std::time::Duration;

/// A run that ends without having heard of a broker waits so long for one.
const MEETING: Duration = Duration::from_secs(1);

/// What is known of it.
#[derive(Debug)]
pub(super) enum Cluster {
    /// No broker has told an id yet, in no run.
    Unknown,
    /// As an earlier run has met it. In this run none has told its id yet.
    Remembered(String),
    /// A broker of this run has told it.
    Met(String),
}

impl Cluster {
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Unknown => None,
            Self::Remembered(id) | Self::Met(id) => Some(id),
        }
    }
}

impl Ship<'_> {
    /// Compares the cluster with the one of earlier runs, as soon as a broker has told which it is.
    ///
    /// # Errors
    /// It is another one.
    pub(super) fn know_cluster(&mut self) -> Result<(), Failure> {
        if matches!(self.cluster, Cluster::Met(_)) {
            return Ok(());
        }
        let Some(id) = self.sender.cluster() else { return Ok(()) };
        match mem::replace(&mut self.cluster, Cluster::Met(id.clone())) {
            Cluster::Remembered(before) if before != id => Err(Failure::permanent(format!(
                "unable to ship to cluster {id}: {} holds the positions of cluster {before}; give each cluster its own \
                 --state-dir",
                self.args.state_dir().display()
            ))),
            Cluster::Unknown => {
                self.changed = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The same at the end of a run that had nothing to send: it may not have heard of a broker yet.
    ///
    /// # Errors
    /// It is another one.
    pub(super) fn meet_cluster(&mut self) -> Result<(), Failure> {
        if matches!(self.cluster, Cluster::Remembered(_)) {
            self.sender.meet(MEETING);
        }
        self.know_cluster()
    }
}
