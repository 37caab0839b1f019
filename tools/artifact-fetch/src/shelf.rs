//! The directory of releases on a host: `<artifact>-<n>`, each whole, and the link `current`.
//!
//! All that is not for others to see lies under `.artifact-fetch`: a lock, the record of every release on the shelf, the
//! promotions seen here, and trees that are being unpacked or removed, each with a lock of its own so that the ones of dead
//! runs can be told.

use crate::removal::remove_tree;
use crate::seen::{Channel, Seen};
use crate::writeback::Writeback;
use durable::Lock;
use failure::Failure;
use release::{Layout, Record, ReleaseNumber};
use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use std::cmp::Reverse;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const HIDDEN: &str = ".artifact-fetch";
const CURRENT: &str = "current";
const SEEN: &str = "promotions";
/// Only renames and small writes happen under the lock.
const LOCK_LIMIT: Duration = Duration::from_secs(60);
/// Tells two times of a file apart.
const TICK: Duration = Duration::from_nanos(1);
const REMOVAL_TRIES: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(2);

/// A directory of releases.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    layout: Layout,
}

/// A tree that nobody sees yet; removed with this value unless it was put on the shelf.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Where to unpack to.
    pub(crate) dir: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

impl Draft {
    /// Removes the tree and says whether it could.
    ///
    /// # Errors
    /// Some of it stays; the next run tries again.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        remove_tree(&self.dir).map_err(|error| unable("remove", &self.dir, error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A thread that unpacks may make one more file before it notices; what stays all the same, the next run sweeps.
        for _ in 0..REMOVAL_TRIES {
            if remove_tree(&self.dir).is_ok() {
                break;
            }
            std::thread::sleep(REMOVAL_PAUSE);
        }
        let _ = fs::remove_file(&self.lock_path);
    }
}

impl Shelf {
    /// The shelf in `dir`; touches nothing.
    pub(crate) fn new(dir: &Path, layout: &Layout) -> Self {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Self { dir, layout: layout.clone() }
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// They can't be made or written.
    pub(crate) async fn prepare(&self) -> Result<(), Failure> {
        let hidden = self.hidden();
        fs::create_dir_all(&hidden).map_err(|error| unable("write", &hidden, error))?;
        let _lock = self.lock().await?;
        // What dead runs left.
        self.sweep_locked()
    }

    /// Directory of a release.
    pub(crate) fn tree(&self, number: ReleaseNumber) -> PathBuf {
        self.dir.join(self.layout.name(number))
    }

    /// The record of a release that stands on the shelf whole.
    ///
    /// # Errors
    /// Something else has the release's name.
    pub(crate) fn record(&self, number: ReleaseNumber) -> Result<Option<Record>, Failure> {
        let tree = self.tree(number);
        match fs::symlink_metadata(&tree) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(unable("read", &tree, error)),
        }
        let path = self.record_path(number);
        let parsed = fs::read(&path).ok().and_then(|bytes| Record::parse(&bytes).ok());
        parsed.filter(|record| record.number() == number && tree.is_dir() && !tree.is_symlink()).map(Some).ok_or_else(
            || Failure::permanent(format!("{} is there, but was not put there by artifact-fetch", tree.display())),
        )
    }

    /// The release that `current` leads to.
    pub(crate) fn current(&self) -> Option<ReleaseNumber> {
        let target = fs::read_link(self.dir.join(CURRENT)).ok()?;
        let name = target.to_str()?.strip_prefix(&self.layout.prefix())?.to_owned();
        name.parse().ok()
    }

    /// The promotions seen here.
    ///
    /// # Errors
    /// They can't be read, or are damaged.
    pub(crate) fn seen(&self) -> Result<Seen, Failure> {
        Seen::read(&self.hidden().join(SEEN))
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
        let hidden = self.hidden();
        fs::create_dir_all(&hidden).map_err(|error| unable("write", &hidden, error))?;
        let _lock = self.lock().await?;
        let seen = self.seen()?;
        match seen.last(channel) {
            now if now == number => Ok(true),
            now if now == last => seen.remember(channel.clone(), number).map(|()| true),
            _ => Ok(false),
        }
    }

    /// An empty directory to unpack into, on the same file system.
    ///
    /// # Errors
    /// It can't be made.
    pub(crate) async fn draft(&self) -> Result<Draft, Failure> {
        let hidden = self.hidden();
        // Under the lock, since between its two steps a draft looks like one of a dead run.
        let _lock = self.lock().await?;
        let dir = tempfile::Builder::new().prefix("unpack-").tempdir_in(&hidden);
        let dir = dir.map_err(|error| unable("write", &hidden, error))?.keep();
        let lock_path = lock_path(&dir);
        let own = Lock::acquire(&lock_path, LOCK_LIMIT)?;
        Ok(Draft { dir, lock_path, _lock: own })
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
        let tree = self.tree(number);
        rustix::fs::chmod(&draft.dir, rustix::fs::Mode::from_raw_mode(0o755))
            .map_err(|error| unable("write", &draft.dir, error.into()))?;
        blocking(move || written.finish()).await?;
        let _lock = self.lock().await?;
        if self.record(number)?.is_some() {
            return Ok(());
        }
        // The record first: a tree without one is nobody's.
        durable::replace(&self.record_path(number), &record.to_bytes())?;
        let moved = match rustix::fs::renameat_with(CWD, &draft.dir, CWD, &tree, RenameFlags::NOREPLACE) {
            // Some file systems, NFS for one, know no such flag; a plain rename replaces nothing but an empty directory.
            Err(rustix::io::Errno::INVAL) => fs::rename(&draft.dir, &tree),
            moved => moved.map_err(Into::into),
        };
        moved.map_err(|error| unable("write", &tree, error))?;
        durable::sync_dir(&self.dir)
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
    ) -> Result<Option<Result<Vec<Draft>, Failure>>, Failure> {
        if self.record(number)?.is_none() {
            return Ok(None);
        }
        let link = self.dir.join(CURRENT);
        if fs::symlink_metadata(&link).is_ok_and(|meta| !meta.is_symlink()) {
            return Err(Failure::permanent(format!("{} is there, but is not a link", link.display())));
        }
        self.sweep_locked()?;
        let before = self.current();
        if before != Some(number) {
            // A tree's own time says when it was last current, which is the order in which they go. The clock may have
            // been put back since the newest of them.
            let newest = self.releases()?.into_iter().map(|(used, _)| used).max();
            let now = newest.map_or(SystemTime::now(), |newest| SystemTime::now().max(newest + TICK));
            if let Some(before) = before {
                touch(&self.tree(before), now)?;
            }
            touch(&self.tree(number), now + TICK)?;
            durable::switch_link(&link, Path::new(&self.layout.name(number)))?;
        }
        Ok(Some(self.retire(number, before, keep)))
    }

    /// The releases on the shelf, and when each was last current.
    fn releases(&self) -> Result<Vec<(SystemTime, ReleaseNumber)>, Failure> {
        let mut releases = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|error| unable("read", &self.dir, error))? {
            let entry = entry.map_err(|error| unable("read", &self.dir, error))?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&self.layout.prefix())?.parse().ok());
            if let Some(number) = number.filter(|number| self.record_path(*number).exists()) {
                let used = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                releases.push((used, number));
            }
        }
        Ok(releases)
    }

    /// Takes the trees that are too old off the shelf. The one that was current just now stays in any case.
    fn retire(
        &self,
        current: ReleaseNumber,
        before: Option<ReleaseNumber>,
        keep: usize,
    ) -> Result<Vec<Draft>, Failure> {
        let mut releases = self.releases()?;
        releases.sort_unstable_by_key(|(used, number)| {
            Reverse((*number == current, Some(*number) == before, *used, *number))
        });
        let mut removed = Vec::new();
        for (_, number) in releases.into_iter().skip(1 + keep) {
            let tree = self.tree(number);
            let dir = self.hidden().join(format!("old-{}-{}", self.layout.name(number), std::process::id()));
            let lock_path = lock_path(&dir);
            let own = Lock::acquire(&lock_path, LOCK_LIMIT)?;
            fs::rename(&tree, &dir).map_err(|error| unable("remove", &tree, error))?;
            removed.push(Draft { dir, lock_path, _lock: own });
            let record = self.record_path(number);
            fs::remove_file(&record).map_err(|error| unable("remove", &record, error))?;
        }
        Ok(removed)
    }

    /// Removes what dead runs left.
    fn sweep_locked(&self) -> Result<(), Failure> {
        let hidden = self.hidden();
        for entry in fs::read_dir(&hidden).map_err(|error| unable("read", &hidden, error))? {
            let path = entry.map_err(|error| unable("read", &hidden, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(durable::TEMPORARY_PREFIX) {
                fs::remove_file(&path).map_err(|error| unable("remove", &path, error))?;
            } else if path.is_dir() && (name.starts_with("unpack-") || name.starts_with("old-")) {
                let lock_path = lock_path(&path);
                if let Some(lock) = Lock::try_acquire(&lock_path)? {
                    drop(Draft { dir: path, lock_path, _lock: lock });
                }
            } else if name.ends_with(".lock") && !path.with_extension("").is_dir() {
                let gone = Lock::try_acquire(&path)?;
                if gone.is_some() {
                    remove_if_there(&path)?;
                }
            } else if let Some(tree) = name.strip_suffix(".release")
                && matches!(durable::if_there(fs::symlink_metadata(self.dir.join(tree))), Ok(None))
            {
                // A record and its tree come and go under the lock: this one's run died in between.
                remove_if_there(&path)?;
            }
        }
        for entry in fs::read_dir(&self.dir).map_err(|error| unable("read", &self.dir, error))?.flatten() {
            // Ours is always a link: files that only look alike are somebody else's.
            let temporary = entry.file_name().to_string_lossy().starts_with(durable::TEMPORARY_PREFIX);
            if temporary && entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Waits for the other runs. Like every wait here it may be dropped: nothing has been changed by it.
    ///
    /// # Errors
    /// They take too long (temporary).
    pub(crate) async fn lock(&self) -> Result<Lock, Failure> {
        let path = self.hidden().join("lock");
        blocking(move || Lock::acquire(&path, LOCK_LIMIT)).await
    }

    fn hidden(&self) -> PathBuf {
        self.dir.join(HIDDEN)
    }

    fn record_path(&self, number: ReleaseNumber) -> PathBuf {
        self.hidden().join(self.layout.record(number))
    }
}

/// Waits on a thread of its own, so that signals are heard meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::temporary(format!("file work was given up: {error}")))?
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.with_added_extension("lock")
}

fn remove_if_there(path: &Path) -> Result<(), Failure> {
    durable::if_there(fs::remove_file(path)).map(drop).map_err(|error| unable("remove", path, error))
}

fn touch(dir: &Path, time: SystemTime) -> Result<(), Failure> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let last_modification =
        Timespec { tv_sec: since.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: since.subsec_nanos().into() };
    let times = Timestamps { last_access, last_modification };
    let touched = durable::if_there(rustix::fs::utimensat(CWD, dir, &times, AtFlags::empty()));
    touched.map(drop).map_err(|error| unable("write", dir, error))
}

fn unable(verb: &str, path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("unable to {verb} {}", path.display()), error)
}
