//! What earlier runs left, and where this one begins.

use super::Ship;
use crate::args::From;
use crate::contents::Mark;
use crate::hours::Hours;
use crate::positions::Remembered;
use crate::source::{Source, Standing};
use crate::spool::{self, Spool};
use cli::Failure;
use records::FileId;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

impl Ship<'_> {
    pub(super) fn resume(&mut self, remembered: Vec<Remembered>, first: bool) -> Result<(), Failure> {
        let spool = self.positions.spool();
        let (streams, files): (Vec<_>, Vec<_>) =
            remembered.into_iter().partition(|memory| memory.place.starts_with(&spool));
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
        let dir = self.positions.spool();
        for id in spool::left(&dir) {
            let known = remembered.iter().find(|memory| memory.id == id).cloned();
            let memory = known.unwrap_or_else(|| stream(id, spool::data_path(&dir, id)));
            let recovered = spool::recover(&dir, id, memory.acked);
            let path = spool::data_path(&dir, id);
            let unreadable = |error| Failure::io(format!("unable to read {}", path.display()), error);
            let (file, progress, damaged) = recovered.map_err(unreadable)?;
            if damaged > 0 {
                let path = path.display();
                self.console.warn(format!("the last {damaged} bytes of {path} are not whole: left out"));
            }
            let mut source = Source::new(memory, Some(file), Standing::Stream, self.sender.host());
            source.stream = Some(progress);
            self.follow.insert(source, None);
        }
        Ok(())
    }

    fn take_stdin(&mut self) -> Result<(), Failure> {
        let dir = self.positions.spool();
        let id = self.follow.mint();
        let room = self.args.spool_size.as_u64();
        let spool = Spool::start(&dir, id, room, self.console, self.watch.waker()?)?;
        let path = spool::data_path(&dir, id);
        let file = File::open(&path);
        let file = file.map_err(|error| Failure::io(format!("unable to read {}", path.display()), error))?;
        let mut source = Source::new(stream(id, path), Some(file), Standing::Stream, self.sender.host());
        source.stream = Some(Arc::clone(&spool.progress));
        self.spool = Some((source.key(), spool));
        self.follow.insert(source, None);
        Ok(())
    }
}

fn stream(id: FileId, path: PathBuf) -> Remembered {
    Remembered {
        id,
        path: PathBuf::from("-"),
        place: path,
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
