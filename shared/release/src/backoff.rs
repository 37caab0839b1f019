//! Waiting before something is tried again that others are doing too.

use std::time::Duration;

/// Waits before try `attempt + 1` of something others are doing too: full jitter, growing, at most half a second.
pub async fn pause(attempt: u32) {
    let longest = 10_u64.saturating_mul(1 << attempt.min(6)).min(500);
    let random = u64::from(uuid::Uuid::new_v4().as_fields().0);
    tokio::time::sleep(Duration::from_millis(random % (longest + 1))).await;
}
