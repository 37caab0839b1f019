//! Text that comes from outside, made safe for a terminal.

use std::path::Path;

/// Whether a terminal would obey this character instead of showing it.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with every control character escaped, so that nothing from outside moves a cursor or starts a new line.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// What a message may say of a file that holds a secret and can't be read: its name only where that names a directory that is
/// there. Else it may be the secret itself, given in place of the file.
#[must_use]
pub fn name_of_secret(path: &Path) -> String {
    let dir = path.parent().filter(|dir| dir.file_name().is_some() && dir.is_dir());
    dir.map_or_else(
        || "FILE (its name is not shown: it may be the secret itself)".to_owned(),
        |_| path.display().to_string(),
    )
}

/// What a message may say: [`printable`], and of each URL neither who asks there, which is often with a password, nor the
/// parameters, which may be keys.
#[must_use]
pub fn presentable(text: &str) -> String {
    let text = without_users(&printable(text));
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(start) = rest.find("://") {
        let (scheme, after) = rest.split_at(start + 3);
        clean.push_str(scheme);
        let url = &after[..after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(after.len())];
        // Of the sentence around it.
        let url = url.trim_end_matches([',', ';', ':', '.', ')']);
        let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
        let parameters = if scheme.ends_with("file://") { None } else { url.find(['?', '#']) };
        // A second colon stands in an IPv6 address alone.
        let has_port = authority.rsplit_once(':').is_none_or(|(host, port)| {
            (host.starts_with('[') && port.ends_with(']'))
                || port.chars().all(|c| c.is_ascii_digit()) && (host.starts_with('[') || !host.contains(':'))
        });
        // A password may have a slash in it.
        let who = authority.rfind('@').or_else(|| if has_port { None } else { url.rfind('@') });
        // Where no host stands, nobody knows what does.
        let who = who.or((!has_port).then_some(authority.len()));
        let start = who.inspect(|_| clean.push('…')).unwrap_or(0);
        rest = match parameters.filter(|question| *question >= start) {
            Some(question) => {
                clean.extend([&after[start..=question], "…"]);
                &after[url.len()..]
            }
            None => &after[start..],
        };
    }
    clean + rest
}

/// Of words that are nearly URLs, `user:password@host` after what should have been a scheme, not who asks there.
fn without_users(text: &str) -> String {
    let words = text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    let shown = words.map(|word| match word.rfind('@') {
        Some(at) if !word.contains("://") && word[..at].contains(':') => format!("…{}", &word[at..]),
        _ => word.to_owned(),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_not_told() {
        for (text, told) in [
            ("git in ops:hunter2@host:x.git: no", "git in …@host:x.git: no"),
            ("'https//ops:hunter2@host/x' '/u:hunter2@host'", "'…@host/x' '…@host'"),
            ("git@host:x.git and: ops@build", "git@host:x.git and: ops@build"),
            ("unable to reach http://ops:hunter2@proxy:3128/x: no", "unable to reach http://…@proxy:3128/x: no"),
            ("'https://hunter2@host' and \"s3://k:hunter2@b/p\"", "'https://…@host' and \"s3://…@b/p\""),
            ("http://ops:hun/ter2@host/", "http://…@host/"),
            (
                "s3://build/a@b, http://127.0.0.1:80/a@b, file:///x@y",
                "s3://build/a@b, http://127.0.0.1:80/a@b, file:///x@y",
            ),
            ("nothing ://", "nothing ://"),
            (
                "(http://host:80), http://host:80; https://host:443.",
                "(http://host:80), http://host:80; https://host:443.",
            ),
            ("https://ops:hunter2%40host/x and s3://key:hunter2", "https://…/x and s3://…"),
            ("http://[::1]:8333/x#hunter2", "http://[::1]:8333/x#…"),
            ("http://[fd00:ec2::254]/latest and http://[::1]", "http://[fd00:ec2::254]/latest and http://[::1]"),
            ("https://x:hunter2%40host:1/x", "https://…/x"),
            ("'https://host/x?token=hunter2/': no", "'https://host/x?…': no"),
            ("http://ops:hunter2@host/?a=hunter2 and file:///x?y", "http://…@host/?… and file:///x?y"),
        ] {
            assert_eq!(presentable(text), told);
        }
    }

    #[test]
    fn a_secret_in_place_of_its_file_is_not_told() {
        let dir = std::env::temp_dir();
        for secret in ["hunter2", "/hunter2", "hunter2/x==", "../hunter2", ""] {
            assert!(!name_of_secret(Path::new(secret)).contains("hunter2"), "{secret}");
        }
        assert_eq!(name_of_secret(&dir.join("password")), dir.join("password").display().to_string());
    }

    #[test]
    fn controls_and_direction_marks_are_escaped() {
        assert_eq!(printable("a\nb\u{1b}[31m\u{202e}é"), "a\\nb\\u{1b}[31m\\u{202e}é");
    }
}
