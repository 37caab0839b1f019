//! Releases: their records, where they stand in a store, how a number is taken, and the stores themselves.
//!
//! A release becomes visible in this order: claim, artifact, sealed record, pointer. Readers trust sealed records
//! and pointers only, so whatever moment a builder dies, nobody sees half a release.

pub mod allocate;
pub mod backoff;
pub mod claim;
pub mod git;
pub mod history;
pub mod layout;
pub mod number;
pub mod pointer;
pub mod probe;
pub mod record;
pub mod selector;
pub mod settle;
pub mod store;
pub mod sweep;
pub mod transfer;

pub use claim::{Builder, Claim};
pub use layout::Layout;
pub use number::ReleaseNumber;
pub use record::Record;
pub use selector::Selector;
pub use store::{Attributes, Store, StoreArgs};
