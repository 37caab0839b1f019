//! What the archive is made from: the paths asked for, and the commit and time that its record names.

use crate::args::Args;
use cli::Console;
use failure::Failure;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use release::ReleaseNumber;
use release::git::Git;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Longest list of paths, in bytes.
const LONGEST_LIST: u64 = 1 << 30;

/// The paths to pack.
///
/// # Errors
/// The list can't be read, or is empty.
pub(crate) fn paths(args: &Args) -> Result<Vec<PathBuf>, Failure> {
    let Some(list) = &args.files_from else {
        return Ok(if args.paths.is_empty() { vec![PathBuf::from(".")] } else { args.paths.clone() });
    };
    let bytes = if list == Path::new("-") {
        cli::read_input("list of paths", LONGEST_LIST)?
    } else {
        cli::read_file(list, LONGEST_LIST)?
    };
    let end = if args.null { 0 } else { b'\n' };
    // git ls-files and find end every name; an editor may leave the end of the last line off, where nobody asks for NULs.
    let is_piped = list == Path::new("-");
    if (args.null || is_piped) && bytes.last().is_some_and(|&last| last != end) {
        let cut = format!("the list of paths in {} ends within a name", list.display());
        return Err(match is_piped {
            true => Failure::temporary(format!("{cut}: the command before this one was cut off, nothing is packed")),
            false => Failure::permanent(format!("{cut}: with --null every name ends with a NUL")),
        });
    }
    let named = bytes.split(|&b| b == end).filter(|name| !name.is_empty());
    let paths: Vec<PathBuf> = named.map(|name| PathBuf::from(OsString::from_vec(name.to_vec()))).collect();
    if paths.is_empty() {
        return Err(Failure::permanent(format!("no paths in {}", list.display())));
    }
    Ok(paths)
}

/// Commit and times of a build.
#[derive(Debug)]
pub(crate) struct Provenance {
    pub(crate) commit: String,
    pub(crate) timestamp: String,
    /// When the source was made, or now, in seconds since 1970.
    time: u64,
}

impl Provenance {
    /// Time of every member of the release `number`, in seconds since 1970: within a span of 65,536 s of the source's time
    /// each release has its own second, by the number, so that no web server gives a file of two releases the same validator.
    /// The same number from the same source has the same.
    pub(crate) fn mtime(&self, number: ReleaseNumber) -> u64 {
        const SPAN: u64 = 65_536;
        self.time - self.time % SPAN + number.get() % SPAN
    }
}

/// Finds out what is being built.
///
/// # Errors
/// `SOURCE_DATE_EPOCH` is no number, or git does not answer.
pub(crate) async fn provenance(args: &Args, console: Console) -> Result<Provenance, Failure> {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let named = given(&args.commit);
    if let Some(name) = named.as_deref().filter(|name| !is_commit_id(name)) {
        console.warn(format!("{name} is not a commit id, so this release can't be tagged"));
    }
    let git = Git::new(&args.directory, args.store.timeout());
    let commit = match named {
        Some(name) => name,
        None => head(&git, console).await?,
    };
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => {
            let wrong = || Failure::usage(format!("SOURCE_DATE_EPOCH={text:?} is not a number of seconds"));
            Some(text.parse::<u32>().map_err(|_| wrong())?.into())
        }
        _ => None,
    };
    let source_time = match epoch {
        None if commit.bytes().all(|b| b.is_ascii_hexdigit()) && !commit.is_empty() => {
            let shown = ask(&git, &["show", "-s", "--no-show-signature", "--format=%ct", &commit]).await?;
            shown.ok().and_then(|time| time.trim().parse::<u32>().ok()).map(u64::from)
        }
        given => given,
    };
    if source_time.is_none() && !commit.is_empty() {
        console.warn(format!("git does not tell the time of commit {commit} here: members get the time of now"));
    }
    let timestamp = given(&args.timestamp).unwrap_or_else(|| date(source_time));
    let now = || u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    Ok(Provenance { commit, timestamp, time: source_time.unwrap_or_else(now) })
}

/// Whether release-promote could tag what is recorded: a branch or `HEAD` means another commit tomorrow.
fn is_commit_id(text: &str) -> bool {
    text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A time as date(1) writes it, which is how the original records have it; now if there is none.
fn date(seconds: Option<u64>) -> String {
    let given = seconds.and_then(|seconds| Timestamp::from_second(seconds.try_into().ok()?).ok());
    let time = given.unwrap_or_else(Timestamp::now);
    time.to_zoned(TimeZone::UTC).strftime("%a %b %e %H:%M:%S UTC %Y").to_string()
}

/// The commit that is checked out in `dir`; empty if there is none, which is said.
async fn head(git: &Git, console: Console) -> Result<String, Failure> {
    let place = git.dir().display();
    let status = match ask(git, &["status", "--porcelain=v2", "--branch", "--untracked-files=no"]).await? {
        Ok(status) => status,
        Err(why) => {
            let why = if why.contains("not a git repository") {
                "it is not a git checkout"
            } else {
                why.trim_start_matches("fatal: ")
            };
            console.warn(format!("{place}: {why}; the record will have no commit (use --commit)"));
            return Ok(String::new());
        }
    };
    if status.lines().any(|line| !line.starts_with('#')) {
        console.warn("the checkout has changes that are not committed; the record will have its HEAD all the same");
    }
    let commit = status.lines().find_map(|line| line.strip_prefix("# branch.oid ")).unwrap_or("(initial)");
    if commit == "(initial)" {
        console.warn(format!("{place} has no commit yet; the record will have none (use --commit)"));
        return Ok(String::new());
    }
    Ok(commit.to_owned())
}

/// What git prints, or its complaint on one line.
///
/// # Errors
/// It does not answer: what is built would be recorded wrong.
async fn ask(git: &Git, args: &[&str]) -> Result<Result<String, String>, Failure> {
    Ok(match git.run(args, &[]).await {
        Ok(run) if run.status.success() => {
            String::from_utf8(run.stdout).map_err(|_| "git's answer is not text".to_owned())
        }
        Ok(run) => Err(in_short(&String::from_utf8_lossy(&run.stderr))),
        Err(late) if late.kind() == ErrorKind::TimedOut => {
            return Err(Failure::io(format!("git {} in {}", args[0], git.dir().display()), late));
        }
        Err(error) => Err(format!("git: {error}")),
    })
}

/// The first line says what is wrong; of the others, only the one about a checkout of somebody else says what to do.
fn in_short(complaint: &str) -> String {
    let mut lines = complaint.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("git failed");
    match lines.find(|line| line.contains("safe.directory")) {
        Some(remedy) => format!("{first}; {remedy}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_as_the_shell_writes_it() {
        assert_eq!(date(Some(1_453_548_002)), "Sat Jan 23 11:20:02 UTC 2016");
        assert_eq!(date(Some(1_454_400_000)), "Tue Feb  2 08:00:00 UTC 2016");
    }
}
