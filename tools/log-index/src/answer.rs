//! The answer to a bulk request: of each document whether it is there now, will be taken later, or never.

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
    /// Not taken until somebody changes something on the server.
    Blocked(Box<str>),
    /// Never taken, for what it is.
    Poison(Box<str>),
}

/// Errors that are the server's state and not the document's fault, although their status is a client's error.
const BLOCKED: [&str; 7] = [
    "authorization_exception",
    "cluster_block_exception",
    "index_closed_exception",
    "index_not_found_exception",
    "process_cluster_event_timeout_exception",
    "security_exception",
    // Among others: no more shards in this cluster.
    "validation_exception",
];

/// How reasons begin that are such a state too, under the type of a document's fault: an alias of several indices, and an
/// index whose pipeline is not there.
const BLOCKED_REASONS: [&str; 2] = ["no write index is defined for alias", "pipeline with id ["];

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
    let kind = created.error.as_ref().map_or("", |error| &error.kind);
    let reason = created.error.as_ref().and_then(|error| error.reason.as_deref()).unwrap_or_default();
    match created.status {
        200..=299 if created.error.is_none() => Verdict::Created,
        409 if kind == "version_conflict_engine_exception" => Verdict::Existing,
        409 | 408 | 429 | 500.. => Verdict::Again(told()),
        401 | 403 | 404 => Verdict::Blocked(told()),
        400..=499 if BLOCKED.contains(&kind) => Verdict::Blocked(told()),
        400..=499 if BLOCKED_REASONS.iter().any(|begin| reason.starts_with(begin)) => Verdict::Blocked(told()),
        400..=499 => Verdict::Poison(told()),
        _ => Verdict::Again(told()),
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
        assert!(matches!(one(r#"{"status":403,"error":{"type":"cluster_block_exception"}}"#), Verdict::Blocked(_)));
        assert!(matches!(one(r#"{"status":400,"error":{"type":"validation_exception"}}"#), Verdict::Blocked(_)));
        let alias = r#"{"status":400,"error":{"type":"illegal_argument_exception","reason":"no write index is defined for alias [a]."}}"#;
        assert!(matches!(one(alias), Verdict::Blocked(_)));
        let poison = one(
            r#"{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed","caused_by":{"reason":"no \"date\""}}}"#,
        );
        assert_eq!(poison, Verdict::Poison("400 mapper_parsing_exception: failed: no \"date\"".into()));
    }

    #[test]
    fn no_answer() {
        for (text, documents) in [("", 0), ("{", 1), ("[]", 1), (r#"{"errors":false}"#, 1), (r#"{"items":[{}]}"#, 1)] {
            assert!(verdicts(text.as_bytes(), documents).is_err(), "{text}");
        }
        assert!(verdicts(br#"{"items":[{"create":{"status":201}}]}"#, 2).is_err());
    }
}
