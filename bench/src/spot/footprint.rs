//! What watching costs over time.

use std::fmt::Write as _;

use anyhow::Result;
use testkit::wait_until;

use super::watched::{Watcher, groups, instance};
use crate::process::Look;
use crate::site::Site;
use crate::table::{mebibytes, progress};

/// 100,000 polls, one a millisecond if the machine can.
///
/// # Errors
/// When spot-watch ends.
pub fn table(site: &Site, quick: bool) -> Result<String> {
    let (imds, scaling) = (instance(0), groups());
    let watcher = Watcher::start(site, &imds.endpoint(), &scaling, 0, "1ms", &[]);
    watcher.wait_for("ready");
    let mut text = String::from(
        "### Memory over 100,000 polls\n\nspot-watch --interval 1ms. CPU: of the polls since the row before.\n\n\
         | polls | RSS MiB | peak MiB | open files | CPU ms a poll |\n|---:|---:|---:|---:|---:|\n",
    );
    let scale = if quick { 100 } else { 1 };
    let (mut before, mut looked) = (0, Look::at(watcher.run.pid())?);
    for goal in [1_000, 10_000, 50_000, 100_000].map(|polls| polls / scale) {
        progress(&format!("{goal} polls"));
        // Two requests each: the notice and the lifecycle state.
        let polls = wait_until("polls", || {
            let polls = imds.call_count() / 2;
            if polls >= goal { Ok(polls) } else { Err(format!("{polls} polls")) }
        });
        let look = Look::at(watcher.run.pid())?;
        let cpu = (look.cpu.saturating_sub(looked.cpu)).as_secs_f64() * 1000.0;
        let _ = write!(text, "| {goal} | {:.1} | {:.1} ", mebibytes(look.resident), mebibytes(look.peak));
        // The start is not part of any poll.
        if before == 0 {
            let _ = writeln!(text, "| {} | |", look.files);
        } else {
            let _ = writeln!(text, "| {} | {:.3} |", look.files, cpu / f64::from(u32::try_from(polls - before)?));
        }
        (before, looked) = (polls, look);
    }
    text.push('\n');
    Ok(text)
}
