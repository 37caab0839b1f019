//! A key and its value, as they are typed.

/// A key and its value.
pub type Pair = (String, String);

/// `KEY=VALUE`.
///
/// # Errors
/// No `=`, or nothing before it.
pub fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
