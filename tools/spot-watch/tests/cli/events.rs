//! Reading what spot-watch printed; every line is held against the published schema.

use serde_json::Value;
use std::sync::LazyLock;
use testkit::{Running, Schema, wait_until};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(include_str!("../../event.schema.json")));

/// The events of whole lines.
pub(crate) fn events(stdout: &[u8]) -> Vec<Value> {
    let whole = stdout.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = stdout[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let event: Value = serde_json::from_slice(line).unwrap();
            if let Err(error) = SCHEMA.check(&event) {
                panic!("{error}\n{event}");
            }
            event
        })
        .collect()
}

/// Those of one kind.
pub(crate) fn of_kind(events: &[Value], kind: &str) -> Vec<Value> {
    events.iter().filter(|event| event["event"] == kind).cloned().collect()
}

/// The kinds, in order.
pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

/// Waits for so many events of a kind, and gives the last of them.
pub(crate) fn wait_for(run: &Running, kind: &str, count: usize) -> Value {
    wait_until(&format!("{count} × {kind}"), || {
        let seen = events(&run.stdout_so_far());
        let found = of_kind(&seen, kind);
        let told = || format!("{:?}, stderr {}", kinds(&seen), String::from_utf8_lossy(&run.stderr_so_far()));
        found.get(count - 1).cloned().ok_or_else(told)
    })
}
