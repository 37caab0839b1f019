//! Many instances that get their notice in the same second, against an Auto Scaling that throttles and contends.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::{ImdsModel, Seed, wait_until};

use super::watched::{Watcher, give_notice, groups, instance, risen};
use crate::site::Site;
use crate::table::{median, progress};

/// The share of changing calls that meet `ResourceContention`.
const CONTENTION: f64 = 0.2;

/// 30 and 100 instances, both rungs.
///
/// # Errors
/// When the group does not rise by exactly one for each.
pub fn table(site: &Site, quick: bool) -> Result<String> {
    let seed = Seed::from_env_or_random("herd");
    let mut text = format!(
        "### A herd\n\nAll get their notice at once; --interval 5s. Auto Scaling lets a burst of calls through and then so many \
         a second, and {:.0} % of the changing calls get ResourceContention (seed {}). \"Bound\": before which no herd could \
         be through, were every call a rise. Seconds from the notice to the call that was carried out.\n\n\
         | instances, burst, a second | rung | bound | first | median | last | calls |\n|---|---|---:|---:|---:|---:|---:|\n",
        CONTENTION * 100.0,
        seed.0
    );
    let herds = if quick { [(3, 10, 5), (5, 20, 10)] } else { [(30, 10, 5), (100, 20, 10)] };
    for (part, (herd, rung)) in (0..).zip(herds.into_iter().flat_map(|herd| [(herd, "launch"), (herd, "policy")])) {
        progress(&format!("a herd of {}, {rung}", herd.0));
        row(site, herd, rung, seed.part(part), &mut text)?;
    }
    text.push('\n');
    Ok(text)
}

fn row(site: &Site, herd: (u32, u32, u32), rung: &str, seed: Seed, text: &mut String) -> Result<()> {
    let (count, burst, per_second) = herd;
    let scaling = groups();
    let start = |number| {
        let imds = instance(number);
        let watcher = Watcher::start(site, &imds.endpoint(), &scaling, number, "5s", &["--capacity", rung]);
        (imds, watcher)
    };
    let all = usize::try_from(count)?;
    let members: Vec<(ImdsModel, Watcher)> = (0..all).map(start).collect();
    members.iter().for_each(|(_, watcher)| watcher.wait_for("ready"));
    scaling.throttle(f64::from(burst), f64::from(per_second));
    scaling.contention(CONTENTION, seed.0);
    let (given, before) = (Instant::now(), scaling.calls().len());
    members.iter().for_each(|(imds, _)| give_notice(imds));
    wait_until("the last rise", || {
        let risen = risen(&scaling);
        if risen >= all { Ok(()) } else { Err(format!("{risen} of {count}")) }
    });
    let mut rises: Vec<_> = scaling.calls().iter().filter(|call| call.committed).map(|call| call.at - given).collect();
    rises.sort();
    let calls = scaling.calls().len() - before;
    members.iter().for_each(|(_, watcher)| watcher.wait_for("done"));
    ensure!(risen(&scaling) == all && rises.len() == all, "{} rises for {count} notices", risen(&scaling));
    let seconds: Vec<_> = rises.iter().map(Duration::as_secs_f64).collect();
    let _ = writeln!(
        text,
        "| {count}, {burst}, {per_second} | {rung} | {:.1} | {:.1} | {:.1} | {:.1} | {calls} |",
        f64::from(count.saturating_sub(burst)) / f64::from(per_second),
        seconds[0],
        median(seconds.clone()),
        seconds[all - 1],
    );
    Ok(())
}
