//! `bench NAME`: measures the built tools against their peers, on real servers, and prints Markdown. `scripts/bench` builds
//! and starts what it needs.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use testkit::Distance;

mod cases;
mod data;
mod fleet;
mod growth;
mod logs;
mod measure;
mod monitoring;
mod process;
mod site;
mod spot;
mod table;

/// Measures the built tools against their peers and prints Markdown tables
#[derive(Parser)]
struct Args {
    /// What to measure
    name: Name,
    /// Directory of our release binaries
    #[arg(long)]
    ours: PathBuf,
    /// Directory of aws, s5cmd, rclone, ansible-inventory and ec2-metadata-mock
    #[arg(long)]
    peers: PathBuf,
    /// Directory of the project's scripts
    #[arg(long)]
    scripts: PathBuf,
    /// Endpoint of an S3 that takes everything and keeps nothing, with a bucket `bench`; for `release`
    #[arg(long)]
    sink: Option<String>,
    /// Endpoint of a real S3; keys and region are read from the environment; for `release`
    #[arg(long)]
    store: Option<String>,
    /// Measured rounds of each table
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Tiny sizes and two rounds: shows that the harness works, measures nothing
    #[arg(long)]
    quick: bool,
    /// Leave our own tools out, to try the peers alone
    #[arg(long)]
    peers_only: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Packing, fetching and promoting releases
    Release,
    /// Listing the instances of Auto Scaling groups, and what Nagios watches of them
    Fleet,
    /// Watching for a spot instance's notice, and raising capacity at it
    Spot,
    /// Shipping lines from files to Kafka
    Logs,
    /// Indexing records from Kafka
    Index,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let scratch = tempfile::tempdir().context("unable to make a scratch directory")?;
    let site = site::Site::new(&args.ours, &args.peers, &args.scripts, args.peers_only, scratch.path())?;
    let rounds = if args.quick { 2 } else { usize::from(args.rounds) };
    match args.name {
        Name::Release => {
            let sink = site.endpoint(&args.sink.context("--sink is missing")?)?;
            let address = args.store.context("--store is missing")?;
            let store = site.endpoint(&address)?;
            let at = |distance: Distance| {
                site.endpoint(&format!("http://{}", distance.to(address.trim_start_matches("http://"))))
            };
            let tree = cases::Tree::new(&site, args.quick)?;
            site.make_bucket(&store)?;
            print(&tree.described())?;
            print(&cases::pack(&site, &sink, "the null sink", &tree, rounds)?)?;
            cases::store_for_fetch(&site, &store, &tree)?;
            // Memory shows the tools, the disk what is left of it in practice.
            let memory = tempfile::tempdir_in("/dev/shm").context("unable to make a directory in /dev/shm")?;
            let into_memory = |away: &str| cases::Target {
                label: format!("into memory (tmpfs){away}"),
                dir: memory.path().to_path_buf(),
                kept: false,
            };
            print(&cases::fetch(&site, &store, &into_memory(""), rounds)?)?;
            let distances = [30, 100].map(|ms| (format!(", {ms} ms away"), Distance::of(Duration::from_millis(ms))));
            for (away, distance) in &distances {
                print(&cases::fetch(&site, &at(*distance)?, &into_memory(away), rounds)?)?;
            }
            let late = Distance { late_answers: 0.05, late: Duration::from_secs(2), ..distances[0].1 };
            if !args.peers_only {
                print(&cases::late_answers(&site, &store, &at(late)?, if args.quick { 3 } else { 200 })?)?;
            }
            let onto_disk = cases::Target { label: "onto the disk".to_owned(), dir: site.scratch.clone(), kept: true };
            print(&cases::fetch(&site, &store, &onto_disk, rounds)?)?;
            // Last of the large ones: it leaves the server with tens of gigabytes.
            print(&cases::pack(&site, &store, "SeaweedFS", &tree, rounds)?)?;
            let (away, distance) = &distances[1];
            print(&cases::pack(&site, &at(*distance)?, &format!("SeaweedFS{away}"), &tree, rounds)?)?;
            drop(tree);
            print(&cases::small_build(&site, &store, rounds)?)?;
            if !args.peers_only {
                print(&cases::start(&site, if args.quick { 5 } else { 100 })?)?;
                print(&growth::linearity(&site, &sink, args.quick)?)?;
            }
        }
        Name::Fleet => {
            let scale = if args.quick { 100 } else { 1 };
            for instances in [1_000, 10_000] {
                print(&fleet::list(&site, instances / scale, rounds)?)?;
            }
            print(&fleet::inventory(&site, 1_000 / scale, rounds)?)?;
            if !args.peers_only {
                print(&monitoring::objects(&site, scale)?)?;
            }
        }
        Name::Spot => spot::tables(&site, args.quick, print)?,
        Name::Logs => logs::tables(&site, args.quick, rounds, print)?,
        Name::Index => logs::indexing::tables(&site, args.quick, rounds, print)?,
    }
    Ok(())
}

/// Prints a table as soon as it is there: a bench of an hour that fails at its end has still said what it found.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}
