//! Records that end without a newline: the last one of a file that nobody writes to any more, and of a stream.

use super::{Cover, Source, Standing};
use crate::sender::Sender;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Without growth for so long, a last line without newline is one, if its file is not written to under its own name.
const IDLE: Duration = Duration::from_secs(5);

impl Source {
    /// Lets a record end here, if one should: tells whether that has to be saved.
    pub(crate) fn end_record(&mut self, once: bool, joins: bool) -> bool {
        let ended = self.stream.as_ref().is_some_and(|stream| stream.ended.load(Ordering::Acquire));
        let idle = self.grown.elapsed() >= IDLE;
        if self.memory.cut.is_some() || self.stuck != self.size || self.read >= self.size || self.refused.is_some() {
            return false;
        }
        let cut = match self.standing {
            Standing::Stream if ended => self.size,
            Standing::Renamed | Standing::Gone if idle => self.size,
            _ if joins && (idle || once) && self.whole > self.read => self.whole,
            _ => return false,
        };
        // The size may be an old one: of a stream that ended meanwhile, or of a file that was not looked at for long.
        let size = self.size;
        self.look();
        if self.size != size || self.rewritten {
            return false;
        }
        self.memory.cut = Some(cut);
        self.cover = Cover::None;
        true
    }

    /// Leaves out the rest of a line that is too long and will never get its newline; tells whether there was one.
    pub(crate) fn end_skip(&mut self, sender: &mut Sender) -> bool {
        let ended = match self.standing {
            Standing::Stream => self.stream.as_ref().is_some_and(|stream| stream.ended.load(Ordering::Acquire)),
            Standing::Renamed | Standing::Gone => self.grown.elapsed() >= IDLE,
            Standing::Wanted => false,
        };
        let mut ends = self.skipping && ended && self.read >= self.size && self.refused.is_none();
        if ends {
            self.look();
            ends = self.read >= self.size;
        }
        if ends {
            self.skipping = false;
            self.reject(sender, self.read);
        }
        ends
    }
}
