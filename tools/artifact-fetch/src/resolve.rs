//! From what `--release` asks for to the one record that says what to fetch.

use cli::{Console, Failure};
use release::pointer;
use release::record::MAX_BYTES;
use release::{Layout, Record, ReleaseNumber, Selector, Store, layout};

/// What to fetch.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) number: ReleaseNumber,
    /// Its record. An old release fetched by its number has none outside its archive.
    pub(crate) record: Option<Record>,
}

impl Wanted {
    fn of(record: Record) -> Self {
        Self { number: record.number(), record: Some(record.without_promotion()) }
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

/// Finds the record. Old records without checksums are taken with a warning.
///
/// # Errors
/// The store fails; there is no such release; its record is damaged.
pub(crate) async fn resolve(
    store: &dyn Store,
    layout: &Layout,
    selector: &Selector,
    console: Console,
) -> Result<Wanted, Failure> {
    let wanted = match selector {
        Selector::Number(number) => by_number(store, layout, *number).await?,
        Selector::Pointer(name) => {
            let key = layout::pointer(name);
            let Some(found) = pointer::read(store, &key).await? else {
                return Err(pointer::missing(store, name));
            };
            from_record(store, layout, found.record, &store.url(&key)).await?
        }
        Selector::Stdin => {
            let bytes = cli::read_input("release record", MAX_BYTES as u64)?;
            let record = Record::parse(&bytes)
                .map_err(|error| Failure::permanent(format!("stdin is not a release record: {error}")))?;
            from_record(store, layout, record, "stdin").await?
        }
        Selector::Previous => {
            return Err(Failure::usage("--release previous goes back a promotion, which release-promote does"));
        }
    };
    if wanted.record.as_ref().and_then(Record::artifact).is_none() {
        console.warn(format!("release {} of {layout} has no checksum: it can't be verified", wanted.number));
    }
    Ok(wanted)
}

async fn from_record(store: &dyn Store, layout: &Layout, record: Record, origin: &str) -> Result<Wanted, Failure> {
    pointer::check(layout, &record)
        .map_err(|why| Failure::permanent(format!("{origin} is not a record of {layout}: {why}")))?;
    if record.artifact().is_some() {
        return Ok(Wanted::of(record));
    }
    // Five lines of an old script: a promotion since then may have sealed a record with checksums.
    let sealed = pointer::read_release(store, layout, record.number()).await?;
    Ok(Wanted::of(sealed.map_or(record, |sealed| sealed.record)))
}

async fn by_number(store: &dyn Store, layout: &Layout, number: ReleaseNumber) -> Result<Wanted, Failure> {
    if let Some(found) = pointer::read_release(store, layout, number).await? {
        return Ok(Wanted::of(found.record));
    }
    let old = layout.archive(number, archive::Format::Tar);
    if store.head(&old).await?.is_none() {
        let place = store.url(&layout.record(number));
        return Err(Failure::permanent(format!("there is no release {number} of {layout}: {place} does not exist")));
    }
    Ok(Wanted { number, record: None })
}
