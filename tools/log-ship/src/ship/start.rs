//! What earlier runs left, and where this one begins.

use super::Ship;
use crate::args::From;
use crate::contents::Mark;
use crate::hours::Hours;
use crate::positions::Remembered;
use crate::source::{Source, Standing};
use crate::spool::{self, Recovered, Spool};
use failure::Failure;
use records::FileId;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The path of what came from stdin.
const STDIN: &str = "-";

impl Ship<'_> {
    pub(super) fn resume(&mut self, remembered: Vec<Remembered>, first: bool) -> Result<(), Failure> {
        // By its name, since the state directory may have got another one.
        let (streams, files): (Vec<_>, Vec<_>) =
            remembered.into_iter().partition(|memory| memory.path == Path::new(STDIN));
        self.follow.resume(files);
        self.resume_streams(&streams)?;
        let from_end = first && self.args.from == From::End;
        self.follow.sweep(from_end);
        if self.args.paths.is_empty() {
            self.take_stdin()?;
            return Ok(());
        }
        self.check_paths()
    }

    /// Says which of the files that were named are none, or not there yet.
    fn check_paths(&self) -> Result<(), Failure> {
        let missing = self.follow.missing();
        if self.args.once && !self.follow.has_any() {
            let all = self.args.paths.join(" ");
            let why = match &missing[..] {
                [(_, why)] if self.args.paths.len() == 1 => why,
                _ if self.follow.is_hindered() => "no file that can be read",
                _ => "no such file",
            };
            return Err(Failure::permanent(format!("unable to follow {all}: {why}")));
        }
        for (path, why) in missing {
            let yet = if self.args.once || path.exists() { "" } else { " yet" };
            self.console.warn(format!("unable to follow {}: {why}{yet}", path.display()));
        }
        Ok(())
    }

    /// What earlier runs took from stdin and could not send.
    fn resume_streams(&mut self, remembered: &[Remembered]) -> Result<(), Failure> {
        let dir = self.positions.spool().clone();
        for id in spool::left(&dir) {
            let known = remembered.iter().find(|memory| memory.id == id).cloned();
            let mut memory = known.unwrap_or_else(|| stream(id, spool::data_path(&dir, id)));
            let path = spool::data_path(&dir, id);
            let unreadable = |error| dir.failed("read", id.to_string(), error);
            let (acked, seen) = (memory.acked, memory.seen);
            let found = spool::recover(&dir, id, acked, seen).map_err(unreadable)?;
            let Recovered { data, progress, lost, unfinished } = found;
            if unfinished > 0 {
                let path = path.display();
                self.console
                    .warn(format!("the last {unfinished} bytes of {path} were not written to their end: left out"));
            }
            memory.seen = progress.synced.load(Ordering::Relaxed);
            let mut source = Source::new(memory, Some(data), Standing::Stream, self.sender.host());
            source.stream = Some(progress);
            source.lost = lost;
            self.note_damage(id, &source.lost)?;
            self.follow.insert(source, None);
        }
        for memory in remembered {
            let gone = self.follow.sources.values().all(|source| source.memory.id != memory.id);
            let bytes = memory.seen.max(spool::finished(&dir, memory.id)).saturating_sub(memory.acked);
            if gone && bytes > 0 {
                let path = spool::data_path(&dir, memory.id);
                self.console.warn(format!("{bytes} bytes of stdin are lost: {} is gone", path.display()));
                self.follow.destroyed += bytes;
                self.damage.add(bytes, path);
            }
        }
        Ok(())
    }

    /// Keeps a damaged stream aside, and says so. One that an earlier run kept aside counts, too: that run did not come to
    /// its end.
    fn note_damage(&mut self, id: FileId, lost: &[Range<u64>]) -> Result<(), Failure> {
        let dir = self.positions.spool();
        let aside = spool::aside_path(dir, id);
        let kept = aside.exists();
        let bytes = lost.iter().map(|lost| lost.end - lost.start).sum();
        if let [first, more @ ..] = lost {
            spool::set_aside(dir, id)?;
            let places = if more.is_empty() { String::new() } else { format!(" and in {} more places", more.len()) };
            let (path, aside) = (spool::data_path(dir, id), aside.display());
            let at = format!("damaged at {}{places}", first.start);
            self.console.warn(format!("{bytes} bytes of stdin are lost: {} is {at}; kept as {aside}", path.display()));
        }
        if kept || !lost.is_empty() {
            self.follow.destroyed += bytes;
            self.damage.add(bytes, aside);
        }
        Ok(())
    }

    fn take_stdin(&mut self) -> Result<(), Failure> {
        let dir = self.positions.spool();
        let id = self.follow.mint();
        let room = self.args.spool_size.as_u64();
        let spool = Spool::start(dir, id, room, self.console, self.watch.waker()?)?;
        let file = dir.file(id.to_string()).map_err(|error| dir.failed("read", id.to_string(), error))?;
        let mut source =
            Source::new(stream(id, spool::data_path(dir, id)), Some(file), Standing::Stream, self.sender.host());
        source.stream = Some(Arc::clone(&spool.progress));
        self.spool = Some((source.key(), spool));
        self.follow.insert(source, None);
        Ok(())
    }
}

fn stream(id: FileId, path: PathBuf) -> Remembered {
    Remembered {
        id,
        path: PathBuf::from(STDIN),
        place: path,
        asked: None,
        inode: 0,
        born: 0,
        acked: 0,
        sent: 0,
        seen: 0,
        head: Vec::new(),
        mark: Mark::default(),
        cut: None,
        hours: Hours::default(),
        written: 0,
    }
}
