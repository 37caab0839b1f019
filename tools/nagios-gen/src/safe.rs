//! Values that Nagios reads as exactly what was written, and that no command line it builds can run.
//!
//! Nagios' own check of a configuration accepts injected objects, and it strips no shell characters from the macros of
//! check commands. So only what is known to be harmless passes; every other byte is written as a colon and two
//! hexadecimal digits. A colon itself is written so too: different values stay different.

use std::fmt::Write as _;

/// A name of a host or hostgroup: ASCII letters, digits, dot, dash and underscore.
pub(crate) fn name(text: &str) -> String {
    keep(text, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Text for people: letters and digits of any script, single spaces inside, and a few signs.
pub(crate) fn words(text: &str) -> String {
    keep(text.trim(), |c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ' | '/' | '#' | '@' | '+'))
}

/// The same where nothing is known about the place it will stand in: no sign in front that extends a list or starts a
/// comment, and no `null`, which cancels a directive.
pub(crate) fn text(text: &str) -> String {
    let words = words(text);
    match words.chars().next() {
        Some(sign @ ('+' | '#')) => format!(":{:02x}{}", u32::from(sign), &words[1..]),
        _ if words == "null" => ":6eull".to_owned(),
        _ => words,
    }
}

fn keep(text: &str, harmless: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) {
            safe.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(safe, ":{byte:02x}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_stay() {
        assert_eq!(name("ob-appengine_1.spot"), "ob-appengine_1.spot");
        assert_eq!(words("Käse 7/8"), "Käse 7/8");
    }

    #[test]
    fn everything_else_is_told_apart() {
        assert_eq!(name("a\nb"), "a:0ab");
        assert_eq!(name("a:0ab"), "a:3a0ab");
        assert_eq!(words("$(id);}\\"), ":24:28id:29:3b:7d:5c");
        assert_eq!(name("ü"), ":c3:bc");
        assert_eq!(text("+a+"), ":2ba+");
        assert_eq!(text("null"), ":6eull");
    }
}
