//! Downtimes for hosts that are about to be reclaimed: events of spot-watch on stdin, commands for Nagios on stdout.

use crate::args::DowntimeArgs;
use crate::{definitions, hosts, place, safe};
use cli::{Console, Output};
use failure::{Class, Failure};
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What is read of an event; the rest is not needed here.
#[derive(Deserialize)]
struct Event {
    schema: u32,
    event: String,
    #[serde(default)]
    instance_id: String,
    time: String,
}

/// Bytes of the longest event.
const LONGEST: u64 = 1 << 20;

/// The version of events that is understood.
const SCHEMA: u32 = 1;

/// Prints a command for each notice, as soon as it is read, until stdin ends. An event that can't be served does not hold
/// up those behind it, which are no less urgent.
///
/// # Errors
/// No event at all, one that was not served, or a stdout that can't be written.
pub(crate) fn run(file: &Path, args: &DowntimeArgs, limit: Duration, console: Console) -> Result<(), Failure> {
    let (mut number, mut lost, mut class) = (0_u64, 0_u64, Class::Temporary);
    let mut stdin = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = stdin.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::io("unable to read events from stdin", error))? == 0 {
            break;
        }
        number += 1;
        if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 == LONGEST {
            return Err(Failure::permanent(format!("event {number} on stdin has no end within {LONGEST} bytes")));
        }
        let served = match (command(&line, file, args.length, console), &args.command_file) {
            (Ok(Some(command)), Some(pipe)) => hand_over(pipe, &command, limit),
            (Ok(Some(command)), None) => Ok(Output::default().write_and_close(command.as_bytes())?),
            (Ok(None), _) => Ok(()),
            (Err(failure), _) => Err(failure),
        };
        if let Err(failure) = served {
            console.warn(format!("unable to serve event {number}: {failure}"));
            lost += 1;
            if !failure.is_temporary() {
                class = Class::Permanent;
            }
        }
    }
    match (number, lost) {
        (0, _) => Err(Failure::temporary("no event on stdin: the command before this one failed")),
        (_, 0) => Ok(()),
        _ => Err(Failure::new(class, format!("{lost} of {number} events on stdin were not served"))),
    }
}

/// The command for the event of this line; `None` if it is no notice, or of an instance without a host.
fn command(line: &[u8], file: &Path, length: Duration, console: Console) -> Result<Option<String>, Failure> {
    let wrong = |why: String| Failure::permanent(format!("it is none: {why}"));
    let event: Event = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
    if event.schema != SCHEMA {
        return Err(wrong(format!("schema {} is not known, only {SCHEMA}", event.schema)));
    }
    let time: Timestamp = event.time.parse().map_err(|_| wrong(format!("{:?} is no time", event.time)))?;
    if event.event != "notice" {
        return Ok(None);
    }
    let id = &event.instance_id;
    // Read anew: the fleet changes while events are waited for.
    let text = place::read(file)?;
    let text = String::from_utf8_lossy(&text);
    let Some(host) = host_of(&text, id) else {
        console.warn(format!("no host in {} is the instance {id:?}: no downtime", file.display()));
        return Ok(None);
    };
    let start = time.as_second();
    let end = start.saturating_add_unsigned(length.as_secs());
    let lasts = length.as_secs();
    let comment = format!("instance {id} is reclaimed");
    Ok(Some(format!("[{start}] SCHEDULE_HOST_DOWNTIME;{host};{start};{end};1;0;{lasts};nagios-gen;{comment}\n")))
}

/// Writes to Nagios' pipe. A restart of Nagios takes its reader away, or the pipe itself, for a moment: that is waited
/// for. A file must never be made in its place.
fn hand_over(pipe: &Path, command: &str, limit: Duration) -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_millis(50);
    let deadline = Instant::now() + limit;
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    loop {
        let written = File::options().write(true).custom_flags(nonblocking).open(pipe).and_then(|mut opened| {
            if !opened.metadata()?.file_type().is_fifo() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no pipe"));
            }
            // Shorter than what a pipe takes in one piece: commands of others never mix with it.
            opened.write_all(command.as_bytes())
        });
        match written {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::InvalidInput && Instant::now() < deadline => {
                thread::sleep(PAUSE)
            }
            Err(error) => {
                let what = format!("unable to give a command to Nagios by {}", pipe.display());
                let gone = error.kind() == io::ErrorKind::NotFound;
                let failure = Failure::io(what, error);
                return Err(if gone { failure.with_class(Class::Temporary) } else { failure });
            }
        }
    }
}

/// The host whose name ends in this instance id. Nothing of an event but this comparison reaches a command: a name that
/// could end one, from a template of the user's own, is no host here.
fn host_of<'a>(text: &'a str, id: &str) -> Option<&'a str> {
    if !hosts::is_instance_id(id) {
        return None;
    }
    let harmless = |name: &str| safe::name(&name.replace(':', "")) == name.replace(':', "");
    let ends = |name: &str| name.strip_suffix(id).is_some_and(|front| front.is_empty() || front.ends_with('-'));
    definitions::hosts(text).into_keys().find(|name| ends(name) && harmless(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cli::Verbosity;

    #[test]
    fn the_end_of_a_name_is_one_instance() {
        let text = "define host {\n host_name ob-i-12\n}\ndefine host {\n host_name ob-i-2\n}\ndefine host {\n host_name a;b-i-3\n}\n";
        assert_eq!(host_of(text, "i-2"), Some("ob-i-2"));
        assert_eq!(host_of(text, "i-12"), Some("ob-i-12"));
        for none in ["2", "i-", "", "ob-i-2", "i-3", "i-2\n"] {
            assert_eq!(host_of(text, none), None, "{none}");
        }
    }

    #[test]
    fn almost_an_event() {
        let sample =
            br#"{"schema":1,"time":"2026-01-23T11:20:02Z","event":"notice","instance_id":"i-0123456789abcdef0"}"#;
        let (dir, console) = (tempfile::tempdir().unwrap(), Console::new("nagios-gen", Verbosity::default()).silent());
        let file = dir.path().join("hosts.cfg");
        std::fs::write(&file, "define host {\n\thost_name\tweb-i-0123456789abcdef0\n}\n").unwrap();
        testkit::comes_to_an_end("almost_an_event", &[sample], |bytes| {
            if let Ok(Some(command)) = command(bytes, &file, Duration::MAX, console) {
                assert!(command.ends_with('\n') && command.lines().count() == 1, "{command:?} of {bytes:?}");
            }
        });
    }
}
