//! A reverse proxy that fails on demand, in front of any S3 that speaks HTTP on this machine.
//!
//! Head and body pass byte for byte, the Host header included, since the client signed it. Every client connection has
//! its own upstream connection, so closing one is seen by exactly one client.

mod plan;
mod relay;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub use plan::{Fault, Judge, KillPoint, Plan, RequestInfo};

use self::plan::Hook;
use self::relay::Relay;
use crate::exchange::held;
use crate::http::server::Server;

/// A running proxy; dropping it stops it.
pub struct FaultProxy {
    shared: Arc<Shared>,
    server: Server,
}

/// One request the proxy saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// Its method.
    pub method: String,
    /// Its path as sent.
    pub path: String,
    /// Its query as sent, without the question mark.
    pub query: String,
    /// The status the client was sent, or None if no answer was.
    pub status: Option<u16>,
    /// The status the upstream answered, or None if it was not asked or did not answer.
    pub upstream_status: Option<u16>,
    /// What was done to it.
    pub fault: Option<Fault>,
}

pub(crate) struct Shared {
    upstream: String,
    plan: Mutex<Plan>,
    hooks: Mutex<Vec<Hook>>,
    log: Mutex<Vec<Seen>>,
    count: AtomicU64,
}

impl FaultProxy {
    /// Starts a proxy on a free loopback port in front of `upstream` (`http://host:port`).
    pub fn start(upstream: &str, plan: Plan) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            plan: Mutex::new(plan),
            hooks: Mutex::default(),
            log: Mutex::default(),
            count: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        let server = Server::start("fault-proxy", move |stream| Relay::new(&serving, stream).run());
        Self { shared, server }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// How many requests have arrived.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Every request so far, in order of arrival. A request is in the log from its arrival; its statuses come as they come.
    pub fn log(&self) -> Vec<Seen> {
        held(&self.shared.log).clone()
    }

    /// Replaces the plan from the next request on.
    pub fn set_plan(&self, plan: Plan) {
        *held(&self.shared.plan) = plan;
    }

    /// Runs `hook` when the `number`-th request (from 1) is at `point`.
    pub fn on_request(&self, number: u64, point: KillPoint, hook: Box<dyn FnOnce() + Send>) {
        self.on_match(Box::new(move |info| info.number == number), point, hook);
    }

    /// Runs `hook` once, when the first request that `matches` is at `point`.
    pub fn on_match(
        &self,
        matches: Box<dyn Fn(&RequestInfo) -> bool + Send>,
        point: KillPoint,
        hook: Box<dyn FnOnce() + Send>,
    ) {
        held(&self.shared.hooks).push(Hook { matches, point, hook });
    }
}

impl Shared {
    fn arrived(&self, info: &mut RequestInfo) -> Option<Fault> {
        // Numbered, logged and judged in one step: the log's order is the order of the numbers.
        let mut log = held(&self.log);
        info.number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = held(&self.plan).fault(info);
        log.push(Seen {
            number: info.number,
            method: info.method.clone(),
            path: info.path.clone(),
            query: info.query.clone(),
            status: None,
            upstream_status: None,
            fault: fault.clone(),
        });
        fault
    }

    fn note(&self, number: u64, change: impl FnOnce(&mut Seen)) {
        let at = usize::try_from(number - 1).expect("a log fits in memory");
        if let Some(seen) = held(&self.log).get_mut(at) {
            change(seen);
        }
    }

    /// Runs what is hooked to this request at this point; true if anything was.
    fn reached(&self, info: &RequestInfo, point: KillPoint) -> bool {
        let taken: Vec<Hook> =
            held(&self.hooks).extract_if(.., |hook| hook.point == point && (hook.matches)(info)).collect();
        let any = !taken.is_empty();
        taken.into_iter().for_each(|hook| (hook.hook)());
        any
    }
}
