//! Percent coding, and what a request target names.

/// Decodes `%XX`; in a query `+` is a space. Bytes that are no UTF-8 are replaced.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) if plus_is_space => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Encodes as S3 does for `encoding-type=url`.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The bucket and key of a path-style request, with its query.
#[derive(Debug)]
pub(crate) struct Target {
    pub bucket: String,
    pub key: String,
    query: Vec<(String, String)>,
}

impl Target {
    pub fn parse(path: &str, query: &str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let fields = query.split('&').filter(|field| !field.is_empty()).map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            (decode(name, true), decode(value, true))
        });
        Self { bucket: decode(bucket, false), key: decode(key, false), query: fields.collect() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// True when every query field is one of these; `x-id` names the operation and may always be there, as may a presigned
    /// request's `X-Amz-*`.
    pub fn has_only(&self, names: &[&str]) -> bool {
        self.query
            .iter()
            .all(|(name, _)| names.contains(&name.as_str()) || name == "x-id" || name.starts_with("X-Amz-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_percent_coding() {
        let target = Target::parse("/bucket/a%20b%2Fc+d/%C3%A4", "list-type=2&prefix=x+y%2B&uploads");
        assert_eq!((target.bucket.as_str(), target.key.as_str()), ("bucket", "a b/c+d/ä"));
        assert_eq!((target.get("prefix"), target.get("uploads"), target.get("other")), (Some("x y+"), Some(""), None));
        assert_eq!(encode("a b/ä+"), "a+b/%C3%A4%2B");
    }
}
