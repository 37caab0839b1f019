//! `--audit`: what in the store belongs to no finished release, and what of a finished one is not as it was sealed.

use crate::args::Args;
use cli::{Console, Output};
use failure::Failure;
use jiff::Timestamp;
use release::damage::{self, Damage};
use release::pointer;
use release::sweep::{self, Look, Orphan};
use std::time::SystemTime;

/// Prints a row for every number claimed and not finished, every orphan upload and every orphan archive, and for every record
/// and archive that somebody changed or took away.
///
/// # Errors
/// The store fails, or stdout does.
pub(crate) async fn run(args: &Args, console: Console, out: Output) -> Result<(), Failure> {
    let store = args.store.open().await?;
    let layout = &args.store.artifact;
    let survey = sweep::survey(store.as_ref(), layout, Look::Audit).await?;
    let damages = damage::look(store.as_ref(), layout, &survey.records).await?;
    if survey.highest.is_none() {
        console.tell(pointer::none_yet(store.as_ref(), layout));
    }
    for trouble in &survey.troubles {
        console.warn(format!("{trouble}; the list does not tell when it was last seen"));
    }
    let mut rows = csv::Writer::from_writer(Vec::new());
    let mut row = |fields: [&str; 7]| {
        rows.write_record(fields).map_err(|error| Failure::temporary(format!("unable to list: {error}")))
    };
    row(["state", "object", "release", "build", "builder", "last_seen", "difference"])?;
    for claim in &survey.claims {
        let state = match (claim.builder.is_proven_dead(), claim.is_dead(args.orphan_age)) {
            (true, _) => "dead",
            (false, true) => "silent",
            (false, false) => "building",
        };
        let (number, build) = (claim.number.to_string(), claim.build.to_string());
        let seen = shown(claim.last_seen);
        row([state, &layout.record(claim.number), &number, &build, &claim.builder.place(), &seen, ""])?;
        for upload in &claim.uploads {
            row([state, &upload.key, &number, &build, &claim.builder.place(), &seen, ""])?;
        }
    }
    for orphan in &survey.orphans {
        let (key, build, seen) = match orphan {
            Orphan::Upload { upload, last_seen, .. } => (&upload.key, String::new(), shown(*last_seen)),
            Orphan::Archive { key, build } => (key, build.to_string(), String::new()),
        };
        let number = layout.parse(key).map(|key| key.number().to_string()).unwrap_or_default();
        row(["orphan", key, &number, &build, "", &seen, ""])?;
    }
    for number in &survey.abandoned {
        row(["abandoned", &layout.record(*number), &number.to_string(), "", "", "", ""])?;
    }
    for Damage { key, number, missing, difference } in &damages {
        let state = if *missing { "missing" } else { "damaged" };
        row([state, key, &number.to_string(), "", "", "", difference])?;
    }
    let text = rows.into_inner().map_err(|error| Failure::temporary(format!("unable to list: {error}")))?;
    out.write_and_close(&text)
}

fn shown(time: Option<SystemTime>) -> String {
    let time = time.and_then(|time| Timestamp::try_from(time).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
