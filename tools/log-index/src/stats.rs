//! The counters: read = acked + in flight + rejected, at every moment.

use crate::ledger::Ledger;
use jiff::Timestamp;
use serde::Serialize;

/// One line of `--stats`.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    time: String,
    /// Records taken from the topic.
    read: u64,
    /// Records that have their document.
    acked: u64,
    /// Records that wait for it.
    in_flight: u64,
    /// Records that can't be indexed: dead letters.
    rejected: u64,
    /// Documents that this run made; the rest of `acked` was there.
    created: u64,
    existing: u64,
    /// Records without a value, which are no documents and are not counted as read.
    skipped: u64,
    /// Documents that were sent more than once.
    sent_again: u64,
    /// How long the oldest record in flight has been waiting.
    oldest_ms: u64,
    /// Partitions of this member.
    partitions: u64,
    /// Records of these partitions behind the committed positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<i64>,
}

/// The line, with its newline.
pub(crate) fn line(ledger: &Ledger, unsent: u64, sent_again: u64, lag: Option<i64>) -> Vec<u8> {
    let tally = ledger.tally;
    let age = |since: std::time::Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let stats = Stats {
        time: Timestamp::now().to_string(),
        read: ledger.read,
        acked: tally.created + tally.existing,
        in_flight: ledger.in_flight() + unsent,
        rejected: tally.rejected,
        created: tally.created,
        existing: tally.existing,
        skipped: ledger.skipped,
        sent_again,
        oldest_ms: ledger.oldest().map(age).unwrap_or_default(),
        partitions: ledger.partitions().count() as u64,
        lag,
    };
    let mut line = serde_json::to_vec(&stats).unwrap_or_default();
    line.push(b'\n');
    line
}
