//! Session tokens: given for a time, and looked up on every request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::TokenSeen;
use crate::http::head::RequestHead;
use crate::s3::checksums::base64;

/// Tokens and the ends of their lives.
#[derive(Default)]
pub(crate) struct Tokens(BTreeMap<String, Instant>);

impl Tokens {
    pub fn give(&mut self, seconds: u64) -> String {
        let token = base64(&rand::random::<[u8; 40]>());
        self.0.insert(token.clone(), Instant::now() + Duration::from_secs(seconds));
        token
    }

    pub fn expire(&mut self) {
        self.0.clear();
    }

    pub fn seen(&self, head: &RequestHead) -> TokenSeen {
        let mut shown = head.headers.iter().filter(|(name, _)| *name == "x-aws-ec2-metadata-token");
        match (shown.next(), shown.next()) {
            (None, _) => TokenSeen::None,
            (Some(_), Some(_)) => TokenSeen::Twice,
            (Some((_, token)), None) => {
                let lives = self.0.get(token).is_some_and(|end| Instant::now() < *end);
                if lives { TokenSeen::Valid } else { TokenSeen::Invalid }
            }
        }
    }
}
