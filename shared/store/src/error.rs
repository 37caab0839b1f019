//! How a store fails, for callers that must tell one failure from another.

use failure::{Class, Failure};
use std::fmt::Display;

/// Why a store did not do what was asked. Each variant holds the message and its class.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No, and no again: access denied, no such bucket or directory, an answer that no store may give.
    #[error("{0}")]
    Refused(Failure),
    /// Not now: throttled, no answer in time, no credentials yet, a full disk. A write may have been done all the same.
    #[error("{0}")]
    Unavailable(Failure),
    /// The upload is gone: another build took this one for dead and swept it.
    #[error("{0}")]
    Swept(Failure),
    /// The object is no longer in the state that was asked for; a new try meets the new one.
    #[error("{0}")]
    Changed(Failure),
}

impl StoreError {
    /// By the failure's class alone.
    pub(crate) fn of(failure: Failure) -> Self {
        match failure.class() {
            Some(Class::Temporary) => Self::Unavailable(failure),
            _ => Self::Refused(failure),
        }
    }

    pub(crate) fn refused(what: impl Display) -> Self {
        Self::Refused(Failure::permanent(what))
    }

    pub(crate) fn unavailable(what: impl Display) -> Self {
        Self::Unavailable(Failure::temporary(what))
    }

    pub(crate) fn changed(what: impl Display) -> Self {
        Self::Changed(Failure::temporary(format!("{what}: it was replaced while it was read")))
    }

    /// The build is over, and a new one may succeed.
    pub(crate) fn swept(what: impl Display) -> Self {
        Self::Swept(Failure::temporary(format!("{what}: another build swept this upload")))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(failure)
            | StoreError::Unavailable(failure)
            | StoreError::Swept(failure)
            | StoreError::Changed(failure) => failure,
        }
    }
}
