//! One spot-watch at a time on one memory: a second one stands by until the first has ended.

use crate::args::Args;
use crate::records::Records;
use cli::Console;
use failure::Failure;
use std::time::Duration;
use tokio::time::Instant;

/// A turn that is free is taken up this soon: nobody watches meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// The state directory, once no other process holds it; without one, why.
///
/// # Errors
/// Others held it until the time was up (temporary).
pub(crate) async fn records(
    args: &Args,
    console: Console,
    end: Option<Instant>,
) -> Result<(Records, Option<String>), Failure> {
    if args.watching.dry_run {
        return Ok((Records::none(), None));
    }
    let dir = args.state_dir();
    let mut told = false;
    loop {
        match Records::open(&dir) {
            Ok(Some(records)) => return Ok((records, None)),
            Ok(None) => {}
            // A disk that is full or read-only must not cost an instance.
            Err(failure) => {
                let what = format!("{failure}: a restart will not know what was done before it");
                console.warn(&what);
                return Ok((Records::none(), Some(what)));
            }
        }
        let held = format!("another spot-watch holds {}", dir.display());
        if args.watching.once || end.is_some_and(|end| Instant::now() >= end) {
            return Err(Failure::temporary(held));
        }
        if !std::mem::replace(&mut told, true) {
            console.warn(format!("{held}: waiting for its end"));
        }
        tokio::time::sleep(args.watching.interval.min(LOOK)).await;
    }
}
