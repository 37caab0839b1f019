//! What stands in a search server: asked for without a client, so that a test sees what was answered.

use crate::http::client::request;
use crate::wait::wait_until;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The index that it stands in.
    pub index: String,
    /// Its id, which another index may have too.
    pub id: String,
    /// Its fields.
    pub source: Value,
}

/// Asks `server` (`http://host:port`) and returns its answer, whatever its status.
///
/// # Panics
/// No answer, or none in JSON.
pub fn ask(server: &str, method: &str, target: &str, body: &str) -> Value {
    let answer = request(server, method, target, &[JSON], body.as_bytes()).expect("the server answers");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Every document of the indices whose names begin with `prefix`, sorted by id and index.
///
/// # Panics
/// The server does not answer as one does.
pub fn documents(server: &str, prefix: &str) -> Vec<Document> {
    ask(server, "POST", &format!("/{prefix}*/_refresh"), "");
    let body = json!({ "size": 10_000, "sort": ["_doc"] }).to_string();
    // An index that was made a moment ago has no shard to ask yet.
    let mut page = wait_until("a page of documents", || {
        let page = ask(server, "POST", &format!("/{prefix}*/_search?scroll=1m"), &body);
        if page["hits"]["hits"].is_array() { Ok(page) } else { Err(page.to_string()) }
    });
    let mut documents = Vec::new();
    loop {
        let hits = page["hits"]["hits"].as_array().expect("a page of documents");
        if hits.is_empty() {
            break;
        }
        let text = |value: &Value| value.as_str().expect("a name").to_owned();
        documents.extend(hits.iter().map(|hit| Document {
            index: text(&hit["_index"]),
            id: text(&hit["_id"]),
            source: hit["_source"].clone(),
        }));
        let scroll = json!({ "scroll": "1m", "scroll_id": page["_scroll_id"] });
        page = ask(server, "POST", "/_search/scroll", &scroll.to_string());
    }
    ask(server, "DELETE", "/_search/scroll", &json!({ "scroll_id": page["_scroll_id"] }).to_string());
    documents.sort_by(|a, b| (&a.id, &a.index).cmp(&(&b.id, &b.index)));
    documents
}
