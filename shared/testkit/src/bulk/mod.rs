//! A proxy in front of a search server that fails on demand as search servers do: items refused, requests refused, answers
//! lost, cut and late. It understands `_bulk` bodies, gzip'ed ones too, and remembers what was sent and what was answered.
//!
//! Everything else passes. What is no `_bulk` body of `create` and `index` passes as well: the server says what it thinks.

mod answer;
mod lines;
mod plan;
mod relay;
mod sink;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub use self::answer::Dialect;
pub use self::plan::{BulkFault, BulkPlan};
pub use self::sink::BulkSink;

use crate::exchange::{self, held};
use crate::http::client::Connection;
use crate::http::server::Server;

/// A running proxy; dropping it stops it.
pub struct BulkProxy {
    shared: Arc<Shared>,
    server: Server,
}

/// One `_bulk` request that arrived whole.
#[derive(Debug, Clone)]
pub struct BulkRequest {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// When it had arrived.
    pub at: Instant,
    /// What it holds; nothing if it was not understood.
    pub items: Vec<BulkItem>,
    /// The status of the whole answer, or None as long as no answer was sent whole.
    pub status: Option<u16>,
    /// What was done to it.
    pub fault: Option<BulkFault>,
}

/// One document of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkItem {
    /// Where it should go.
    pub index: String,
    /// Its id; empty if it had none.
    pub id: String,
    /// What the client was told of it, 201 for instance, or None if it was told nothing.
    pub status: Option<u16>,
}

struct Shared {
    upstream: String,
    dialect: Dialect,
    /// Connections to the server on which nothing is awaited.
    idle: Mutex<Vec<Connection>>,
    plan: Mutex<BulkPlan>,
    queue: Mutex<VecDeque<BulkFault>>,
    log: Mutex<Vec<BulkRequest>>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// Answers that wait go when `releases` has grown since they began to, or at once when nobody is left to release them.
#[derive(Default)]
struct Waiting {
    count: usize,
    releases: u64,
    ended: bool,
}

impl BulkProxy {
    /// Starts a proxy on a free loopback port in front of `upstream` (`http://host:port`). Its own errors have the names of
    /// `dialect`.
    pub fn start(upstream: &str, dialect: Dialect) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            dialect,
            idle: Mutex::default(),
            plan: Mutex::new(BulkPlan::None),
            queue: Mutex::default(),
            log: Mutex::default(),
            waiting: Mutex::default(),
            changed: Condvar::new(),
        });
        let server = exchange::start("bulk-proxy", &shared);
        Self { shared, server }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// The next request that meets no earlier one meets this fault, whatever the plan says.
    pub fn queue(&self, fault: BulkFault) {
        held(&self.shared.queue).push_back(fault);
    }

    /// Replaces the plan from the next request on.
    pub fn set_plan(&self, plan: BulkPlan) {
        *held(&self.shared.plan) = plan;
    }

    /// How many `_bulk` requests have arrived.
    pub fn count(&self) -> usize {
        held(&self.shared.log).len()
    }

    /// Every `_bulk` request so far, in order of arrival. Statuses come as the answer leaves.
    pub fn requests(&self) -> Vec<BulkRequest> {
        held(&self.shared.log).clone()
    }

    /// How many answers wait.
    pub fn waiting(&self) -> usize {
        held(&self.shared.waiting).count
    }

    /// Lets every answer go that waits now.
    pub fn release(&self) {
        held(&self.shared.waiting).releases += 1;
        self.shared.changed.notify_all();
    }
}

impl Drop for BulkProxy {
    fn drop(&mut self) {
        held(&self.shared.waiting).ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// Numbers a request, and says what becomes of it.
    fn arrived(&self, items: Vec<BulkItem>) -> (u64, Option<BulkFault>) {
        // Numbered, judged and logged in one step: the log's order is the order of the numbers.
        let mut log = held(&self.log);
        let number = log.len() as u64 + 1;
        let fault = held(&self.queue).pop_front().or_else(|| held(&self.plan).fault(number, &items));
        log.push(BulkRequest { number, at: Instant::now(), items, status: None, fault: fault.clone() });
        (number, fault)
    }

    /// The client is told this: of the whole request, and of its items if that is known of each.
    fn told(&self, number: u64, status: u16, statuses: &[u16]) {
        let place = usize::try_from(number - 1).expect("a log fits in memory");
        let mut log = held(&self.log);
        let Some(request) = log.get_mut(place) else { return };
        request.status = Some(status);
        if statuses.len() == request.items.len() {
            request.items.iter_mut().zip(statuses).for_each(|(item, status)| item.status = Some(*status));
        }
    }

    /// Waits to be released, at most this long.
    fn wait(&self, limit: Option<Duration>) {
        let mut waiting = held(&self.waiting);
        waiting.count += 1;
        let before = waiting.releases;
        let held_up = |waiting: &mut Waiting| waiting.releases == before && !waiting.ended;
        let limit = limit.unwrap_or(Duration::MAX);
        let (mut waiting, _) =
            self.changed.wait_timeout_while(waiting, limit, held_up).expect("no thread panics with it");
        waiting.count -= 1;
    }
}
