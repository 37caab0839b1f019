//! What is sent in one request: documents, and the records they were made of, for the case that one can't be indexed.

use crate::dead_letters::Letter;
use crate::document::{ACTION, Writer};
use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::Headers;
use std::collections::BTreeMap;
use std::mem;
use std::time::Instant;

/// A request as it grows.
#[derive(Debug)]
pub(crate) struct Builder {
    writer: Writer,
    size: usize,
    body: Vec<u8>,
    contents: Contents,
    since: Instant,
}

/// A request that is full.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The lines of all its documents.
    pub(crate) body: Bytes,
    pub(crate) contents: Contents,
    /// When its first record came.
    pub(crate) since: Instant,
}

/// The records of a batch.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    items: Vec<Item>,
    records: Vec<u8>,
    /// Records that are no documents, and why.
    unfit: Vec<(u32, String)>,
    /// Of each partition, the first offset that is not in it.
    pub(crate) ends: BTreeMap<i32, i64>,
}

/// Where a record's document ends in the body, and where the record itself ends.
#[derive(Clone, Copy, Debug)]
struct Item {
    partition: i32,
    offset: i64,
    timestamp: i64,
    document_end: u32,
    record_end: u32,
}

impl Builder {
    /// Builds requests of about `size` bytes.
    pub(crate) fn new(writer: Writer, size: u64) -> Self {
        Self {
            writer,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            body: Vec::new(),
            contents: Contents::default(),
            since: Instant::now(),
        }
    }

    /// Puts a record in. One without a value says that nothing is there: it is no document, and only its place is passed.
    pub(crate) fn push(&mut self, record: &impl Message) {
        if self.is_empty() {
            self.since = Instant::now();
        }
        self.contents.ends.insert(record.partition(), record.offset() + 1);
        if record.payload().is_none() {
            return;
        }
        let start = self.body.len();
        if let Err(why) = self.writer.write(record, &mut self.body) {
            self.body.truncate(start);
            self.contents.unfit.push((place(self.contents.items.len()), why));
        }
        self.contents.keep(record, self.writer.id(), self.body.len());
    }

    /// Whether it is as large as a request should be.
    pub(crate) fn is_full(&self) -> bool {
        self.body.len().max(self.contents.records.len()) >= self.size
    }

    /// Records in it.
    pub(crate) fn len(&self) -> usize {
        self.contents.items.len()
    }

    /// Whether there is nothing in it, not even a place that is passed.
    pub(crate) fn is_empty(&self) -> bool {
        self.contents.ends.is_empty()
    }

    /// When the first of what is in it came.
    pub(crate) fn since(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.since)
    }

    /// Takes what there is.
    pub(crate) fn take(&mut self) -> Batch {
        // The next one is as large, most likely.
        let (body, records) = (self.body.len(), self.contents.records.len());
        let body = mem::replace(&mut self.body, Vec::with_capacity(body));
        let next = Contents { records: Vec::with_capacity(records), ..Contents::default() };
        let contents = mem::replace(&mut self.contents, next);
        Batch { body: Bytes::from(body), contents, since: self.since }
    }
}

impl Batch {
    /// Lines of one document.
    pub(crate) fn document(&self, item: u32) -> &[u8] {
        let end = |item: usize| self.contents.items[item].document_end as usize;
        let item = item as usize;
        let start = item.checked_sub(1).map_or(0, end);
        &self.body[start..end(item)]
    }

    /// The index that a document is for.
    pub(crate) fn index(&self, item: u32) -> &str {
        let name = self.document(item).strip_prefix(ACTION).unwrap_or_default();
        let end = name.iter().position(|byte| *byte == b'"').unwrap_or_default();
        std::str::from_utf8(&name[..end]).unwrap_or_default()
    }

    /// These documents and records alone.
    pub(crate) fn pick(&self, items: &[u32]) -> Self {
        let (mut body, mut contents) = (Vec::new(), Contents::default());
        for item in items {
            body.extend_from_slice(self.document(*item));
            contents.records.extend_from_slice(self.contents.record(*item));
            let (document_end, record_end) = (place(body.len()), place(contents.records.len()));
            contents.items.push(Item { document_end, record_end, ..self.contents.items[*item as usize] });
        }
        Self { body: Bytes::from(body), contents, since: self.since }
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let items = self.contents.items.len() * size_of::<Item>();
        (self.body.len() + self.contents.records.len() + items) as u64
    }
}

impl Contents {
    /// How many records.
    pub(crate) fn len(&self) -> u32 {
        place(self.items.len())
    }

    /// Records that are no documents, and why.
    pub(crate) fn unfit(&self) -> impl Iterator<Item = (u32, &str)> {
        self.unfit.iter().map(|(item, why)| (*item, why.as_str()))
    }

    fn keep(&mut self, record: &impl Message, id: &str, document_end: usize) {
        let records = &mut self.records;
        put(records, Some(id.as_bytes()));
        put(records, record.key());
        put(records, record.payload());
        for header in record.headers().iter().flat_map(|headers| headers.iter()) {
            put(records, Some(header.key.as_bytes()));
            put(records, header.value);
        }
        self.items.push(Item {
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp().to_millis().unwrap_or(-1),
            document_end: place(document_end),
            record_end: place(self.records.len()),
        });
    }

    /// The bytes of a record.
    fn record(&self, item: u32) -> &[u8] {
        let item = item as usize;
        let end = |item: usize| self.items[item].record_end as usize;
        &self.records[item.checked_sub(1).map_or(0, end)..end(item)]
    }

    /// A record as it came.
    pub(crate) fn letter(&self, item: u32) -> Letter<'_> {
        let mut rest = self.record(item);
        let Item { partition, offset, timestamp, .. } = self.items[item as usize];
        let (id, key, payload) = (take(&mut rest).unwrap_or_default(), take(&mut rest), take(&mut rest));
        let mut headers = Vec::new();
        while !rest.is_empty() {
            headers.push((take(&mut rest).unwrap_or_default(), take(&mut rest)));
        }
        Letter { partition, offset, timestamp, id, key, payload, headers }
    }
}

/// A request is at most 100 MiB and one record, so places in it are small numbers.
fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A length, one more than the true one, and the bytes; 0 for none.
fn put(records: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(0, |bytes| place(bytes.len()) + 1);
    records.extend_from_slice(&length.to_le_bytes());
    records.extend_from_slice(bytes.unwrap_or_default());
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    *rest = after;
    let length = u32::from_le_bytes(*length).checked_sub(1)?;
    let (bytes, after) = after.split_at_checked(length as usize)?;
    *rest = after;
    Some(bytes)
}
