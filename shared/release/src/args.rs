//! Which releases, as every release tool takes it on its command line.

use crate::layout::Layout;
use aws::AwsArgs;
use failure::Failure;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreUrl};

/// An artifact and the store of its releases.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreArgs {
    /// Name of the artifact
    #[arg(long, env = "ARTIFACT", value_name = "NAME")]
    pub artifact: Layout,
    /// Store of the releases: s3://bucket/prefix or file:///directory
    #[arg(long, value_name = "URL")]
    pub store: StoreUrl,
    #[command(flatten)]
    aws: AwsArgs,
}

impl StoreArgs {
    /// Longest wait for one answer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.aws.access.timeout
    }

    /// The store, ready for requests; nothing has been asked of it yet.
    ///
    /// # Errors
    /// A setting of AWS is wrong in itself.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        store::open(&self.store, &self.aws).await
    }
}

#[cfg(test)]
impl StoreArgs {
    /// The releases of the artifact `a` in a directory.
    pub(crate) fn in_directory(dir: &std::path::Path) -> Self {
        use clap::{Args, Command, FromArgMatches};
        let url = format!("file://{}", dir.display());
        let line = Self::augment_args(Command::new("test"));
        let typed = line.try_get_matches_from(["test", "--artifact", "a", "--store", &url]).unwrap();
        Self::from_arg_matches(&typed).unwrap()
    }
}
