//! The Kafka cluster that acknowledged everything so far: another cluster does not have those records.

use super::Ship;
use failure::Failure;
use std::mem;
use std::time::Duration;

/// How long a run that had nothing to send waits for a broker's first answer before it exits.
const MEETING: Duration = Duration::from_secs(1);

/// What is known of it.
#[derive(Debug)]
pub(super) enum Cluster {
    /// No run has learned its id.
    Unknown,
    /// The id that an earlier run learned; no broker has answered this run yet.
    Remembered(String),
    /// A broker has answered this run.
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
    /// Compares the cluster with that of earlier runs, as soon as a broker has answered.
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

    /// The same before a run exits that had nothing to send: no broker may have answered it yet.
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
