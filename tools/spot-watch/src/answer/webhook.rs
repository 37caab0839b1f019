//! The webhook: told at the notice and at its end, again and again until it answers or the instance ends, and what is not
//! delivered by then is kept for the next start.

use crate::records::Records;
use failure::{Failure, innermost};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use retry::Backoff;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use url::Url;

const LONGEST_REQUEST: Duration = Duration::from_secs(5);
/// For the disk, when the message is delivered.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What came of it: the fields of the event `notify`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    /// `delivered`, `refused` or `unsent`; the last is sent by the next start, where it could be kept.
    pub(crate) outcome: &'static str,
    /// `notice`, `done`, or `unsent` for what an earlier run kept.
    pub(crate) about: &'static str,
    /// Scheme, host and port: the path of a webhook is often its secret.
    pub(crate) to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    pub(crate) attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Where messages go.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    client: Client,
    url: Url,
}

impl Webhook {
    /// # Errors
    /// This machine has no TLS to speak.
    pub(crate) fn new(url: Url) -> Result<Self, Failure> {
        // It fails where somebody else was first, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            Client::builder().timeout(LONGEST_REQUEST).redirect(Policy::none()).user_agent("spot-watch").build();
        let client = client.map_err(|error| Failure::permanent(format!("unable to speak to a webhook: {error}")))?;
        Ok(Self { client, url })
    }

    /// Delivers a message, trying until the deadline. It is kept meanwhile; `safe` runs once it is kept or done with, so that
    /// nobody writes down that it was told before that.
    pub(crate) async fn deliver(
        &self,
        about: &'static str,
        name: &str,
        message: Vec<u8>,
        records: &Records,
        deadline: Instant,
        safe: impl Future<Output = ()>,
    ) -> Delivery {
        let keeping = records.keep(name, &message);
        let (done, is_done) = oneshot::channel::<()>();
        let keep = async {
            // A disk that is not done with it by then leaves a message that is sent once more, which its reader sees.
            let kept = tokio::time::timeout(LONGEST_WAIT, keeping).await.ok().and_then(Result::ok).flatten();
            if kept.is_none() {
                let _ = is_done.await;
            }
            safe.await;
            kept
        };
        let insist = async {
            let delivery = self.insist(about, message, deadline).await;
            // Whoever keeps it may have done so, and does not wait.
            let _ = done.send(());
            delivery
        };
        let (kept, delivery) = tokio::join!(keep, insist);
        if let Some(name) = kept.filter(|_| delivery.outcome != "unsent") {
            records.forget(&name);
        }
        delivery
    }

    /// Delivers what an earlier run kept; ends at the first message that can't be delivered.
    pub(crate) async fn deliver_unsent(&self, records: &Records, deadline: Instant) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for (name, message) in records.messages() {
            let delivery = self.insist("unsent", message, deadline).await;
            let more = delivery.outcome != "unsent";
            if more {
                records.forget(&name);
            }
            deliveries.push(delivery);
            if !more {
                break;
            }
        }
        deliveries
    }

    async fn insist(&self, about: &'static str, message: Vec<u8>, deadline: Instant) -> Delivery {
        let to = self.url.origin().ascii_serialization();
        let mut delivery = Delivery { outcome: "unsent", about, to, status: None, attempts: 0, error: None };
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).at_least_half();
        loop {
            delivery.attempts += 1;
            match tokio::time::timeout_at(deadline, self.post(message.clone())).await {
                Ok(Ok(status)) => {
                    delivery.status = Some(status.as_u16());
                    delivery.error = (!status.is_success()).then(|| format!("HTTP {}", status.as_u16()));
                    if status.is_success() {
                        delivery.outcome = "delivered";
                        return delivery;
                    }
                    if !may_pass(status) {
                        delivery.outcome = "refused";
                        return delivery;
                    }
                }
                Ok(Err(error)) => delivery.error = Some(told(&error)),
                Err(_) => delivery.error = Some("no answer in time".to_owned()),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(pause) = backoff.pause_within(left) else { return delivery };
            tokio::time::sleep(pause).await;
        }
    }

    async fn post(&self, message: Vec<u8>) -> reqwest::Result<StatusCode> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        Ok(request.body(message).send().await?.status())
    }
}

/// Whether the same message may be taken later.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The innermost cause; the layers above name the URL.
fn told(error: &reqwest::Error) -> String {
    let cause = innermost(error);
    match cause.downcast_ref::<reqwest::Error>() {
        Some(outer) if outer.is_timeout() => "no answer in time".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => cause.to_string(),
    }
}
