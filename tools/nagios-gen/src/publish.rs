//! From text to a Nagios that runs with it: verified, replaced, reloaded, confirmed, each step repaired by the next run.
//!
//! FILE is what the fleet is; `.FILE.good` is what a running Nagios confirmed; `.FILE.pending` stands from before FILE is
//! replaced until it is confirmed. Only if FILE and the good content are the same and nothing is pending, a run with the
//! same text has nothing to write and nothing to reload. It still lets Nagios check FILE: the tree around it may have
//! changed.

use crate::args::FileArgs;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::definitions;
use crate::place::{self, Place};
use crate::verify::{self, Scratch};
use cli::{Console, Interrupts, Output};
use durable::{Lock, Staged};
use failure::Failure;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Brings `text` into `output`.
///
/// # Errors
/// FILE is as it was, or the message says what it is.
pub(crate) fn run(
    output: &Path,
    args: &FileArgs,
    limit: Duration,
    text: &str,
    console: Console,
) -> Result<(), Failure> {
    cli::block_on(1, async {
        let mut interrupts = Interrupts::catch()?;
        interrupts.or(publish(output, args, limit, text, console)).await
    })
}

async fn publish(output: &Path, args: &FileArgs, limit: Duration, text: &str, console: Console) -> Result<(), Failure> {
    let place = Place::find(output)?;
    let file = place.file().display().to_string();
    let _lock = place.lock(limit).await?;
    let standing = place.standing()?;
    let old = String::from_utf8_lossy(standing.as_deref().unwrap_or_default());
    let changes = Changes::between(&old, text);
    changes.check(args, &file)?;
    let replaces = standing.as_deref() != Some(text.as_bytes());
    let confirmed = args.reload.is_none() || !place.is_pending() && place.good()?.as_deref() == Some(text.as_bytes());
    let is_done = !replaces && confirmed;
    let candidate = if replaces { Some(place.stage(text.as_bytes())?) } else { None };
    let nagios = match &args.verify {
        Some(path) => Some(if is_done {
            Nagios::open(path, &place, args, limit, Scratch::apart).await?
        } else {
            Nagios::open(path, &place, args, limit, |config| Scratch::beside(&place, config)).await?
        }),
        None => None,
    };
    let mut wanted = Vec::new();
    if let Some(nagios) = &nagios {
        wanted = nagios
            .verify(&place, candidate.as_ref().map_or_else(|| place.file().to_owned(), Staged::path).as_path())
            .await?;
        console.step(format!("{file}: Nagios accepts it"));
    }
    if is_done {
        console.step(format!("{file} is up to date"));
        return Ok(());
    }
    if args.dry_run {
        console.tell(format!("dry run: nothing was changed: {changes}"));
        return Output::default().write_and_close(changes.lines().as_bytes());
    }
    let reloads = nagios.as_ref().and_then(|nagios| Some((nagios, nagios.daemon.as_ref()?)));
    if reloads.is_some() {
        place.mark_pending()?;
        if place.good()?.is_none() {
            // Nothing is known about what stands there, but Nagios runs beside it: it is what to go back to.
            place.keep_good(standing.as_deref().unwrap_or_default())?;
        }
    }
    if let Some(candidate) = candidate {
        place.publish(candidate)?;
    }
    console.step(format!("{file}: {changes}"));
    let Some((nagios, daemon)) = reloads else { return Ok(()) };
    if let Err(why) = daemon.reload(&wanted, &nagios.scratch).await {
        return Err(go_back(nagios, daemon, &place, text.as_bytes(), why).await);
    }
    if place.good()?.as_deref() != Some(text.as_bytes()) {
        place.keep_good(text.as_bytes())?;
    }
    place.clear_pending()?;
    console.step(format!("{file}: the running Nagios has taken it"));
    Ok(())
}

/// Puts the last known good content back, for the reason `why`, and tells what came of it. Whatever is not confirmed stays
/// pending, so that the next run reloads.
async fn go_back(nagios: &Nagios<'_>, daemon: &Daemon<'_>, place: &Place, tried: &[u8], why: Failure) -> Failure {
    let file = place.file().display();
    let good = match place.good() {
        Ok(Some(good)) if good != tried => good,
        Ok(_) => return why.context(format!("{file} is not confirmed, and there is nothing older to go back to")),
        Err(error) => return why.context(format!("{file} is not confirmed, and can't be rolled back ({error})")),
    };
    let restore = async {
        let candidate = place.stage(&good)?;
        let wanted = nagios.verify(place, &candidate.path()).await?;
        place.publish(candidate)?;
        Ok(wanted)
    };
    let wanted = match restore.await {
        Ok(wanted) => wanted,
        Err(error) => {
            let error: Failure = error;
            return why.context(format!("{file} is not confirmed, and can't be rolled back ({error})"));
        }
    };
    let confirmed = async {
        daemon.reload(&wanted, &nagios.scratch).await?;
        place.clear_pending()
    };
    match confirmed.await {
        Ok(()) => why.context(format!("{file} is rolled back to the last good one, which Nagios has taken")),
        Err(error) => {
            why.context(format!("{file} is rolled back to the last good one, which is not confirmed either ({error})"))
        }
    }
}

/// The Nagios that reads FILE: its check, and its daemon if there is a way to reload it.
struct Nagios<'a> {
    config: Config,
    program: PathBuf,
    limit: Duration,
    daemon: Option<Daemon<'a>>,
    scratch: Scratch,
    /// Another run's FILE in the same tree would change what was verified.
    _lock: Lock,
}

impl<'a> Nagios<'a> {
    async fn open(
        path: &Path,
        place: &Place,
        args: &'a FileArgs,
        limit: Duration,
        scratch: impl FnOnce(&Config) -> Result<Scratch, Failure>,
    ) -> Result<Self, Failure> {
        // A pipe would be waited for without end, and a device read so.
        let found =
            fs::metadata(path).map_err(|error| Failure::io(format!("unable to read {}", path.display()), error))?;
        if !found.is_file() {
            return Err(Failure::permanent(format!("unable to verify: {} is not a file", path.display())));
        }
        let lock = place::lock_tree(path, place, limit).await?;
        let config = Config::read(path)?;
        let command = args.reload.as_deref();
        Ok(Self {
            daemon: command.map(|command| Daemon::new(&config, command, limit)).transpose()?,
            program: verify::program(args.nagios.as_deref())?,
            scratch: scratch(&config)?,
            config,
            limit,
            _lock: lock,
        })
    }

    async fn verify(&self, place: &Place, candidate: &Path) -> Result<Vec<u64>, Failure> {
        self.scratch.verify(&self.program, &self.config, place, candidate, self.limit).await
    }
}

/// What becomes of the hosts of FILE.
struct Changes<'a> {
    before: usize,
    after: usize,
    added: Vec<&'a str>,
    removed: Vec<&'a str>,
    changed: Vec<&'a str>,
}

impl<'a> Changes<'a> {
    fn between(old: &'a str, new: &'a str) -> Self {
        let (old, new) = (definitions::hosts(old), definitions::hosts(new));
        let changed = new.iter().filter(|(name, print)| old.get(*name).is_some_and(|before| before != *print));
        Self {
            before: old.len(),
            after: new.len(),
            added: new.keys().filter(|name| !old.contains_key(*name)).copied().collect(),
            removed: old.keys().filter(|name| !new.contains_key(*name)).copied().collect(),
            changed: changed.map(|(name, _)| *name).collect(),
        }
    }

    /// A list that lost too much is more likely a mistake than a fleet.
    fn check(&self, args: &FileArgs, file: &str) -> Result<(), Failure> {
        let (before, after) = (self.before, self.after);
        if after == 0 && !args.allow_empty {
            return Err(Failure::permanent(format!(
                "unable to write {file}: no host to watch (--allow-empty accepts that); nothing is changed"
            )));
        }
        let lost = before.saturating_sub(after);
        let share = usize::from(args.max_shrink);
        if after > 0 && lost * 100 > before * share {
            return Err(Failure::permanent(format!(
                "unable to write {file}: {after} hosts are left of {before}, which is a loss of more than {share}% \
                 (--max-shrink); nothing is changed"
            )));
        }
        Ok(())
    }

    fn lines(&self) -> String {
        let all = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let lines = all.iter().flat_map(|(what, names)| names.iter().map(move |name| format!("{what}\t{name}\n")));
        lines.collect()
    }
}

impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.added.len(), self.removed.len(), self.changed.len());
        write!(f, "{} hosts added, {} removed, {} changed, {} now", counts.0, counts.1, counts.2, self.after)
    }
}
