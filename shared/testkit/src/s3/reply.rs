//! Answers: statuses, headers, S3's XML, and the errors by the names AWS gives them.

use std::io::{self, Write};
use std::net::TcpStream;

use bytes::Bytes;
use jiff::Timestamp;
use quick_xml::escape::escape;

/// An answer to one request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<Bytes>,
    /// What `Content-Length` says where there is no body to measure: the answer to a HEAD.
    pub length: Option<u64>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), length: None }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn xml(self, document: &str) -> Self {
        let mut reply = self.header("Content-Type", "application/xml");
        reply.body = vec![Bytes::from(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}"))];
        reply
    }

    /// Writes it out; a HEAD is answered with the same head and no body.
    pub fn send(self, to: &mut TcpStream, request_id: u64, is_head: bool, close: bool) -> io::Result<()> {
        let size = self.body.iter().map(|chunk| chunk.len() as u64).sum();
        let reason = reason(self.status);
        let mut head = format!("HTTP/1.1 {} {reason}\r\nx-amz-request-id: {request_id:016X}\r\n", self.status);
        for (name, value) in [("Server", "AmazonS3"), ("Date", &http_date(Timestamp::now()))] {
            if !self.headers.iter().any(|(known, _)| known == name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status != 204 && self.status != 304 {
            head.push_str(&format!("Content-Length: {}\r\n", self.length.unwrap_or(size)));
        }
        if close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut first = head.into_bytes();
        if is_head || self.status == 204 || self.status == 304 {
            return to.write_all(&first);
        }
        // A small answer leaves in one packet.
        let small = size <= 16 * 1024;
        if small {
            self.body.iter().for_each(|chunk| first.extend_from_slice(chunk));
        }
        to.write_all(&first)?;
        if !small {
            for chunk in &self.body {
                to.write_all(chunk)?;
            }
        }
        Ok(())
    }

    /// Writes the head and one half of the body.
    pub fn send_half(mut self, to: &mut TcpStream, request_id: u64) -> io::Result<()> {
        let whole: usize = self.body.iter().map(Bytes::len).sum();
        self.length = Some(whole as u64);
        let mut left = whole / 2;
        for chunk in &mut self.body {
            chunk.truncate(left.min(chunk.len()));
            left -= chunk.len();
        }
        self.send(to, request_id, false, false)
    }
}

/// Why a request gets no success.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An S3 error.
    Error { status: u16, code: &'static str, message: String },
    /// A conditional read whose object has not changed.
    NotModified { etag: String },
    /// The client is gone, or does not speak HTTP: nobody is there to be answered.
    Gone,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self::Error { status, code, message: message.into() }
    }

    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    pub fn bad_digest(header: &str) -> Self {
        Self::new(400, "BadDigest", format!("The {header} you specified did not match the calculated checksum."))
    }

    pub fn precondition_failed() -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    }

    pub fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    pub fn no_such_upload() -> Self {
        Self::new(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
        )
    }

    pub fn not_implemented(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("A header or operation you provided is not implemented: {what}"))
    }

    pub fn into_reply(self, resource: &str, request_id: u64) -> Option<Reply> {
        match self {
            Self::Gone => None,
            Self::NotModified { etag } => Some(Reply::new(304).header("ETag", etag)),
            Self::Error { status, code, message } => {
                Some(Reply::new(status).xml(&error_document(code, &message, resource, request_id)))
            }
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

pub(crate) fn error_document(code: &str, message: &str, resource: &str, request_id: u64) -> String {
    format!(
        "<Error><Code>{code}</Code><Message>{}</Message><Resource>{}</Resource><RequestId>{request_id:016X}</RequestId>\
         <HostId>testkit</HostId></Error>",
        escape(message),
        escape(resource)
    )
}

/// One element with its text escaped; quotation marks too, as S3 does for ETags.
pub(crate) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// A document in S3's name space.
pub(crate) fn document(name: &str, content: &str) -> String {
    format!("<{name} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{content}</{name}>")
}

/// An element for each of these that is there.
pub(crate) fn elements<'a>(fields: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    fields.into_iter().filter_map(|(name, text)| text.map(|text| element(name, text))).collect()
}

/// `2026-01-31T12:00:00.000Z`
pub(crate) fn iso_date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// `Sat, 31 Jan 2026 12:00:00 GMT`
pub(crate) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        416 => "Requested Range Not Satisfiable",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Slow Down",
        _ => "Status",
    }
}
