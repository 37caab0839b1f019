//! The tables of `bench spot`: how soon capacity is asked for, what a failure of the metadata service costs, what watching
//! costs, and how a herd gets through. The servers are the models of the metadata service and of Auto Scaling, in this
//! process, which knows when a notice was given and when a call arrived; ec2-metadata-mock stands beside them.

mod blind;
mod door;
mod footprint;
mod herd;
mod latency;
mod mock;
mod watched;
mod watchers;

use anyhow::Result;

use crate::site::Site;

/// Makes all tables, each handed to `print` as soon as it is there.
///
/// # Errors
/// When a run fails, or spot-watch does not do what is measured.
pub fn tables(site: &Site, quick: bool, print: impl Fn(&str) -> Result<()>) -> Result<()> {
    // First, while this process is small: see `measure`.
    print(&watchers::table(site, quick)?)?;
    if site.peers_only {
        return Ok(());
    }
    print(&mock::table(site)?)?;
    print(&footprint::table(site, quick)?)?;
    print(&latency::table(site, quick)?)?;
    print(&blind::table(site, quick)?)?;
    print(&herd::table(site, quick)?)
}
