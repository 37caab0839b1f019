//! spot-watch as a process, on an instance's metadata and an Auto Scaling of its own.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a line that breaks the schema fails the test; figures are printed"
)]

mod capacity;
mod events;
mod harness;
mod herd;
mod hooks;
mod kills;
mod lifecycle;
mod metadata;
mod notices;
mod permissions;
mod polls;
mod state;
mod stdout;
mod webhooks;
