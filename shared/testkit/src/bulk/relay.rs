//! What becomes of one request between its client and the server.

use std::collections::BTreeMap;
use std::io::{self, Read};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Created, busy, json_reply, refused};
use super::lines::{Item, all_plain, is_bulk, items};
use super::plan::BulkFault;
use super::{BulkItem, Shared};
use crate::exchange::{Outcome, Service, held};
use crate::http::body::Body;
use crate::http::client::{Answer, Connection};
use crate::http::head::RequestHead;
use crate::s3::reply::Reply;

/// Headers that speak of the connection or of a body that may be another one, and what would make the answer unreadable.
const NOT_FORWARDED: [&str; 7] =
    ["host", "connection", "keep-alive", "expect", "content-length", "transfer-encoding", "accept-encoding"];

impl Service for Shared {
    fn answer(&self, head: &RequestHead, body: &mut Body<'_>) -> io::Result<(u64, Outcome)> {
        let mut sent = Vec::new();
        body.read_to_end(&mut sent)?;
        if !is_bulk(head) {
            return Ok((0, Outcome::Reply(reply(&self.forward(head, &sent, true)?))));
        }
        let plain = all_plain(head, &sent).unwrap_or_default();
        let items = items(&head.path, &plain).unwrap_or_default();
        let seen = |item: &Item| BulkItem { index: item.index.clone(), id: item.id.clone(), status: None };
        let (number, fault) = self.arrived(items.iter().map(seen).collect());
        Ok((number, self.decide(head, &sent, &plain, &items, number, fault.as_ref())?))
    }
}

/// The part of an answer that is looked at.
#[derive(Deserialize)]
struct Statuses {
    items: Vec<BTreeMap<String, Status>>,
}

#[derive(Deserialize)]
struct Status {
    status: u16,
}

impl Shared {
    fn decide(
        &self,
        head: &RequestHead,
        sent: &[u8],
        plain: &[u8],
        items: &[Item],
        number: u64,
        fault: Option<&BulkFault>,
    ) -> io::Result<Outcome> {
        match fault {
            Some(BulkFault::Busy { status, retry_after }) => {
                self.told(number, *status, &[]);
                return Ok(Outcome::Reply(busy(self.dialect, *status, *retry_after)));
            }
            Some(BulkFault::Lie) => {
                let mut created = Created::new(false);
                items.iter().for_each(|item| created.push(item.action, &item.index, &item.id));
                self.told(number, 200, &vec![201; items.len()]);
                return Ok(Outcome::Reply(created.reply()));
            }
            _ => {}
        }
        let left_out = fault.map_or_else(|| vec![false; items.len()], |fault| fault.refused(items.len()));
        let answer = if left_out.contains(&true) {
            self.forward_rest(head, plain, items, &left_out)?
        } else {
            reply(&self.forward(head, sent, true)?)
        };
        match fault {
            Some(BulkFault::LostReply) => return Ok(Outcome::Reset),
            Some(BulkFault::Truncated) => return Ok(Outcome::Cut(answer)),
            Some(BulkFault::Stall(limit)) => self.wait(Some(*limit)),
            Some(BulkFault::Hold) => self.wait(None),
            _ => {}
        }
        let statuses = answer.body.first().and_then(|text| serde_json::from_slice::<Statuses>(text).ok());
        let statuses = statuses.map(|all| all.items.iter().flat_map(BTreeMap::values).map(|one| one.status).collect());
        self.told(number, answer.status, &statuses.unwrap_or_else(Vec::new));
        Ok(Outcome::Reply(answer))
    }

    /// Forwards what is not left out, and answers for all of it.
    fn forward_rest(&self, head: &RequestHead, plain: &[u8], items: &[Item], left_out: &[bool]) -> io::Result<Reply> {
        let mut rest = Vec::new();
        for (item, _) in items.iter().zip(left_out).filter(|(_, left_out)| !**left_out) {
            rest.extend_from_slice(&plain[item.lines.clone()]);
        }
        let mut answer = json!({ "took": 1, "items": [] });
        if !rest.is_empty() {
            let answered = self.forward(head, &rest, false)?;
            if answered.status != 200 {
                return Ok(reply(&answered));
            }
            answer = serde_json::from_slice(&answered.body)?;
        }
        let said = answer["items"].as_array().cloned().unwrap_or_default();
        let mut said = said.into_iter();
        let mut all: Vec<Value> = Vec::new();
        for (item, left_out) in items.iter().zip(left_out) {
            if *left_out {
                all.push(refused(self.dialect, item.action, &item.index, &item.id));
            } else {
                // A client that has its answers filtered so that items are missing could not tell one from the other.
                let one =
                    said.next().ok_or_else(|| io::Error::other("an answer with an item for each that was sent"))?;
                all.push(one);
            }
        }
        answer["items"] = Value::Array(all);
        answer["errors"] = Value::Bool(true);
        Ok(json_reply(200, answer.to_string()))
    }

    /// Asks the server. `as_sent`: the body is still the one that the client described.
    fn forward(&self, head: &RequestHead, body: &[u8], as_sent: bool) -> io::Result<Answer> {
        let passes = |name: &str| !NOT_FORWARDED.contains(&name) && (as_sent || name != "content-encoding");
        let headers: Vec<_> = head.headers.iter().filter(|(name, _)| passes(name)).collect();
        let target = if head.query.is_empty() { head.path.clone() } else { format!("{}?{}", head.path, head.query) };
        let idle = held(&self.idle).pop().filter(|idle| !idle.is_closed());
        let mut connection = match idle {
            Some(idle) => idle,
            None => Connection::open(&self.upstream)?,
        };
        let answer = connection.send(&head.method, &target, &headers, body)?;
        if answer.header("connection").is_none_or(|said| !said.eq_ignore_ascii_case("close")) {
            held(&self.idle).push(connection);
        }
        Ok(answer)
    }
}

fn reply(answer: &Answer) -> Reply {
    let mut reply = Reply::new(answer.status);
    for name in ["content-type", "retry-after", "warning"] {
        if let Some(value) = answer.header(name) {
            reply = reply.header(name, value);
        }
    }
    reply.length = answer.header("content-length").and_then(|length| length.parse().ok());
    reply.body = vec![Bytes::copy_from_slice(&answer.body)];
    reply
}
