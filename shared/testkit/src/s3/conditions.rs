//! `If-Match` and `If-None-Match`: what they ask, and whether it holds.

use super::reply::Refusal;
use super::rules::Rules;
use super::state::{Bucket, Object};
use crate::http::head::Headers;

/// The condition of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: "etag"`
    Etag(String),
}

impl Condition {
    pub fn of_write(headers: &Headers) -> Result<Self, Refusal> {
        match (headers.get("if-match"), headers.get("if-none-match")) {
            (None, None) => Ok(Self::None),
            (None, Some("*")) => Ok(Self::Absent),
            (Some(etag), None) if etag != "*" => Ok(Self::Etag(quoted(etag))),
            // Writes know `*` only with If-None-Match, and ETags only with If-Match.
            _ => Err(Refusal::not_implemented("If-Match or If-None-Match of this form")),
        }
    }

    /// Says whether the write may happen. `is_stored` answers whether the bytes to be written are those stored already,
    /// and is asked only by a server that lies; it is None for CompleteMultipartUpload, which has no bytes.
    pub fn check(
        &self,
        bucket: &Bucket,
        key: &str,
        rules: Rules,
        is_stored: Option<&dyn Fn(&Object) -> bool>,
    ) -> Result<(), Refusal> {
        let stored = bucket.objects.get(key);
        if rules.ignore_all_conditions || (rules.complete_ignores_conditions && is_stored.is_none()) {
            return Ok(());
        }
        if rules.ignore_conditions {
            let honest = match (self, is_stored) {
                (Self::Absent, Some(is_stored)) => stored.is_some_and(is_stored),
                (Self::Etag(etag), Some(_)) => !bucket.etags_ever.contains(etag),
                _ => false,
            };
            return if honest { Err(Refusal::precondition_failed()) } else { Ok(()) };
        }
        match (self, stored) {
            (Self::Absent, Some(_)) => Err(Refusal::precondition_failed()),
            (Self::Etag(_), None) => Err(Refusal::no_such_key()),
            (Self::Etag(etag), Some(object)) if *etag != object.etag => Err(Refusal::precondition_failed()),
            _ => Ok(()),
        }
    }
}

/// A read's conditions: 412 for an `If-Match` that does not hold, 304 for an `If-None-Match` that does not.
pub(crate) fn check_read(headers: &Headers, object: &Object, rules: Rules) -> Result<(), Refusal> {
    if rules.ignore_conditions || rules.ignore_all_conditions {
        return Ok(());
    }
    let names = |list: &str| list.trim() == "*" || list.split(',').any(|etag| quoted(etag.trim()) == object.etag);
    if headers.get("if-match").is_some_and(|list| !names(list)) {
        return Err(Refusal::precondition_failed());
    }
    if headers.get("if-none-match").is_some_and(names) {
        return Err(Refusal::NotModified { etag: object.etag.clone() });
    }
    Ok(())
}

/// A delete's condition: `If-Match` of an ETag, or of `*` for any. An object that is not there matches neither.
pub(crate) fn check_delete(headers: &Headers, stored: Option<&Object>, rules: Rules) -> Result<(), Refusal> {
    let Some(wanted) = headers.get("if-match") else {
        return Ok(());
    };
    if rules.ignore_conditions || rules.ignore_all_conditions {
        return Ok(());
    }
    if stored.is_some_and(|object| wanted == "*" || quoted(wanted) == object.etag) {
        return Ok(());
    }
    Err(Refusal::precondition_failed())
}

/// Clients may send an ETag with or without its quotation marks.
pub(crate) fn quoted(etag: &str) -> String {
    format!("\"{}\"", etag.trim_matches('"'))
}
