//! What was typed, checked without touching anything.

use archive::Limits;
use bytesize::ByteSize;
use clap::Parser;
use cli::Verbosity;
use release::{Selector, StoreArgs};
use std::path::PathBuf;

const LONG_ABOUT: &str = "\
Fetch a release, verify it, unpack it and switch DIR/current to it

Examples:
  Install what is promoted, at boot:
    artifact-fetch --artifact obelix --store s3://build/obelix/prod --into /srv/obelix
  Go back to release 41, which is still on the host, without a byte of download:
    artifact-fetch --artifact obelix --store s3://build/obelix/prod --into /srv/obelix --release 41
  Run something from the directory it was unpacked to:
    cd \"$(artifact-fetch --artifact obelix --store file:///srv/releases --into /srv/obelix --print-path)\"";

/// Command line of artifact-fetch.
#[derive(Debug, Parser)]
#[command(
    name = "artifact-fetch",
    version = version::VERSION,
    about = "Fetch a release, verify it, unpack it and switch DIR/current to it",
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Directory that holds the releases and the link `current`
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Release to fetch: latest-stable, latest, another channel, a number, or - for a record on stdin
    #[arg(long, value_name = "RELEASE", default_value = "latest-stable", value_parser = selector)]
    pub(crate) release: Selector,
    /// Releases to keep beside the current one
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) keep: u32,
    /// Take a release that has no checksum: one of an old script that was never promoted
    #[arg(long)]
    unverified: bool,
    /// Take a promotion that is older than one seen on this host, and remember its number from now on
    #[arg(long)]
    allow_rollback: bool,
    /// Print the directory instead of the record
    #[arg(long)]
    pub(crate) print_path: bool,
    /// Refuse releases that unpack to more than this
    #[arg(long, value_name = "SIZE", default_value = "64GiB", value_parser = size)]
    max_size: ByteSize,
    /// Refuse releases with more files, directories and links than this
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    max_entries: u64,
    /// Resolve the release and say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// What becomes of a release that has no checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutChecksum {
    Refused,
    Taken,
}

/// What becomes of a promotion older than one that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollback {
    Refused,
    Taken,
}

impl Args {
    pub(crate) fn without_checksum(&self) -> WithoutChecksum {
        if self.unverified { WithoutChecksum::Taken } else { WithoutChecksum::Refused }
    }

    pub(crate) fn rollback(&self) -> Rollback {
        if self.allow_rollback { Rollback::Taken } else { Rollback::Refused }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { bytes: self.max_size.as_u64(), members: self.max_entries }
    }
}

/// `previous` is a word of all selectors; here it is refused later, with what to do instead, and never offered.
fn selector(text: &str) -> Result<Selector, String> {
    text.parse().map_err(|_| "expected a release number, latest, latest-stable, the name of a channel, or -".to_owned())
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "expected a size such as 500MB or 64GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    /// release-promote refuses what goes beyond these.
    #[test]
    fn limits_are_those_of_every_host() {
        let args = Args::parse_from(["artifact-fetch", "--artifact", "a", "--store", "file:///s", "--into", "d"]);
        assert_eq!(args.limits(), Limits::default());
    }
}
