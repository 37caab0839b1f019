//! Releases: their records, where they stand in a store, how a number is taken, promoted and swept.
//!
//! A release becomes visible in this order: claim, artifact, sealed record, pointer. Readers trust sealed records
//! and pointers only, so whatever moment a builder dies, nobody sees half a release.

pub mod allocate;
mod args;
pub mod claim;
pub mod damage;
pub mod git;
pub mod history;
pub mod layout;
pub mod number;
mod pauses;
pub mod pointer;
pub mod probe;
pub mod record;
pub mod selector;
pub mod settle;
pub mod sweep;
pub mod transfer;

pub use args::StoreArgs;
pub use claim::{Builder, Claim};
pub use layout::Layout;
pub use number::ReleaseNumber;
pub use pauses::Pauses;
pub use record::Record;
pub use selector::Selector;
