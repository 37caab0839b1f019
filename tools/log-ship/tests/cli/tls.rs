//! TLS with a certificate authority of one's own, and SASL/SCRAM, as `--kafka` and `--kafka-file` pass them to librdkafka.

use crate::harness::{Harness, append};
use std::fs;
use testkit::Tool;

fn secured(harness: &Harness, password: &str) -> Tool {
    let var = |name: &str| std::env::var(name).expect("KAFKA_TLS_* are set: scripts/stack start kafka");
    let mut tool = harness.tool_via(&var("KAFKA_TLS_BROKERS"));
    for option in [
        "security.protocol=sasl_ssl".to_owned(),
        format!("ssl.ca.location={}", var("KAFKA_TLS_CA")),
        "sasl.mechanism=SCRAM-SHA-512".to_owned(),
        format!("sasl.username={}", var("KAFKA_TLS_USER")),
    ] {
        tool = tool.args(["--kafka", &option]);
    }
    let file = harness.log("kafka");
    fs::write(&file, format!("# shared with no one\nsasl.password = {password}\n")).unwrap();
    let tool = tool.arg("--kafka-file").arg(file);
    tool.args(["--once", "--timeout", "5s"]).arg(harness.log("a.log"))
}

#[test]
fn over_tls_with_a_password() {
    let harness = Harness::new();
    append(&harness.log("a.log"), "one\ntwo\n");
    let password = std::env::var("KAFKA_TLS_PASSWORD").expect("KAFKA_TLS_PASSWORD is set: scripts/stack start kafka");
    secured(&harness, &password).run().succeeds().stderr_is_empty();
    assert_eq!(harness.values(), ["one", "two"]);
}

#[test]
fn a_wrong_password_is_said() {
    let harness = Harness::new();
    append(&harness.log("a.log"), "one\n");
    let run = secured(&harness, "wrong").run().fails_with(1).stderr_is_one_line();
    run.stderr_contains("uthentication");
    assert_eq!(harness.values(), Vec::<String>::new());
}

#[test]
fn a_certificate_of_nobody_known_is_said() {
    let harness = Harness::new();
    append(&harness.log("a.log"), "one\n");
    let brokers = std::env::var("KAFKA_TLS_BROKERS").expect("KAFKA_TLS_BROKERS is set: scripts/stack start kafka");
    let tool = harness.tool_via(&brokers).args(["--kafka", "security.protocol=ssl", "--once", "--timeout", "5s"]);
    let run = tool.arg(harness.log("a.log")).run().fails_with(75).stderr_is_one_line();
    run.stderr_contains("certificate");
}

/// The broker closes the connection, which librdkafka takes for no error.
#[test]
fn a_port_that_speaks_tls_is_said() {
    let harness = Harness::new();
    append(&harness.log("a.log"), "one\n");
    let brokers = std::env::var("KAFKA_TLS_BROKERS").expect("KAFKA_TLS_BROKERS is set: scripts/stack start kafka");
    let tool = harness.tool_via(&brokers).args(["--once", "--timeout", "5s"]).arg(harness.log("a.log"));
    tool.run().fails_with(75).stderr_is_one_line().stderr_contains("security.protocol");
}
