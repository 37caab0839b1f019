//! What the models of AWS and the `_bulk` servers share: the requests of a connection answered one after another, and the faults, hooks and
//! waiting that a test asks for.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::http::body::{Body, Framing};
use crate::http::head::RequestHead;
use crate::http::server::Server;
use crate::http::wire::Wire;
use crate::s3::reply::Reply;

/// What becomes of a request.
pub(crate) enum Outcome {
    /// It is answered.
    Reply(Reply),
    /// The connection is closed in the middle of the answer's body.
    Cut(Reply),
    /// The connection is closed instead of an answer.
    Close,
    /// The connection is reset instead of an answer.
    Reset,
    /// It is never answered.
    Hang,
}

/// What a model does with its requests; every connection calls it from a thread of its own.
pub(crate) trait Service: Send + Sync + 'static {
    /// Decides on one request, and says which it was in the order of arrival. An error means that the client is gone.
    fn answer(&self, head: &RequestHead, body: &mut Body<'_>) -> io::Result<(u64, Outcome)>;

    /// The whole answer to this request has been sent.
    fn replied(&self, _number: u64) {}
}

/// Starts a server that hands its requests to `service`.
pub(crate) fn start(name: &str, service: &Arc<impl Service>) -> Server {
    let serving = Arc::clone(service);
    Server::start(name, move |stream| serve(&*serving, stream))
}

fn serve(service: &impl Service, stream: TcpStream) {
    let mut wire = Wire::new(stream);
    while let Ok(Some(raw)) = wire.head() {
        let Ok(head) = RequestHead::parse(raw) else { break };
        let mut body = Body::new(&mut wire, Framing::of_request(&head)).awaiting_continue(head.expects_continue());
        let Ok((number, outcome)) = service.answer(&head, &mut body) else { break };
        if body.drain().is_err() {
            break;
        }
        match outcome {
            Outcome::Reply(reply) => {
                if reply.send(&mut wire.stream, number, head.method == "HEAD", false).is_err() {
                    break;
                }
            }
            Outcome::Cut(reply) => {
                drop(reply.send_half(&mut wire.stream, number));
                break;
            }
            Outcome::Close => break,
            Outcome::Reset => {
                // Without lingering, closing a socket resets it; an orderly shutdown would spare the client the reset.
                let _ = set_socket_linger(&wire.stream, Some(Duration::ZERO));
                return;
            }
            Outcome::Hang => {
                // Until the client gives up, or the server ends.
                while matches!(wire.skip(u64::MAX), Ok(1..)) {}
                break;
            }
        }
        service.replied(number);
    }
    drop(wire.stream.shutdown(Shutdown::Both));
}

type Function<C, R> = dyn Fn(&C) -> R + Send + Sync;

/// A function that a test hands in, is asked about every `C`, and may wait: it is called without a lock.
pub(crate) struct Asked<C, R>(Mutex<Option<Arc<Function<C, R>>>>);

impl<C, R> Asked<C, R> {
    pub fn set(&self, function: Box<Function<C, R>>) {
        *held(&self.0) = Some(Arc::from(function));
    }

    pub fn clear(&self) {
        *held(&self.0) = None;
    }

    /// What it says; nothing if there is none.
    pub fn ask(&self, about: &C) -> Option<R> {
        let function = held(&self.0).clone();
        function.map(|function| function(about))
    }
}

impl<C, R> Default for Asked<C, R> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

/// A test's function that panics fails its own test, and must not take the server's other connections with it.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
