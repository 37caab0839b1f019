//! The search server: bulk requests over HTTP, and what became of each.

use crate::answer::{self, Verdict};
use crate::args::{self, Args, Compress};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use failure::{Class, Failure, innermost};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode};
use serde::Deserialize;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// What an answer has to tell, and no more: it is as long as the documents are many.
const FILTER: &str = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest file of certificates, or of a secret.
const LARGEST_FILE: u64 = 8 << 20;
/// Longest part of an answer that is told.
const LONGEST_WORDS: usize = 300;
/// Longest answer that is read, besides what it may say of each document, which may be the document itself.
const LONGEST_ANSWER: usize = 1 << 20;
/// What it may say of one besides that.
const LONGEST_VERDICT: usize = 4096;

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The server took it: what became of each document, in their order.
    Taken(Vec<Verdict>),
    /// Too large for the server: fewer documents may be taken.
    TooLarge(String),
    /// Something in it makes no sense to the server: without it, the rest may be taken.
    Malformed(String),
    /// The server has too much to do: once more, and fewer documents, after this long if it says so.
    Busy(String, Option<Duration>),
    /// Not taken, or not known: once more, after this long if it says so.
    Again(String, Option<Duration>),
    /// Refused until somebody changes something.
    Refused(String),
}

/// The server.
#[derive(Debug)]
pub(crate) struct Search {
    client: Client,
    /// Where documents go,
    bulk: Url,
    /// and where templates do.
    templates: Url,
    compress: Compress,
}

impl Search {
    /// # Errors
    /// Files that can't be read, certificates that are none.
    pub(crate) fn new(args: &Args) -> Result<Self, Failure> {
        // It fails where somebody else was first, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let search = &args.search;
        let mut client = Client::builder()
            .timeout(args.timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(args.timeout))
            .redirect(Policy::none())
            .user_agent(concat!("log-index/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .http1_only()
            .default_headers(headers(search)?);
        if let Some(path) = &search.ca_cert {
            let pem = cli::read_file(path, LARGEST_FILE)?;
            let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(Failure::permanent(format!("no certificate (PEM) in {}", path.display())));
            }
            client = client.tls_certs_merge(certificates);
        }
        let client = client.build();
        let client = client.map_err(|error| Failure::permanent(format!("unable to speak to a server: {error}")))?;
        let below = |path: &str| {
            let mut url = search.url().clone();
            url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
            url
        };
        let mut bulk = below("_bulk");
        // The server must not wait for one index, whose shard is away, for longer than the answer about all others may take.
        bulk.set_query(Some(&format!("filter_path={FILTER}&timeout={}ms", args.timeout.as_millis() / 2)));
        Ok(Self { client, bulk, templates: below("_index_template/"), compress: search.compress })
    }

    /// Puts an index template.
    ///
    /// # Errors
    /// The server does not take it, or can't be reached.
    pub(crate) async fn put_template(&self, name: &str, body: String) -> Result<(), Failure> {
        let failed = |class, why: String| {
            Failure::new(class, format!("unable to put the index template {name} to {}: {why}", self.origin()))
        };
        let mut url = self.templates.clone();
        url.set_path(&format!("{}{name}", url.path()));
        let request = self.client.put(url).header(CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(|error| failed(Class::Temporary, told(&error)))?;
        if response.status().is_success() {
            let answer =
                read(response, LONGEST_ANSWER).await.map_err(|error| failed(Class::Temporary, told(&error)))?;
            let acknowledged = serde_json::from_slice(&answer).is_ok_and(|Acknowledged { acknowledged }| acknowledged);
            let why = || format!("an answer that does not acknowledge it: {}", words(&answer));
            return if acknowledged { Ok(()) } else { Err(failed(Class::Temporary, why())) };
        }
        match refused(response).await {
            Outcome::Busy(why, _) | Outcome::Again(why, _) => Err(failed(Class::Temporary, why)),
            Outcome::Malformed(why) | Outcome::TooLarge(why) | Outcome::Refused(why) => {
                Err(failed(Class::Permanent, why))
            }
            Outcome::Taken(_) => Ok(()),
        }
    }

    /// Sends the lines of `documents` documents.
    pub(crate) async fn send(&self, body: Bytes, documents: usize) -> Outcome {
        let longest = LONGEST_ANSWER + documents * LONGEST_VERDICT + 2 * body.len();
        let mut request = self.client.post(self.bulk.clone()).header(CONTENT_TYPE, "application/x-ndjson");
        request = match self.compress {
            Compress::None => request.body(body),
            Compress::Gzip => match gzip(&body) {
                Ok(packed) => request.header(CONTENT_ENCODING, "gzip").body(packed),
                Err(error) => return Outcome::Again(format!("unable to pack the request: {error}"), None),
            },
        };
        match request.send().await {
            Ok(response) if response.status() == StatusCode::OK => match read(response, longest).await {
                Ok(bytes) if bytes.len() > longest => Outcome::Again("an answer that has no end".to_owned(), None),
                Ok(bytes) => match answer::verdicts(&bytes, documents) {
                    Ok(verdicts) => Outcome::Taken(verdicts),
                    Err(why) => Outcome::Again(format!("{why}: {}", words(&bytes)), None),
                },
                Err(error) => Outcome::Again(told(&error), None),
            },
            Ok(response) => refused(response).await,
            Err(error) => Outcome::Again(told(&error), None),
        }
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        self.bulk.origin().ascii_serialization()
    }
}

/// A status that is not 200.
async fn refused(response: Response) -> Outcome {
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let wait = header(RETRY_AFTER).and_then(|text| wish(text, Timestamp::now()));
    // Behind `?` and before `@` there may be what nobody else should read.
    let place = header(LOCATION).map(|place| place.split(['?', '#']).next().unwrap_or_default());
    let place = place.map(|place| place.rsplit('@').next().unwrap_or_default());
    let elsewhere = place.map(|place| format!("{status}: to {place}"));
    let body = read(response, LONGEST_ANSWER).await.unwrap_or_default();
    let words = words(&body);
    let told = if words.is_empty() { status.to_string() } else { format!("{}: {words}", status.as_u16()) };
    let told = elsewhere.unwrap_or(told);
    match status.as_u16() {
        400 => Outcome::Malformed(told),
        413 => Outcome::TooLarge(told),
        429 => Outcome::Busy(told, wait),
        408 | 425 | 500.. => Outcome::Again(told, wait),
        _ => Outcome::Refused(told),
    }
}

fn headers(search: &args::Search) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let from_environment = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let value = if let Some(user) = search.user.as_ref().filter(|user| !user.is_empty()) {
        let password = match &search.password_file {
            Some(path) => Some(secret("--password-file", path)?),
            None => from_environment("SEARCH_PASSWORD"),
        };
        let password = password.ok_or_else(|| Failure::usage("--user needs --password-file or SEARCH_PASSWORD"))?;
        if user.contains(':') {
            return Err(Failure::usage("a user's name has no colon"));
        }
        Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
    } else {
        let key = match &search.api_key_file {
            Some(path) => Some(secret("--api-key-file", path)?),
            None => from_environment("SEARCH_API_KEY"),
        };
        key.map(|key| format!("ApiKey {key}"))
    };
    if let Some(value) = value {
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            Failure::permanent("unable to use the API key: it holds a line break or another character that no key has")
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The answer to a template that was taken.
#[derive(Deserialize)]
struct Acknowledged {
    acknowledged: bool,
}

/// The body of an answer, to its end, or a little beyond `longest` bytes.
async fn read(mut response: Response, longest: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        body.extend_from_slice(&bytes);
        if body.len() > longest {
            break;
        }
    }
    Ok(body)
}

/// The reason in an answer, or how it begins.
fn words(body: &[u8]) -> String {
    let begin = &body[..body.len().min(4 * LONGEST_WORDS)];
    let begin = || String::from_utf8_lossy(begin).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut words = answer::reason(body).unwrap_or_else(begin);
    words.truncate(words.floor_char_boundary(LONGEST_WORDS));
    words
}

/// How long a server asks to be left alone, in seconds or until a time.
fn wish(text: &str, now: Timestamp) -> Option<Duration> {
    let until = || rfc2822::parse(text).ok().map(|then| then.timestamp().duration_since(now).max(SignedDuration::ZERO));
    text.parse().ok().map(Duration::from_secs).or_else(|| until()?.try_into().ok())
}

/// What stands alone in a file.
fn secret(option: &str, path: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(cli::read_secret(option, path, LARGEST_FILE)?);
    let text = text.map_err(|_| Failure::permanent(format!("unable to read {}: it is not UTF-8", path.display())))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::permanent(format!("nothing in {}", path.display()))),
        secret => Ok(secret.to_owned()),
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    packed.write_all(body)?;
    packed.finish()
}

/// An error's causes; the address stands before them anyway.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    innermost(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_in_seconds_or_until_a_time() {
        let now = "2026-11-24T18:00:00Z".parse().unwrap();
        assert_eq!(wish("7", now), Some(Duration::from_secs(7)));
        assert_eq!(wish("Tue, 24 Nov 2026 18:00:20 GMT", now), Some(Duration::from_secs(20)));
        assert_eq!(wish("Tue, 24 Nov 2026 17:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(wish("soon", now), None);
    }

    #[test]
    fn words_of_an_answer() {
        assert_eq!(words(br#"{"error":{"type":"a","reason":"b"},"status":403}"#), "a: b");
        assert_eq!(words(b"<html>\n  log in"), "<html> log in");
        assert_eq!(words("\u{fc}".repeat(1000).as_bytes()).len(), LONGEST_WORDS);
    }
}
