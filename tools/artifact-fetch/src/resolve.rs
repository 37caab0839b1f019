//! From what `--release` asks for to the one record that says what to fetch.

use crate::args::WithoutChecksum;
use crate::seen::Channel;
use cli::Console;
use failure::Failure;
use release::pointer;
use release::record::MAX_BYTES;
use release::{Layout, Record, ReleaseNumber, Selector, layout};
use store::{Head, Objects};

/// What to fetch.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) number: ReleaseNumber,
    /// Its record. An old release fetched by its number has none outside its archive.
    pub(crate) record: Option<Record>,
    /// The number of the promotion by which a pointer names it; 0 if the pointer has none, or there is no pointer.
    pub(crate) promotion: u64,
    /// The channel of that promotion, if promotions count.
    pub(crate) channel: Option<Channel>,
    /// What the store knows of the archive, if it was asked on the way.
    pub(crate) head: Option<Head>,
}

impl Wanted {
    fn of(record: &Record, promotion: u64) -> Self {
        let record = record.without_promotion();
        Self { number: record.number(), record: Some(record), promotion, channel: None, head: None }
    }

    /// A release on this host, asked for by its number.
    pub(crate) fn here(record: &Record) -> Self {
        Self::of(record, 0)
    }

    /// The key of the archive.
    pub(crate) fn key(&self, layout: &Layout) -> String {
        match self.record.as_ref().and_then(Record::artifact) {
            Some(artifact) => artifact.file.clone(),
            None => layout.archive(self.number, archive::Format::Tar),
        }
    }

    /// How it is packed.
    pub(crate) fn format(&self) -> archive::Format {
        self.record.as_ref().and_then(Record::artifact).map_or(archive::Format::Tar, |artifact| artifact.format)
    }
}

/// Finds the record. Whatever names a release, only a sealed record is believed. Of a release that is not `here` the archive
/// is looked at meanwhile: a distant store's answers are waited for side by side.
///
/// # Errors
/// The store fails; there is no such release; it is not sealed, or has no checksum and `without` refuses that; its record
/// is damaged, or is not what the pointer says.
pub(crate) async fn resolve(
    store: &dyn Objects,
    layout: &Layout,
    selector: &Selector,
    here: impl Fn(ReleaseNumber) -> bool,
    without: WithoutChecksum,
    console: Console,
) -> Result<Wanted, Failure> {
    let wanted = match selector {
        Selector::Number(number) => by_number(store, layout, *number).await?,
        Selector::Pointer(name) => {
            let key = layout::pointer(name);
            let Some(found) = pointer::read(store, &key).await? else {
                return Err(pointer::missing(store, name));
            };
            from_record(store, layout, &found.record, &store.url(&key), here).await?
        }
        Selector::Stdin => {
            let bytes = cli::read_input("release record", MAX_BYTES as u64)?;
            let record = Record::parse(&bytes)
                .map_err(|error| Failure::permanent(format!("stdin is not a release record: {error}")))?;
            from_record(store, layout, &record, "stdin", here).await?
        }
        Selector::Previous => {
            return Err(Failure::usage("--release previous goes back a promotion, which release-promote does"));
        }
    };
    if wanted.record.as_ref().and_then(Record::artifact).is_none() {
        let number = wanted.number;
        let what = format!("release {number} of {layout} has no checksum");
        match without {
            WithoutChecksum::Taken => console.warn(format!("{what}: it can't be verified")),
            WithoutChecksum::Refused => {
                let place = store.url(&layout.record(number));
                return Err(Failure::permanent(format!(
                    "{what}, since {place} does not exist: promote it once (release-promote --release {number}), or take it as it is with --unverified"
                )));
            }
        }
    }
    Ok(wanted)
}

async fn from_record(
    store: &dyn Objects,
    layout: &Layout,
    record: &Record,
    origin: &str,
    here: impl Fn(ReleaseNumber) -> bool,
) -> Result<Wanted, Failure> {
    pointer::check(layout, record)
        .map_err(|why| Failure::permanent(format!("{origin} is not a record of {layout}: {why}")))?;
    let (number, promotion) = (record.number(), record.promotion().map_or(0, |promotion| promotion.n));
    let place = store.url(&layout.record(number));
    let archive = async {
        match record.artifact().filter(|_| !here(number)) {
            // What fails here is asked again when it is needed, and reported then.
            Some(artifact) => store.head(&artifact.file).await.ok().flatten(),
            None => None,
        }
    };
    let (sealed, head) = tokio::join!(pointer::read_release(store, layout, number), archive);
    match sealed.map_err(|failure| failure.context(format!("{origin} names release {number}")))? {
        Some(sealed) if record.is_of(&sealed.record) => Ok(Wanted { head, ..Wanted::of(&sealed.record, promotion) }),
        Some(_) => Err(Failure::permanent(format!(
            "{origin} is not the record of release {number}, which is {place}: promote the release again if that one is right"
        ))),
        // It had a record, and whoever removes one must not get its archive taken on trust.
        None if record.artifact().is_some() => Err(Failure::permanent(format!(
            "{origin} names release {number}, which is not sealed: {place} does not exist; release-promote --release {number} seals it again if its archive is unchanged"
        ))),
        // Five lines of an old script, which never seals one.
        None => Ok(Wanted::of(record, promotion)),
    }
}

async fn by_number(store: &dyn Objects, layout: &Layout, number: ReleaseNumber) -> Result<Wanted, Failure> {
    if let Some(found) = pointer::read_release(store, layout, number).await? {
        return Ok(Wanted::of(&found.record, 0));
    }
    let old = layout.archive(number, archive::Format::Tar);
    if store.head(&old).await?.is_none() {
        let place = store.url(&layout.record(number));
        return Err(Failure::permanent(format!("there is no release {number} of {layout}: {place} does not exist")));
    }
    Ok(Wanted { number, record: None, promotion: 0, channel: None, head: None })
}
