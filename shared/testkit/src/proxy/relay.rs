//! One client connection: its requests judged, forwarded or spoilt, one after the other.

use std::io::{self, BufRead, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::Shared;
use super::plan::{Fault, KillPoint, RequestInfo};
use crate::http::body::{Body, Framing};
use crate::http::head::{RequestHead, ResponseHead};
use crate::http::wire::Wire;
use crate::s3::reply::{Reply, error_document};

/// How long an upstream may think about `Expect: 100-continue` before the body is sent to it unasked.
const INVITATION: Duration = Duration::from_secs(2);

pub(crate) struct Relay<'p> {
    shared: &'p Shared,
    client: Wire,
    upstream: Option<Wire>,
}

/// Whether the connection can carry another request.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Close,
    Reset,
}

impl<'p> Relay<'p> {
    pub fn new(shared: &'p Shared, client: TcpStream) -> Self {
        Self { shared, client: Wire::new(client), upstream: None }
    }

    /// Serves the connection to its end. An error is a peer that went away: then both sides are closed.
    pub fn run(mut self) {
        while let Ok(Some(raw)) = self.client.head() {
            let Ok(head) = RequestHead::parse(raw) else {
                break;
            };
            let headers = head.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut info = RequestInfo {
                number: 0,
                method: head.method.clone(),
                path: head.path.clone(),
                query: head.query.clone(),
                headers: headers.collect(),
            };
            let fault = self.shared.arrived(&mut info);
            match self.handle(&head, &info, fault) {
                Ok(Next::Request) => {}
                // Without lingering, closing a socket resets it; an orderly shutdown would spare the client the reset.
                Ok(Next::Reset) => {
                    let _ = set_socket_linger(&self.client.stream, Some(Duration::ZERO));
                    return;
                }
                Ok(Next::Close) | Err(_) => break,
            }
        }
        drop(self.client.stream.shutdown(Shutdown::Both));
    }

    fn handle(&mut self, head: &RequestHead, info: &RequestInfo, fault: Option<Fault>) -> io::Result<Next> {
        self.shared.reached(info, KillPoint::Interleave);
        if self.shared.reached(info, KillPoint::BeforeForward) {
            return Ok(Next::Close);
        }
        match &fault {
            Some(Fault::Reset) => return Ok(Next::Reset),
            Some(Fault::Stall) => {
                // Until the client gives up, or this proxy ends.
                while !self.client.fill()?.is_empty() {
                    let count = self.client.fill()?.len();
                    self.client.consume(count);
                }
                return Ok(Next::Close);
            }
            Some(fault) => {
                if let Some(reply) = instead(fault, head, info.number) {
                    return self.answer(head, info, reply);
                }
            }
            None => {}
        }
        let (answer, left) = match self.forward(head, fault.as_ref()) {
            Ok(forwarded) => forwarded,
            Err(err) => {
                // The upstream is down, or the client left in the middle: either way there is nothing to say.
                self.upstream = None;
                return Err(err);
            }
        };
        self.shared.note(info.number, |seen| seen.upstream_status = Some(answer.status));
        self.shared.reached(info, KillPoint::AfterCommit);
        let mut next = self.pass_back(head, info, &answer, fault.as_ref())?;
        if left || head.headers.lists("connection", "close") {
            next = Next::Close;
        }
        self.shared.reached(info, KillPoint::AfterReply);
        Ok(next)
    }

    /// Answers without asking the upstream.
    fn answer(&mut self, head: &RequestHead, info: &RequestInfo, reply: Reply) -> io::Result<Next> {
        let waited_for = head.expects_continue();
        if !waited_for {
            Body::new(&mut self.client, Framing::of_request(head)).drain()?;
        }
        self.say(head, info, reply, waited_for)?;
        self.shared.reached(info, KillPoint::AfterReply);
        Ok(if waited_for { Next::Close } else { Next::Request })
    }

    /// Sends the request to the upstream and reads the head of its answer; true with it if a part of the request's body was
    /// left unread.
    fn forward(&mut self, head: &RequestHead, fault: Option<&Fault>) -> io::Result<(ResponseHead, bool)> {
        if self.upstream.as_ref().is_none_or(Wire::is_closed) {
            self.upstream = Some(Wire::new(TcpStream::connect(&self.shared.upstream)?));
        }
        let upstream = self.upstream.as_mut().expect("connected above");
        upstream.stream.write_all(&head.raw)?;
        let framing = Framing::of_request(head);
        if head.expects_continue() && framing != Framing::Length(0) {
            if let Some(refused) = invitation(upstream)? {
                return Ok((refused, true));
            }
            self.client.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut pace = Pace::of(fault);
        let mut body = Body::new(&mut self.client, framing);
        let sent = send_body(&mut body, framing, upstream, &mut pace);
        if let Err(Broken::Reading(err)) = sent {
            return Err(err);
        }
        // An upstream that closed its ears early may have answered before.
        let left = sent.is_err();
        loop {
            let raw = upstream.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let answer = ResponseHead::parse(raw)?;
            // 100 Continue was asked for by nobody any more.
            if answer.status >= 200 {
                return Ok((answer, left));
            }
        }
    }

    /// Passes the upstream's answer back, or what the fault leaves of it.
    fn pass_back(
        &mut self,
        head: &RequestHead,
        info: &RequestInfo,
        answer: &ResponseHead,
        fault: Option<&Fault>,
    ) -> io::Result<Next> {
        let upstream = self.upstream.as_mut().expect("it has just answered");
        let framing = Framing::of_response(answer, &head.method);
        let mut body = Body::new(upstream, framing);
        if fault == Some(&Fault::LostReply) {
            // Read to its end: an upstream that could not finish might not have committed either.
            body.drain()?;
            return Ok(Next::Close);
        }
        if fault == Some(&Fault::ErrorIn200AfterCommit) {
            body.drain()?;
            self.say(head, info, error_in_200(head, info.number), false)?;
            return Ok(Next::Request);
        }
        // Noted first: whoever has the answer finds it in the log.
        self.shared.note(info.number, |seen| seen.status = Some(answer.status));
        self.client.stream.write_all(&answer.raw)?;
        let mut spoilt = Spoilt { to: &mut self.client, fault, passed: 0 };
        let mut pace = Pace::of(fault);
        loop {
            let seen = body.fill_buf()?;
            if seen.is_empty() {
                break;
            }
            let count = pace.limit(seen.len());
            let whole = spoilt.pass(&seen[..count], framing)?;
            body.consume(count);
            pace.passed(count);
            if !whole {
                return Ok(Next::Close);
            }
        }
        if framing == Framing::Chunked {
            end_chunks(&mut self.client.stream, &body.trailers)?;
        }
        let closes = framing == Framing::UntilClose || answer.headers.lists("connection", "close");
        if closes {
            self.upstream = None;
        }
        Ok(if closes { Next::Close } else { Next::Request })
    }

    fn say(&mut self, head: &RequestHead, info: &RequestInfo, reply: Reply, close: bool) -> io::Result<()> {
        // Noted first, as above.
        self.shared.note(info.number, |seen| seen.status = Some(reply.status));
        reply.send(&mut self.client.stream, info.number, head.method == "HEAD", close)
    }
}

/// What is answered in the upstream's place.
fn instead(fault: &Fault, head: &RequestHead, number: u64) -> Option<Reply> {
    let error = |status: u16, code: &str, message: &str| {
        Some(Reply::new(status).xml(&error_document(code, message, &head.path, number)))
    };
    match fault {
        Fault::Conflict => error(
            409,
            "ConditionalRequestConflict",
            "The conditional request cannot succeed due to a conflicting operation against this resource.",
        ),
        Fault::SpuriousPrecondition => {
            error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        }
        Fault::SlowDown => error(503, "SlowDown", "Please reduce your request rate."),
        Fault::ErrorIn200 => Some(error_in_200(head, number)),
        Fault::Status { code, s3_code } => error(*code, s3_code, "This answer was asked for by a test."),
        Fault::ErrorIn200AfterCommit
        | Fault::LostReply
        | Fault::Reset
        | Fault::Stall
        | Fault::Slow { .. }
        | Fault::CorruptBody { .. }
        | Fault::TruncateBody { .. } => None,
    }
}

fn error_in_200(head: &RequestHead, number: u64) -> Reply {
    let message = "We encountered an internal error. Please try again.";
    Reply::new(200).xml(&error_document("InternalError", message, &head.path, number))
}

/// Waits for what the upstream says to `Expect: 100-continue`: nothing to say, or its final answer.
fn invitation(upstream: &mut Wire) -> io::Result<Option<ResponseHead>> {
    upstream.stream.set_read_timeout(Some(INVITATION))?;
    let said = upstream.fill().map(<[u8]>::is_empty);
    upstream.stream.set_read_timeout(None)?;
    match said {
        Ok(_) => {}
        Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Ok(None);
        }
        Err(err) => return Err(err),
    }
    let raw = upstream.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let answer = ResponseHead::parse(raw)?;
    Ok((answer.status >= 200).then_some(answer))
}

/// Which side broke while a body was passed on.
enum Broken {
    Reading(io::Error),
    Writing,
}

fn send_body(body: &mut Body<'_>, framing: Framing, to: &mut Wire, pace: &mut Pace) -> Result<(), Broken> {
    loop {
        let seen = body.fill_buf().map_err(Broken::Reading)?;
        if seen.is_empty() {
            break;
        }
        let count = pace.limit(seen.len());
        write_chunk(&mut to.stream, &seen[..count], framing).map_err(|_| Broken::Writing)?;
        body.consume(count);
        pace.passed(count);
    }
    if framing == Framing::Chunked {
        end_chunks(&mut to.stream, &body.trailers).map_err(|_| Broken::Writing)?;
    }
    Ok(())
}

fn write_chunk(to: &mut TcpStream, bytes: &[u8], framing: Framing) -> io::Result<()> {
    if framing == Framing::Chunked {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        return to.write_all(&chunk);
    }
    to.write_all(bytes)
}

fn end_chunks(to: &mut TcpStream, trailers: &[u8]) -> io::Result<()> {
    to.write_all(&[b"0\r\n", trailers, b"\r\n"].concat())
}

/// The way back to the client, with a fault on it.
struct Spoilt<'c> {
    to: &'c mut Wire,
    fault: Option<&'c Fault>,
    passed: u64,
}

impl Spoilt<'_> {
    /// Passes bytes on; false once nothing more may pass.
    fn pass(&mut self, bytes: &[u8], framing: Framing) -> io::Result<bool> {
        let start = self.passed;
        self.passed += bytes.len() as u64;
        match self.fault {
            Some(Fault::TruncateBody { at }) if self.passed > *at => {
                let count = usize::try_from(at.saturating_sub(start)).expect("within this slice");
                if count > 0 {
                    write_chunk(&mut self.to.stream, &bytes[..count], framing)?;
                }
                Ok(false)
            }
            Some(Fault::CorruptBody { offset }) if (start..self.passed).contains(offset) => {
                let mut bytes = bytes.to_vec();
                bytes[usize::try_from(offset - start).expect("within this slice")] ^= 1;
                write_chunk(&mut self.to.stream, &bytes, framing)?;
                Ok(true)
            }
            _ => {
                write_chunk(&mut self.to.stream, bytes, framing)?;
                Ok(true)
            }
        }
    }
}

/// The rate at which bytes may pass.
struct Pace {
    bytes_per_second: Option<u64>,
    started: Instant,
    passed: u64,
}

impl Pace {
    fn of(fault: Option<&Fault>) -> Self {
        let rate =
            if let Some(Fault::Slow { bytes_per_second }) = fault { Some((*bytes_per_second).max(1)) } else { None };
        Self { bytes_per_second: rate, started: Instant::now(), passed: 0 }
    }

    /// How many of these bytes may go at once: a twentieth of a second's worth.
    fn limit(&self, count: usize) -> usize {
        let Some(rate) = self.bytes_per_second else {
            return count;
        };
        count.min(usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1))
    }

    fn passed(&mut self, count: usize) {
        self.passed += count as u64;
        if let Some(rate) = self.bytes_per_second {
            let due = Duration::from_secs_f64(self.passed as f64 / rate as f64);
            thread::sleep(due.saturating_sub(self.started.elapsed()));
        }
    }
}
