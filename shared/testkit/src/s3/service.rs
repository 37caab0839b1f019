//! What every operation works on: the rules, and the state behind its lock.

use std::sync::{Mutex, MutexGuard};

use super::rules::{Keep, Rules};
use super::state::State;

pub(crate) struct Service {
    pub rules: Rules,
    pub keep: Keep,
    state: Mutex<State>,
}

impl Service {
    pub fn new(rules: Rules, keep: Keep) -> Self {
        Self { rules, keep, state: Mutex::default() }
    }

    /// The state, locked: whatever is decided and changed under one guard is one event in every key's order.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic of one connection must not turn into the failure of every later one.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
