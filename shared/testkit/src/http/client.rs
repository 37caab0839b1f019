//! The smallest client: one request, one connection, the whole answer. Tests use it to say exactly what they mean,
//! where an SDK would add checksums, retries and opinions.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::body::{Body, Framing};
use super::head::{Headers, ResponseHead};
use super::wire::Wire;

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    headers: Headers,
}

impl Answer {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands between the first `<name>` and its end: enough XML for S3's flat answers.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(value.replace("&quot;", "\"").replace("&amp;", "&"))
    }

    /// The `Code` of an S3 error.
    pub fn code(&self) -> Option<String> {
        self.element("Code")
    }
}

/// Sends one request to `endpoint` (`http://host:port`) and reads the answer. `Content-Length` is set from `body` unless
/// `headers` name another framing. An error means that no whole answer came, or none within a minute.
pub fn request(
    endpoint: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    Connection::open(endpoint)?.send(method, target, headers, body)
}

/// A connection that carries one request after the other.
pub(crate) struct Connection {
    wire: Wire,
    host: String,
}

impl Connection {
    /// Connects to `http://host:port`.
    pub fn open(endpoint: &str) -> io::Result<Self> {
        let host = endpoint.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { wire: Wire::new(stream), host })
    }

    /// True once the peer has closed it.
    pub fn is_closed(&self) -> bool {
        self.wire.is_closed()
    }

    /// As [`request`].
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let (wire, host) = (&mut self.wire, &self.host);
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !framed("content-length") && !framed("transfer-encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        // A server may answer and close before it has read everything; the answer counts, not the broken pipe.
        let sent = wire.stream.write_all(head.as_bytes()).and_then(|()| wire.stream.write_all(body));
        let answer = loop {
            match wire.head() {
                Ok(Some(raw)) => {
                    let answer = ResponseHead::parse(raw)?;
                    if answer.status >= 200 {
                        break answer;
                    }
                }
                Ok(None) => {
                    return Err(sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
                }
                Err(err) => return Err(err),
            }
        };
        let framing = Framing::of_response(&answer, method);
        let mut bytes = Vec::new();
        Body::new(wire, framing).read_to_end(&mut bytes)?;
        Ok(Answer { status: answer.status, body: bytes, headers: answer.headers })
    }
}
