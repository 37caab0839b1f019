//! The values of options, kept out of messages.

use crate::pair::Pair;
use std::fmt;

/// Values that tell nobody anything, and that messages need.
const OPEN: [&str; 11] = [
    "plaintext",
    "ssl",
    "sasl_plaintext",
    "sasl_ssl",
    "PLAIN",
    "GSSAPI",
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    "OAUTHBEARER",
    "true",
    "false",
];

/// Longest part of the name of an option; what is longer may be a key that stands where a name is expected.
const LONGEST_PART: usize = 12;

/// The values of options.
#[derive(Clone, Default)]
pub struct Hidden(Vec<String>);

impl Hidden {
    /// Those of `options`.
    pub fn of<'a>(options: impl Iterator<Item = &'a Pair>) -> Self {
        let mut values: Vec<String> = options.map(|(_, value)| value.clone()).collect();
        values.retain(|value| !value.is_empty() && !OPEN.iter().any(|open| open.eq_ignore_ascii_case(value)));
        // Of two that overlap, all of the longer one.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    /// `text` with `…` in place of each.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| hide_one(&text, value))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

/// A short value stands within words and numbers that it has nothing to do with.
fn hide_one(text: &str, value: &str) -> String {
    const SHORT: usize = 6;
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, behind) = (&rest[..at], &rest[at + value.len()..]);
        let joined = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let within = value.len() < SHORT
            && (joined(before.chars().next_back()) || joined(behind.chars().next()))
            && value.chars().all(char::is_alphanumeric);
        hidden.push_str(before);
        hidden.push_str(if within { value } else { "…" });
        rest = behind;
    }
    hidden.push_str(rest);
    hidden
}

/// Whether `text` looks like the name of an option, and not like a password, a token or a key.
pub(crate) fn is_name(text: &str) -> bool {
    let part = |part: &str| (1..=LONGEST_PART).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic());
    text.contains('.') && text.split(['.', '_']).all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden() {
        let options = [("a", "hunter2"), ("b", "hunter2-and-more"), ("c", "42"), ("d", ""), ("e", "SASL_SSL")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let hidden = Hidden::of(options.iter());
        let text = hidden.hide("xhunter2x, hunter2-and-more; 42 of 1428 in sasl_ssl");
        assert_eq!(text, "x…x, …; … of 1428 in sasl_ssl");
    }

    #[test]
    fn names() {
        for name in ["sasl.pasword", "SASL.Password", "ssl.key.location", "sasl.oauthbearer.client.secret", "a.b_c"] {
            assert!(is_name(name), "{name}");
        }
        for other in
            ["hunter2", "hunter", "c2VjcmV0cGFzc3dvcmQ", "a.b2", "sasl.password hunter", "a..b", "a.abcdefghijklm"]
        {
            assert!(!is_name(other), "{other}");
        }
    }
}
