//! A request of the query protocol: a form, and the region of its signature.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::http::body::Body;
use crate::http::head::RequestHead;
use crate::s3::uri::decode;

pub(crate) struct Query {
    /// The region that the request was signed for.
    pub region: String,
    /// The access key id that it was signed with.
    pub caller: String,
    pub fields: BTreeMap<String, String>,
}

impl Query {
    pub fn read(head: &RequestHead, body: &mut Body<'_>) -> io::Result<Self> {
        let mut form = String::new();
        body.read_to_string(&mut form)?;
        let fields = form.split('&').filter(|field| !field.is_empty()).map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            (decode(name, true), decode(value, true))
        });
        let signature = head.headers.get("authorization").unwrap_or_default();
        // `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`
        let mut scope = signature.split_once("Credential=").unwrap_or_default().1.split('/');
        let caller = scope.next().unwrap_or_default().to_owned();
        let region = scope.nth(1).unwrap_or_default().to_owned();
        Ok(Self { region, caller, fields: fields.collect() })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// `DescribeInstances`, …
    pub fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    /// The values of `Name.1`, `Name.2`, …
    pub fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|number| self.get(&format!("{name}.{number}"))).collect()
    }

    /// How many items the page may hold.
    pub fn limit(&self) -> usize {
        let asked = self.get("MaxResults").or_else(|| self.get("MaxRecords"));
        // Without a limit EC2 does not page, and Auto Scaling shows 50.
        let unasked = if self.action() == "DescribeInstances" { usize::MAX } else { 50 };
        asked.and_then(|text| text.parse().ok()).unwrap_or(unasked)
    }

    /// How many items come before the page; `None` for a token that was never given.
    pub fn skipped(&self) -> Option<usize> {
        self.get("NextToken").map_or(Some(0), |token| token.strip_prefix("after-")?.split('-').next()?.parse().ok())
    }
}

/// At most `limit` items after those `skipped`, and the token of those that are left.
pub(crate) fn page<T>(found: &[T], skipped: usize, limit: usize) -> (&[T], Option<String>) {
    let rest = found.get(skipped..).unwrap_or_default();
    let count = rest.len().min(limit);
    let token = (count < rest.len()).then(|| format!("after-{}", skipped + count));
    (&rest[..count], token)
}
