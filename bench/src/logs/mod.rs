//! The tables of `bench logs`: lines from files to a real Kafka broker, beside kcat and rsyslog; what following many files
//! takes in memory; and how soon a large backlog begins to move. The
//! tables of `bench index`: records from there to a search server, beside curl.

mod backlog;
mod broker;
pub mod indexing;
mod many;
mod race;
mod shippers;

use anyhow::{Context as _, Result};

use crate::site::Site;
use broker::Broker;
use race::{Load, race};

/// Makes all tables, each handed to `print` as soon as it is there.
///
/// # Errors
/// When a run fails, or lines do not arrive.
pub fn tables(site: &Site, quick: bool, rounds: usize, print: impl Fn(&str) -> Result<()>) -> Result<()> {
    let brokers = std::env::var("KAFKA_BROKERS").context("KAFKA_BROKERS is not set")?;
    let broker = Broker::new(&brokers)?;
    print(&shippers::described(site, &brokers))?;
    let scale = if quick { 100 } else { 1 };
    for (bytes, lines) in [(50, 2_000_000), (200, 400_000), (200, 2_000_000), (1_000, 400_000), (8_000, 50_000)] {
        let load = Load { bytes, lines: lines / scale, hosts: 1 };
        print(&race(site, &broker, &load, rounds)?)?;
    }
    let load = Load { bytes: 200, lines: 500_000 / scale, hosts: 4 };
    print(&race(site, &broker, &load, rounds)?)?;
    if site.peers_only {
        return Ok(());
    }
    print(&many::table(site, &broker, quick)?)?;
    print(&backlog::table(site, &broker, rounds)?)
}
