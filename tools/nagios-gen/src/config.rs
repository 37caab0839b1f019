//! Nagios' main configuration, as far as it says which files Nagios reads and writes.

use crate::place;
use failure::Failure;
use std::fs;
use std::path::{Path, PathBuf};

/// Files and directories that Nagios writes: a check of its own must not touch them.
const WRITTEN: [&str; 14] = [
    "check_result_path",
    "command_file",
    "debug_file",
    "lock_file",
    "log_archive_path",
    "log_file",
    "object_cache_file",
    "precached_object_file",
    "query_socket",
    "state_retention_file",
    "status_file",
    "temp_file",
    "temp_path",
    "use_syslog",
];

/// Names of which Nagios knows an older spelling.
const OBJECT_FILES: [&str; 2] = ["cfg_file", "xodtemplate_config_file"];
const OBJECT_DIRS: [&str; 2] = ["cfg_dir", "xodtemplate_config_dir"];

/// The main configuration of one Nagios.
pub(crate) struct Config {
    path: PathBuf,
    dir: PathBuf,
    directives: Vec<(String, String)>,
}

impl Config {
    /// Reads `path`.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let unable = |error| Failure::io(format!("unable to read {}", path.display()), error);
        let text = place::read(path)?;
        let path = std::path::absolute(path).map_err(unable)?;
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { directives: directives(&String::from_utf8_lossy(&text)), path, dir })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The last value of a directive, as Nagios takes it.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.directives.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A file that Nagios writes while it runs.
    ///
    /// # Errors
    /// The configuration does not say where, or says nowhere.
    pub(crate) fn written(&self, name: &str) -> Result<PathBuf, Failure> {
        match self.value(name) {
            Some(value) if value != "/dev/null" => Ok(self.absolute(value)),
            _ => Err(Failure::permanent(format!(
                "{} names no {name}: without it nothing can tell whether a reload was taken",
                self.path.display()
            ))),
        }
    }

    /// The same configuration with `candidate` in place of `file`, writing below `scratch` only.
    ///
    /// # Errors
    /// Nagios does not read `file` at all.
    pub(crate) fn shadow(&self, file: &Path, candidate: &Path, scratch: &Path) -> Result<String, Failure> {
        let mut text = String::new();
        let mut line = |name: &str, value: &Path| text.push_str(&format!("{name}={}\n", value.display()));
        let mut reads_it = false;
        for (name, value) in &self.directives {
            let name = name.as_str();
            if OBJECT_FILES.contains(&name) {
                let path = self.absolute(value);
                let is_it = same(&path, file);
                reads_it |= is_it;
                line("cfg_file", if is_it { candidate } else { &path });
            } else if OBJECT_DIRS.contains(&name) {
                let dir = self.absolute(value);
                // Where Nagios can't read, its own words say so.
                let others = files_below(&dir).unwrap_or_default();
                let (its, others): (Vec<&PathBuf>, Vec<&PathBuf>) = others.iter().partition(|other| same(other, file));
                if its.is_empty() && !would_hold(&dir, file) {
                    line("cfg_dir", &dir);
                    continue;
                }
                reads_it = true;
                others.iter().for_each(|other| line("cfg_file", other));
                line("cfg_file", candidate);
            } else if name == "resource_file" {
                line(name, &self.absolute(value));
            } else if !WRITTEN.contains(&name) && name != "broker_module" {
                line(name, Path::new(value));
            }
        }
        if !reads_it {
            return Err(Failure::permanent(format!(
                "{} does not read {}: no cfg_file or cfg_dir names it",
                self.path.display(),
                file.display()
            )));
        }
        line("use_syslog", Path::new("0"));
        for name in WRITTEN.into_iter().filter(|name| *name != "use_syslog") {
            let dir = matches!(name, "temp_path" | "check_result_path" | "log_archive_path");
            line(name, &if dir { scratch.to_owned() } else { scratch.join(name) });
        }
        Ok(text)
    }

    fn absolute(&self, value: &str) -> PathBuf {
        self.dir.join(value)
    }
}

/// As Nagios reads them: one a line, a backslash at a line's end joins the next one.
fn directives(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\r\n", "").replace("\\\n", "");
    let lines = joined.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Whether two paths lead to one file; `file` is resolved already, and need not exist.
fn same(path: &Path, file: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let there = fs::canonicalize(path)
        .or_else(|_| fs::canonicalize(path.parent().unwrap_or(Path::new("/"))).map(|dir| dir.join(name)));
    there.is_ok_and(|there| there == file)
}

/// Whether Nagios would read `file` in `dir` if it were there.
fn would_hold(dir: &Path, file: &Path) -> bool {
    let below = fs::canonicalize(dir).ok().and_then(|dir| file.strip_prefix(dir).ok().map(Path::to_owned));
    below.is_some_and(|below| is_read_in_a_dir(&below))
}

/// Nagios takes `*.cfg` from a directory and all below it, without names that begin with a dot.
fn is_read_in_a_dir(below: &Path) -> bool {
    let named = below.file_name().unwrap_or_default().as_encoded_bytes();
    let hidden = below.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
    !hidden && named.len() > 4 && named.ends_with(b".cfg")
}

fn files_below(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = Path::new(path.file_name().unwrap_or_default());
        if path.is_dir() && !name.as_os_str().as_encoded_bytes().starts_with(b".") {
            files.extend(files_below(&path)?);
        } else if is_read_in_a_dir(name) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_as_nagios_reads_them() {
        let read = directives("# x\n a = b \n;c=d\nillegal=`~=\nlog_\\\nfile=x\r\nnothing\n");
        let expected = [("a", "b"), ("illegal", "`~="), ("log_file", "x")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_a_directory_gives() {
        for read in ["a.cfg", "sub/a.cfg"] {
            assert!(is_read_in_a_dir(Path::new(read)), "{read}");
        }
        for not in ["a.cfg.new", ".a.cfg", ".x/a.cfg", ".cfg", "a"] {
            assert!(!is_read_in_a_dir(Path::new(not)), "{not}");
        }
    }

    #[test]
    fn almost_a_main_configuration() {
        let sample = b"# main\nobject_cache_file=/var/lib/nagios4/objects.cache\ncfg_dir = /etc/nagios4/conf.d\ncfg_file=a\\\n.cfg\n;x\n";
        testkit::comes_to_an_end("almost_a_main_configuration", &[sample], |bytes| {
            drop(directives(&String::from_utf8_lossy(bytes)));
        });
    }
}
