//! Which operation a request is, and the conversation around it: invitations to send, answers, request numbers.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::reply::{Refusal, Reply};
use super::rules::Keep;
use super::service::Service;
use super::state::Bucket;
use super::uri::Target;
use super::{complete, listing, multipart, objects};
use crate::http::body::{Body, Framing};
use crate::http::head::RequestHead;
use crate::http::wire::Wire;

/// Takes requests to the operations that they ask for.
pub(crate) struct Router {
    service: Arc<Service>,
    requests: AtomicU64,
}

impl Router {
    pub fn new(service: Arc<Service>) -> Self {
        Self { service, requests: AtomicU64::new(0) }
    }

    /// Serves one connection to its end.
    pub fn serve(&self, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        while let Ok(Some(raw)) = wire.head() {
            let Ok(head) = RequestHead::parse(raw) else {
                return;
            };
            let request_id = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let mut body = Body::new(&mut wire, Framing::of_request(&head)).awaiting_continue(head.expects_continue());
            let answer = self.answer(&head, &mut body);
            let reply = match answer {
                Ok(reply) => Some(reply),
                Err(refusal) => refusal.into_reply(&head.path, request_id),
            };
            let Some(reply) = reply else { return };
            // A body nobody invited never comes, and then the next bytes cannot be told from it: the connection ends.
            let uninvited = body.is_waited_for();
            if !uninvited && body.drain().is_err() {
                return;
            }
            let close = uninvited || head.headers.lists("connection", "close");
            if reply.send(&mut wire.stream, request_id, head.method == "HEAD", close).is_err() || close {
                return;
            }
        }
    }

    fn answer(&self, head: &RequestHead, body: &mut Body<'_>) -> Result<Reply, Refusal> {
        let target = Target::parse(&head.path, &head.query);
        let method = head.method.as_str();
        if target.bucket.is_empty() {
            return match method {
                "GET" => Ok(listing::buckets(&self.service)),
                _ => Err(not_allowed()),
            };
        }
        if target.key.is_empty() {
            return self.answer_bucket(method, head, &target);
        }
        self.service.state().bucket(&target.bucket)?;
        if target.key.len() > 1024 {
            return Err(Refusal::new(400, "KeyTooLongError", "Your key is too long"));
        }
        let upload = ["uploadId", "partNumber"];
        match method {
            "PUT" if target.has_only(&[]) => objects::put(&self.service, head, &target, body),
            "PUT" if target.has("uploadId") && target.has_only(&upload) => {
                multipart::upload_part(&self.service, head, &target, body)
            }
            "GET" if target.has_only(&[]) => objects::get(&self.service, head, &target),
            "GET"
                if target.has("uploadId")
                    && target.has_only(&["uploadId", "max-parts", "part-number-marker", "encoding-type"]) =>
            {
                listing::parts(&self.service, &target)
            }
            "HEAD" if target.has_only(&[]) => objects::head(&self.service, head, &target),
            "DELETE" if target.has_only(&[]) => objects::delete(&self.service, head, &target),
            "DELETE" if target.has("uploadId") && target.has_only(&upload) => multipart::abort(&self.service, &target),
            "POST" if target.has("uploads") && target.has_only(&["uploads"]) => {
                multipart::create(&self.service, head, &target)
            }
            "POST" if target.has("uploadId") && target.has_only(&["uploadId"]) => {
                complete::complete(&self.service, head, &target, body)
            }
            "PUT" | "GET" | "HEAD" | "DELETE" | "POST" => {
                Err(Refusal::not_implemented(&format!("{method} ?{}", head.query)))
            }
            _ => Err(not_allowed()),
        }
    }

    fn answer_bucket(&self, method: &str, head: &RequestHead, target: &Target) -> Result<Reply, Refusal> {
        if method == "PUT" && target.has_only(&[]) {
            return self.create_bucket_over_http(&target.bucket);
        }
        self.service.state().bucket(&target.bucket)?;
        match method {
            "HEAD" => Ok(Reply::new(200).header("x-amz-bucket-region", "us-east-1")),
            "GET" if target.has("location") => {
                Ok(Reply::new(200).xml("<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"))
            }
            "GET" if target.has("versioning") => {
                Ok(Reply::new(200).xml("<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"))
            }
            "GET" if target.has("uploads") => listing::uploads(&self.service, target),
            "GET" if target.has_only(&listing::OBJECT_FIELDS) => listing::objects(&self.service, target),
            _ => Err(Refusal::not_implemented(&format!("{method} ?{}", head.query))),
        }
    }

    /// Clients that create what they write to find every bucket that exists their own; the model makes none by itself, so
    /// that a wrong name stays an error. The null sink has no such tests to serve.
    fn create_bucket_over_http(&self, name: &str) -> Result<Reply, Refusal> {
        let mut state = self.service.state();
        if !state.buckets.contains_key(name) {
            if self.service.keep == Keep::All {
                return Err(Refusal::new(403, "AccessDenied", "Access Denied"));
            }
            state.buckets.insert(name.to_owned(), Bucket::default());
        }
        Ok(Reply::new(200).header("Location", format!("/{name}")))
    }
}

fn not_allowed() -> Refusal {
    let message = "The specified method is not allowed against this resource.";
    Refusal::new(405, "MethodNotAllowed", message)
}
