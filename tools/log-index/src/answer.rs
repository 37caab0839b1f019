//! The answer to a bulk request: of each document whether it is there now, will be taken later, or never.

use crate::blocks::{Refusal, Scope};
use failure::Class;
use serde::Deserialize;
use std::borrow::Cow;

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Indexed by this request.
    Created,
    /// There was one with its id.
    Existing,
    /// Not taken now.
    Again(Box<str>),
    /// Not taken as long as its index, or the server, is as it is.
    Blocked(Refusal),
    /// Never taken, for what it is.
    Poison(Box<str>),
}

/// Errors that are an index's state and not the document's fault.
const OF_THE_INDEX: [&str; 3] = ["index_closed_exception", "index_not_found_exception", "unavailable_shards_exception"];

/// Errors that are the server's state, although their status is a client's error.
const OF_THE_SERVER: [&str; 4] = [
    "authorization_exception",
    "process_cluster_event_timeout_exception",
    "security_exception",
    // Among others: no more shards in this cluster.
    "validation_exception",
];

/// How reasons begin that are an index's state too, under the type of a document's fault: an alias of several indices, and an
/// index whose pipeline is not there.
const OF_THE_INDEX_BY_REASON: [&str; 2] = ["no write index is defined for alias", "pipeline with id ["];

/// Its number of the block that a full disk puts on an index.
const FLOOD: &str = "/12/";

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    create: Created<'a>,
}

#[derive(Deserialize)]
struct Created<'a> {
    status: u16,
    #[serde(borrow)]
    error: Option<Error<'a>>,
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    caused_by: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    error: Error<'a>,
}

/// What became of each of so many documents.
///
/// # Errors
/// It isn't an answer to them.
pub(crate) fn verdicts(bytes: &[u8], documents: usize) -> Result<Vec<Verdict>, String> {
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|error| format!("an answer that makes no sense: {error}"))?;
    if answer.items.len() != documents {
        return Err(format!("an answer to {} documents instead of {documents}", answer.items.len()));
    }
    Ok(answer.items.into_iter().map(|item| verdict(item.create)).collect())
}

/// The reason that a server gives for refusing a request.
pub(crate) fn reason(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice(bytes).ok().map(|whole: Whole| words(&whole.error))
}

fn verdict(created: Created<'_>) -> Verdict {
    let told = || {
        let words = created.error.as_ref().map(words).unwrap_or_default();
        format!("{} {words}", created.status).trim_end().into()
    };
    let status = created.status;
    let kind = created.error.as_ref().map_or("", |error| &error.kind);
    let reason = created.error.as_ref().and_then(|error| error.reason.as_deref()).unwrap_or_default();
    match (status, scope(status, kind, reason)) {
        (200..=299, _) if created.error.is_none() => Verdict::Created,
        (409, _) if kind == "version_conflict_engine_exception" => Verdict::Existing,
        (_, Some(scope)) => {
            let class = if matches!(status, 429 | 500..) { Class::Temporary } else { Class::Permanent };
            Verdict::Blocked(Refusal { scope, class, why: told() })
        }
        (408 | 409 | 429 | 500.., None) => Verdict::Again(told()),
        (400..=499, None) => Verdict::Poison(told()),
        _ => Verdict::Again(told()),
    }
}

/// Whose state it is that stands in the way, if it is one.
fn scope(status: u16, kind: &str, reason: &str) -> Option<Scope> {
    let of_the_index = OF_THE_INDEX.contains(&kind)
        || (status < 500 && OF_THE_INDEX_BY_REASON.iter().any(|begin| reason.starts_with(begin)));
    match kind {
        // Such a block names its index, and one of the whole cluster does not.
        "cluster_block_exception" if status < 500 => {
            let own = reason.starts_with("index [") && !reason.contains(FLOOD);
            Some(if own { Scope::Index } else { Scope::Server })
        }
        _ if of_the_index => Some(Scope::Index),
        _ if status < 500 && OF_THE_SERVER.contains(&kind) => Some(Scope::Server),
        _ if matches!(status, 401 | 403 | 404) => Some(Scope::Server),
        _ => None,
    }
}

fn words(error: &Error<'_>) -> String {
    let reason = error.reason.as_deref().unwrap_or_default();
    let cause = error.caused_by.as_ref().and_then(|cause| cause.reason.as_deref()).unwrap_or_default();
    let parts = [&*error.kind, reason, cause];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(item: &str) -> Verdict {
        let answer = format!(r#"{{"errors":true,"items":[{{"create":{item}}}]}}"#);
        verdicts(answer.as_bytes(), 1).unwrap().remove(0)
    }

    #[test]
    fn kinds_of_verdicts() {
        assert_eq!(one(r#"{"status":201}"#), Verdict::Created);
        assert_eq!(
            one(r#"{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: exists"}}"#),
            Verdict::Existing
        );
        let again = one(r#"{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}"#);
        assert_eq!(again, Verdict::Again("429 es_rejected_execution_exception: full".into()));
        assert!(matches!(one(r#"{"status":503}"#), Verdict::Again(_)));
        assert!(matches!(one(r#"{"status":409,"error":{"type":"other"}}"#), Verdict::Again(_)));
        let poison = one(
            r#"{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed","caused_by":{"reason":"no \"date\""}}}"#,
        );
        assert_eq!(poison, Verdict::Poison("400 mapper_parsing_exception: failed: no \"date\"".into()));
    }

    #[test]
    fn whose_state_it_is() {
        let block = |reason: &str| {
            one(&format!(r#"{{"status":403,"error":{{"type":"cluster_block_exception","reason":"{reason}"}}}}"#))
        };
        let of = |verdict: Verdict| match verdict {
            Verdict::Blocked(Refusal { scope, class, .. }) => (scope, class),
            other => panic!("{other:?}"),
        };
        let (index, server) = ((Scope::Index, Class::Permanent), (Scope::Server, Class::Permanent));
        assert_eq!(of(block("index [a] blocked by: [FORBIDDEN/8/index write (api)];")), index);
        assert_eq!(of(block("blocked by: [FORBIDDEN/6/cluster read-only (api)];")), server);
        let flood = "index [a] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark];";
        assert_eq!(of(block(flood)), server);
        let flood = format!(r#"{{"status":429,"error":{{"type":"cluster_block_exception","reason":"{flood}"}}}}"#);
        assert_eq!(of(one(&flood)), (Scope::Server, Class::Temporary));
        assert_eq!(of(one(r#"{"status":400,"error":{"type":"index_closed_exception","reason":"closed"}}"#)), index);
        let red = r#"{"status":503,"error":{"type":"unavailable_shards_exception","reason":"[a][0] not active"}}"#;
        assert_eq!(of(one(red)), (Scope::Index, Class::Temporary));
        let alias = r#"{"status":400,"error":{"type":"illegal_argument_exception","reason":"no write index is defined for alias [a]."}}"#;
        assert_eq!(of(one(alias)), index);
        assert_eq!(of(one(r#"{"status":400,"error":{"type":"validation_exception"}}"#)), server);
        assert_eq!(of(one(r#"{"status":403}"#)), server);
    }

    #[test]
    fn no_answer() {
        for (text, documents) in [("", 0), ("{", 1), ("[]", 1), (r#"{"errors":false}"#, 1), (r#"{"items":[{}]}"#, 1)] {
            assert!(verdicts(text.as_bytes(), documents).is_err(), "{text}");
        }
        assert!(verdicts(br#"{"items":[{"create":{"status":201}}]}"#, 2).is_err());
    }

    #[test]
    fn almost_an_answer() {
        let sample = br#"{"took":1,"errors":true,"items":[{"create":{"status":201}},{"create":{"status":429,"error":{"type":"a","reason":"b",
            "caused_by":{"reason":"c"}}}}],"error":{"type":"x","reason":"y"}}"#;
        testkit::comes_to_an_end("almost_an_answer", &[sample], |bytes| {
            assert!(verdicts(bytes, 2).is_ok_and(|verdicts| verdicts.len() == 2) || verdicts(bytes, 2).is_err());
            let _words = reason(bytes);
        });
    }
}
