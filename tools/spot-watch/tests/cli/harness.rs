//! An instance with its metadata, its group and the group that is raised for it.

use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use testkit::{ImdsInstance, ImdsModel, ScalingGroup, ScalingModel, ScalingPolicy, Tool, wait_until};

pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_spot-watch");
pub(crate) const ID: &str = "i-0123456789abcdef0";
/// The instance's own group.
pub(crate) const OWN: &str = "obelix_spot_asg";
/// The group that is raised.
pub(crate) const TARGET: &str = "obelix_ondemand_asg";
pub(crate) const POLICY: &str = "spot-watch";

pub(crate) struct Harness {
    pub(crate) imds: ImdsModel,
    pub(crate) scaling: Arc<ScalingModel>,
    /// How often the tool asks.
    pub(crate) interval: &'static str,
    pub(crate) dir: TempDir,
}

impl Harness {
    /// A spot instance in a group of three; the other group has two instances, room for eight more, and both rungs.
    pub(crate) fn new() -> Self {
        let (imds, scaling) = (ImdsModel::start(), Arc::new(ScalingModel::start()));
        imds.set_instance(instance(ID));
        imds.lifecycle_state(Some("InService"));
        let mut own = ScalingGroup::new(OWN, 1, 3, 10);
        own.members = vec![(ID.to_owned(), "us-east-1a".to_owned(), "InService".to_owned())];
        own.tags = vec![("spot-watch:ondemand-asg".to_owned(), TARGET.to_owned())];
        scaling.add_group(own);
        let mut target = ScalingGroup::new(TARGET, 1, 2, 10);
        target.policies = vec![ScalingPolicy::plus_one(POLICY)];
        scaling.add_group(target);
        Self { imds, scaling, interval: "20ms", dir: tempfile::tempdir().unwrap() }
    }

    /// The tool on this instance.
    pub(crate) fn tool(&self) -> Tool {
        self.on_this_instance(Tool::new(TOOL), &self.state())
    }

    /// A line that ends with the tool, on this instance, with its memory in `state`.
    pub(crate) fn on_this_instance(&self, line: Tool, state: &Path) -> Tool {
        line.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.endpoint())
            .env("AWS_ENDPOINT_URL_AUTO_SCALING", self.scaling.endpoint())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test-secret-key")
            .env("AWS_REGION", "us-east-1")
            .args(["--interval", self.interval, "--state-dir"])
            .arg(state)
    }

    /// Waits until it is on disk that nothing is left to do. That it is `done` is told before.
    pub(crate) fn await_done_on_disk(&self) {
        self.await_done_in("reclaim.json");
    }

    /// The same for an end that the instance's own group brings about.
    pub(crate) fn await_departure_on_disk(&self) {
        self.await_done_in("departure.json");
    }

    fn await_done_in(&self, file: &str) {
        wait_until("the end on disk", || {
            let state = fs::read_to_string(self.state().join(file)).unwrap_or_default();
            let reclaim: Value = serde_json::from_str(&state).unwrap_or_default();
            if reclaim["done"] == true { Ok(()) } else { Err(state) }
        });
    }

    /// The tool, raising the other group.
    pub(crate) fn raising(&self) -> Tool {
        self.raising_from(&self.state())
    }

    /// The same, with its memory in another place.
    pub(crate) fn raising_from(&self, state: &Path) -> Tool {
        self.on_this_instance(Tool::new(TOOL), state).args(["--raise", TARGET])
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A place of the test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An executable script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// AWS gives notice, so many seconds ahead.
    pub(crate) fn notice(&self, action: &str, seconds: i64) {
        self.imds.notice(action, &ahead(seconds));
    }

    /// Others of the herd take what room the group has, and get their instances. Gives how many they were.
    pub(crate) fn fill(scaling: &ScalingModel) -> i64 {
        let mut places = 0;
        scaling.change(TARGET, |group| {
            places = group.max - group.desired;
            group.desired += places;
            let new = |number| (format!("i-other{number}"), "us-east-1a".to_owned(), "Pending".to_owned());
            group.members.extend((0..places).map(new));
        });
        places
    }

    /// By how many the other group has risen.
    pub(crate) fn risen(&self) -> i64 {
        self.scaling.group(TARGET).desired - 2
    }

    /// How often this was asked of Auto Scaling.
    pub(crate) fn asked(&self, action: &str) -> usize {
        self.scaling.calls().iter().filter(|call| call.action == action).count()
    }

    /// Changes the group that is raised.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ScalingGroup)) {
        self.scaling.change(TARGET, change);
    }
}

/// A spot instance that may read its tags.
pub(crate) fn instance(id: &str) -> ImdsInstance {
    let group = ("aws:autoscaling:groupName".to_owned(), OWN.to_owned());
    ImdsInstance { tags: Some(vec![group]), ..ImdsInstance::spot(id) }
}

/// The time in so many seconds, as the metadata write it.
pub(crate) fn ahead(seconds: i64) -> String {
    (Timestamp::now() + seconds.seconds()).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
