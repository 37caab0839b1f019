//! The annotated tag on the remote that follows the pointer: moved under a lease, never absent in between.

use failure::Failure;
use release::git::Git;
use std::io::ErrorKind;
use std::process::Output;

/// The line of a tag's message that says which promotion it shows.
const PROMOTION: &str = "PROMOTION=";

/// Looks at a tag that moves between being listed and being fetched.
const READS: u32 = 10;

/// Fetches objects and leaves all refs alone, whatever the repository is configured to fetch and to prune.
const FETCH: [&str; 9] = [
    "-c",
    "fetch.pruneTags=false",
    "fetch",
    "-q",
    "--no-tags",
    "--no-prune",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--stdin",
];

/// A tag on a remote.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) remote: String,
    git: Git,
    /// Where the remote takes pushes. All requests go there by this address: it may differ from where the remote is read,
    /// and the remote's own settings, to mirror for instance, are not meant for one tag.
    url: String,
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
#[derive(Debug)]
pub(crate) enum Push {
    Done,
    /// Somebody moved the tag since it was read, or moves it now; git's words.
    Overtaken(Failure),
}

impl Tag {
    /// The tag `name` on `remote`, a name or a URL.
    ///
    /// # Errors
    /// git or the repository is not there.
    pub(crate) async fn open(name: &str, remote: &str, git: Git) -> Result<Self, Failure> {
        let mut tag = Self { name: name.to_owned(), remote: remote.to_owned(), git, url: remote.to_owned() };
        tag.git(&["rev-parse", "--git-dir"], &[]).await?;
        let known = tag.try_git(&["remote", "get-url", "--push", remote], &[]).await?;
        if known.status.success() {
            tag.url = String::from_utf8_lossy(&known.stdout).trim_end().to_owned();
        }
        Ok(tag)
    }

    /// Finds out what would keep the tag from being pushed, as far as that shows without a push.
    ///
    /// # Errors
    /// The remote takes no push, or none of this tag.
    pub(crate) async fn rehearse(&self, commit: &str) -> Result<(), Failure> {
        let commit = self.check(commit).await?;
        let pushed = self.try_push("--force", &["--dry-run"], &commit).await?;
        if pushed.status.success() { Ok(()) } else { Err(self.failed("push", &pushed)) }
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
        self.fetch(commit).await?;
        if let Some(full) = self.full_id(commit).await? {
            return Ok(full);
        }
        let listed = self.git(&["ls-remote", "--heads", "--tags", "--refs", &self.url], &[]).await;
        let listed = listed.map_err(|failure| failure.context(format!("unable to tag commit {commit}")))?;
        let refs: String = listed.lines().filter_map(|line| Some(format!("{}\n", line.split_once('\t')?.1))).collect();
        if !refs.is_empty() {
            let fetched = self.fetch(&refs).await?;
            if !fetched.status.success() {
                return Err(self.failed("fetch", &fetched).context(format!("unable to tag commit {commit}")));
            }
        }
        if let Some(full) = self.full_id(commit).await? {
            return Ok(full);
        }
        let (repo, remote) = (self.git.dir().display(), &self.remote);
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
            let oid = self.list().await?;
            let Some(id) = oid.clone() else { return Ok(Standing { oid: None, commit: None, promotion: None }) };
            let mut fetched = None;
            if !self.has(&id).await? {
                fetched = Some(self.fetch(&full).await?);
            }
            if fetched.is_none() || self.has(&id).await? {
                // A lightweight tag names a commit and has no message.
                let message = self.try_git(&["cat-file", "tag", &id], &[]).await?;
                let text = String::from_utf8_lossy(&message.stdout).into_owned();
                let (head, message) = text.split_once("\n\n").unwrap_or_default();
                let commit = head.lines().find_map(|line| line.strip_prefix("object ")).map(str::to_owned);
                // The first line is the tag's name, which may look like anything.
                let shown = message.lines().skip(1).find_map(|line| line.strip_prefix(PROMOTION));
                return Ok(Standing { oid, commit, promotion: shown.and_then(|n| n.parse().ok()) });
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
        let failure = match self.try_push(&lease, &[], made.trim()).await {
            Ok(pushed) if pushed.status.success() => return Ok(Push::Done),
            Ok(pushed) if was_overtaken(&pushed, &full) => return Ok(Push::Overtaken(self.failed("push", &pushed))),
            Ok(pushed) => self.failed("push", &pushed),
            Err(failure) => failure,
        };
        // What failed or came too late may have been done all the same: a slow hook holds back the answer, not the tag.
        match self.list().await {
            Ok(Some(now)) if now == made.trim() => Ok(Push::Done),
            _ => Err(failure),
        }
    }

    async fn try_push(&self, force: &str, options: &[&str], object: &str) -> Result<Output, Failure> {
        let refspec = format!("{object}:{}", self.full_name());
        let plain =
            ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-signed", force];
        // The checkout's options for a server's hooks are meant for branches, and not every server takes any.
        let args = [&["-c", "push.pushOption="], &plain[..], options, &[&self.url, &refspec]].concat();
        self.try_git(&args, &[]).await
    }

    /// Fetches what the lines name.
    async fn fetch(&self, lines: &str) -> Result<Output, Failure> {
        self.try_git(&[&FETCH[..], &[&self.url]].concat(), lines.as_bytes()).await
    }

    /// The object that the tag's ref names on the remote.
    async fn list(&self) -> Result<Option<String>, Failure> {
        let (full, below) = (self.full_name(), format!("{}/", self.full_name()));
        // git keeps refs as files or as if they were: where one stands, none can stand below or above it.
        let above = self.name.match_indices('/').map(|(end, _)| format!("refs/tags/{}", &self.name[..end]));
        let above: Vec<String> = above.collect();
        let all_below = format!("{below}*");
        let mut args = vec!["ls-remote", &self.url, &full, &all_below];
        args.extend(above.iter().map(String::as_str));
        let listed = self.git(&args, &[]).await?;
        let mut found = None;
        for (oid, name) in listed.lines().filter_map(|line| line.split_once('\t')) {
            if name == full {
                found = Some(oid.to_owned());
            } else if name.starts_with(&below) || above.iter().any(|above| above == name) {
                let (tag, remote) = (&self.name, &self.remote);
                return Err(Failure::permanent(format!("there can't be a tag {tag} on {remote}, which has {name}")));
            }
        }
        Ok(found)
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
        let full = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        // A branch may have the name of an abbreviated commit, and would win.
        let is_it = found.status.success() && full.starts_with(&commit.to_ascii_lowercase());
        Ok(is_it.then_some(full))
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
        self.git.run(args, stdin).await.map_err(|error| {
            let verb = args.iter().find(|arg| **arg != "-c" && !arg.contains('=')).unwrap_or(&"");
            match error.kind() {
                ErrorKind::TimedOut => Failure::io(format!("git {verb} in {}", self.git.dir().display()), error),
                _ => Failure::io("unable to run git", error),
            }
        })
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
        let message = format!("git {verb} in {}: {words}", self.git.dir().display());
        if permanent.iter().any(|known| words.contains(known)) {
            Failure::permanent(message)
        } else {
            Failure::temporary(message)
        }
    }
}

/// Whether the remote refused the push of that ref since somebody moves it: by the lease, by another push's lock, or by
/// its own comparison. Only git's line for the ref counts: hooks say on stderr what they like.
fn was_overtaken(pushed: &Output, full: &str) -> bool {
    let races = [
        "stale info",
        "failed to lock",
        "cannot lock ref",
        "reference already exists",
        "reference does not exist",
        "incorrect old value",
        "failed to update ref",
    ];
    let own = |line: &&str| {
        line.starts_with('!') && line.split('\t').nth(1).is_some_and(|refs| refs.ends_with(&format!(":{full}")))
    };
    let text = String::from_utf8_lossy(&pushed.stdout);
    text.lines().filter(own).any(|line| races.iter().any(|race| line.contains(race)))
}
