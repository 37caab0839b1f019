//! The annotated tag on the remote that follows the pointer: moved under a lease, never absent in between.

use cli::Failure;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// The line of a tag's message that says which promotion it shows.
const PROMOTION: &str = "PROMOTION=";

/// A tag on a remote.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) repo: PathBuf,
    pub(crate) remote: String,
    pub(crate) timeout: Duration,
}

/// The state of the tag on the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Object that the tag's ref names; `None` if there is no tag.
    oid: Option<String>,
    /// The promotion that its message names.
    pub(crate) promotion: Option<u64>,
}

/// What the tag shall say.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    pub(crate) commit: &'a str,
    pub(crate) promotion: u64,
    pub(crate) release: String,
    pub(crate) promoted_at: &'a str,
    pub(crate) reason: &'a str,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    Done,
    /// Somebody moved the tag since it was read.
    Overtaken,
}

impl Tag {
    /// Makes sure that the commit can be tagged from here, before anything is changed.
    ///
    /// # Errors
    /// git, the repository, the remote or the commit is not there.
    pub(crate) async fn check(&self, commit: &str) -> Result<(), Failure> {
        let hex = commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex || commit.len() < 7 {
            return Err(Failure::permanent(format!("unable to tag commit {commit:?}: it is no commit id")));
        }
        self.git(&["rev-parse", "--git-dir"], &[]).await?;
        if self.has_commit(commit).await? {
            return Ok(());
        }
        // A shallow clone may lack it; by its id alone first, since that is least to fetch.
        for what in [&["fetch", "-q", "--no-tags", "--no-write-fetch-head", &self.remote, commit][..], &["fetch", "-q", &self.remote]] {
            let _ = self.try_git(what, &[]).await?;
            if self.has_commit(commit).await? {
                return Ok(());
            }
        }
        let (repo, remote) = (self.repo.display(), &self.remote);
        Err(Failure::permanent(format!("unable to tag commit {commit}: neither {repo} nor {remote} has it")))
    }

    /// Asks the remote where the tag stands.
    ///
    /// # Errors
    /// The remote does not answer.
    pub(crate) async fn read(&self) -> Result<Standing, Failure> {
        let full = self.full_name();
        let listed = self.git(&["ls-remote", &self.remote, &full], &[]).await?;
        let oid = listed.lines().find_map(|line| line.strip_suffix(&format!("\t{full}")).map(str::to_owned));
        let Some(id) = oid.clone() else { return Ok(Standing { oid: None, promotion: None }) };
        if !self.try_git(&["cat-file", "-e", &id], &[]).await?.status.success() {
            // Moved again since: its new state says nothing that a lease on the old one would not notice.
            let fetched = self.try_git(&["fetch", "-q", "--no-tags", "--no-write-fetch-head", &self.remote, &full], &[]).await?;
            if !fetched.status.success() || !self.try_git(&["cat-file", "-e", &id], &[]).await?.status.success() {
                return Ok(Standing { oid, promotion: None });
            }
        }
        // A lightweight tag names a commit and has no message.
        let message = self.try_git(&["cat-file", "tag", &id], &[]).await?;
        let text = String::from_utf8_lossy(&message.stdout).into_owned();
        let promotion = text.lines().find_map(|line| line.strip_prefix(PROMOTION)?.parse().ok());
        Ok(Standing { oid, promotion })
    }

    /// Moves the tag, if it still is what was read.
    ///
    /// # Errors
    /// The remote refuses or does not answer.
    pub(crate) async fn push(&self, read: &Standing, words: &Words<'_>) -> Result<Push, Failure> {
        let commit = self.git(&["rev-parse", "--verify", "-q", &format!("{}^{{commit}}", words.commit)], &[]).await?;
        let tagger = self.tagger().await?;
        let text = format!(
            "object {}\ntype commit\ntag {}\ntagger {tagger}\n\n{}\n\n{PROMOTION}{}\nRELEASE={}\nPROMOTED_AT={}\nREASON={}\n",
            commit.trim(), self.name, self.name, words.promotion, words.release, words.promoted_at, words.reason,
        );
        let made = self.git(&["mktag"], text.as_bytes()).await?;
        let full = self.full_name();
        let lease = format!("--force-with-lease={full}:{}", read.oid.as_deref().unwrap_or_default());
        let refspec = format!("{}:{full}", made.trim());
        let pushed = self.try_git(&["push", "--porcelain", "--no-verify", &lease, &self.remote, &refspec], &[]).await?;
        if pushed.status.success() {
            return Ok(Push::Done);
        }
        let words = String::from_utf8_lossy(&pushed.stdout).into_owned() + &String::from_utf8_lossy(&pushed.stderr);
        // Refused by the lease, by another push's lock on the ref, or by the remote's own comparison.
        let races = ["stale info", "failed to lock", "cannot lock ref", "reference already exists", "failed to update ref"];
        if races.iter().any(|race| words.contains(race)) { Ok(Push::Overtaken) } else { Err(failed("push", &pushed)) }
    }

    async fn tagger(&self) -> Result<String, Failure> {
        let own = self.try_git(&["var", "GIT_COMMITTER_IDENT"], &[]).await?;
        if own.status.success() {
            return Ok(String::from_utf8_lossy(&own.stdout).trim().to_owned());
        }
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let now = jiff::Timestamp::now().as_second();
        Ok(format!("release-promote <release-promote@{node}> {now} +0000"))
    }

    fn full_name(&self) -> String {
        format!("refs/tags/{}", self.name)
    }

    async fn has_commit(&self, commit: &str) -> Result<bool, Failure> {
        let found = self.try_git(&["cat-file", "-e", &format!("{commit}^{{commit}}")], &[]).await?;
        Ok(found.status.success())
    }

    async fn git(&self, args: &[&str], stdin: &[u8]) -> Result<String, Failure> {
        let output = self.try_git(args, stdin).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(failed(args[0], &output))
    }

    async fn try_git(&self, args: &[&str], stdin: &[u8]) -> Result<Output, Failure> {
        let unable = |error| Failure::io("unable to run git", error);
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.repo).args(args).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(unable)?;
        if let Some(mut pipe) = child.stdin.take() {
            use tokio::io::AsyncWriteExt;
            // A git that does not read its input says why by its exit code.
            let _ = pipe.write_all(stdin).await;
        }
        let finished = tokio::time::timeout(self.timeout, child.wait_with_output()).await;
        let late = |_| Failure::temporary(format!("git {}: no answer in time", args[0]));
        finished.map_err(late)?.map_err(unable)
    }
}

/// A remote may answer at the next try; what git found wrong here will stay wrong.
fn failed(verb: &str, output: &Output) -> Failure {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.join(" ");
    let permanent = ["not a git repository", "does not appear to be a git repository", "unsafe repository", "dubious ownership"];
    let message = format!("git {verb}: {}", words.strip_prefix("fatal: ").unwrap_or(&words));
    if permanent.iter().any(|known| words.contains(known)) {
        Failure::permanent(message)
    } else {
        Failure::temporary(message)
    }
}
