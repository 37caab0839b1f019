//! Headers that a dead letter has and no other record: written with it, and known again when it is read.

/// First part of their names.
pub(crate) const OF_DEAD_LETTERS: &str = "dead-letter-";
/// Why it could not be indexed.
pub(crate) const ERROR: &str = "dead-letter-error";
/// Where the record stood when it was read.
pub(crate) const POSITION: &str = "dead-letter-position";
/// The id that its document would have had.
pub(crate) const ID: &str = "dead-letter-id";
