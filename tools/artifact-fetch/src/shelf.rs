//! The directory of releases on a host: `<artifact>-<n>`, each whole, and the link `current`.
//!
//! All that is not for others to see lies under `.artifact-fetch`: a lock, the record of every release on the shelf, the
//! promotions seen here, and trees that are being unpacked or removed, each with a lock of its own so that the ones of dead
//! runs can be told.

use crate::removal::remove_tree;
use crate::seen::{Channel, Seen};
use crate::writeback::Writeback;
use durable::{Dir, Lock};
use failure::Failure;
use release::{Layout, Record, ReleaseNumber};
use rustix::fs::{AtFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const HIDDEN: &str = ".artifact-fetch";
const CURRENT: &str = "current";
/// Tells two times of a file apart.
const TICK: Duration = Duration::from_nanos(1);
const REMOVAL_TRIES: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(2);

/// Bytes of the longest record that is read.
pub(crate) const LONGEST_RECORD: u64 = 1 << 20;

/// A directory of releases.
#[derive(Debug)]
pub(crate) struct Shelf {
    path: PathBuf,
    layout: Layout,
    /// How long the lock is waited for: only renames and small writes happen under it.
    patience: Duration,
}

/// The shelf and what is hidden on it, both held open.
struct Held {
    dir: Dir,
    hidden: Dir,
    patience: Duration,
}

/// A tree that nobody sees yet; removed with this value unless it was put on the shelf.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Where to unpack to.
    pub(crate) dir: Dir,
    tree: Doomed,
}

impl Draft {
    /// Whom what is unpacked belongs to, if root works for somebody else.
    pub(crate) fn heir(&self) -> Option<(u32, u32)> {
        self.tree.hidden.heir()
    }

    /// From now on it is for others, too.
    ///
    /// # Errors
    /// Its mode can't be set.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let Doomed { hidden, name, .. } = &self.tree;
        hidden.give(&self.dir, 0o755).map_err(|error| hidden.failed("write", name, error))
    }
}

/// A hidden tree that is removed with this value.
#[derive(Debug)]
pub(crate) struct Doomed {
    hidden: Dir,
    name: OsString,
    _lock: Lock,
}

impl Doomed {
    /// Removes the tree and says whether it could.
    ///
    /// # Errors
    /// Some of it stays; the next run tries again.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        remove_tree(&self.hidden, &self.name).map_err(|error| self.hidden.failed("remove", &self.name, error))
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // A thread that unpacks may make one more file before it notices; what stays all the same, the next run sweeps.
        for _ in 0..REMOVAL_TRIES {
            if remove_tree(&self.hidden, &self.name).is_ok() {
                break;
            }
            std::thread::sleep(REMOVAL_PAUSE);
        }
        let _ = self.hidden.remove(lock_of(&self.name));
    }
}

impl Shelf {
    /// The shelf in `dir`; touches nothing.
    pub(crate) fn new(dir: &Path, layout: &Layout, patience: Duration) -> Self {
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Self { path, layout: layout.clone(), patience }
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// They can't be made or written.
    pub(crate) async fn prepare(&self) -> Result<(), Failure> {
        let held = self.make()?;
        let _lock = held.lock().await?;
        // What dead runs left.
        held.sweep()
    }

    /// The shelf, made where it is missing.
    fn make(&self) -> Result<Held, Failure> {
        // As readable as the releases in it, also where root boots with another umask.
        let dir = Dir::make_public(&self.path)?;
        let hidden = dir.child(HIDDEN)?;
        // Releases have the modes of their archives: whoever else is of the group could not remove them.
        hidden.expect_own()?;
        Ok(Held { dir, hidden, patience: self.patience })
    }

    /// The shelf, if it is there.
    fn held(&self) -> Result<Option<Held>, Failure> {
        let Some(dir) = Dir::open_if_there(&self.path)? else { return Ok(None) };
        Ok(dir.child_if_there(HIDDEN)?.map(|hidden| Held { dir, hidden, patience: self.patience }))
    }

    /// Directory of a release.
    pub(crate) fn tree(&self, number: ReleaseNumber) -> PathBuf {
        self.path.join(self.layout.name(number))
    }

    /// The record of a release that stands on the shelf whole.
    ///
    /// # Errors
    /// Something else has the release's name.
    pub(crate) fn record(&self, number: ReleaseNumber) -> Result<Option<Record>, Failure> {
        let Some(dir) = Dir::open_if_there(&self.path)? else { return Ok(None) };
        let name = self.layout.name(number);
        let Some(tree) = dir.entry(&name).map_err(|error| dir.failed("read", &name, error))? else { return Ok(None) };
        let record = dir.child_if_there(HIDDEN)?.map(|hidden| hidden.read(self.layout.record(number), LONGEST_RECORD));
        let record = record.and_then(Result::ok).flatten().and_then(|bytes| Record::parse(&bytes).ok());
        record.filter(|record| record.number() == number && tree.is_dir()).map(Some).ok_or_else(|| {
            let tree = self.tree(number);
            Failure::permanent(format!("{} is there, but was not put there by artifact-fetch", tree.display()))
        })
    }

    /// The release that `current` leads to.
    pub(crate) fn current(&self) -> Option<ReleaseNumber> {
        let target = Dir::open(&self.path).ok()?.link_target(CURRENT)?;
        let name = target.to_str()?.strip_prefix(&self.layout.prefix())?.to_owned();
        name.parse().ok()
    }

    /// The promotions seen here.
    ///
    /// # Errors
    /// They can't be read, or are damaged.
    pub(crate) fn seen(&self) -> Result<Seen, Failure> {
        match self.held()? {
            Some(held) => Seen::read(&held.hidden),
            None => Ok(Seen::default()),
        }
    }

    /// Remembers promotion `number` in place of `last`. False: another run remembered another one meanwhile, and nothing
    /// is changed.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) async fn remember(&self, channel: &Channel, last: u64, number: u64) -> Result<bool, Failure> {
        if number == last {
            return Ok(true);
        }
        let held = self.make()?;
        let _lock = held.lock().await?;
        let seen = Seen::read(&held.hidden)?;
        match seen.last(channel) {
            now if now == number => Ok(true),
            now if now == last => seen.remember(&held.hidden, channel.clone(), number).map(|()| true),
            _ => Ok(false),
        }
    }

    /// An empty directory to unpack into, on the same file system.
    ///
    /// # Errors
    /// It can't be made.
    pub(crate) async fn draft(&self) -> Result<Draft, Failure> {
        let held = self.make()?;
        // Under the lock, since between its two steps a draft looks like one of a dead run.
        let _lock = held.lock().await?;
        let dir = held.hidden.new_child("unpack-")?;
        let name = dir.path().file_name().unwrap_or_default().to_owned();
        let own = held.hidden.lock(lock_of(&name), self.patience)?;
        Ok(Draft { dir, tree: Doomed { hidden: held.hidden, name, _lock: own } })
    }

    /// Puts a whole, verified tree on the shelf. Another run may have done so meanwhile, which is as good.
    ///
    /// # Errors
    /// It can't be written; nothing is visible then.
    pub(crate) async fn put(
        &self,
        draft: &Draft,
        written: Writeback,
        number: ReleaseNumber,
        record: &Record,
    ) -> Result<(), Failure> {
        let name = self.layout.name(number);
        blocking(move || written.finish()).await?;
        let Held { dir, hidden, patience } = self.make()?;
        let _lock = lock(&hidden, patience).await?;
        if self.record(number)?.is_some() {
            return Ok(());
        }
        // The record first: a tree without one is nobody's.
        hidden.replace(self.layout.record(number), &record.to_bytes())?;
        let moved = match rustix::fs::renameat_with(&hidden, &draft.tree.name, &dir, &name, RenameFlags::NOREPLACE) {
            // Some file systems, NFS for one, know no such flag; a plain rename replaces nothing but an empty directory.
            Err(rustix::io::Errno::INVAL) => hidden.rename(&draft.tree.name, &dir, &name),
            moved => moved.map_err(Into::into),
        };
        moved.map_err(|error| dir.failed("write", &name, error))?;
        dir.sync()
    }

    /// Lets `current` lead to a release of the shelf, and takes old ones beyond the `keep` most lately used off it. What
    /// became of those is told apart, since the switch stands whatever it is. `None`: another run took the release off
    /// the shelf meanwhile, and nothing is changed.
    ///
    /// # Errors
    /// The link can't be changed, and is as it was.
    pub(crate) fn switch(
        &self,
        _lock: &Lock,
        number: ReleaseNumber,
        keep: usize,
    ) -> Result<Option<Result<Vec<Doomed>, Failure>>, Failure> {
        if self.record(number)?.is_none() {
            return Ok(None);
        }
        let held = self.make()?;
        let stands = held.dir.entry(CURRENT).map_err(|error| held.dir.failed("read", CURRENT, error))?;
        if stands.is_some_and(|stands| !stands.is_link()) {
            let link = self.path.join(CURRENT);
            return Err(Failure::permanent(format!("{} is there, but is not a link", link.display())));
        }
        held.sweep()?;
        let before = self.current();
        if before != Some(number) {
            // A tree's own time says when it was last current, which is the order in which they go. The clock may have
            // been put back since the newest of them.
            let newest = self.releases(&held)?.into_iter().map(|(used, _)| used).max();
            let now = newest.map_or(SystemTime::now(), |newest| SystemTime::now().max(after(newest)));
            if let Some(before) = before {
                touch(&held.dir, &self.layout.name(before), now)?;
            }
            let name = self.layout.name(number);
            touch(&held.dir, &name, after(now))?;
            held.dir.switch_link(CURRENT, Path::new(&name))?;
        }
        Ok(Some(self.retire(&held, number, before, keep)))
    }

    /// The releases on the shelf, and when each was last current.
    fn releases(&self, Held { dir, hidden, .. }: &Held) -> Result<Vec<(SystemTime, ReleaseNumber)>, Failure> {
        let names = dir.names().map_err(|error| dir.failed("read", "", error))?;
        let prefix = self.layout.prefix();
        let numbers = names.iter().filter_map(|name| name.to_str()?.strip_prefix(&prefix)?.parse().ok());
        let stands = |number: &ReleaseNumber| matches!(hidden.entry(self.layout.record(*number)), Ok(Some(_)));
        let used = |number| {
            let tree = dir.entry(self.layout.name(number)).ok().flatten();
            (tree.map_or(SystemTime::UNIX_EPOCH, |tree| tree.modified()), number)
        };
        Ok(numbers.filter(stands).map(used).collect())
    }

    /// Takes the trees that are too old off the shelf. The one that was current just now stays in any case.
    fn retire(
        &self,
        held: &Held,
        current: ReleaseNumber,
        before: Option<ReleaseNumber>,
        keep: usize,
    ) -> Result<Vec<Doomed>, Failure> {
        let mut releases = self.releases(held)?;
        releases.sort_unstable_by_key(|(used, number)| {
            Reverse((*number == current, Some(*number) == before, *used, *number))
        });
        let Held { dir, hidden, patience } = held;
        let mut removed = Vec::new();
        for (_, number) in releases.into_iter().skip(1 + keep) {
            let tree = self.layout.name(number);
            if dir.entry(&tree).is_ok_and(|there| there.is_some()) {
                let name = OsString::from(format!("old-{tree}-{}", std::process::id()));
                let own = hidden.lock(lock_of(&name), *patience)?;
                dir.rename(&tree, hidden, &name).map_err(|error| dir.failed("remove", &tree, error))?;
                removed.push(Doomed { hidden: hidden.clone(), name, _lock: own });
            }
            hidden.remove(self.layout.record(number))?;
        }
        Ok(removed)
    }

    /// Waits for the other runs. Like every wait here it may be dropped: nothing has been changed by it.
    ///
    /// # Errors
    /// They take too long (temporary).
    pub(crate) async fn lock(&self) -> Result<Lock, Failure> {
        self.make()?.lock().await
    }
}

impl Held {
    async fn lock(&self) -> Result<Lock, Failure> {
        lock(&self.hidden, self.patience).await
    }

    /// Removes what dead runs left. The caller holds the lock.
    fn sweep(&self) -> Result<(), Failure> {
        let Self { dir, hidden, .. } = self;
        for name in hidden.names().map_err(|error| hidden.failed("read", "", error))? {
            let Ok(Some(left)) = hidden.entry(&name) else { continue };
            let shown = name.to_string_lossy().into_owned();
            if shown.starts_with(durable::TEMPORARY_PREFIX) {
                hidden.remove(&name)?;
            } else if left.is_dir() && (shown.starts_with("unpack-") || shown.starts_with("old-")) {
                // What is not of our making is not ours to remove.
                if let Ok(Some(lock)) = hidden.try_lock(lock_of(&name)) {
                    drop(Doomed { hidden: hidden.clone(), name, _lock: lock });
                }
            } else if let Some(of) = shown.strip_suffix(".lock")
                && !matches!(hidden.entry(of), Ok(Some(of)) if of.is_dir())
            {
                if let Ok(Some(_gone)) = hidden.try_lock(&name) {
                    hidden.remove(&name)?;
                }
            } else if let Some(tree) = shown.strip_suffix(".release")
                && matches!(dir.entry(tree), Ok(None))
            {
                // A record and its tree come and go under the lock: this one's run died in between.
                hidden.remove(&name)?;
            }
        }
        for name in dir.names().map_err(|error| dir.failed("read", "", error))? {
            // Ours is always a link: files that only look alike are somebody else's.
            let temporary = name.to_string_lossy().starts_with(durable::TEMPORARY_PREFIX);
            if temporary && matches!(dir.entry(&name), Ok(Some(left)) if left.is_link()) {
                dir.remove(&name)?;
            }
        }
        Ok(())
    }
}

/// The next time, where there is one.
fn after(time: SystemTime) -> SystemTime {
    time.checked_add(TICK).unwrap_or(time)
}

/// Waits on a thread of its own, so that signals are heard meanwhile.
async fn lock(hidden: &Dir, patience: Duration) -> Result<Lock, Failure> {
    let hidden = hidden.clone();
    blocking(move || hidden.lock("lock", patience)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::temporary(format!("file work was given up: {error}")))?
}

fn lock_of(name: &OsStr) -> OsString {
    let mut lock = name.to_owned();
    lock.push(".lock");
    lock
}

fn touch(dir: &Dir, name: &str, time: SystemTime) -> Result<(), Failure> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let last_modification =
        Timespec { tv_sec: since.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: since.subsec_nanos().into() };
    let times = Timestamps { last_access, last_modification };
    let touched = durable::if_there(rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW));
    touched.map(drop).map_err(|error| dir.failed("write", name, error))
}
