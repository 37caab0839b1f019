//! A `_bulk` body: pairs of lines, an action and a document.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use crate::http::head::RequestHead;

/// What is asked for a document. Clients that ship logs only add; updates and deletes are not understood.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action<'l> {
    Create(#[serde(borrow)] Target<'l>),
    Index(#[serde(borrow)] Target<'l>),
}

/// Where a document goes; empty where nothing is said.
#[derive(Debug, Deserialize)]
pub(crate) struct Target<'l> {
    #[serde(borrow, default, rename = "_index")]
    pub index: Cow<'l, str>,
    #[serde(borrow, default, rename = "_id")]
    pub id: Cow<'l, str>,
}

impl<'l> Action<'l> {
    pub fn parse(line: &'l [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Its name and its target.
    pub fn parts(self) -> (&'static str, Target<'l>) {
        match self {
            Self::Create(target) => ("create", target),
            Self::Index(target) => ("index", target),
        }
    }
}

/// One document of a request.
#[derive(Debug)]
pub(crate) struct Item {
    pub action: &'static str,
    pub index: String,
    pub id: String,
    /// Its two lines in the body.
    pub lines: Range<usize>,
}

/// The items of a body; nothing if it isn't made of pairs of lines. `path` may name the index of those that name none.
pub(crate) fn items(path: &str, body: &[u8]) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let line = |from: usize| body[from..].iter().position(|byte| *byte == b'\n').map(|length| from + length + 1);
        let document = line(at)?;
        let end = line(document)?;
        let (action, target) = Action::parse(&body[at..document])?.parts();
        let index = if target.index.is_empty() { index_of(path)? } else { &target.index };
        items.push(Item { action, index: index.to_owned(), id: target.id.into_owned(), lines: at..end });
        at = end;
    }
    Some(items)
}

/// True for `/_bulk` and `/INDEX/_bulk`.
pub(crate) fn is_bulk(head: &RequestHead) -> bool {
    matches!(head.method.as_str(), "POST" | "PUT") && (head.path == "/_bulk" || index_of(&head.path).is_some())
}

fn index_of(path: &str) -> Option<&str> {
    path.strip_suffix("/_bulk")?.strip_prefix('/').filter(|index| !index.is_empty())
}

/// The body as it was before the client compressed it.
pub(crate) fn plain<'b>(head: &RequestHead, body: impl BufRead + 'b) -> Box<dyn BufRead + 'b> {
    if head.headers.lists("content-encoding", "gzip") {
        return Box::new(BufReader::with_capacity(256 * 1024, MultiGzDecoder::new(body)));
    }
    Box::new(body)
}

/// The same, whole.
pub(crate) fn all_plain(head: &RequestHead, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    plain(head, body).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, body: &str) -> Option<Vec<(&'static str, String, String, String)>> {
        let items = items(path, body.as_bytes())?;
        let text = |item: &Item| body[item.lines.clone()].to_owned();
        Some(items.into_iter().map(|item| (item.action, item.index.clone(), item.id.clone(), text(&item))).collect())
    }

    #[test]
    fn pairs_of_lines_are_items() {
        let one = "{\"create\":{\"_index\":\"a\",\"_id\":\"h/f/\\\"0\"}}\n{\"m\":1}\n";
        let two = "{\"index\":{}}\n\n";
        let of =
            |action, index: &str, id: &str, lines: &str| (action, index.to_owned(), id.to_owned(), lines.to_owned());
        let expected = vec![of("create", "a", "h/f/\"0", one), of("index", "b", "", two)];
        assert_eq!(seen("/b/_bulk", &format!("{one}{two}")), Some(expected));
        assert_eq!(seen("/_bulk", ""), Some(Vec::new()));
        for odd in [two, "{\"delete\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{}\n", "text\n{}\n", &one[..one.len() - 1]] {
            assert_eq!(seen("/_bulk", odd), None, "{odd}");
        }
    }
}
