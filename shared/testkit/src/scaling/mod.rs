//! Auto Scaling that changes, by AWS's rules where other stand-ins have none: no capacity above the maximum, launches that
//! happen once per client token, throttling, contention, answers of a while ago, and failures on demand.
//!
//! The query protocol as AWS documents it. Requests are neither authenticated nor authorised, and all regions are one.

mod books;
mod changes;
mod describe;
mod group;
mod launch;
mod limits;
mod request;
mod state;
#[cfg(test)]
mod tests;
mod tokens;
mod xml;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use self::group::{ScalingGroup, ScalingPolicy};

use self::books::Books;
use self::limits::Bucket;
use crate::exchange::{self, Asked, Outcome, Service, held};
use crate::fleet::query::Query;
use crate::fleet::xml::scaling;
use crate::http::body::Body;
use crate::http::head::RequestHead;
use crate::http::server::Server;
use crate::s3::reply::Reply;
use crate::seed::Seed;

/// A running model; dropping it stops it.
pub struct ScalingModel {
    shared: Arc<Shared>,
    server: Server,
}

/// One request.
#[derive(Debug, Clone)]
pub struct ScalingCall {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// When it arrived.
    pub at: Instant,
    /// `ExecutePolicy`, …
    pub action: String,
    /// Every field of its form.
    pub fields: BTreeMap<String, String>,
    /// The access key id that it was signed with.
    pub caller: String,
    /// It was carried out, even if the group stood at its bound already. A Describe never is, nor is a launch that its
    /// client token has already had.
    pub committed: bool,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScalingFault {
    /// An error of the service, such as 500 `InternalFailure`; nothing is done.
    Error {
        /// The status.
        status: u16,
        /// The error's name.
        code: String,
    },
    /// The connection is closed before the service has seen the request; nothing is done.
    CloseBefore,
    /// The request is carried out, and the connection is closed instead of an answer.
    CloseAfter,
    /// The request is never answered; nothing is done.
    Hang,
    /// The request is carried out and never answered.
    HangAfter,
    /// The request is carried out, and the connection is closed in the middle of the answer's body.
    Cut,
}

impl ScalingFault {
    /// An error of the service.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Error { status, code: code.to_owned() }
    }
}

/// Says whether a request fails, and how. It may also wait: every connection is judged on its own thread.
pub type ScalingJudge = Box<dyn Fn(&ScalingCall) -> Option<ScalingFault> + Send + Sync>;

#[derive(Default)]
struct Shared {
    books: Mutex<Books>,
    calls: Mutex<Vec<ScalingCall>>,
    judge: Asked<ScalingCall, Option<ScalingFault>>,
    after: Asked<ScalingCall, ()>,
    replied: Asked<ScalingCall, ()>,
}

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationError", message)
    }
}

impl ScalingModel {
    /// Starts a model without groups on a free loopback port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let server = exchange::start("scaling-model", &shared);
        Self { shared, server }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Adds a group, or replaces the one of this name.
    pub fn add_group(&self, group: ScalingGroup) {
        let mut books = held(&self.shared.books);
        books.state.groups.insert(group.name.clone(), group);
        books.changed(Instant::now());
    }

    /// A group as it is now, whatever [`lag`](Self::lag) tells. The group must have been added.
    pub fn group(&self, name: &str) -> ScalingGroup {
        held(&self.shared.books).state.groups.get(name).expect("the group was added").clone()
    }

    /// Changes a group behind the back of the service, as an operator might. The group must have been added.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut ScalingGroup)) {
        let mut books = held(&self.shared.books);
        change(books.state.groups.get_mut(name).expect("the group was added"));
        books.changed(Instant::now());
    }

    /// From the next request on, lets those fail that `judge` says. It is asked first of all, so that a request which
    /// fails is neither throttled nor counted by [`throttle`](Self::throttle).
    pub fn fail(&self, judge: ScalingJudge) {
        self.shared.judge.set(judge);
    }

    /// From the next request on, lets none fail by a judge.
    pub fn recover(&self) {
        self.shared.judge.clear();
    }

    /// Calls this once a request is [committed](ScalingCall::committed), before its reply is sent. Until it returns, a
    /// launch is still in progress for others with its client token.
    pub fn after(&self, hook: Box<dyn Fn(&ScalingCall) + Send + Sync>) {
        self.shared.after.set(hook);
    }

    /// Calls this once the whole reply to a request, of whatever kind, has been sent.
    pub fn replied(&self, hook: Box<dyn Fn(&ScalingCall) + Send + Sync>) {
        self.shared.replied.set(hook);
    }

    /// Lets all requests together pass one token bucket, which is full at first; those that find it empty get 400
    /// `Throttling`, and take nothing.
    pub fn throttle(&self, burst: f64, per_second: f64) {
        held(&self.shared.books).limits.bucket = Some(Bucket::full(burst, per_second, Instant::now()));
    }

    /// Lets this share of the requests that change something fail with 500 `ResourceContention`; nothing is done. The same
    /// seed and the same order of arrival give the same failures.
    pub fn contention(&self, share: f64, seed: u64) {
        held(&self.shared.books).limits.contention = Some((share, Seed(seed)));
    }

    /// Lets every Describe tell the state of that long ago.
    pub fn lag(&self, lag: Duration) {
        let mut books = held(&self.shared.books);
        let Books { past, state, .. } = &mut *books;
        past.set_lag(lag, state, Instant::now());
    }

    /// False makes a server that lies: it takes every client token for a new one.
    pub fn remember_tokens(&self, remember: bool) {
        held(&self.shared.books).tokens.ignored = !remember;
    }

    /// For this long after a change of the group's desired capacity, requests with `HonorCooldown=true` get 400
    /// `ScalingActivityInProgress`.
    pub fn cooldown(&self, group: &str, cooldown: Duration) {
        held(&self.shared.books).limits.set_cooldown(group, cooldown);
    }

    /// For this long from now, every request that would change the group gets 400 `ScalingActivityInProgress`.
    pub fn busy(&self, group: &str, time: Duration) {
        held(&self.shared.books).limits.set_busy(group, Instant::now() + time);
    }

    /// Every request so far, in order of arrival.
    pub fn calls(&self) -> Vec<ScalingCall> {
        held(&self.shared.calls).clone()
    }
}

impl Service for Shared {
    fn answer(&self, head: &RequestHead, body: &mut Body<'_>) -> io::Result<(u64, Outcome)> {
        let query = Query::read(head, body)?;
        let call = self.arrived(&query);
        let outcome = match self.judge.ask(&call).flatten() {
            Some(ScalingFault::Error { status, code }) => Outcome::Reply(xml::error(status, &code, xml::ASKED_FOR)),
            Some(ScalingFault::CloseBefore) => Outcome::Close,
            Some(ScalingFault::Hang) => Outcome::Hang,
            fault => {
                let reply = self.carry_out(call.number, &query);
                match fault {
                    Some(ScalingFault::CloseAfter) => Outcome::Close,
                    Some(ScalingFault::HangAfter) => Outcome::Hang,
                    Some(ScalingFault::Cut) => Outcome::Cut(reply),
                    _ => Outcome::Reply(reply),
                }
            }
        };
        Ok((call.number, outcome))
    }

    fn replied(&self, number: u64) {
        let call = self.call(number, |call| call.clone());
        self.replied.ask(&call);
    }
}

impl Shared {
    fn arrived(&self, query: &Query) -> ScalingCall {
        let mut calls = held(&self.calls);
        let call = ScalingCall {
            number: calls.len() as u64 + 1,
            at: Instant::now(),
            action: query.action().to_owned(),
            fields: query.fields.clone(),
            caller: query.caller.clone(),
            committed: false,
        };
        calls.push(call.clone());
        call
    }

    fn carry_out(&self, number: u64, query: &Query) -> Reply {
        let done = request::carry_out(&mut held(&self.books), number, query);
        match done {
            Ok(done) => {
                if done.committed {
                    let call = self.call(number, |call| {
                        call.committed = true;
                        call.clone()
                    });
                    self.after.ask(&call);
                    held(&self.books).tokens.finished(query);
                }
                scaling(query.action(), &done.result)
            }
            Err(Refused { status, code, message }) => xml::error(status, code, &message),
        }
    }

    fn call<T>(&self, number: u64, read: impl FnOnce(&mut ScalingCall) -> T) -> T {
        let at = usize::try_from(number - 1).expect("a number that a Vec has counted");
        read(&mut held(&self.calls)[at])
    }
}
