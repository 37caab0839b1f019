//! The instance metadata service, version 2 and nothing else, with failures on demand.
//!
//! As EC2 documents it: without a token there is no answer, and an item that is not there is 404.

mod metadata;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

pub use self::metadata::ImdsInstance;

use self::metadata::{Metadata, Notice};
use self::tokens::Tokens;
use crate::exchange::{self, Asked, Outcome, Service, held};
use crate::http::body::Body;
use crate::http::head::RequestHead;
use crate::http::server::Server;
use crate::s3::reply::{Reply, http_date, reason};

/// How many requests are kept: a watcher polls for hours in a long test.
const KEPT: usize = 10_000;
/// The header with a token's life, in the request and in the answer.
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// A running metadata service; dropping it stops it.
pub struct ImdsModel {
    shared: Arc<Shared>,
    server: Server,
}

/// What a request had to show for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenSeen {
    /// No token: the request of an IMDSv1 client, or one for a token.
    None,
    /// A token that was given and still lives.
    Valid,
    /// A token that was never given, or no longer lives.
    Invalid,
    /// More than one header with a token; that is refused like a wrong one.
    Twice,
}

/// One request.
#[derive(Debug, Clone)]
pub struct ImdsCall {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// `GET`, `PUT`, …
    pub method: String,
    /// The path as it was sent: `/latest/meta-data/spot/instance-action`.
    pub path: String,
    /// Its token.
    pub token: TokenSeen,
    /// It came through a proxy: `X-Forwarded-For` was there.
    pub forwarded: bool,
    /// When it arrived.
    pub at: Instant,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImdsFault {
    /// The answer has this status.
    Status(u16),
    /// The request is never answered.
    Hang,
    /// The connection is closed instead of an answer.
    Close,
    /// The connection is closed in the middle of the answer's body.
    Cut,
    /// The answer is 200 with this body.
    Body(String),
}

/// Says whether a request fails, and how. It may also wait: every connection is judged on its own thread.
pub type ImdsJudge = Box<dyn Fn(&ImdsCall) -> Option<ImdsFault> + Send + Sync>;

struct Shared {
    metadata: Mutex<Metadata>,
    tokens: Mutex<Tokens>,
    judge: Asked<ImdsCall, Option<ImdsFault>>,
    log: Mutex<Log>,
    date_offset: AtomicI64,
}

#[derive(Default)]
struct Log {
    count: u64,
    last: VecDeque<ImdsCall>,
}

impl ImdsModel {
    /// Starts the service of a spot instance, [`ImdsInstance::spot`], on a free loopback port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            metadata: Mutex::new(Metadata::of(ImdsInstance::spot("i-1234567890abcdef0"))),
            tokens: Mutex::default(),
            judge: Asked::default(),
            log: Mutex::default(),
            date_offset: AtomicI64::new(0),
        });
        let server = exchange::start("imds-model", &shared);
        Self { shared, server }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Replaces the instance; what was set by path, and a notice, stay. An instance that was stopped and started again is
    /// the same with another `pending_time`.
    pub fn set_instance(&self, instance: ImdsInstance) {
        held(&self.shared.metadata).instance = instance;
    }

    /// Sets any item below `/latest/meta-data/`, such as `spot/instance-action`, to these bytes; `None` makes it 404.
    pub fn set(&self, path: &str, body: Option<&str>) {
        held(&self.shared.metadata).set(path, body);
    }

    /// Gives notice: `terminate`, `stop` or `hibernate`, at this time (RFC 3339). Clear it by
    /// `set("spot/instance-action", None)`.
    pub fn notice(&self, action: &str, time: &str) {
        held(&self.shared.metadata).give(Notice { action: action.to_owned(), time: Some(time.to_owned()) });
    }

    /// Gives a notice whose time is two minutes ahead whenever it is asked for.
    pub fn moving_notice(&self, action: &str) {
        held(&self.shared.metadata).give(Notice { action: action.to_owned(), time: None });
    }

    /// Sets `autoscaling/target-lifecycle-state`.
    pub fn lifecycle_state(&self, state: Option<&str>) {
        self.set("autoscaling/target-lifecycle-state", state);
    }

    /// From the next request on, lets those fail that `judge` says.
    pub fn fail(&self, judge: ImdsJudge) {
        self.shared.judge.set(judge);
    }

    /// From the next request on, lets none fail.
    pub fn recover(&self) {
        self.shared.judge.clear();
    }

    /// Ends the life of every token given so far.
    pub fn expire_tokens(&self) {
        held(&self.shared.tokens).expire();
    }

    /// Shifts the `Date` of the answers, as if this host's clock were wrong.
    pub fn date_offset(&self, seconds: i64) {
        self.shared.date_offset.store(seconds, Ordering::SeqCst);
    }

    /// The last 10,000 requests, in order of arrival.
    pub fn calls(&self) -> Vec<ImdsCall> {
        held(&self.shared.log).last.iter().cloned().collect()
    }

    /// How many requests there were.
    pub fn call_count(&self) -> u64 {
        held(&self.shared.log).count
    }
}

impl Service for Shared {
    fn answer(&self, head: &RequestHead, _body: &mut Body<'_>) -> io::Result<(u64, Outcome)> {
        let call = self.arrived(head);
        let outcome = match self.judge.ask(&call).flatten() {
            Some(ImdsFault::Close) => Outcome::Close,
            Some(ImdsFault::Hang) => Outcome::Hang,
            Some(ImdsFault::Status(status)) => Outcome::Reply(self.dated(refusal(status))),
            Some(ImdsFault::Body(text)) => Outcome::Reply(self.dated(item(text))),
            Some(ImdsFault::Cut) => Outcome::Cut(self.dated(self.reply(head, &call))),
            None => Outcome::Reply(self.dated(self.reply(head, &call))),
        };
        Ok((call.number, outcome))
    }
}

impl Shared {
    fn arrived(&self, head: &RequestHead) -> ImdsCall {
        let token = held(&self.tokens).seen(head);
        let mut log = held(&self.log);
        log.count += 1;
        let call = ImdsCall {
            number: log.count,
            method: head.method.clone(),
            path: head.path.clone(),
            token,
            forwarded: head.headers.get("x-forwarded-for").is_some(),
            at: Instant::now(),
        };
        if log.last.len() == KEPT {
            log.last.pop_front();
        }
        log.last.push_back(call.clone());
        call
    }

    fn reply(&self, head: &RequestHead, call: &ImdsCall) -> Reply {
        match call.method.as_str() {
            "PUT" if call.path == "/latest/api/token" => {
                if call.forwarded {
                    return refusal(403);
                }
                match head.headers.number(TTL) {
                    Some(seconds @ 1..=21_600) => {
                        item(held(&self.tokens).give(seconds)).header(TTL, seconds.to_string())
                    }
                    _ => refusal(400),
                }
            }
            "GET" | "HEAD" if call.token != TokenSeen::Valid => refusal(401),
            "GET" | "HEAD" => held(&self.metadata).get(&call.path).map_or_else(|| refusal(404), item),
            _ => refusal(405),
        }
    }

    fn dated(&self, reply: Reply) -> Reply {
        let offset = SignedDuration::from_secs(self.date_offset.load(Ordering::SeqCst));
        let now = Timestamp::now().checked_add(offset).expect("an offset within the calendar");
        reply.header("Server", "EC2ws").header("Date", http_date(now))
    }
}

fn item(text: String) -> Reply {
    let mut reply = Reply::new(200).header("Content-Type", "text/plain");
    reply.body = vec![Bytes::from(text)];
    reply
}

/// An error's page is XHTML, so that a client which takes it for an item is found out.
fn refusal(status: u16) -> Reply {
    let reason = reason(status);
    let mut reply = Reply::new(status).header("Content-Type", "text/html");
    let page = format!("<html><head><title>{status} - {reason}</title></head><body><h1>{reason}</h1></body></html>\n");
    reply.body = vec![Bytes::from(page)];
    reply
}
