//! What `--version` says. A crate of its own, so that a new commit rebuilds the tools and not every library.

/// Version of the workspace and the commit it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SOURCE_COMMIT"), ")");
