//! What was typed, checked without touching anything.

use crate::exclusion::Exclusion;
use archive::Format;
use clap::{Parser, ValueEnum};
use cli::Verbosity;
use failure::Failure;
use release::{Layout, Record, ReleaseNumber, StoreArgs};
use std::path::PathBuf;
use std::time::Duration;
use store::{Attributes, Encryption, StoreUrl};

const LONG_ABOUT: &str = "\
Pack files into the next numbered release of an artifact and print its record

Examples:
  Pack two folders of a checkout into a store on this host:
    artifact-pack --artifact obelix --store file:///srv/releases -C \"$WORKSPACE\" code common
  Pack what git tracks, compressed, into S3:
    git ls-files -z | artifact-pack --artifact obelix --store s3://build/obelix/prod --compress zstd --files-from - -0
  Build and promote in one line:
    artifact-pack --artifact obelix --store s3://build/obelix/prod code | release-promote --artifact obelix --store s3://build/obelix/prod --release -
  Show what dead builds left behind:
    artifact-pack --artifact obelix --store s3://build/obelix/prod --audit";

/// Command line of artifact-pack.
#[derive(Debug, Parser)]
#[command(
    name = "artifact-pack",
    version = version::VERSION,
    about = "Pack files into the next numbered release of an artifact and print its record",
    long_about = LONG_ABOUT,
    after_help = cli::EXIT_CODES,
    max_term_width = 120
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Files and directories to pack, relative to --directory; all of it if --directory is given alone
    #[arg(value_name = "PATH", required_unless_present_any = ["directory", "files_from", "audit"])]
    pub(crate) paths: Vec<PathBuf>,
    /// Directory that the paths are relative to
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,
    /// Read the paths from a file, or from stdin with -
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    pub(crate) files_from: Option<PathBuf>,
    /// Paths in --files-from end with a zero byte instead of a newline
    #[arg(short = '0', long, requires = "files_from")]
    pub(crate) null: bool,
    /// Leave out what matches; a pattern without a slash matches at any depth. .git is left out anyway
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Pack .git too
    #[arg(long)]
    include_git: bool,
    /// Compression of the archive
    #[arg(long, value_enum, default_value_t = Compression::None)]
    compress: Compression,
    /// Build number to record
    #[arg(long, env = "BUILD_NUMBER", value_name = "TEXT", default_value = "")]
    build: String,
    /// Commit to record, instead of HEAD of the directory's git checkout
    #[arg(long, env = "GIT_COMMIT", value_name = "COMMIT")]
    pub(crate) commit: Option<String>,
    /// Time to record, instead of SOURCE_DATE_EPOCH, the commit's time or now
    #[arg(long, env = "BUILD_TIMESTAMP", value_name = "TEXT")]
    pub(crate) timestamp: Option<String>,
    /// S3 storage class of artifact and records
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// Server-side encryption of artifact and records: AES256, aws:kms or aws:kms:KEY
    #[arg(long, value_name = "SSE", value_parser = encryption)]
    sse: Option<Encryption>,
    /// Age after which an unfinished build of another host counts as dead
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = retry::duration)]
    pub(crate) orphan_age: Duration,
    /// Read and hash everything, print the record there would be, publish nothing
    #[arg(long, conflicts_with = "audit")]
    pub(crate) dry_run: bool,
    /// List numbers claimed and not finished, and orphan uploads, as CSV
    #[arg(long, conflicts_with_all = ["paths", "files_from"])]
    pub(crate) audit: bool,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    None,
    Zstd,
    Gzip,
}

/// The same, ready to be used.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) exclude: Exclusion,
    pub(crate) format: Format,
    pub(crate) attributes: Attributes,
    pub(crate) build: String,
    /// Set for classes that work but cost more than they give.
    pub(crate) warning: Option<String>,
}

impl Args {
    /// Checks what clap can't.
    pub(crate) fn job(&self) -> Result<Job, Failure> {
        let attributes = Attributes { storage_class: self.storage_class.clone(), encryption: self.sse.clone() };
        if !attributes.is_default() && matches!(self.store.store, StoreUrl::Files { .. }) {
            return Err(Failure::usage("--storage-class and --sse need a store on s3://"));
        }
        // clap lets -0 pass where PATHs stand, since they rule out what it requires.
        if self.null && self.files_from.is_none() && !self.audit {
            return Err(Failure::usage("-0 says how paths in --files-from end, which is not given (see --help)"));
        }
        let job = Job {
            exclude: Exclusion::new(&self.exclude, self.include_git)?,
            format: match self.compress {
                Compression::None => Format::Tar,
                Compression::Zstd => Format::TarZst,
                Compression::Gzip => Format::TarGz,
            },
            warning: self.storage_class.as_deref().map(check_class).transpose()?.flatten(),
            attributes,
            build: self.build.clone(),
        };
        // The record's rules hold for every number, so they are checked before one is taken.
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        record(&self.store.artifact, ReleaseNumber::FIRST, &self.build, &text(&self.commit), &text(&self.timestamp))?;
        Ok(job)
    }
}

/// The five lines of a release's record.
pub(crate) fn record(
    layout: &Layout,
    number: ReleaseNumber,
    build: &str,
    commit: &str,
    timestamp: &str,
) -> Result<Record, Failure> {
    let record = Record::new(layout.artifact(), number, build, commit, timestamp);
    record.map_err(|error| Failure::usage(format!("unable to record this build: {error}")))
}

fn check_class(class: &str) -> Result<Option<String>, Failure> {
    match class {
        "GLACIER" | "DEEP_ARCHIVE" => Err(Failure::usage(format!(
            "--storage-class {class}: an archived release can't be fetched when an instance boots"
        ))),
        "REDUCED_REDUNDANCY" => {
            Ok(Some("REDUCED_REDUNDANCY loses objects more often than STANDARD and costs no less".to_owned()))
        }
        _ => Ok(None),
    }
}

fn encryption(text: &str) -> Result<Encryption, String> {
    match text.split_once("aws:kms") {
        None if text == "AES256" => Ok(Encryption::Aes256),
        Some(("", "")) => Ok(Encryption::Kms { key: None }),
        Some(("", key)) if key.len() > 1 && key.starts_with(':') => {
            Ok(Encryption::Kms { key: Some(key[1..].to_owned()) })
        }
        _ => Err("expected AES256, aws:kms or aws:kms:KEY".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(line: &str) -> Args {
        Args::try_parse_from(format!("artifact-pack --artifact a --store {line}").split(' ')).unwrap()
    }

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn classes_and_encryption() {
        assert!(parsed("s3://b --storage-class DEEP_ARCHIVE x").job().is_err());
        assert!(parsed("s3://b --storage-class REDUCED_REDUNDANCY x").job().unwrap().warning.is_some());
        assert!(parsed("file:///s --sse AES256 x").job().is_err());
        assert_eq!(encryption("aws:kms:alias/k"), Ok(Encryption::Kms { key: Some("alias/k".into()) }));
        assert!(encryption("aws:kms:").is_err() && encryption("aes").is_err());
    }

    #[test]
    fn misleading_values_are_usage_errors() {
        let failure = parsed("file:///s --build MY_VERSION x").job().unwrap_err();
        assert_eq!(failure.class(), Some(failure::Class::Usage));
    }
}
