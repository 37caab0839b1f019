//! How the tools reach AWS: the SDK's standard chain, bounded waits, and what its errors mean for a retry.

mod args;
mod errors;
mod profile;

pub use args::{AccessArgs, AwsArgs, RegionsArgs};
pub use errors::{classify, failure, without_region};
