//! The uploads that this run has begun and not ended, by their ids: whatever ends the run can abort them without asking
//! the store which ones there are.

use std::sync::{Mutex, MutexGuard, PoisonError};
use store::Upload;

/// Uploads on their way.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<Vec<Upload>>);

impl Held {
    /// The store has begun this upload.
    pub(crate) fn begun(&self, upload: &Upload) {
        self.list().push(upload.clone());
    }

    /// It is complete or aborted.
    pub(crate) fn ended(&self, upload: &Upload) {
        self.list().retain(|held| held != upload);
    }

    /// What is not ended yet.
    pub(crate) fn all(&self) -> Vec<Upload> {
        self.list().clone()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
