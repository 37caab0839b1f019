//! What is in the way, said when it lasts, and once a minute.

use cli::Console;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What passes within this time is not said,
const LONG_WAIT: Duration = Duration::from_secs(10);
/// and the rest so often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Trouble of one kind.
#[derive(Debug)]
pub(crate) struct Trouble {
    console: Console,
    over: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    said: Option<Instant>,
}

impl Trouble {
    /// `over` is said when trouble that was said is over.
    pub(crate) fn new(console: Console, over: &'static str) -> Self {
        Self { console, over, state: Mutex::default() }
    }

    /// It is met; what needs a person is said at once.
    pub(crate) fn meet(&self, what: &str, needs_a_person: bool) {
        let mut state = self.state();
        let since = *state.since.get_or_insert_with(Instant::now);
        let lasts = needs_a_person || since.elapsed() >= LONG_WAIT;
        if lasts && state.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            state.said = Some(Instant::now());
            self.console.warn(what);
        }
    }

    /// It is over.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.since = None;
        if state.said.take().is_some() {
            self.console.warn(self.over);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
