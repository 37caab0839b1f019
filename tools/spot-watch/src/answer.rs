//! The answer to what the metadata say: raise, run, tell, and remember each step.

pub(crate) mod departure;
pub(crate) mod hook;
pub(crate) mod means;
pub(crate) mod progress;
pub(crate) mod reclaim;
pub(crate) mod respond;
pub(crate) mod webhook;
