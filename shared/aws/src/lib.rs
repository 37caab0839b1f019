//! How the tools reach AWS: the SDK's standard chain, bounded waits, and what its errors mean for a retry.

mod args;
mod credential_process;
mod errors;
mod keys;
mod profile;
mod reach;
mod settings;

pub use args::{Access, AccessArgs, AwsArgs, RegionsArgs};
/// Hosts of all of AWS's partitions.
const DOMAINS: [&str; 6] =
    ["amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "c2s.ic.gov", "sc2s.sgov.gov", "csp.hci.ic.gov"];

/// Whether a host is one of AWS.
fn is_of_aws(host: &str) -> bool {
    DOMAINS.iter().any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

pub use errors::{classify, failure, without_region};
