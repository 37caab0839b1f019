//! Waiting before something is tried again that others are doing at the same moment.

use retry::Backoff;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// The pauses of one loop: short, for whoever is in the way is done after a request or two.
#[derive(Debug)]
pub struct Pauses(Backoff);

impl Default for Pauses {
    fn default() -> Self {
        Self(Backoff::new(FIRST, LONGEST))
    }
}

impl Pauses {
    /// Waits before the next try.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.0.pause()).await;
    }
}
