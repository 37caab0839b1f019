//! How long to wait before something is tried again, and until when.

mod backoff;
mod duration;

pub use backoff::Backoff;
pub use duration::{duration, interval};
