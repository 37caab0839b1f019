//! Options as they are typed. A message names an option and never shows its value: any value may be a password.

use crate::hidden::{Hidden, is_name};
use crate::pair::{Pair, pair};
use failure::{Failure, name_of_secret};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of a file of options.
const LARGEST_FILE: u64 = 1 << 20;

/// What was typed, or why it can't be used. A parser of command lines shows what it refuses, so it is not told: [`check`] is.
#[derive(Clone)]
pub struct Given<T>(Result<T, String>);

impl<T> Given<T> {
    /// What was typed, unless it can't be used.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref().ok()
    }
}

impl<T> fmt::Debug for Given<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

/// Options of librdkafka from a file, which other users of the host need not be able to read.
#[derive(Clone)]
pub struct OptionsFile {
    path: String,
    options: Vec<Pair>,
    /// The lines that they stand in.
    lines: Vec<usize>,
}

impl OptionsFile {
    /// Reads the file at `path`: one [`option`] in a line, blanks around it and around its `=` left out; lines that begin with
    /// `#` are comments.
    ///
    /// # Errors
    /// None: what is wrong is kept for [`check`].
    pub fn read(path: &str, tool: &str, fixed: &[&str]) -> Result<Given<Self>, Infallible> {
        Ok(Given(Self::try_read(path, tool, fixed)))
    }

    fn try_read(path: &str, tool: &str, fixed: &[&str]) -> Result<Self, String> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text));
        let length = read.map_err(|error| match path.split_once('=') {
            Some(_) => "--kafka-file: expected a file; an option goes to --kafka".to_owned(),
            None => format!("unable to read --kafka-file {}: {error}", name_of_secret(Path::new(path))),
        })?;
        if length as u64 > LARGEST_FILE {
            return Err(format!("--kafka-file {path}: a file of options has at most 1 MiB"));
        }
        let mut file = Self { path: path.to_owned(), options: Vec::new(), lines: Vec::new() };
        // Editors on other systems put a mark before the first line.
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let (number, line) = (number + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = |why| format!("--kafka-file {path}: line {number}: {why}");
            let (key, value) = try_option(line, tool, fixed).map_err(at)?;
            file.options.push((key.trim_end().to_owned(), value.trim_start().to_owned()));
            file.lines.push(number);
        }
        Ok(file)
    }

    /// The options, in their order.
    #[must_use]
    pub fn options(&self) -> &[Pair] {
        &self.options
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The line of the last option of this name.
    fn line_of(&self, key: &str) -> Option<usize> {
        let at = self.options.iter().rposition(|(own, _)| own == key)?;
        self.lines.get(at).copied()
    }
}

/// An option of librdkafka, unless it is one of `fixed`, which carry the promise of `tool`.
///
/// # Errors
/// None: what is wrong is kept for [`check`].
pub fn option(text: &str, tool: &str, fixed: &[&str]) -> Result<Given<Pair>, Infallible> {
    let option = try_option(text, tool, fixed).and_then(|(key, value)| {
        // Else its value is the next word, and taken for something that may be shown.
        let cut = value.is_empty() && is_secret(&key);
        if cut { Err("expected KEY=VALUE without a space after the =".to_owned()) } else { Ok((key, value)) }
    });
    Ok(Given(option.map_err(|why| format!("--kafka: {why}"))))
}

fn try_option(text: &str, tool: &str, fixed: &[&str]) -> Result<Pair, String> {
    let (key, value) = pair(text)?;
    if fixed.contains(&key.trim()) {
        return Err(format!("{} can't be changed: what {tool} promises rests on it", key.trim()));
    }
    if text.contains('\0') {
        return Err("expected text without a zero byte".to_owned());
    }
    Ok((key, value))
}

/// Whether all that was given can be used, as far as it is known without librdkafka.
///
/// # Errors
/// What is wrong (usage), without any value.
pub fn check(typed: &[Given<Pair>], file: Option<&Given<OptionsFile>>, brokers: &str) -> Result<(), Failure> {
    let file = file.and_then(|file| file.0.as_ref().err());
    let wrong = typed.iter().find_map(|option| option.0.as_ref().err()).or(file);
    if let Some(why) = wrong {
        return Err(Failure::usage(format!("{why} (see --help)")));
    }
    if brokers.contains(['@', '=']) {
        return Err(Failure::usage(
            "--brokers: expected host:port; options, user and password go to --kafka-file (see --help)",
        ));
    }
    // librdkafka takes any number for a port, and what is none for 0.
    if !brokers.split(',').all(|broker| is_place(broker.trim())) {
        return Err(Failure::usage(
            "--brokers: expected host:port[,host:port], with ports from 1 to 65535 (see --help)",
        ));
    }
    Ok(())
}

/// `host`, `host:port`, either after `PROTOCOL://`; an IPv6 address in brackets.
fn is_place(broker: &str) -> bool {
    let place = broker.rsplit_once("://").map_or(broker, |(_, place)| place);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    let is_whole = host.starts_with('[') == host.ends_with(']') && (host.starts_with('[') || !host.contains(':'));
    !host.is_empty() && is_whole && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// All options that can be used; later ones count.
pub fn all<'a>(typed: &'a [Given<Pair>], file: Option<&'a Given<OptionsFile>>) -> impl Iterator<Item = &'a Pair> {
    let file = file.and_then(Given::get).into_iter().flat_map(OptionsFile::options);
    file.chain(typed.iter().filter_map(Given::get))
}

/// Whether what has this name should not be seen.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "token"].iter().any(|secret| name.contains(secret))
}

/// The name of an option that was typed where none is expected, if that is what `text` looks like.
#[must_use]
pub fn option_name(text: &str) -> Option<&str> {
    let (name, _) = text.split_once('=')?;
    let is_option = is_name(name) || is_secret(name);
    (is_option && !Path::new(text).exists()).then_some(name)
}

/// The file that an option names, if it is one of those with keys or certificates.
#[must_use]
pub fn file_of((key, value): &Pair) -> Option<&str> {
    let named = [".location", ".keytab", ".file"].iter().any(|ending| key.ends_with(ending));
    (named && !value.is_empty()).then_some(value)
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

/// An option that librdkafka did not take. Its own words repeat values, so they are kept only where none stands in them.
#[must_use]
pub fn refused(error: &KafkaError, typed: &[Given<Pair>], file: Option<&Given<OptionsFile>>) -> Failure {
    let KafkaError::ClientConfig(result, _, key, _) = error else {
        let hidden = Hidden::of(all(typed, file));
        return Failure::usage(format!("--kafka: {}", hidden.hide(&error.to_string())));
    };
    let is_typed = typed.iter().filter_map(Given::get).any(|(own, _)| own == key);
    let file = file.and_then(Given::get).filter(|_| !is_typed);
    let place = match file.and_then(|file| Some((file.path(), file.line_of(key)?))) {
        Some((path, line)) => format!("--kafka-file {path}: line {line}"),
        None => "--kafka".to_owned(),
    };
    let why = match result {
        // A value that stands where a name is expected is not shown either.
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN if !is_name(key) => "librdkafka has no such option".to_owned(),
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => format!("{key}: librdkafka has no such option"),
        _ => format!("{key}: librdkafka does not take this value"),
    };
    Failure::usage(format!("{place}: {why} (see its CONFIGURATION.md)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(text: &str) -> Result<Vec<Pair>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let read = OptionsFile::try_read(path, "tool", &["acks"]);
        read.map(|file| file.options).map_err(|why| why.replace(path, "FILE"))
    }

    #[test]
    fn places() {
        for place in ["kafka", "kafka:9092", "127.0.0.1:1", "[::1]", "[fd00::1]:65535", "SSL://kafka:9093"] {
            assert!(is_place(place), "{place}");
        }
        for none in ["", ":", ":9092", "kafka:", "kafka:x", "kafka:0", "kafka:65536", "kafka:-1", "::1", "[::1"] {
            assert!(!is_place(none), "{none}");
        }
    }

    #[test]
    fn options_of_a_file() {
        let text = "\u{feff}# for the broker\n\nsasl.username = ship\r\n  sasl.password=a=b # \"c\nlinger.ms=\n";
        let expected = [("sasl.username", "ship"), ("sasl.password", "a=b # \"c"), ("linger.ms", "")];
        assert_eq!(read(text).unwrap(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn lines_that_are_no_options() {
        assert_eq!(read("a=b\nhunter2\n").unwrap_err(), "--kafka-file FILE: line 2: expected KEY=VALUE");
        assert_eq!(read("=x").unwrap_err(), "--kafka-file FILE: line 1: expected KEY=VALUE");
        assert!(read("acks = 0").unwrap_err().starts_with("--kafka-file FILE: line 1: acks "));
        let none = OptionsFile::try_read("/etc/none-at-all", "tool", &[]).err().unwrap();
        assert!(none.contains("/etc/none-at-all: No such file"), "{none}");
        let endless = OptionsFile::try_read("/dev/zero", "tool", &[]).err().unwrap();
        assert_eq!(endless, "--kafka-file /dev/zero: a file of options has at most 1 MiB");
        let typed = OptionsFile::try_read("sasl.password=hunter2", "tool", &[]).err().unwrap();
        assert!(!typed.contains("hunter2"), "{typed}");
    }

    #[test]
    fn files_with_secrets() {
        let file = |key: &str| file_of(&(key.to_owned(), "/k".to_owned())).map(str::to_owned);
        for key in ["ssl.key.location", "ssl.keystore.location", "sasl.kerberos.keytab"] {
            assert_eq!(file(key).as_deref(), Some("/k"), "{key}");
        }
        assert_eq!(file("sasl.password"), None);
    }
}
