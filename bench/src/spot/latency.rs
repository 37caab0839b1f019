//! From the notice to the call that Auto Scaling carries out.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use testkit::{ImdsModel, ScalingModel, Seed, wait_until};

use super::watched::{Watcher, give_notice, groups, instance, risen};
use crate::site::Site;
use crate::table::{median, progress};

/// Instances watched at the same time.
const AT_ONCE: usize = 40;

/// One notice.
struct Wait {
    /// Until the call arrived.
    whole: Duration,
    /// The part of it after the poll that saw the notice had arrived.
    own: Duration,
}

/// 200 notices for each rung and interval.
///
/// # Errors
/// When capacity does not rise by exactly one for each.
pub fn table(site: &Site, quick: bool) -> Result<String> {
    let seed = Seed::from_env_or_random("latency");
    let (batches, at_once) = if quick { (1, 4) } else { (5, AT_ONCE) };
    let mut text = format!(
        "### From the notice to the capacity call that is carried out\n\nMilliseconds. {at_once} instances at a time, each with a \
         metadata service and a spot-watch of its own; each gets its notice at a moment drawn from one interval (seed {}), \
         so the wait for the next poll is part of it. \"After its poll\": from the arrival of the request that was told of \
         the notice.\n\n\
         | rung, interval | notices | min | median | p99 | max | later than the interval | p99 above the interval | \
         after its poll: median | p99 | max |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        seed.0
    );
    for (part, (rung, interval)) in
        [("launch", "5s"), ("policy", "5s"), ("launch", "500ms"), ("policy", "500ms")].into_iter().enumerate()
    {
        let mut waits = Vec::new();
        for batch in 0..batches {
            progress(&format!("notices, {rung}, every {interval}: {batch} of {batches}"));
            waits.extend(notices(site, at_once, rung, interval, seed.part((part * batches + batch) as u64))?);
        }
        row(rung, interval, &waits, &mut text);
    }
    text.push('\n');
    Ok(text)
}

/// The interval that `text` names.
pub fn length(text: &str) -> Duration {
    if text == "5s" { Duration::from_secs(5) } else { Duration::from_millis(500) }
}

fn notices(site: &Site, count: usize, rung: &str, interval: &str, seed: Seed) -> Result<Vec<Wait>> {
    let scaling = groups();
    let members: Vec<(ImdsModel, Watcher)> = (0..count)
        .map(|number| {
            let imds = instance(number);
            let args = ["--capacity", rung];
            let watcher = Watcher::start(site, &imds.endpoint(), &scaling, number, interval, &args);
            (imds, watcher)
        })
        .collect();
    members.iter().for_each(|(_, watcher)| watcher.wait_for("ready"));
    let mut rng = seed.rng();
    let mut order: Vec<_> = (0..count).map(|member| (length(interval).mul_f64(rng.random::<f64>()), member)).collect();
    order.sort();
    let start = Instant::now();
    let mut given = vec![start; count];
    for (moment, member) in order {
        sleep((start + moment).saturating_duration_since(Instant::now()));
        given[member] = Instant::now();
        give_notice(&members[member].0);
    }
    wait_until("the last rise", || {
        let risen = risen(&scaling);
        if risen >= count { Ok(()) } else { Err(format!("{risen} of {count}")) }
    });
    members.iter().for_each(|(_, watcher)| watcher.wait_for("done"));
    ensure!(risen(&scaling) == count, "{} rises for {count} notices", risen(&scaling));
    members.iter().zip(given).map(|((imds, watcher), given)| wait(imds, watcher, &scaling, given)).collect()
}

fn wait(imds: &ImdsModel, watcher: &Watcher, scaling: &ScalingModel, given: Instant) -> Result<Wait> {
    let polls = imds.calls();
    let saw = polls.iter().find(|call| call.at >= given && call.path.ends_with("/spot/instance-action"));
    let calls = scaling.calls();
    let call = calls.iter().find(|call| call.committed && watcher.made(call)).context("a call of each")?;
    Ok(Wait { whole: call.at - given, own: call.at - saw.context("no poll after the notice")?.at })
}

fn row(rung: &str, interval: &str, waits: &[Wait], text: &mut String) {
    let sorted = |of: fn(&Wait) -> Duration| {
        let mut values: Vec<_> = waits.iter().map(|wait| of(wait).as_secs_f64() * 1000.0).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (whole, own) = (sorted(|wait| wait.whole), sorted(|wait| wait.own));
    let limit = length(interval).as_secs_f64() * 1000.0;
    let late = whole.iter().filter(|wait| **wait > limit).count();
    let _ = writeln!(
        text,
        "| {rung}, {interval} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {late} | {:.0} | {:.1} | {:.1} | {:.1} |",
        whole.len(),
        whole[0],
        median(whole.clone()),
        p99(&whole),
        whole[whole.len() - 1],
        (p99(&whole) - limit).max(0.0),
        median(own.clone()),
        p99(&own),
        own[own.len() - 1],
    );
}

/// By nearest rank: of 200 the third largest.
fn p99(sorted: &[f64]) -> f64 {
    sorted[(sorted.len() * 99).div_ceil(100).max(1) - 1]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_99th_percentile_leaves_one_in_a_hundred_above() {
        let sorted: Vec<_> = (1..=200).map(f64::from).collect();
        assert!((super::p99(&sorted) - 198.0).abs() < f64::EPSILON);
        assert!((super::p99(&[7.0]) - 7.0).abs() < f64::EPSILON);
    }
}
