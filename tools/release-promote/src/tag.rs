//! The annotated tag on the remote that follows the pointer: moved under a lease, never absent in between.

use cli::Failure;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// The line of a tag's message that says which promotion it shows.
const PROMOTION: &str = "PROMOTION=";

/// Looks at a tag that moves between being listed and being fetched.
const READS: u32 = 10;

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
    /// Commit that an annotated tag names.
    pub(crate) commit: Option<String>,
    /// The promotion that its message names.
    pub(crate) promotion: Option<u64>,
}

impl Standing {
    /// Where it is now: the commit, or the object of a tag that is not annotated.
    pub(crate) fn place(&self) -> Option<&str> {
        self.commit.as_deref().or(self.oid.as_deref())
    }
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
    /// Makes sure that there is a repository to tag in.
    ///
    /// # Errors
    /// git or the repository is not there.
    pub(crate) async fn open(&self) -> Result<(), Failure> {
        self.git(&["rev-parse", "--git-dir"], &[]).await.map(drop)
    }

    /// Makes sure that the commit can be tagged from here, before anything is changed, and returns its full id.
    ///
    /// # Errors
    /// git, the repository, the remote or the commit is not there.
    pub(crate) async fn check(&self, commit: &str) -> Result<String, Failure> {
        let hex = commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex || commit.len() < 7 {
            return Err(Failure::permanent(format!("unable to tag commit {commit:?}: it is not a commit id")));
        }
        if let Some(full) = self.full_id(commit).await? {
            return Ok(full);
        }
        // A shallow clone may lack it; by its id alone first, since that is least to fetch.
        self.try_git(&["fetch", "-q", "--no-tags", "--no-write-fetch-head", &self.remote, commit], &[]).await?;
        if let Some(full) = self.full_id(commit).await? {
            return Ok(full);
        }
        let fetched = self.try_git(&["fetch", "-q", "--no-write-fetch-head", &self.remote], &[]).await?;
        if let Some(full) = self.full_id(commit).await? {
            return Ok(full);
        }
        let empty = String::from_utf8_lossy(&fetched.stderr).contains("find remote ref HEAD");
        if !fetched.status.success() && !empty {
            return Err(self.failed("fetch", &fetched).context(format!("unable to tag commit {commit}")));
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
        let mut tries = 0;
        loop {
            let listed = self.git(&["ls-remote", &self.remote, &full], &[]).await?;
            let oid = listed.lines().find_map(|line| line.strip_suffix(&format!("\t{full}")).map(str::to_owned));
            let Some(id) = oid.clone() else { return Ok(Standing { oid: None, commit: None, promotion: None }) };
            let mut fetched = None;
            if !self.has(&id).await? {
                let fetch = ["fetch", "-q", "--no-tags", "--no-write-fetch-head", &self.remote, &full];
                fetched = Some(self.try_git(&fetch, &[]).await?);
            }
            if fetched.is_none() || self.has(&id).await? {
                // A lightweight tag names a commit and has no message.
                let message = self.try_git(&["cat-file", "tag", &id], &[]).await?;
                let text = String::from_utf8_lossy(&message.stdout).into_owned();
                let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start).map(str::to_owned));
                let promotion = line(PROMOTION).and_then(|n| n.parse().ok());
                return Ok(Standing { oid, commit: line("object "), promotion });
            }
            // Moved again since it was listed, or not to be had at all: a guess at what it shows would be wrong.
            tries += 1;
            if let Some(fetched) = fetched.filter(|_| tries == READS) {
                return Err(self.failed("fetch", &fetched).context(format!("unable to read the tag {}", self.name)));
            }
        }
    }

    /// Moves the tag, if it still is what was read.
    ///
    /// # Errors
    /// The remote refuses or does not answer.
    pub(crate) async fn push(&self, read: &Standing, words: &Words<'_>) -> Result<Push, Failure> {
        let commit = self.check(words.commit).await?;
        let tagger = self.tagger().await?;
        let text = format!(
            "object {}\ntype commit\ntag {}\ntagger {tagger}\n\n{}\n\n{PROMOTION}{}\nRELEASE={}\nPROMOTED_AT={}\nREASON={}\n",
            commit, self.name, self.name, words.promotion, words.release, words.promoted_at, words.reason,
        );
        let made = self.git(&["mktag"], text.as_bytes()).await?;
        let full = self.full_name();
        let lease = format!("--force-with-lease={full}:{}", read.oid.as_deref().unwrap_or_default());
        let refspec = format!("{}:{full}", made.trim());
        let pushed = self
            .try_git(
                &[
                    "push",
                    "--porcelain",
                    "--no-verify",
                    "--no-follow-tags",
                    "--recurse-submodules=no",
                    &lease,
                    &self.remote,
                    &refspec,
                ],
                &[],
            )
            .await?;
        if pushed.status.success() {
            return Ok(Push::Done);
        }
        let words = String::from_utf8_lossy(&pushed.stdout).into_owned() + &String::from_utf8_lossy(&pushed.stderr);
        // Refused by the lease, by another push's lock on the ref, or by the remote's own comparison.
        let races = [
            "stale info",
            "failed to lock",
            "cannot lock ref",
            "reference already exists",
            "reference does not exist",
            "incorrect old value",
            "failed to update ref",
        ];
        if races.iter().any(|race| words.contains(race)) {
            Ok(Push::Overtaken)
        } else {
            Err(self.failed("push", &pushed))
        }
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

    async fn full_id(&self, commit: &str) -> Result<Option<String>, Failure> {
        let found = self.try_git(&["rev-parse", "--verify", "-q", &format!("{commit}^{{commit}}")], &[]).await?;
        Ok(found.status.success().then(|| String::from_utf8_lossy(&found.stdout).trim().to_owned()))
    }

    async fn has(&self, id: &str) -> Result<bool, Failure> {
        Ok(self.try_git(&["cat-file", "-e", id], &[]).await?.status.success())
    }

    async fn git(&self, args: &[&str], stdin: &[u8]) -> Result<String, Failure> {
        let output = self.try_git(args, stdin).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.failed(args[0], &output))
    }

    async fn try_git(&self, args: &[&str], stdin: &[u8]) -> Result<Output, Failure> {
        let unable = |error| Failure::io("unable to run git", error);
        let mut command = Command::new("git");
        // Housekeeping is no business of a promotion, and may outlive its deadline.
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-C"]).arg(&self.repo).args(args);
        // A hook's GIT_DIR would win over the repository that was asked for.
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(unable)?;
        if let Some(mut pipe) = child.stdin.take() {
            use tokio::io::AsyncWriteExt;
            // A git that does not read its input says why by its exit code.
            let _ = pipe.write_all(stdin).await;
        }
        let finished = tokio::time::timeout(self.timeout, child.wait_with_output()).await;
        let late = |_| Failure::temporary(format!("git {} in {}: no answer in time", args[0], self.repo.display()));
        finished.map_err(late)?.map_err(unable)
    }

    /// A remote may answer at the next try; what git found wrong here will stay wrong.
    fn failed(&self, verb: &str, output: &Output) -> Failure {
        let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        // What git says of the ref itself stands in the porcelain lines, which start with a mark.
        let told =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("To ") && *line != "Done");
        let words =
            told.map(|line| line.trim_start_matches("fatal: ").replace('\t', " ")).collect::<Vec<_>>().join("; ");
        let permanent = [
            "not a git repository",
            "does not appear to be a git repository",
            "cannot change to",
            "unsafe repository",
            "dubious ownership",
            "Authentication failed",
            "Permission denied (publickey",
            "could not read Username",
        ];
        let message = format!("git {verb} in {}: {words}", self.repo.display());
        if permanent.iter().any(|known| words.contains(known)) {
            Failure::permanent(message)
        } else {
            Failure::temporary(message)
        }
    }
}
