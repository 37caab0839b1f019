//! spot-watch on an instance of its own, and the group that it raises.

use std::time::Duration;

use anyhow::Result;
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;
use testkit::{
    ImdsInstance, ImdsModel, Running, ScalingCall, ScalingGroup, ScalingModel, ScalingPolicy, Tool, wait_until,
};

use crate::site::Site;

/// The instance's own group.
const OWN: &str = "obelix_spot_asg";
/// The group that is raised.
pub const TARGET: &str = "obelix_ondemand_asg";
/// Its capacity at first.
const FIRST: i64 = 2;
/// Far above anything here: it ends a hang, it judges no speed.
pub const LIMIT: Duration = Duration::from_secs(300);

/// An Auto Scaling with both groups; the one to raise allows both rungs.
pub fn groups() -> ScalingModel {
    let scaling = ScalingModel::start();
    let mut target = ScalingGroup::new(TARGET, 1, FIRST, 1_000);
    target.policies = vec![ScalingPolicy::plus_one("spot-watch")];
    scaling.add_group(target);
    scaling.add_group(ScalingGroup::new(OWN, 1, 3, 10));
    scaling
}

/// By how many instances the group has risen.
pub fn risen(scaling: &ScalingModel) -> usize {
    usize::try_from(scaling.group(TARGET).desired - FIRST).unwrap_or(0)
}

/// A metadata service of a spot instance, one of many.
pub fn instance(number: usize) -> ImdsModel {
    let imds = ImdsModel::start();
    let tags = vec![("aws:autoscaling:groupName".to_owned(), OWN.to_owned())];
    imds.set_instance(ImdsInstance { tags: Some(tags), ..ImdsInstance::spot(&format!("i-{number:017x}")) });
    imds.lifecycle_state(Some("InService"));
    imds
}

/// Gives the two minutes' notice.
pub fn give_notice(imds: &ImdsModel) {
    let time = (Timestamp::now() + 120.seconds()).strftime("%Y-%m-%dT%H:%M:%SZ");
    imds.notice("terminate", &time.to_string());
}

/// A running spot-watch.
pub struct Watcher {
    /// Its process.
    pub run: Running,
    key: String,
}

impl Watcher {
    /// Starts it on the instance behind `metadata`, to raise the group in `scaling`. Its memory is a directory in the home
    /// that the run has for itself.
    pub fn start(
        site: &Site,
        metadata: &str,
        scaling: &ScalingModel,
        number: usize,
        interval: &str,
        args: &[&str],
    ) -> Self {
        let key = format!("bench{number}");
        let run = Tool::new(site.ours("spot-watch"))
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata)
            .env("AWS_ENDPOINT_URL_AUTO_SCALING", scaling.endpoint())
            .env("AWS_ACCESS_KEY_ID", &key)
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_REGION", "us-east-1")
            .args(["--raise", TARGET, "--state-dir", "state", "--interval", interval])
            .args(args)
            .start();
        Self { run, key }
    }

    /// Its events of a kind so far.
    ///
    /// # Errors
    /// When a line is no JSON.
    pub fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let said = self.run.stdout_so_far();
        let whole = said.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let lines = said[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut events = lines.map(serde_json::from_slice::<Value>).collect::<Result<Vec<_>, _>>()?;
        events.retain(|event| event["event"] == kind);
        Ok(events)
    }

    /// Waits until it has said so.
    pub fn wait_for(&self, kind: &str) {
        wait_until(kind, || match self.events(kind) {
            Ok(events) if !events.is_empty() => Ok(()),
            _ => Err(String::from_utf8_lossy(&self.run.stderr_so_far()).into_owned()),
        });
    }

    /// Whether a call is its own.
    pub fn made(&self, call: &ScalingCall) -> bool {
        call.caller == self.key
    }
}
