//! A broker of librdkafka's own, inside this process, for whoever has no Kafka: prints `KAFKA_BROKERS=host:port` and serves
//! until stdin ends. What it was sent is in memory alone.
#![expect(clippy::print_stdout, reason = "its address is its output")]

use rdkafka::mocking::MockCluster;
use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Ok(cluster) = MockCluster::new(1) else { return ExitCode::from(75) };
    println!("KAFKA_BROKERS={}", cluster.bootstrap_servers());
    if std::io::stdout().flush().is_err() {
        return ExitCode::FAILURE;
    }
    let mut rest = Vec::new();
    // An error ends it as well as the end does.
    let _ = std::io::stdin().lock().read_to_end(&mut rest);
    ExitCode::SUCCESS
}
