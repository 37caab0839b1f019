//! spot-watch beside others that watch for the same notice, at the interval of a real life: all at the same time.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::mock::Mock;
use super::watched::{Watcher, groups, instance};
use crate::measure::{Env, Pipeline, Sample, run};
use crate::process::Look;
use crate::site::{Site, stage};
use crate::table::{mebibytes, progress};

/// What cron started every minute: twelve polls, five seconds apart. `POLL` asks, `PAUSE` is the time between.
const MINUTE: &str = r#"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
    if POLL "$IMDS/latest/meta-data/spot/termination-time" | head -n 1 | grep -q 200; then exit 1; fi
    sleep PAUSE
done"#;
/// As in the original, with a limit.
const VERSION_1: &str = "curl -s -I --max-time 2";
/// The same as one has to ask today.
const VERSION_2: &str = r#"curl -s -I --max-time 2 -H "X-aws-ec2-metadata-token: $(curl -s --max-time 2 -X PUT \
    -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$IMDS/latest/api/token")""#;
const POLLS_A_MINUTE: u32 = 12;

/// What a row tells.
struct Row {
    label: &'static str,
    polls: u32,
    cpu: Duration,
    memory: String,
}

/// Two minutes of each.
///
/// # Errors
/// When one of them ends early.
pub fn table(site: &Site, quick: bool) -> Result<String> {
    let (minutes, pause) = if quick { (1, 1) } else { (2, 5) };
    progress(&format!("watchers side by side, {minutes} min"));
    let mock = Mock::start(site, 3600)?;
    let env: Env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C"), ("IMDS", mock.endpoint())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    // A child begins with the memory of this process: what it shows is its own only above that.
    let floor = Look::at_the_harness()?.peak;
    let scripts = [VERSION_1, VERSION_2].map(|poll| {
        let minute = MINUTE.replace("POLL", poll).replace("PAUSE", &pause.to_string());
        let steps: Vec<_> =
            (0..minutes).map(|_| Pipeline::new(&env, vec![stage(["/bin/sh", "-c", &minute])])).collect();
        thread::spawn(move || run(&steps))
    });
    let time = Duration::from_secs(pause) * POLLS_A_MINUTE * minutes;
    let mut rows = if site.peers_only { Vec::new() } else { ours(site, &mock, &format!("{pause}s"), time)? };
    let labels = ["the original's curl -I a poll", "the same over IMDSv2, two curls a poll"];
    for (label, script) in labels.into_iter().zip(scripts) {
        let Sample { cpu, largest, .. } = script.join().ok().context("a thread died")??;
        let memory = if largest > floor { format!("{:.1}", mebibytes(largest)) } else { "below the harness".into() };
        rows.push(Row { label, polls: POLLS_A_MINUTE * minutes, cpu, memory });
    }
    let mut text = format!(
        "### Watching\n\nAll at the same time, one poll every {pause} s for {minutes} min. spot-watch: from when it was ready; it \
         asks for the notice and for the lifecycle state, with --raise; making its plan anew, every few minutes, is not in it. \
         The scripts, on ec2-metadata-mock: sh, curl, head, grep and sleep together, memory of the largest process.\n\n\
         | watcher | polls | CPU ms a poll | % of a core at one in 5 s | peak MiB |\n|---|---:|---:|---:|---:|\n"
    );
    for Row { label, polls, cpu, memory } in rows {
        let each = cpu.as_secs_f64() / f64::from(polls.max(1));
        let _ = writeln!(text, "| {label} | {polls} | {:.2} | {:.4} | {memory} |", each * 1e3, each / 5.0 * 100.0);
    }
    text.push_str(
        "| buildkite/lifecycled | not run | | | |\n\nlifecycled is not run: its releases are no versions of a Go module (they are \
         v3, and go.mod lacks the `/v3`), the module proxy gives no commit of it, and no other registry has it.\n\n",
    );
    Ok(text)
}

/// spot-watch on both metadata services, over `time`.
fn ours(site: &Site, mock: &Mock, interval: &str, time: Duration) -> Result<Vec<Row>> {
    let (imds, scaling) = (instance(1), groups());
    let model = imds.endpoint();
    let start = |at, number| Watcher::start(site, at, &scaling, number, interval, &[]);
    let watchers = [start(&model, 1), start(mock.endpoint(), 2)];
    watchers.iter().for_each(|watcher| watcher.wait_for("ready"));
    let looks = || watchers.iter().map(|watcher| Look::at(watcher.run.pid())).collect::<Result<Vec<_>>>();
    let polls = || imds.calls().iter().filter(|call| call.path.ends_with("/spot/instance-action")).count();
    let (before, seen) = (looks()?, polls());
    thread::sleep(time);
    // The mock tells nobody how often it was asked; both keep the same beat.
    let polls = u32::try_from(polls() - seen)?;
    let labels = ["spot-watch, on the model", "spot-watch, on ec2-metadata-mock"];
    let rows = labels.into_iter().zip(before).zip(looks()?).map(|((label, before), after)| Row {
        label,
        polls,
        cpu: after.cpu - before.cpu,
        memory: format!("{:.1}", mebibytes(after.peak)),
    });
    Ok(rows.collect())
}
