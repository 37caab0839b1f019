//! What a file of Nagios objects defines: files written here, and the ones that Nagios writes itself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead};

/// One `define KIND { … }`, its lines as they stand.
pub(crate) struct Definition<'a> {
    pub(crate) kind: &'a str,
    pub(crate) lines: Vec<&'a str>,
}

impl<'a> Definition<'a> {
    /// The value of a directive.
    pub(crate) fn value(&self, directive: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|line| {
            let (name, value) = line.split_once([' ', '\t'])?;
            (name == directive).then(|| value.trim())
        })
    }

    /// The same number for the same object. Lists are sorted: their order depends on the order in which files were read.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.kind.hash(&mut hasher);
        for line in &self.lines {
            let mut parts: Vec<&str> = line.split([',', '\t']).collect();
            parts.sort_unstable();
            parts.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// All definitions of `text`, in their order.
pub(crate) fn definitions(text: &str) -> impl Iterator<Item = Definition<'_>> {
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        let head = lines.find_map(|line| line.strip_prefix("define"))?;
        let kind = head.split('{').next().unwrap_or(head).trim();
        let body = lines.by_ref().take_while(|line| *line != "}");
        Some(Definition { kind, lines: body.filter(|line| !line.is_empty()).collect() })
    })
}

/// The hosts of `text`, each with a fingerprint of its definition.
pub(crate) fn hosts(text: &str) -> BTreeMap<&str, u64> {
    let hosts = definitions(text).filter(|definition| definition.kind == "host");
    hosts.filter_map(|host| Some((host.value("host_name")?, host.fingerprint()))).collect()
}

/// Fingerprints of all hosts, hostgroups and services, sorted. Read piece by piece: what Nagios writes is many times longer
/// than what it reads.
///
/// # Errors
/// `from` can't be read.
pub(crate) fn watched(mut from: impl BufRead) -> io::Result<Vec<u64>> {
    let mut prints = Vec::new();
    let mut piece = Vec::new();
    loop {
        let line = piece.len();
        if from.read_until(b'\n', &mut piece)? == 0 {
            break;
        }
        if piece[line..].trim_ascii() == b"}" {
            let text = String::from_utf8_lossy(&piece);
            let watched = definitions(&text).filter(|it| matches!(it.kind, "host" | "hostgroup" | "service"));
            prints.extend(watched.map(|definition| definition.fingerprint()));
            piece.clear();
        }
    }
    prints.sort_unstable();
    Ok(prints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_here_and_by_nagios() {
        let ours =
            "define host {\n\tuse\ta\n\thost_name\tob-i-1\n}\ndefine hostgroup{\n hostgroup_name g\n members b,a\n}\n";
        assert_eq!(hosts(ours).keys().copied().collect::<Vec<_>>(), ["ob-i-1"]);
        let group = definitions(ours).nth(1).unwrap();
        assert_eq!((group.kind, group.value("members")), ("hostgroup", Some("b,a")));
        let cache = "# x\ndefine host {\n\tuse\ta\n\thost_name\tob-i-1\n\t}\n\ndefine hostgroup {\n\thostgroup_name\tg\n\tmembers\ta,b\n\t}\n";
        let watched = |text: &str| watched(text.as_bytes()).unwrap();
        assert_eq!(watched(cache).len(), 2);
        assert_eq!(hosts(ours), hosts(cache));
        let swapped = cache.replace("a,b", "b,a");
        assert_eq!(watched(cache), watched(&swapped));
        assert_ne!(watched(cache), watched(&cache.replace("ob-i-1", "ob-i-2")));
    }

    #[test]
    fn almost_a_definition() {
        let sample =
            b"define host {\n\thost_name\tweb-i-0123456789abcdef0\n\taddress\t10.0.0.1\n\thostgroups\tb,a\n\t}\n\n\
            define hostgroup {\n  hostgroup_name g\n}\ndefine service{\n host_name *\n check_command x!1!2\n}\n";
        testkit::comes_to_an_end("almost_a_definition", &[sample], |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let hosts = hosts(&text);
            assert!(hosts.len() <= definitions(&text).count());
            let _prints = watched(bytes);
        });
    }
}
