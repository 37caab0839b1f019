//! amazon-ec2-metadata-mock: a metadata service that nobody here wrote.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::{request, wait_until};

use super::watched::{Watcher, groups, risen};
use crate::site::Site;
use crate::table::progress;

/// Long enough for spot-watch to be ready.
const DELAY: u64 = 5;
/// How long it is watched with the notice standing there.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// A running mock; dropping it ends it.
pub struct Mock {
    process: Child,
    endpoint: String,
    log: PathBuf,
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Mock {
    /// Starts the metadata service of a spot instance that gets its notice so many seconds later. It answers version 1 and
    /// version 2 alike.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(site: &Site, seconds: u64) -> Result<Self> {
        // It takes no port 0: one that is free now.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port().to_string();
        let (config, log) = (site.path("mock.json"), PathBuf::from(site.path("mock.log")));
        fs::write(&config, r#"{"metadata": {"values": {"instance-life-cycle": "spot"}}}"#)?;
        let process = Command::new(site.peer("ec2-metadata-mock"))
            .args(["spot", "-n", "127.0.0.1", "-p", &port, "-d", &seconds.to_string(), "-c", &config])
            .env_clear()
            .env("HOME", site.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("unable to start ec2-metadata-mock")?;
        let mock = Self { process, endpoint: format!("http://127.0.0.1:{port}"), log };
        let address = mock.endpoint.trim_start_matches("http://");
        wait_until("ec2-metadata-mock", || TcpStream::connect(address).map(drop).map_err(|err| err.to_string()));
        Ok(mock)
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn notice(&self) -> Result<String> {
        Ok(request(&self.endpoint, "GET", "/latest/meta-data/spot/instance-action", &[], b"")?.text())
    }
}

/// One reclaim on it.
///
/// # Errors
/// When spot-watch ends, or the mock never gives notice.
pub fn table(site: &Site) -> Result<String> {
    progress("ec2-metadata-mock");
    let (mock, scaling) = (Mock::start(site, DELAY)?, groups());
    let watcher = Watcher::start(site, mock.endpoint(), &scaling, 0, "500ms", &[]);
    watcher.wait_for("done");
    let (first, before) = (mock.notice()?, served(&mock)?);
    let start = Instant::now();
    sleep(AFTERWARDS);
    let polls = served(&mock)? - before;
    let waited = start.elapsed().as_secs_f64();
    ensure!(first != mock.notice()?, "the notice's time stands still: {first}");
    Ok(format!(
        "### On amazon-ec2-metadata-mock\n\nspot-watch --interval 500ms on a mock that gives notice {DELAY} s after its start, \
         with another time at every request; then {waited:.0} s more.\n\n\
         | notices served afterwards | `notice` events | `capacity` events | rises of the group |\n|---:|---:|---:|---:|\n\
         | {polls} | {} | {} | {} |\n\n",
        watcher.events("notice")?.len(),
        watcher.events("capacity")?.len(),
        risen(&scaling),
    ))
}

/// How many notices it has answered with, by its log: after the delay it says so of each, in JSON.
fn served(mock: &Mock) -> Result<usize> {
    Ok(fs::read_to_string(&mock.log)?.matches("Returned JSON mock response successfully").count())
}
