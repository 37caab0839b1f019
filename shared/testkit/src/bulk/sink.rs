//! A search server for benchmarks: it counts documents and throws them away, so that what is measured is the client.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::answer::{Created, json_reply};
use super::lines::{Action, is_bulk, plain};
use crate::exchange::{self, Outcome, Service};
use crate::http::body::Body;
use crate::http::head::RequestHead;
use crate::http::server::Server;
use crate::s3::reply::Reply;

/// A running sink; dropping it stops it.
///
/// Every document is answered as created, the same id twice too. A body that isn't made of pairs of lines is 400.
pub struct BulkSink {
    counts: Arc<Counts>,
    server: Server,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    documents: AtomicU64,
    bytes: AtomicU64,
}

impl BulkSink {
    /// Starts a sink on a free loopback port.
    pub fn start() -> Self {
        let counts = Arc::new(Counts::default());
        let server = exchange::start("bulk-sink", &counts);
        Self { counts, server }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// How many documents were answered as created.
    pub fn documents(&self) -> u64 {
        self.counts.documents.load(Ordering::SeqCst)
    }

    /// How many bytes their lines had, uncompressed.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::SeqCst)
    }
}

impl Service for Counts {
    fn answer(&self, head: &RequestHead, body: &mut Body<'_>) -> io::Result<(u64, Outcome)> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let reply = if is_bulk(head) { self.take(head, body)? } else { other(head) };
        Ok((number, Outcome::Reply(reply)))
    }
}

impl Counts {
    fn take(&self, head: &RequestHead, body: &mut Body<'_>) -> io::Result<Reply> {
        let mut created = Created::new(head.query.contains("filter_path="));
        let mut bytes = 0;
        let mut lines = plain(head, body);
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let Some(action) = Action::parse(&line) else {
                return Ok(json_reply(400, json!({ "error": "no action", "status": 400 }).to_string()));
            };
            let (name, target) = action.parts();
            created.push(name, &target.index, &target.id);
            bytes += line.len() + lines.skip_until(b'\n')?;
        }
        self.documents.fetch_add(created.count(), Ordering::SeqCst);
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        Ok(created.reply())
    }
}

/// Clients look first whom they talk to.
fn other(head: &RequestHead) -> Reply {
    if head.path == "/" {
        let version = json!({ "distribution": "opensearch", "number": "2.19.1" });
        return json_reply(200, json!({ "cluster_name": "sink", "version": version }).to_string());
    }
    json_reply(404, json!({ "error": "nothing is kept here", "status": 404 }).to_string())
}
