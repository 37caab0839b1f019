//! The protocol of rsyslog's omprog: a message is answered with `OK` when the broker has it, so that rsyslog's own queue
//! keeps it until then.

use crate::args::{Args, LongLines};
use crate::sender::{Line, Sender};
use cli::Console;
use failure::Failure;
use jiff::Timestamp;
use records::FileId;
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

const BEGIN: &[u8] = b"BEGIN TRANSACTION";
const COMMIT: &[u8] = b"COMMIT TRANSACTION";
/// rsyslog waits for an answer for 10 s, then it starts the program anew.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks for acknowledgements.
const BEAT: Duration = Duration::from_millis(1);
/// Longest message that is read; rsyslog's own limit is far below.
const LONGEST: u64 = 64 << 20;

/// Answers message by message, or by transactions, until stdin ends.
///
/// # Errors
/// Wrong options, or stdin that can't be read.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity);
    let sender = Sender::new(args)?;
    let prefix = format!("{}/{}/", sender.host(), FileId(rand::random()));
    let mut talk = Talk { args, console, sender, prefix, offset: 0, open: false };
    let mut stdin = BufReader::with_capacity(64 * 1024, std::io::stdin());
    talk.answer("OK")?;
    loop {
        let mut message = Vec::new();
        let read = stdin.by_ref().take(LONGEST).read_until(b'\n', &mut message);
        let read = read.map_err(|error| Failure::io("unable to read stdin", error))?;
        if message.pop_if(|last| *last == b'\n').is_none() {
            // Half a message is none: rsyslog sends it again.
            return Ok(());
        }
        let answer = talk.take(&message);
        talk.offset += read as u64;
        match answer {
            Ok(word) => talk.answer(word)?,
            Err(why) => {
                talk.console.warn(format!("unable to send to topic {}: {why}", args.kafka.topic));
                talk.give_up();
                talk.answer(&failure::printable(&why))?;
            }
        }
    }
}

struct Talk<'a> {
    args: &'a Args,
    console: Console,
    sender: Sender,
    prefix: String,
    /// Of the message on stdin.
    offset: u64,
    /// In a transaction.
    open: bool,
}

impl Talk<'_> {
    fn take(&mut self, message: &[u8]) -> Result<&'static str, String> {
        match message {
            BEGIN => self.open = true,
            COMMIT => {
                self.open = false;
                self.settle(0)?;
            }
            _ => {
                self.send(message)?;
                if self.open {
                    return Ok("DEFER_COMMIT");
                }
                self.settle(0)?;
            }
        }
        Ok("OK")
    }

    fn send(&mut self, message: &[u8]) -> Result<(), String> {
        let max = usize::try_from(self.args.lines.max_line).unwrap_or(usize::MAX);
        if message.len() > max && self.args.lines.long_lines == LongLines::Reject {
            // An error would bring it back for ever.
            self.console.warn(format!("unable to ship a message of {} bytes: longer than {max} bytes", message.len()));
            return Ok(());
        }
        let mut at = 0;
        loop {
            let piece = &message[at..(at + max).min(message.len())];
            let id = format!("{}{}", self.prefix, self.offset + at as u64);
            let timestamp = Timestamp::now().as_millisecond();
            let line = Line { source: 0, end: 0, id: &id, timestamp, path: "-", value: piece };
            let room = usize::try_from(self.args.max_in_flight.as_u64()).unwrap_or(usize::MAX);
            if self.sender.charge() >= room {
                self.settle(room / 2)?;
            }
            match self.sender.send(&line) {
                Ok(true) => {}
                Ok(false) => {
                    self.settle(0)?;
                    continue;
                }
                Err(code) => {
                    self.console.warn(format!("unable to ship a message of {} bytes: {code}", message.len()));
                    return Ok(());
                }
            }
            at += piece.len();
            if at >= message.len() {
                return Ok(());
            }
        }
    }

    /// Waits until no more than `room` waits for the broker.
    fn settle(&mut self, room: usize) -> Result<(), String> {
        let limit = Instant::now() + self.args.kafka.timeout.unwrap_or(TIMEOUT);
        let mut refused = None;
        while self.sender.charge() > room {
            self.sender.settle(BEAT, |one| refused = refused.or(one.error));
            if let Some(code) = refused {
                return Err(code.to_string());
            }
            if Instant::now() >= limit {
                return Err(self.sender.complaint().map_or_else(|| "the broker is silent".to_owned(), |(why, _)| why));
            }
        }
        Ok(())
    }

    /// What was not acknowledged comes again from rsyslog's queue: it need not be kept here.
    fn give_up(&mut self) {
        self.open = false;
        self.sender.give_up();
        let limit = Instant::now() + BEAT * 1000;
        while self.sender.waiting() > 0 && Instant::now() < limit {
            self.sender.settle(BEAT, |_| {});
        }
    }

    fn answer(&self, word: &str) -> Result<(), Failure> {
        let mut out = cli::Output::default();
        out.write(word.as_bytes())?;
        out.write(b"\n")?;
        out.close()
    }
}
