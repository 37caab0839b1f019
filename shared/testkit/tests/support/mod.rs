//! What the tests of the servers share: a client that asserts, and bodies in odd codings.
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses its own part of this")]

use std::ops::Deref;

use testkit::{Answer, S3Model, request};

/// The bucket every test has.
pub const BUCKET: &str = "b";

pub struct Client(String);

/// An answer with shorthands.
#[derive(Debug)]
pub struct Told {
    answer: Answer,
    code: String,
}

impl Deref for Told {
    type Target = Answer;

    fn deref(&self) -> &Answer {
        &self.answer
    }
}

impl Told {
    pub fn status(&self) -> u16 {
        self.answer.status
    }

    /// The status and the error's name.
    pub fn error(&self) -> (u16, &'static str) {
        // A test that compares with a literal is easiest to read without lifetimes; the few bytes may stay.
        (self.answer.status, self.code.clone().leak())
    }

    /// What stands in every element of this name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let open = format!("<{name}>");
        let close = format!("</{name}>");
        let found = text.split(open.as_str()).skip(1).filter_map(|rest| rest.split_once(close.as_str()));
        found.map(|(value, _)| value.replace("&quot;", "\"").replace("&amp;", "&")).collect()
    }
}

impl Client {
    pub fn of(endpoint: &str) -> Self {
        Self(endpoint.to_owned())
    }

    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
        self.try_send(method, target, headers, body).expect("an answer comes")
    }

    pub fn try_send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Told> {
        let answer = request(&self.0, method, target, headers, body)?;
        let code = answer.code().unwrap_or_default();
        Ok(Told { answer, code })
    }

    pub fn put(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
        self.send("PUT", target, headers, body)
    }

    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> Told {
        self.send("GET", target, headers, b"")
    }

    pub fn head(&self, target: &str, headers: &[(&str, &str)]) -> Told {
        self.send("HEAD", target, headers, b"")
    }

    pub fn delete(&self, target: &str, headers: &[(&str, &str)]) -> Told {
        self.send("DELETE", target, headers, b"")
    }

    /// Creates an upload of `key` and returns its id.
    pub fn create(&self, key: &str, headers: &[(&str, &str)]) -> String {
        let created = self.send("POST", &format!("/{BUCKET}/{key}?uploads"), headers, b"");
        assert_eq!(created.status(), 200, "{}", created.text());
        created.element("UploadId").expect("an upload has an id")
    }

    /// Uploads a part and returns its ETag.
    pub fn part(&self, key: &str, id: &str, number: u32, body: &[u8]) -> String {
        let part = self.put(&format!("/{BUCKET}/{key}?partNumber={number}&uploadId={id}"), &[], body);
        assert_eq!(part.status(), 200, "{}", part.text());
        part.header("etag").expect("a part has an ETag").to_owned()
    }

    pub fn complete(&self, key: &str, id: &str, headers: &[(&str, &str)], parts: &[(u32, &str)]) -> Told {
        self.send("POST", &format!("/{BUCKET}/{key}?uploadId={id}"), headers, &parts_document(parts))
    }
}

/// A Complete's body.
pub fn parts_document(parts: &[(u32, &str)]) -> Vec<u8> {
    let part = |(number, etag): &(u32, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", etag.replace('"', "&quot;"))
    };
    let parts: String = parts.iter().map(part).collect();
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    )
    .into_bytes()
}

/// A model with the bucket, and a client of it.
pub fn model() -> (S3Model, Client) {
    let model = S3Model::start();
    model.create_bucket(BUCKET);
    let client = Client::of(&model.endpoint());
    (model, client)
}

/// `bytes` in two aws-chunked chunks with a trailer.
pub fn aws_chunked(bytes: &[u8], signed: bool, trailer: &str) -> Vec<u8> {
    let signature = if signed { ";chunk-signature=0123456789abcdef" } else { "" };
    let mut coded = Vec::new();
    for piece in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
        coded.extend_from_slice(format!("{:x}{signature}\r\n", piece.len()).as_bytes());
        coded.extend_from_slice(piece);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(format!("0{signature}\r\n{trailer}\r\n").as_bytes());
    if signed {
        coded.extend_from_slice(b"x-amz-trailer-signature:0123456789abcdef\r\n");
    }
    coded.extend_from_slice(b"\r\n");
    coded
}
