//! The instance metadata service, version 2 and nothing else.
//!
//! Source: Amazon EC2 user guide, "Use the Instance Metadata Service". The connections are plain TCP to the configured
//! endpoint: no proxy of the environment ever sees them, and no redirect is followed. The SDK's own client is not used
//! here, since its retries take longer than the interval between two polls.

use crate::metadata::aws_clock::AwsClock;
use bytes::Bytes;
use failure::{Failure, innermost};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const TOKEN_PATH: &str = "/latest/api/token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// The longest life a token can have, seconds.
const TTL: u64 = 21_600;
/// A token is replaced this long before it ends.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// No item is longer than this.
const LONGEST_BODY: usize = 64 * 1024;

/// Why an item could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// No connection, or one that broke.
    Unreachable,
    /// No answer in time; for the token this may be a hop limit of 1.
    Timeout,
    /// 403: the metadata service is switched off for this instance, or a proxy is in between.
    Denied,
    /// 401 for a token that is new.
    Unauthorized,
    /// An answer of 500 or above, or one that makes no sense for the request.
    ServerError,
    /// 200 with a body that is no such item.
    Garbage,
}

/// An item that could not be had, whatever was tried.
#[derive(Clone, Debug)]
pub(crate) struct Miss {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Miss {
    fn garbage(path: &str, body: &str) -> Self {
        let start: String = body.chars().take(80).collect();
        Self { reason: Reason::Garbage, detail: format!("{path} is {start:?}") }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// How long one poll may take in all, and one request of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    end: Instant,
    one_try: Duration,
}

impl Budget {
    /// What a machine under load needs for one poll, however short the interval.
    const LEAST: Duration = Duration::from_millis(400);
    const LONGEST_TRY: Duration = Duration::from_secs(1);

    /// One poll, its retries included, ends before the next one is due.
    pub(crate) fn of(interval: Duration) -> Self {
        let whole = interval.mul_f64(0.8).max(Self::LEAST);
        Self { end: Instant::now() + whole, one_try: (whole / 4).min(Self::LONGEST_TRY) }
    }

    /// The part of it that one item may use, so that something is left for the others.
    pub(crate) fn part(self, share: f64) -> Self {
        let left = self.end.saturating_duration_since(Instant::now());
        Self { end: Instant::now() + left.mul_f64(share), ..self }
    }

    /// The end of a try: the first is short, so that there can be another; a later one may take what is left.
    fn next_try(&self, first: bool) -> Option<Instant> {
        let now = Instant::now();
        let longest = if first { self.one_try } else { Self::LONGEST_TRY };
        (now < self.end).then(|| (now + longest).min(self.end))
    }

    /// Lets the service breathe between two tries.
    async fn pause(&self) {
        tokio::time::sleep_until((Instant::now() + self.one_try / 8).min(self.end)).await;
    }
}

/// Not printable: whoever has it can read the role's credentials.
struct Token {
    value: header::HeaderValue,
    renew_at: Instant,
}

/// A client with one connection and one token.
pub(crate) struct Imds {
    http: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    clock: AwsClock,
    token: Option<Token>,
}

struct Answer {
    status: StatusCode,
    body: String,
}

impl Imds {
    /// A client of the endpoint that the environment names, else of the one of AWS.
    ///
    /// # Errors
    /// The environment says that the metadata service must not be asked, or names no endpoint.
    pub(crate) fn from_env(clock: AwsClock) -> Result<Self, Failure> {
        let env = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if env("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(Failure::permanent("unable to watch: AWS_EC2_METADATA_DISABLED forbids the instance metadata"));
        }
        let by_mode = || {
            let six =
                env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
            if six { "http://[fd00:ec2::254]" } else { "http://169.254.169.254" }.to_owned()
        };
        let endpoint = env("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(by_mode);
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let named = url::Url::parse(&endpoint).is_ok_and(|url| url.scheme() == "http" && url.has_host());
        if !named {
            // Without the value: there may be a password in it.
            let what = "unable to watch: AWS_EC2_METADATA_SERVICE_ENDPOINT is not an http:// URL";
            return Err(Failure::permanent(format!("{what}, such as http://169.254.169.254")));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { http, endpoint, clock, token: None })
    }

    /// The item at `path`, below `/latest/`; `None` where there is none. Tries again within the budget.
    pub(crate) async fn get(&mut self, path: &str, budget: Budget) -> Result<Option<String>, Miss> {
        self.read(path, budget, |body| Some(body.to_owned())).await
    }

    /// The same for an item that has a form: a body that has not, a page of something in between for instance, is asked for
    /// again as well.
    pub(crate) async fn read<T>(
        &mut self,
        path: &str,
        budget: Budget,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Miss> {
        let mut missed = None;
        while let Some(end) = budget.next_try(missed.is_none()) {
            match self.try_get(path, end).await {
                Ok(None) => return Ok(None),
                Ok(Some(body)) => match parse(&body) {
                    Some(item) => return Ok(Some(item)),
                    None => missed = Some(Miss::garbage(path, &body)),
                },
                Err(miss) => missed = Some(miss),
            }
            budget.pause().await;
        }
        Err(missed.unwrap_or_else(|| Miss { reason: Reason::Timeout, detail: format!("no time was left for {path}") }))
    }

    async fn try_get(&mut self, path: &str, end: Instant) -> Result<Option<String>, Miss> {
        let answer = self.ask(path, end).await?;
        let answer = match answer.status {
            StatusCode::UNAUTHORIZED => {
                // It ended early, or the service was started anew: replaced once, never sent beside the old one.
                self.token = None;
                self.ask(path, end).await?
            }
            _ => answer,
        };
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(refused("GET", path, status)),
        }
    }

    async fn ask(&mut self, path: &str, end: Instant) -> Result<Answer, Miss> {
        let token = self.token(end).await?;
        self.send(Method::GET, &format!("/latest/{path}"), (TOKEN_HEADER, token), end).await
    }

    async fn token(&mut self, end: Instant) -> Result<header::HeaderValue, Miss> {
        if let Some(token) = self.token.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.value.clone());
        }
        let asked = Instant::now();
        let ttl = header::HeaderValue::from(TTL);
        let answer = self.send(Method::PUT, TOKEN_PATH, (TTL_HEADER, ttl), end).await?;
        if answer.status != StatusCode::OK {
            return Err(refused("PUT", TOKEN_PATH, answer.status));
        }
        let mut value = header::HeaderValue::from_str(answer.body.trim())
            .map_err(|_| Miss { reason: Reason::Garbage, detail: format!("{TOKEN_PATH} gives no token") })?;
        value.set_sensitive(true);
        self.token = Some(Token { value: value.clone(), renew_at: asked + Duration::from_secs(TTL) - RENEW_BEFORE });
        Ok(value)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        (name, value): (&'static str, header::HeaderValue),
        end: Instant,
    ) -> Result<Answer, Miss> {
        let unable = |reason, why: &dyn fmt::Display| Miss { reason, detail: format!("{method} {path}: {why}") };
        let request = Request::builder().method(method.clone()).uri(format!("{}{path}", self.endpoint));
        let request = request.header(name, value).body(Full::default());
        let request = request.map_err(|error| unable(Reason::Unreachable, &error))?;
        let exchange = async {
            let response =
                self.http.request(request).await.map_err(|error| unable(Reason::Unreachable, &innermost(&error)))?;
            let (head, body) = response.into_parts();
            if let Some(date) = head.headers.get(header::DATE).and_then(|date| date.to_str().ok()) {
                self.clock.learn(date);
            }
            let body = Limited::new(body, LONGEST_BODY).collect().await;
            let body = body.map_err(|error| unable(Reason::Unreachable, &error))?.to_bytes();
            Ok(Answer { status: head.status, body: String::from_utf8_lossy(&body).into_owned() })
        };
        match timeout_at(end, exchange).await {
            Ok(answer) => answer,
            Err(_) if path == TOKEN_PATH => Err(unable(
                Reason::Timeout,
                &"no answer in time; in a container the hop limit of the metadata must be 2",
            )),
            Err(_) => Err(unable(Reason::Timeout, &"no answer in time")),
        }
    }
}

fn refused(method: &str, path: &str, status: StatusCode) -> Miss {
    let reason = match status {
        StatusCode::FORBIDDEN => Reason::Denied,
        StatusCode::UNAUTHORIZED => Reason::Unauthorized,
        _ => Reason::ServerError,
    };
    Miss { reason, detail: format!("{method} {path}: HTTP {}", status.as_u16()) }
}
