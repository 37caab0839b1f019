//! What stands under which path: the instance's own items, a notice, and whatever a test has set.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::s3::uri::decode;

const INSTANCE_ACTION: &str = "spot/instance-action";

/// The instance that the service runs for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImdsInstance {
    /// `i-…`
    pub id: String,
    /// Region.
    pub region: String,
    /// Availability zone.
    pub zone: String,
    /// The account's number.
    pub account: String,
    /// When it was last started (RFC 3339), as its identity document says.
    pub pending_time: Option<String>,
    /// `spot` or `on-demand`; `None` makes the item 404.
    pub life_cycle: Option<String>,
    /// The instance's role: its credentials are served, and always valid for six hours more.
    pub role: Option<String>,
    /// Its tags; `None`, the default of EC2, makes them 404.
    pub tags: Option<Vec<(String, String)>>,
}

impl ImdsInstance {
    /// A spot instance in us-east-1a with neither role nor tags.
    pub fn spot(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            region: "us-east-1".to_owned(),
            zone: "us-east-1a".to_owned(),
            account: "123456789012".to_owned(),
            pending_time: Some("2026-11-24T08:00:00Z".to_owned()),
            life_cycle: Some("spot".to_owned()),
            role: None,
            tags: None,
        }
    }

    /// The access key id of its role's credentials, which tells instances apart in [`ScalingCall`](crate::ScalingCall)s.
    pub fn access_key_id(&self) -> String {
        let digits = self.id.trim_start_matches("i-").to_ascii_uppercase();
        let last = digits.get(digits.len().saturating_sub(16)..).unwrap_or(&digits);
        format!("ASIA{last:0>16}")
    }

    fn tag(&self, key: &str) -> Option<String> {
        self.tags.iter().flatten().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    fn document(&self) -> String {
        let mut document = json!({
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "billingProducts": null,
            "devpayProductCodes": null,
            "imageId": "ami-0009ed347ddbe2509",
            "instanceId": self.id,
            "instanceType": "m4.large",
            "kernelId": null,
            "marketplaceProductCodes": null,
            "privateIp": "10.0.0.1",
            "ramdiskId": null,
            "region": self.region,
            "version": "2017-09-30",
        });
        if let Some(time) = &self.pending_time {
            document["pendingTime"] = json!(time);
        }
        format!("{document:#}")
    }

    fn credentials(&self) -> String {
        let credentials = json!({
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": ahead(0),
            "AccessKeyId": self.access_key_id(),
            "SecretAccessKey": "test-secret-key",
            "Token": "test-session-token",
            "Expiration": ahead(6 * 60 * 60),
        });
        format!("{credentials:#}")
    }
}

/// Two minutes' notice.
pub(crate) struct Notice {
    pub action: String,
    /// `None` for one that is always two minutes ahead.
    pub time: Option<String>,
}

impl Notice {
    fn time(&self) -> String {
        self.time.clone().unwrap_or_else(|| ahead(120))
    }
}

pub(crate) struct Metadata {
    pub instance: ImdsInstance,
    notice: Option<Notice>,
    set: BTreeMap<String, Option<String>>,
}

impl Metadata {
    pub fn of(instance: ImdsInstance) -> Self {
        Self { instance, notice: None, set: BTreeMap::new() }
    }

    /// A test's own notice, even none, replaces one that was given.
    pub fn set(&mut self, path: &str, body: Option<&str>) {
        let path = named(path);
        if path == INSTANCE_ACTION {
            self.notice = None;
        }
        self.set.insert(path.to_owned(), body.map(str::to_owned));
    }

    pub fn give(&mut self, notice: Notice) {
        self.set.remove(INSTANCE_ACTION);
        self.notice = Some(notice);
    }

    /// What stands under the whole path of a request.
    pub fn get(&self, path: &str) -> Option<String> {
        let path = decode(path, false);
        let path = named(path.strip_prefix("/latest/")?);
        match path.strip_prefix("meta-data/") {
            Some(item) => self.set.get(item).cloned().unwrap_or_else(|| self.item(item)),
            None => (path == "dynamic/instance-identity/document").then(|| self.instance.document()),
        }
    }

    fn item(&self, item: &str) -> Option<String> {
        let instance = &self.instance;
        match item {
            "instance-id" => Some(instance.id.clone()),
            "instance-life-cycle" => instance.life_cycle.clone(),
            "placement/region" => Some(instance.region.clone()),
            "placement/availability-zone" => Some(instance.zone.clone()),
            INSTANCE_ACTION => {
                let notice = self.notice.as_ref()?;
                Some(json!({ "action": notice.action, "time": notice.time() }).to_string())
            }
            "spot/termination-time" => {
                let terminated = self.notice.as_ref().filter(|notice| notice.action == "terminate");
                terminated.map(Notice::time)
            }
            "iam/security-credentials" => instance.role.clone(),
            "tags/instance" => {
                let keys = instance.tags.as_ref()?.iter().map(|(key, _)| key.as_str());
                Some(keys.collect::<Vec<_>>().join("\n"))
            }
            _ => match item.strip_prefix("iam/security-credentials/") {
                Some(role) => (instance.role.as_deref() == Some(role)).then(|| instance.credentials()),
                None => instance.tag(item.strip_prefix("tags/instance/")?),
            },
        }
    }
}

/// A listing is the same with and without its slash.
fn named(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn ahead(seconds: i64) -> String {
    let at = Timestamp::from_second(Timestamp::now().as_second() + seconds).expect("a time within the calendar");
    at.to_string()
}
