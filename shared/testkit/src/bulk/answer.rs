//! What a search server says to a `_bulk` request.

use std::io::Write;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::s3::reply::Reply;

/// Whose names errors have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenSearch's.
    OpenSearch,
    /// Elasticsearch's.
    Elasticsearch,
}

impl Dialect {
    /// What a full queue is called.
    fn rejected(self) -> &'static str {
        match self {
            Self::OpenSearch => "rejected_execution_exception",
            Self::Elasticsearch => "es_rejected_execution_exception",
        }
    }
}

/// Why an item, or a request, meets a full queue.
const REASON: &str = "rejected execution, as a test asked";

/// An item that met a full queue.
pub(crate) fn refused(dialect: Dialect, action: &str, index: &str, id: &str) -> Value {
    let error = json!({ "type": dialect.rejected(), "reason": REASON });
    json!({ action: { "_index": index, "_id": id, "status": 429, "error": error } })
}

/// A server that takes no request at all.
pub(crate) fn busy(dialect: Dialect, status: u16, retry_after: Option<u64>) -> Reply {
    let (kind, reason) = if status == 429 {
        (dialect.rejected(), REASON)
    } else {
        ("cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];")
    };
    let cause = json!({ "type": kind, "reason": reason });
    let error = json!({ "root_cause": [cause], "type": kind, "reason": reason });
    let reply = json_reply(status, json!({ "error": error, "status": status }).to_string());
    match retry_after {
        Some(seconds) => reply.header("Retry-After", seconds.to_string()),
        None => reply,
    }
}

pub(crate) fn json_reply(status: u16, text: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(status).header("Content-Type", "application/json; charset=UTF-8");
    reply.body = vec![text.into()];
    reply
}

/// An answer in which every item is created, put together as items come.
pub(crate) struct Created {
    text: Vec<u8>,
    count: u64,
    short: bool,
}

/// An item as a server with one node tells of it.
#[derive(Serialize)]
struct Item<'i> {
    _index: &'i str,
    _id: &'i str,
    _version: u64,
    result: &'static str,
    _shards: Shards,
    _seq_no: u64,
    _primary_term: u64,
    status: u16,
}

#[derive(Serialize)]
struct Shards {
    total: u32,
    successful: u32,
    failed: u32,
}

impl Created {
    /// `short` items have nothing but a status: what a client that asks for that alone is sent (`filter_path`).
    pub fn new(short: bool) -> Self {
        Self { text: br#"{"took":1,"errors":false,"items":["#.to_vec(), count: 0, short }
    }

    pub fn push(&mut self, action: &str, index: &str, id: &str) {
        let comma = if self.count > 0 { "," } else { "" };
        write!(self.text, "{comma}{{\"{action}\":").expect("memory can be written");
        if self.short {
            self.text.extend_from_slice(br#"{"status":201}"#);
        } else {
            let shards = Shards { total: 2, successful: 1, failed: 0 };
            let item = Item {
                _index: index,
                _id: id,
                _version: 1,
                result: "created",
                _shards: shards,
                _seq_no: self.count,
                _primary_term: 1,
                status: 201,
            };
            serde_json::to_writer(&mut self.text, &item).expect("texts and numbers are JSON");
        }
        self.text.push(b'}');
        self.count += 1;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn reply(mut self) -> Reply {
        self.text.extend_from_slice(b"]}");
        json_reply(200, self.text)
    }
}
