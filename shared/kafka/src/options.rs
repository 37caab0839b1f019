//! Options as they are typed.

use cli::Failure;
use rdkafka::error::KafkaError;

/// `KEY=VALUE`.
///
/// # Errors
/// No `=`, or nothing before it.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// An option of librdkafka, unless it is one of `fixed`, which carry the promise of `tool`.
///
/// # Errors
/// No pair, a fixed key, or what C can't take.
pub fn option(text: &str, tool: &str, fixed: &[&str]) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    if fixed.contains(&key.as_str()) {
        return Err(format!("{key} can't be changed: what {tool} promises rests on it"));
    }
    if text.contains('\0') {
        return Err("expected text without a zero byte".to_owned());
    }
    Ok((key, value))
}

/// The name of a topic.
///
/// # Errors
/// What Kafka does not take for one.
pub fn topic(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    let plain = (1..=249).contains(&text.len()) && text.chars().all(legal) && ![".", ".."].contains(&text);
    if plain { Ok(text.to_owned()) } else { Err("expected letters, digits, '.', '_' and '-', 249 at most".to_owned()) }
}

/// An option that librdkafka did not take.
#[must_use]
pub fn refused(error: &KafkaError) -> Failure {
    match error {
        KafkaError::ClientConfig(_, why, key, value) => Failure::usage(format!("--kafka {key}={value}: {why}")),
        other => Failure::usage(format!("--kafka: {other}")),
    }
}
