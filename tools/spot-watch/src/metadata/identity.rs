//! Which instance this is.

use crate::metadata::imds::{Budget, Imds, Miss, Reason};
use serde::Deserialize;

const DOCUMENT: &str = "dynamic/instance-identity/document";
const LIFE_CYCLE: &str = "meta-data/instance-life-cycle";
const GROUP: &str = "meta-data/tags/instance/aws:autoscaling:groupName";

/// The instance, for one start of it: a stopped instance that is started again is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) document: Document,
    /// `spot` or `on-demand`, if the metadata say it.
    pub(crate) life_cycle: Option<String>,
    /// Its own group, where the instance may read its tags.
    pub(crate) group: Option<String>,
}

/// The parts of the instance identity document that are used here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) instance_id: String,
    pub(crate) region: Option<String>,
    pub(crate) availability_zone: Option<String>,
    /// When it was last started.
    pub(crate) pending_time: Option<String>,
}

impl Identity {
    /// Reads all of it.
    pub(crate) async fn read(imds: &mut Imds, budget: Budget) -> Result<Self, Miss> {
        let document = Document::read(imds, budget).await?;
        // Neither is needed to see a notice.
        let life_cycle = imds.get(LIFE_CYCLE, budget).await.ok().flatten().map(|text| text.trim().to_owned());
        let group = imds.get(GROUP, budget).await.ok().flatten().filter(|name| !name.is_empty());
        Ok(Self { document, life_cycle, group })
    }

    pub(crate) fn is_on_demand(&self) -> bool {
        self.life_cycle.as_deref() == Some("on-demand")
    }
}

impl Document {
    pub(crate) async fn read(imds: &mut Imds, budget: Budget) -> Result<Self, Miss> {
        let parse =
            |body: &str| serde_json::from_str(body).ok().filter(|document: &Self| !document.instance_id.is_empty());
        let missing = || Miss { reason: Reason::ServerError, detail: format!("GET {DOCUMENT}: HTTP 404") };
        imds.read(DOCUMENT, budget, parse).await?.ok_or_else(missing)
    }

    /// What one reclaim is known by, however often AWS moves its time: instance and start.
    pub(crate) fn reclaim_id(&self) -> String {
        match &self.pending_time {
            Some(time) => format!("{}/{}", self.instance_id, time.replace(['-', ':'], "")),
            None => self.instance_id.clone(),
        }
    }
}

/// The client token of a reclaim: 1 to 64 of `[A-Za-z0-9-_/]`.
pub(crate) fn client_token(reclaim_id: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-_/".contains(c) { c } else { '_' };
    format!("spot-watch/{reclaim_id}").chars().map(allowed).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_start_one_reclaim() {
        let mut document: Document = serde_json::from_str(
            r#"{"instanceId":"i-0123456789abcdef0","region":"eu-west-1","availabilityZone":"eu-west-1a","accountId":"1",
                "pendingTime":"2026-11-24T08:00:00Z","architecture":"x86_64"}"#,
        )
        .unwrap();
        assert_eq!(document.reclaim_id(), "i-0123456789abcdef0/20261124T080000Z");
        assert_eq!(client_token(&document.reclaim_id()), "spot-watch/i-0123456789abcdef0/20261124T080000Z");
        document.pending_time = None;
        assert_eq!(document.reclaim_id(), "i-0123456789abcdef0");
        assert_eq!(client_token(&"é".repeat(99)).len(), 64);
    }
}
