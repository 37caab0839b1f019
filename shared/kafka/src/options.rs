//! Options as they are typed.

use cli::Failure;
use rdkafka::error::KafkaError;
use std::fs;

/// Options of librdkafka from a file, which other users of the host need not be able to read.
#[derive(Clone, Debug)]
pub struct OptionsFile(Vec<(String, String)>);

impl OptionsFile {
    /// Reads the file at `path`: one [`option`] in a line, blanks around it and around its `=` left out; lines that begin with
    /// `#` are comments.
    ///
    /// # Errors
    /// The file can't be read, or a line of it is no option; what it holds is not told.
    pub fn read(path: &str, tool: &str, fixed: &[&str]) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
        let options = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| {
            let (key, value) = option(line, tool, fixed).map_err(|why| format!("line {number}: {why}"))?;
            Ok((key.trim_end().to_owned(), value.trim_start().to_owned()))
        });
        options.collect::<Result<_, String>>().map(Self)
    }

    /// The options, in their order.
    #[must_use]
    pub fn options(&self) -> &[(String, String)] {
        &self.0
    }
}

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
    if fixed.contains(&key.trim()) {
        return Err(format!("{} can't be changed: what {tool} promises rests on it", key.trim()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        OptionsFile::read(file.path().to_str().unwrap(), "tool", &["acks"]).map(|options| options.0)
    }

    #[test]
    fn options_of_a_file() {
        let options =
            read("# for the broker\n\nsasl.username = ship\r\n  sasl.password=a=b # \"c\nlinger.ms=\n").unwrap();
        let expected = [("sasl.username", "ship"), ("sasl.password", "a=b # \"c"), ("linger.ms", "")];
        assert_eq!(options, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn lines_that_are_no_options() {
        assert_eq!(read("a=b\nhunter2\n").unwrap_err(), "line 2: expected KEY=VALUE");
        assert_eq!(read("=x").unwrap_err(), "line 1: expected KEY=VALUE");
        assert!(read("acks = 0").unwrap_err().starts_with("line 1: acks "));
        assert!(OptionsFile::read("/none/at/all", "tool", &[]).unwrap_err().contains("No such file"));
    }
}
