//! Durations on command lines.

use std::time::Duration;

/// A duration as people write it: `30s`, `5m`, `24h`, `1h30m`.
///
/// # Errors
/// Not a duration, or negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a duration such as 30s, 5m or 24h".to_owned())?;
    Duration::try_from(signed).map_err(|_| "a duration can't be negative".to_owned())
}

/// A duration between two of something, or a limit: at least 10 ms.
///
/// # Errors
/// Not a duration, or a shorter one.
pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_millis(10) => Err("expected at least 10ms".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(interval("9ms").is_err());
        assert_eq!(interval("10ms"), Ok(Duration::from_millis(10)));
        assert!(duration("soon").is_err());
        assert!(duration("-5s").is_err());
    }
}
