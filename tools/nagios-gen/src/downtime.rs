//! Downtimes for hosts that are about to be reclaimed: events of spot-watch on stdin, commands for Nagios on stdout.

use crate::args::DowntimeArgs;
use crate::{definitions, objects, safe};
use cli::{Class, Console, Failure, Output};
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
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

/// The version of events that is understood.
const SCHEMA: u32 = 1;

/// Prints a command for each notice, as soon as it is read, until stdin ends.
///
/// # Errors
/// No event at all, a line that is none, or a stdout that can't be written.
pub(crate) fn run(file: &Path, args: &DowntimeArgs, limit: Duration, console: Console) -> Result<(), Failure> {
    let mut number = 0_u64;
    let mut wrong = None;
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line.map_err(|error| Failure::io("unable to read events from stdin", error))?;
        number += 1;
        let event = serde_json::from_slice::<Event>(&line).map_err(|error| error.to_string());
        let event = event.and_then(|event| match (event.schema, event.time.parse()) {
            (SCHEMA, Ok(time)) => Ok((event, time)),
            (SCHEMA, Err(_)) => Err(format!("{:?} is no time", event.time)),
            (other, _) => Err(format!("schema {other} is not known, only {SCHEMA}")),
        });
        match event {
            Ok((event, time)) if event.event == "notice" => {
                if let Some(command) = command(file, &event.instance_id, time, args.length, console)? {
                    match &args.command_file {
                        Some(pipe) => hand_over(pipe, &command, limit)?,
                        None => Output::default().write_and_close(command.as_bytes())?,
                    }
                }
            }
            Ok(_) => {}
            // The events behind it are no less urgent.
            Err(why) => {
                console.warn(format!("unable to read event {number}: {why}"));
                wrong = Some(number);
            }
        }
    }
    match wrong {
        _ if number == 0 => Err(Failure::temporary("no event on stdin: the command before this one failed")),
        Some(number) => Err(Failure::permanent(format!("event {number} on stdin is none"))),
        None => Ok(()),
    }
}

/// The command for the host of this instance; `None` if there is none.
fn command(
    file: &Path,
    id: &str,
    time: Timestamp,
    length: Duration,
    console: Console,
) -> Result<Option<String>, Failure> {
    // Read anew: the fleet changes while events are waited for.
    let text = fs::read(file).map_err(|error| Failure::io(format!("unable to read {}", file.display()), error))?;
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
    if !objects::is_instance_id(id) {
        return None;
    }
    let harmless = |name: &str| safe::name(&name.replace(':', "")) == name.replace(':', "");
    let ends = |name: &str| name.strip_suffix(id).is_some_and(|front| front.is_empty() || front.ends_with('-'));
    definitions::hosts(text).into_keys().find(|name| ends(name) && harmless(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_is_one_instance() {
        let text = "define host {\n host_name ob-i-12\n}\ndefine host {\n host_name ob-i-2\n}\ndefine host {\n host_name a;b-i-3\n}\n";
        assert_eq!(host_of(text, "i-2"), Some("ob-i-2"));
        assert_eq!(host_of(text, "i-12"), Some("ob-i-12"));
        for none in ["2", "i-", "", "ob-i-2", "i-3", "i-2\n"] {
            assert_eq!(host_of(text, none), None, "{none}");
        }
    }
}
