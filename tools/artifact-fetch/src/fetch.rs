//! A fetch from its first question to the switched link.

use crate::args::{Args, Rollback};
use crate::resolve::{Wanted, resolve};
use crate::seen::Channel;
use crate::shelf::{Doomed, Draft, LONGEST_RECORD, Shelf};
use crate::writeback::Writeback;
use archive::{UnpackError, unpack};
use cli::{Console, Interrupts, Output};
use failure::Failure;
use release::layout::LATEST;
use release::record::Artifact;
use release::transfer::{Sums, read_through};
use release::{Record, ReleaseNumber, Selector};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use store::{Head, Objects, Store};
use tokio::sync::OnceCell;

/// Times that other runs may take the release off the shelf again before the switch to it, when many share a small one.
const TRIES: u32 = 5;
/// Readings of a pointer while other runs of this host see it promoted.
const ROUNDS: u32 = 20;

/// Where releases come from. Opened once, and only by who needs it: credentials may have to be asked for, and connections
/// are kept.
struct Place<'a> {
    args: &'a Args,
    opened: OnceCell<Arc<dyn Store>>,
}

impl Place<'_> {
    async fn store(&self) -> Result<&Arc<dyn Store>, Failure> {
        self.opened.get_or_try_init(|| self.args.store.open()).await
    }
}

/// Fetches the release and makes it the current one.
///
/// # Errors
/// `current` is as it was then, and nothing half is visible.
pub(crate) async fn run(args: &Args, console: Console, out: Output) -> Result<(), Failure> {
    let mut interrupts = Interrupts::catch()?;
    let shelf = Shelf::new(&args.into, &args.store.artifact, args.store.timeout());
    let place = Place { args, opened: OnceCell::new() };
    let (mut wanted, mut here) = interrupts.or(find(&place, &shelf, console)).await?;
    if args.dry_run {
        return foretell(&shelf, wanted, here, args.print_path, console, out);
    }
    let before = shelf.current();
    for _ in 0..TRIES {
        let number = wanted.number;
        let record = match here.take() {
            Some(record) => {
                console.step(format!("release {number} is here already"));
                record
            }
            None => interrupts.or(install(&place, &shelf, &wanted, console)).await?,
        };
        let lock = interrupts.or(shelf.lock()).await?;
        // The last moment to end without a change: from here to the record nothing is waited for.
        interrupts.check().await?;
        if let Some(channel) = &wanted.channel
            && shelf.seen()?.last(channel) > wanted.promotion
        {
            drop(lock);
            console.step(format!("release {number} is overtaken: another run saw a later promotion"));
            (wanted, here) = interrupts.or(find(&place, &shelf, console)).await?;
            continue;
        }
        let switched = shelf.switch(&lock, number, args.keep as usize)?;
        drop(lock);
        if let Some(retired) = switched {
            match before {
                Some(before) if before == number => console.step(format!("current is release {number} already")),
                Some(before) => console.step(format!("current is switched from release {before} to {number}")),
                None => console.step(format!("current is release {number}")),
            }
            let bytes = printed(&shelf, number, &record, args.print_path);
            out.report(&bytes, &format!("release {number} is current"))?;
            let removed = retired.and_then(|old| old.into_iter().try_for_each(Doomed::remove));
            if let Err(failure) = removed {
                console.warn(format!("release {number} is current, but an old one is left: {failure}"));
            }
            return interrupts.check().await;
        }
    }
    let (into, number) = (args.into.display(), wanted.number);
    Err(Failure::temporary(format!("other runs keep taking release {number} off {into}: is --keep too small?")))
}

/// Says what a run would change.
fn foretell(
    shelf: &Shelf,
    wanted: Wanted,
    here: Option<Record>,
    print_path: bool,
    console: Console,
    out: Output,
) -> Result<(), Failure> {
    let number = wanted.number;
    let unknown = || format!("release {number} has no record outside its archive, so nothing can be said of it");
    let record = here.or(wanted.record).ok_or_else(|| Failure::permanent(unknown()))?;
    let now = shelf.current().map_or_else(|| "no release".to_owned(), |number| number.to_string());
    console.tell(format!("dry run: current would change from {now} to {number}"));
    out.write_and_close(&printed(shelf, number, &record, print_path))
}

fn printed(shelf: &Shelf, number: ReleaseNumber, record: &Record, print_path: bool) -> Vec<u8> {
    if print_path { [shelf.tree(number).as_os_str().as_bytes(), b"\n"].concat() } else { record.to_bytes() }
}

/// The release asked for, and its record if it is on the shelf. Its promotion is remembered, unless this is a dry run.
async fn find(place: &Place<'_>, shelf: &Shelf, console: Console) -> Result<(Wanted, Option<Record>), Failure> {
    let args = place.args;
    // A number that is here needs no store: going back works while the store is away.
    if let Selector::Number(number) = args.release
        && let Some(record) = shelf.record(number)?
    {
        return Ok((Wanted::here(&record), Some(record)));
    }
    let store = place.store().await?;
    let wanted = match channel(&args.release, store.as_ref()) {
        Some(channel) => promoted(args, shelf, store.as_ref(), channel, console).await?,
        None => ask(args, shelf, store.as_ref(), console).await?,
    };
    let here = shelf.record(wanted.number)?;
    if let (Some(here), Some(there)) = (&here, &wanted.record)
        && let Some(there) = there.artifact()
    {
        let (tree, number) = (shelf.tree(wanted.number), wanted.number);
        match here.artifact() {
            Some(here) if here.sha256 != there.sha256 => {
                return Err(Failure::permanent(format!(
                    "{} is another release than the store's: its SHA-256 differs",
                    tree.display()
                )));
            }
            Some(_) => {}
            None => console.warn(format!(
                "{} was fetched before release {number} had a checksum, and was never verified",
                tree.display()
            )),
        }
    }
    Ok((wanted, here))
}

async fn ask(args: &Args, shelf: &Shelf, store: &dyn Objects, console: Console) -> Result<Wanted, Failure> {
    let here = |number| matches!(shelf.record(number), Ok(Some(_)));
    resolve(store, &args.store.artifact, &args.release, here, args.without_checksum(), console).await
}

/// The channel whose promotions count. The newest build is no promotion, and a record on stdin names no channel.
fn channel(selector: &Selector, store: &dyn Objects) -> Option<Channel> {
    match selector {
        Selector::Pointer(name) if name != LATEST => Some(Channel::new(name, &store.url(""))),
        _ => None,
    }
}

/// The release that is promoted, never by an older promotion than one that was seen here, unless that is asked for.
async fn promoted(
    args: &Args,
    shelf: &Shelf,
    store: &dyn Objects,
    channel: Channel,
    console: Console,
) -> Result<Wanted, Failure> {
    for _ in 0..ROUNDS {
        // What was seen before the pointer is read: a promotion seen meanwhile may be later than what is read here.
        let last = shelf.seen()?.last(&channel);
        let mut wanted = ask(args, shelf, store, console).await?;
        // An old script's release and pointer, taken on trust: there is neither a checksum nor a number to hold it to.
        if wanted.record.as_ref().and_then(Record::artifact).is_none() {
            return Ok(wanted);
        }
        let found = wanted.promotion;
        if found < last {
            let place = store.url(&release::layout::pointer(&args.release.to_string()));
            let found = if found == 0 { "no promotion".to_owned() } else { format!("promotion {found}") };
            let what = format!("{place} carries {found}, and promotion {last} was seen on this host");
            match args.rollback() {
                Rollback::Refused => {
                    return Err(Failure::permanent(format!(
                        "{what}: an older pointer was put back; promote the release again, or take it with --allow-rollback"
                    )));
                }
                Rollback::Taken if args.dry_run => console.warn(format!("{what}: it would be forgotten")),
                Rollback::Taken => console.warn(format!("{what}: it is forgotten, since --allow-rollback says so")),
            }
        }
        if args.dry_run || shelf.remember(&channel, last, wanted.promotion).await? {
            wanted.channel = Some(channel);
            return Ok(wanted);
        }
    }
    let into = args.into.display();
    Err(Failure::temporary(format!("other runs keep changing which promotion was seen last in {into}")))
}

/// Downloads, verifies and unpacks a release, and puts it on the shelf.
async fn install(place: &Place<'_>, shelf: &Shelf, wanted: &Wanted, console: Console) -> Result<Record, Failure> {
    shelf.prepare().await?;
    let (args, store) = (place.args, place.store().await?);
    let key = wanted.key(&args.store.artifact);
    let artifact = wanted.record.as_ref().and_then(Record::artifact);
    let head = look(store.as_ref(), &key, artifact, wanted.head.clone()).await?;
    check_space(args, head.size)?;
    // One fresh download settles whether the network or the store has the damage.
    let mut draft = shelf.draft().await?;
    let mut written = Writeback::start(draft.dir.path())?;
    let (mut sums, mut unpacked) = pass(args, store.as_ref(), &key, &head, wanted, (&draft, &written), console).await?;
    if let Some(artifact) = artifact.filter(|artifact| !sums.are_of(artifact)) {
        console.step(format!("{key} does not match its record, downloading it once more"));
        draft = shelf.draft().await?;
        written = Writeback::start(draft.dir.path())?;
        (sums, unpacked) = pass(args, store.as_ref(), &key, &head, wanted, (&draft, &written), console).await?;
        if !sums.are_of(artifact) {
            let url = store.url(&key);
            return Err(Failure::permanent(format!(
                "{url} does not match its record: the SHA-256 differs, also of a second download"
            )));
        }
        console.warn(format!("{key} was damaged on its way and downloaded twice"));
    }
    unpacked.map_err(|error| refused(&store.url(&key), error))?;
    draft.finish()?;
    let record = match &wanted.record {
        Some(record) => record.clone(),
        None => inner_record(&draft, wanted)?,
    };
    shelf.put(&draft, written, wanted.number, &record).await?;
    console.step(format!("{key} is verified and unpacked"));
    Ok(record)
}

async fn look(
    store: &dyn Objects,
    key: &str,
    artifact: Option<&Artifact>,
    known: Option<Head>,
) -> Result<Head, Failure> {
    let url = store.url(key);
    let head = match known {
        Some(head) => head,
        None => store.head(key).await?.ok_or_else(|| Failure::permanent(format!("{url} does not exist")))?,
    };
    match artifact {
        Some(artifact) if artifact.size != head.size => {
            let (found, size) = (head.size, artifact.size);
            Err(Failure::permanent(format!("{url} does not match its record: it has {found} bytes instead of {size}")))
        }
        _ => Ok(head),
    }
}

async fn pass(
    args: &Args,
    store: &dyn Objects,
    key: &str,
    head: &Head,
    wanted: &Wanted,
    (draft, written): (&Draft, &Writeback),
    console: Console,
) -> Result<(Sums, Result<(), UnpackError>), Failure> {
    let (into, heir, format, limits) = (draft.dir.clone(), draft.heir(), wanted.format(), args.limits());
    let progress = console.progress(Some(head.size));
    let consume = move |packed| unpack(format.reader(packed).map_err(UnpackError::Read)?, into.as_fd(), heir, limits);
    let arrived = |bytes| {
        progress.add(bytes);
        written.arrived(bytes);
    };
    read_through(store, key, head, arrived, consume).await
}

fn refused(url: &str, error: UnpackError) -> Failure {
    match error {
        UnpackError::Write { name, source } => Failure::io(format!("unable to write {name} of {url}"), source),
        UnpackError::TooMuch { .. } => {
            Failure::permanent(format!("{url}: {error} (--max-size and --max-entries set the limits)"))
        }
        other => Failure::permanent(format!("{url}: {other}")),
    }
}

/// The record inside the archive of an old script, which has none beside it.
fn inner_record(draft: &Draft, wanted: &Wanted) -> Result<Record, Failure> {
    let number = wanted.number;
    let no_record = |why: String| Failure::permanent(format!("the archive of release {number} has no record: {why}"));
    let bytes = draft.dir.read("RELEASE", LONGEST_RECORD).map_err(|error| no_record(error.to_string()))?;
    let bytes = bytes.ok_or_else(|| no_record("there is no RELEASE".to_owned()))?;
    let record = Record::parse(&bytes).map_err(|error| no_record(error.to_string()))?;
    if record.number() == number { Ok(record) } else { Err(no_record(format!("its VERSION is {}", record.number()))) }
}

/// An archive that can't fit is not worth its first byte.
fn check_space(args: &Args, size: u64) -> Result<(), Failure> {
    let what = || format!("unable to unpack into {}", args.into.display());
    let disk = rustix::fs::statvfs(&args.into).map_err(|error| Failure::io(what(), error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= size {
        return Ok(());
    }
    Err(Failure::temporary(format!("{}: {free} bytes are free and the archive alone has {size}", what())))
}
