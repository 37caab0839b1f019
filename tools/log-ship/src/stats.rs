//! The counters: read = acked + in flight + rejected, at every moment.

use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) read: u64,
    pub(crate) acked: u64,
    pub(crate) rejected: u64,
    pub(crate) bytes: u64,
    pub(crate) destroyed: u64,
}

/// One line of `--stats`.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    pub(crate) time: String,
    /// Lines taken from files or stdin.
    pub(crate) read: u64,
    /// Lines that the broker acknowledged.
    pub(crate) acked: u64,
    /// Lines that wait for it.
    pub(crate) in_flight: u64,
    /// Lines that can't be sent: too long, or refused for what they are.
    pub(crate) rejected: u64,
    /// Bytes of the lines that the broker acknowledged.
    pub(crate) acked_bytes: u64,
    /// Bytes that were destroyed before they were acknowledged, as far as they had been seen.
    pub(crate) destroyed_bytes: u64,
    /// Bytes seen in files that have not been read yet.
    pub(crate) unread_bytes: u64,
    /// How long the oldest line in flight has been waiting.
    pub(crate) oldest_ms: u64,
    /// Files that are followed.
    pub(crate) files: u64,
}

impl Counters {
    /// The line, with its newline.
    pub(crate) fn line(&self, in_flight: u64, oldest: Duration, unread_bytes: u64, files: u64) -> Vec<u8> {
        let stats = Stats {
            time: Timestamp::now().to_string(),
            read: self.read,
            acked: self.acked,
            in_flight,
            rejected: self.rejected,
            acked_bytes: self.bytes,
            destroyed_bytes: self.destroyed,
            unread_bytes,
            oldest_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
            files,
        };
        let mut line = serde_json::to_vec(&stats).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
