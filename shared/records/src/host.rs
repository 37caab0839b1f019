//! The host record: one instance, one line of CSV (RFC 4180) below a header.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// The columns, in the order of a full record. `tags` is one JSON object.
pub const COLUMNS: [&str; 16] = [
    "instance_id",
    "name",
    "asg",
    "lifecycle_state",
    "health",
    "instance_state",
    "lifecycle",
    "instance_type",
    "az",
    "private_ip",
    "public_ip",
    "private_dns",
    "launch_time",
    "image_id",
    "tags",
    "ipv6",
];

/// One instance as Auto Scaling and EC2 know it. What one of them does not know is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Host {
    /// `i-…`
    pub instance_id: String,
    /// Value of the tag `Name`.
    pub name: String,
    /// Name of its Auto Scaling group.
    pub asg: String,
    /// `InService`, `Pending`, …, as Auto Scaling says it.
    pub lifecycle_state: String,
    /// `Healthy` or `Unhealthy`, as Auto Scaling says it.
    pub health: String,
    /// `running`, `stopped`, …, as EC2 says it.
    pub instance_state: String,
    /// `spot` or `on-demand`.
    pub lifecycle: String,
    /// `m4.large`
    pub instance_type: String,
    /// Availability zone.
    pub az: String,
    /// IPv4 address inside the VPC.
    pub private_ip: String,
    /// Public IPv4 address.
    pub public_ip: String,
    /// Name inside the VPC.
    pub private_dns: String,
    /// RFC 3339.
    pub launch_time: String,
    /// `ami-…`
    pub image_id: String,
    /// All tags.
    pub tags: BTreeMap<String, String>,
    /// IPv6 address.
    pub ipv6: String,
}

impl Host {
    /// The text of a column: one of [`COLUMNS`], or `tag:KEY`, which is empty where the tag is not there. `None` for a
    /// column that does not exist.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<String> {
        if let Some(key) = name.strip_prefix("tag:") {
            return Some(self.tags.get(key).cloned().unwrap_or_default());
        }
        if name == "tags" {
            return Some(self.tags_json());
        }
        let text = match name {
            "instance_id" => &self.instance_id,
            "name" => &self.name,
            "asg" => &self.asg,
            "lifecycle_state" => &self.lifecycle_state,
            "health" => &self.health,
            "instance_state" => &self.instance_state,
            "lifecycle" => &self.lifecycle,
            "instance_type" => &self.instance_type,
            "az" => &self.az,
            "private_ip" => &self.private_ip,
            "public_ip" => &self.public_ip,
            "private_dns" => &self.private_dns,
            "launch_time" => &self.launch_time,
            "image_id" => &self.image_id,
            "ipv6" => &self.ipv6,
            _ => return None,
        };
        Some(text.clone())
    }

    fn set(&mut self, name: &str, text: String) -> Result<(), String> {
        let field = match name {
            "instance_id" => &mut self.instance_id,
            "name" => &mut self.name,
            "asg" => &mut self.asg,
            "lifecycle_state" => &mut self.lifecycle_state,
            "health" => &mut self.health,
            "instance_state" => &mut self.instance_state,
            "lifecycle" => &mut self.lifecycle,
            "instance_type" => &mut self.instance_type,
            "az" => &mut self.az,
            "private_ip" => &mut self.private_ip,
            "public_ip" => &mut self.public_ip,
            "private_dns" => &mut self.private_dns,
            "launch_time" => &mut self.launch_time,
            "image_id" => &mut self.image_id,
            "ipv6" => &mut self.ipv6,
            "tags" => {
                let tags: BTreeMap<String, String> = serde_json::from_str(&text)
                    .map_err(|error| format!("tags are no JSON object of strings: {error}"))?;
                self.tags.extend(tags);
                return Ok(());
            }
            other => {
                if let Some(key) = other.strip_prefix("tag:")
                    && !text.is_empty()
                {
                    self.tags.insert(key.to_owned(), text);
                }
                return Ok(());
            }
        };
        *field = text;
        Ok(())
    }

    fn tags_json(&self) -> String {
        serde_json::to_string(&self.tags).expect("a map of strings is JSON")
    }
}

/// Why a list of hosts was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not even a header: the stage before failed.
    #[error("no input, not even a header")]
    Empty,
    /// The header lacks this column, without which nothing can be done.
    #[error("the header has no column {0}: this is no list of hosts")]
    Header(&'static str),
    /// The last line has no end: the stage before failed, and its value may be half of one.
    #[error("the last line has no end")]
    Cut,
    /// A line that is no record.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, the header being 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes can't be read.
    #[error("unable to read: {0}")]
    Io(#[from] std::io::Error),
}

/// Reads hosts: the columns the header names, in any order; unknown ones are left out, missing ones are empty.
///
/// # Errors
/// What stands in [`ReadError`]. Nothing is returned of a list with one bad line.
pub fn read_hosts(from: impl Read) -> Result<Vec<Host>, ReadError> {
    HostReader::new(from, &["instance_id"])?.collect()
}

/// Hosts one by one, as [`read_hosts`] reads them, for lists that are long. A list with one bad line is no list: whoever
/// meets an error throws away what came before it.
pub struct HostReader<R> {
    reader: csv::Reader<Ended<R>>,
    header: csv::StringRecord,
    record: csv::StringRecord,
}

/// Remembers the last byte that was read.
struct Ended<R> {
    from: R,
    last: u8,
}

impl<R: Read> Read for Ended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.last = buffer[..length].last().copied().unwrap_or(self.last);
        Ok(length)
    }
}

impl<R: Read> HostReader<R> {
    /// Reads the header, which must have the columns `needed`.
    ///
    /// # Errors
    /// There is none, or it lacks one of them.
    pub fn new(from: R, needed: &[&'static str]) -> Result<Self, ReadError> {
        let from = Ended { from, last: b'\n' };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(false).from_reader(from);
        let mut header = csv::StringRecord::new();
        if !reader.read_record(&mut header).map_err(wrong)? {
            return Err(ReadError::Empty);
        }
        let lacking = needed.iter().find(|needed| !header.iter().any(|name| name == **needed)).copied();
        let mut hosts = Self { reader, header, record: csv::StringRecord::new() };
        match lacking {
            Some(_) if hosts.is_cut() => Err(ReadError::Cut),
            Some(lacking) => Err(ReadError::Header(lacking)),
            None => Ok(hosts),
        }
    }

    /// Whether nothing follows what was read last, and it has no end: then that is what is wrong with it.
    fn is_cut(&mut self) -> bool {
        matches!(self.reader.read_record(&mut self.record), Ok(false)) && self.reader.get_ref().last != b'\n'
    }

    fn host(&self) -> Result<Host, ReadError> {
        let line = self.record.position().map_or(0, csv::Position::line);
        let mut host = Host::default();
        for (name, text) in self.header.iter().zip(&self.record) {
            host.set(name, text.to_owned()).map_err(|why| ReadError::Line { line, why })?;
        }
        if host.instance_id.is_empty() {
            return Err(ReadError::Line { line, why: "instance_id is empty".to_owned() });
        }
        Ok(host)
    }
}

impl<R: Read> Iterator for HostReader<R> {
    type Item = Result<Host, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let host = match self.reader.read_record(&mut self.record) {
            Ok(true) => self.host(),
            Ok(false) if self.reader.get_ref().last == b'\n' => return None,
            Ok(false) => {
                self.reader.get_mut().last = b'\n';
                return Some(Err(ReadError::Cut));
            }
            Err(error) => Err(wrong(error)),
        };
        Some(host.map_err(|error| match error {
            ReadError::Line { .. } if self.is_cut() => ReadError::Cut,
            error => error,
        }))
    }
}

/// Writes the header and `hosts`, projected to `columns`.
///
/// # Errors
/// `to` fails, or a column does not exist ([`std::io::ErrorKind::InvalidInput`]).
pub fn write_hosts(
    to: impl Write,
    columns: &[impl AsRef<str>],
    hosts: impl IntoIterator<Item = impl Borrow<Host>>,
) -> std::io::Result<()> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(to);
    writer.write_record(columns.iter().map(AsRef::as_ref))?;
    for host in hosts {
        let cells: Option<Vec<String>> = columns.iter().map(|name| host.borrow().column(name.as_ref())).collect();
        let cells = cells.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        writer.write_record(&cells)?;
    }
    writer.flush()
}

fn wrong(error: csv::Error) -> ReadError {
    let line = error.position().map_or(0, csv::Position::line);
    let why = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ReadError::Io(error),
        _ => ReadError::Line { line, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(hosts: &[Host]) -> Vec<Host> {
        let mut bytes = Vec::new();
        write_hosts(&mut bytes, &COLUMNS, hosts).unwrap();
        read_hosts(&*bytes).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_survives(name in any::<String>(), asg in any::<String>(), key in any::<String>(), value in any::<String>()) {
            let host = Host {
                instance_id: "i-1".to_owned(), name, asg, tags: BTreeMap::from([(key, value)]), ..Host::default()
            };
            prop_assert_eq!(round_trip(std::slice::from_ref(&host)), vec![host]);
        }
    }

    #[test]
    fn no_hosts_is_not_no_input() {
        assert!(round_trip(&[]).is_empty());
        assert!(matches!(read_hosts(&b""[..]), Err(ReadError::Empty)));
        assert!(matches!(read_hosts(&b"name\na\n"[..]), Err(ReadError::Header("instance_id"))));
    }

    #[test]
    fn a_tag_column_is_a_tag() {
        let hosts = read_hosts(&b"tag:service,instance_id\nobelix,i-1\n"[..]).unwrap();
        assert_eq!(hosts[0].column("tag:service").as_deref(), Some("obelix"));
    }

    #[test]
    fn a_value_that_may_be_half_of_one_is_none() {
        for cut in
            ["instance_id,name\ni-1,ab", "instance_id,name\ni-1,\"ab", "instance_id,name\ni-1,\"a\n\"", "instance_id"]
        {
            assert!(matches!(read_hosts(cut.as_bytes()), Err(ReadError::Cut)), "{cut:?}");
        }
        assert_eq!(read_hosts(&b"instance_id,name\r\ni-1,ab\r\n"[..]).unwrap()[0].name, "ab");
    }

    /// Wherever the stage before stopped, it is not taken for another list.
    #[test]
    fn a_list_that_was_cut_is_none() {
        let list = "instance_id,name,tags\ni-1,ab,\"{\"\"a\"\":\"\"b\"\"}\"\ni-2,cd,{}\n";
        for length in 1..list.len() {
            let read = read_hosts(&list.as_bytes()[..length]);
            let is_whole = list[..length].ends_with('\n');
            assert!(if is_whole { read.is_ok() } else { matches!(read, Err(ReadError::Cut)) }, "{length}: {read:?}");
        }
    }

    #[test]
    fn a_short_line_is_named() {
        let error = read_hosts(&b"instance_id,name\ni-1,a\ni-2\n"[..]).unwrap_err();
        assert!(matches!(error, ReadError::Line { line: 3, .. }), "{error}");
    }
}
