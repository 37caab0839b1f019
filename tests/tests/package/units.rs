//! The units of the package, started by a real systemd.

use crate::debian::{Booted, Debian, package};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use testkit::{ImdsInstance, ImdsModel, ScalingGroup, ScalingModel, documents, request, wait_until};

const OWN: &str = "obelix_spot_asg";
const TARGET: &str = "obelix_ondemand_asg";

fn stack(name: &str) -> String {
    std::env::var(name).expect("scripts/stack start kafka search sets it")
}

/// Adds to a file of settings, as it is installed.
fn set(booted: &Booted, name: &str, lines: &str) {
    let path = booted.debian.path(&format!("/etc/default/{name}"));
    let shipped = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{shipped}{lines}\n")).unwrap();
}

/// Waits until a unit has failed by the exit code 2, and has not been started again.
fn failed_once(booted: &Booted, unit: &str, reason: &str) {
    wait_until(&format!("{unit} to fail"), || {
        let state = booted.property(unit, "ActiveState");
        if state == "failed" { Ok(()) } else { Err(format!("{state}: {}", booted.journal(unit))) }
    });
    let found = ["ExecMainStatus", "NRestarts"].map(|name| booted.property(unit, name));
    let journal = booted.journal(unit);
    assert_eq!(found, ["2", "0"], "{journal}");
    assert!(journal.contains(reason), "{journal}");
    booted.sh(&format!("systemctl reset-failed {unit}")).succeeds();
}

fn runs(booted: &Booted, unit: &str) {
    let found = ["ActiveState", "NRestarts"].map(|name| booted.property(unit, name));
    assert_eq!(found, ["active", "0"], "{unit}: {}", booted.journal(unit));
}

/// The events that spot-watch has written.
fn events(booted: &Booted, name: &str) -> Vec<Value> {
    let journal = booted.journal("spot-watch");
    let events = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == name).collect()
}

fn first_event(booted: &Booted, name: &str) -> Value {
    wait_until(name, || events(booted, name).pop().ok_or_else(|| booted.journal("spot-watch")))
}

#[test]
fn started_by_systemd() {
    let booted = Debian::new().boot();
    fs::copy(package(), booted.debian.path("/root/package.deb")).unwrap();
    booted.sh("dpkg --install /root/package.deb").succeeds();

    // As installed: what needs settings says so and stays down.
    booted.sh("systemctl start log-ship log-index").succeeds();
    failed_once(&booted, "log-ship", "KAFKA_BROKERS is not set");
    failed_once(&booted, "log-index", "--brokers");
    // Their files of settings are not needed for that.
    booted.sh("rm /etc/default/ship-logs /etc/default/log-index && systemctl start log-ship log-index").succeeds();
    failed_once(&booted, "log-ship", "KAFKA_BROKERS is not set");
    failed_once(&booted, "log-index", "--brokers");
    watch_and_drain(&booted);
    from_file_to_document(&booted);
}

/// The drain of the page of spot-watch: it takes the health file away and stops the service.
fn watch_and_drain(booted: &Booted) {
    let (imds, scaling) = (ImdsModel::start(), ScalingModel::start());
    let tags = Some(vec![("aws:autoscaling:groupName".to_owned(), OWN.to_owned())]);
    imds.set_instance(ImdsInstance {
        tags,
        role: Some("obelix".to_owned()),
        ..ImdsInstance::spot("i-0123456789abcdef0")
    });
    for name in [OWN, TARGET] {
        scaling.add_group(ScalingGroup::new(name, 0, 1, 5));
    }
    set(
        booted,
        "spot-watch",
        &format!(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT={}\nAWS_ENDPOINT_URL_AUTO_SCALING={}",
            imds.endpoint(),
            scaling.endpoint()
        ),
    );
    // As installed it watches, and says once that it does no more.
    booted.sh("systemctl enable --now spot-watch").succeeds();
    first_event(booted, "ready");
    runs(booted, "spot-watch");
    assert_eq!(
        booted.journal("spot-watch").matches("no capacity is raised").count(),
        1,
        "{}",
        booted.journal("spot-watch")
    );

    set(booted, "spot-watch", &format!("SPOT_WATCH_OPTIONS=--raise {TARGET} --on-notice /opt/obelix/drain"));
    let mode = fs::metadata(booted.debian.path("/etc/default/spot-watch")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let page = fs::read_to_string(booted.debian.path("/usr/share/doc/asg-tools/spot-watch.md")).unwrap();
    fs::create_dir_all(booted.debian.path("/opt/obelix")).unwrap();
    // The program and the commands are those of the page.
    fs::write(booted.debian.path("/opt/obelix/drain"), indented(&page, "#!/bin/sh")).unwrap();
    booted.sh("chmod 755 /opt/obelix/drain && echo obelix-42 >/srv/healthy").succeeds();
    let service = "[Service]\nExecStart=/bin/sleep infinity\n";
    fs::write(booted.debian.path("/etc/systemd/system/obelix.service"), service).unwrap();
    booted.sh("systemctl daemon-reload && systemctl start obelix").succeeds();
    booted.sh(&format!("set -e\n{}", indented(&page, "install -D -m 644").replace("sudo ", ""))).succeeds();
    wait_until("spot-watch to be ready again", || {
        let ready = events(booted, "ready");
        if ready.iter().any(|event| event["target"] == TARGET) { Ok(()) } else { Err(format!("{ready:?}")) }
    });
    runs(booted, "spot-watch");

    imds.moving_notice("terminate");
    let done = first_event(booted, "done");
    assert_eq!(done["hook"]["outcome"], "ok", "{done}");
    assert!(!booted.debian.path("/srv/healthy").exists(), "{done}");
    assert_eq!(booted.property("obelix", "ActiveState"), "inactive", "{done}");
    assert_eq!(scaling.group(TARGET).desired, 2);
    assert_eq!(booted.journal("spot-watch").matches("no capacity is raised").count(), 1);
    // Only that: the rest of the host stays out of its reach.
    let as_it = format!("nsenter --target {} --mount touch", booted.property("spot-watch", "MainPID"));
    booted.sh(&format!("{as_it} /srv/mine")).succeeds();
    booted.sh(&format!("{as_it} /etc/mine")).fails_with(1).stderr_contains("Read-only file system");
    booted.sh("systemctl stop spot-watch").succeeds();
    assert_eq!(booted.property("spot-watch", "Result"), "success");
}

/// The block of a page, four spaces before each line, that has a line which begins with these words.
fn indented(page: &str, begin: &str) -> String {
    let blocks = page.split("\n\n").filter(|block| block.lines().all(|line| line.starts_with("    ")));
    let mut found = blocks.map(|block| block.lines().map(|line| format!("{}\n", &line[4..])).collect::<String>());
    found
        .find(|block| block.trim_start_matches("sudo ").starts_with(begin))
        .expect("the page has a block that begins so")
}

/// log-ship and log-index with all their settings, passwords in files of root.
fn from_file_to_document(booted: &Booted) {
    let name = format!("units-{:016x}", rand::random::<u64>());
    let secret = |path: &str, text: &str| {
        let path = booted.debian.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    // What the package recommends, ca-certificates, is not there.
    fs::create_dir_all(booted.debian.path("/etc/ssl/certs")).unwrap();
    fs::copy("/etc/ssl/certs/ca-certificates.crt", booted.debian.path("/etc/ssl/certs/ca-certificates.crt")).unwrap();
    fs::copy(stack("KAFKA_TLS_CA"), booted.debian.path("/etc/kafka-ca.pem")).unwrap();
    let kafka = format!(
        "security.protocol=sasl_ssl\nsasl.mechanism=SCRAM-SHA-512\nsasl.username={}\nsasl.password={}\n\
         ssl.ca.location=/etc/kafka-ca.pem\n",
        stack("KAFKA_TLS_USER"),
        stack("KAFKA_TLS_PASSWORD")
    );
    secret("/etc/log-ship/kafka", &kafka);
    secret("/etc/log-index/kafka", &kafka);
    let brokers = stack("KAFKA_TLS_BROKERS");
    let server = stack("SEARCH_URL");
    let write = |file: &str, lines: &str| fs::write(booted.debian.path(file), lines).unwrap();
    write(
        "/etc/default/ship-logs",
        &format!(
            "KAFKA_BROKERS={brokers}\nSERVICE=obelix\nTOPIC={name}\nLOGS=/var/log/obelix/*.log\n\
             KAFKA_FILE=/run/credentials/log-ship.service/kafka\n"
        ),
    );
    let index = |more: &str| {
        write(
            "/etc/default/log-index",
            &format!(
                "KAFKA_BROKERS={brokers}\nSEARCH_URL={server}\nLOG_INDEX_OPTIONS=--topic {name} --group {name} --index {name}-%Y \
                 --kafka-file /run/credentials/log-index.service/kafka{more}\n"
            ),
        );
    };
    booted.sh("mkdir /var/log/obelix && echo 'the first line' >/var/log/obelix/app.log").succeeds();
    index("");
    booted.sh("systemctl start log-ship log-index").succeeds();
    let await_lines = |lines: &[&str]| {
        wait_until("the documents", || {
            let found = documents(&server, &name);
            let mut found: Vec<&str> = found.iter().filter_map(|one| one.source["message"].as_str()).collect();
            found.sort_unstable();
            if found == lines {
                return Ok(());
            }
            runs(booted, "log-ship");
            runs(booted, "log-index");
            Err(format!("{found:?}\n{}\n{}", booted.journal("log-ship"), booted.journal("log-index")))
        });
    };
    await_lines(&["the first line"]);
    // With a password it is the same.
    secret("/etc/log-index/password", "geheim\n");
    index(" --user logs --password-file /run/credentials/log-index.service/password");
    booted.sh("systemctl restart log-index && echo 'then another' >>/var/log/obelix/app.log").succeeds();
    await_lines(&["the first line", "then another"]);
    // A drop-in of before there were settings, with a command of its own.
    write("/etc/default/log-index", "");
    let own = format!(
        "[Service]\nExecStart=\nExecStart=/usr/bin/log-index --brokers {brokers} --topic {name} --group {name} --url {server} \
         --index {name}-%%Y --kafka-file ${{CREDENTIALS_DIRECTORY}}/kafka --user logs \
         --password-file ${{CREDENTIALS_DIRECTORY}}/password\n"
    );
    fs::create_dir_all(booted.debian.path("/etc/systemd/system/log-index.service.d")).unwrap();
    write("/etc/systemd/system/log-index.service.d/own.conf", &own);
    booted.sh("systemctl daemon-reload && systemctl restart log-index").succeeds();
    booted.sh("echo 'under a drop-in' >>/var/log/obelix/app.log").succeeds();
    await_lines(&["the first line", "then another", "under a drop-in"]);
    booted.sh("systemctl stop log-ship log-index").succeeds();
    drop(request(&server, "DELETE", &format!("/{name}*"), &[], b""));
}
