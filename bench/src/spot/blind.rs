//! How long a notice stays unseen when the metadata service fails just as it is given.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use testkit::{ImdsFault, ImdsModel, Seed};

use super::door::Door;
use super::latency::length;
use super::watched::{LIMIT, Watcher, give_notice, groups, instance};
use crate::site::Site;
use crate::table::{median, progress};

const INTERVALS: [&str; 2] = ["5s", "500ms"];

/// What goes wrong, from the notice on.
#[derive(Clone)]
enum Trouble {
    Nothing,
    /// The first request for the notice fails.
    Once(ImdsFault),
    /// Every request fails, for one interval.
    Interval(ImdsFault),
    /// Connections are refused and those that are open end, for one interval.
    Refused,
    /// The token is no longer valid.
    Expired,
    /// The same, and the first request for a new one fails.
    NoToken(ImdsFault),
}

fn troubles() -> Vec<(String, Trouble)> {
    let faults = [
        ("503", ImdsFault::Status(503)),
        ("500", ImdsFault::Status(500)),
        ("401", ImdsFault::Status(401)),
        ("403", ImdsFault::Status(403)),
        ("404", ImdsFault::Status(404)),
        ("no answer", ImdsFault::Hang),
        ("connection closed instead of an answer", ImdsFault::Close),
        ("connection closed in the answer", ImdsFault::Cut),
        ("200 with a page of HTML", ImdsFault::Body("<html><body>captive</body></html>".to_owned())),
    ];
    let mut all = vec![("nothing".to_owned(), Trouble::Nothing)];
    for (label, fault) in &faults {
        all.push((format!("{label}, one request"), Trouble::Once(fault.clone())));
    }
    all.push(("token expired".to_owned(), Trouble::Expired));
    all.push(("token expired, 503 to the next request for one".to_owned(), Trouble::NoToken(ImdsFault::Status(503))));
    all.push(("token expired, no answer to the next request for one".to_owned(), Trouble::NoToken(ImdsFault::Hang)));
    for (label, fault) in faults {
        all.push((format!("{label}, all of one interval"), Trouble::Interval(fault)));
    }
    all.push(("connections refused, all of one interval".to_owned(), Trouble::Refused));
    all
}

/// Whether requests fail now.
#[derive(Default)]
struct Switch {
    once: AtomicBool,
    until: Mutex<Option<Instant>>,
}

/// An instance that gets its notice and its trouble together.
struct Case {
    trouble: Trouble,
    switch: Arc<Switch>,
    watcher: Watcher,
    door: Door,
    imds: ImdsModel,
    due: Instant,
    given: Option<Instant>,
    seen: Option<Duration>,
}

impl Case {
    fn start(
        site: &Site,
        scaling: &testkit::ScalingModel,
        number: usize,
        interval: &str,
        trouble: Trouble,
    ) -> Result<Self> {
        let (imds, switch) = (instance(number), Arc::new(Switch::default()));
        let door = Door::to(&imds.endpoint())?;
        let through = if matches!(trouble, Trouble::Refused) { door.endpoint() } else { imds.endpoint() };
        let watcher = Watcher::start(site, &through, scaling, number, interval, &[]);
        let judge = Arc::clone(&switch);
        match trouble.clone() {
            Trouble::Once(fault) => imds.fail(Box::new(move |call| {
                let hit = call.path.ends_with("/spot/instance-action") && judge.once.swap(false, Ordering::SeqCst);
                hit.then(|| fault.clone())
            })),
            Trouble::NoToken(fault) => imds.fail(Box::new(move |call| {
                (call.method == "PUT" && judge.once.swap(false, Ordering::SeqCst)).then(|| fault.clone())
            })),
            Trouble::Interval(fault) => imds.fail(Box::new(move |_| {
                let until = *judge.until.lock().unwrap_or_else(PoisonError::into_inner);
                until.is_some_and(|until| Instant::now() < until).then(|| fault.clone())
            })),
            Trouble::Nothing | Trouble::Refused | Trouble::Expired => {}
        }
        Ok(Self { trouble, switch, watcher, door, imds, due: Instant::now(), given: None, seen: None })
    }

    /// The trouble first: a poll in between meets it without a notice, not a notice without it.
    fn give(&mut self, interval: Duration) {
        match self.trouble {
            Trouble::Nothing => {}
            Trouble::Once(_) => self.switch.once.store(true, Ordering::SeqCst),
            Trouble::Interval(_) => {
                *self.switch.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + interval);
            }
            Trouble::Refused => self.door.shut(),
            Trouble::Expired => self.imds.expire_tokens(),
            Trouble::NoToken(_) => {
                self.switch.once.store(true, Ordering::SeqCst);
                self.imds.expire_tokens();
            }
        }
        give_notice(&self.imds);
        self.given = Some(Instant::now());
        self.due += interval;
    }

    /// Does what is due, and looks whether the notice has been told of.
    fn step(&mut self, interval: Duration) -> Result<()> {
        let now = Instant::now();
        match self.given {
            None if now >= self.due => self.give(interval),
            Some(_) if now >= self.due && matches!(self.trouble, Trouble::Refused) => {
                self.door.shut();
                self.door.open().context("unable to open a port again")?;
                self.due += LIMIT;
            }
            _ => {}
        }
        if let Some(given) = self.given
            && !self.watcher.events("notice")?.is_empty()
        {
            self.seen = Some(given.elapsed());
        }
        Ok(())
    }
}

/// Every trouble at both intervals.
///
/// # Errors
/// When a notice is never told of.
pub fn table(site: &Site, quick: bool) -> Result<String> {
    let seed = Seed::from_env_or_random("blind");
    let (batches, each) = if quick { (1, 1) } else { (2, 10) };
    let troubles = troubles();
    let mut columns = Vec::new();
    for (part, interval) in (0..).zip(INTERVALS) {
        let mut windows = vec![Vec::new(); troubles.len()];
        for batch in 0..batches {
            progress(&format!("failures of the metadata, every {interval}: {batch} of {batches}"));
            let found = windows_of(site, interval, &troubles, each, seed.part(part * batches + batch))?;
            windows.iter_mut().zip(found).for_each(|(all, new)| all.extend(new));
        }
        columns.push(windows);
    }
    let mut text = format!(
        "### From the notice to its event, when the metadata service fails\n\nEach of {} instances gets its notice at a moment \
         drawn from one interval (seed {}), and with it the failure. Seconds; in brackets the longest in intervals.\n\n\
         | failure | 5 s: median | longest | 500 ms: median | longest |\n|---|---:|---:|---:|---:|\n",
        batches * each as u64,
        seed.0
    );
    for (row, (label, _)) in troubles.iter().enumerate() {
        let _ = write!(text, "| {label} |");
        for (interval, windows) in INTERVALS.into_iter().zip(&columns) {
            let longest = windows[row].iter().copied().fold(0.0, f64::max);
            let intervals = longest / length(interval).as_secs_f64();
            let _ = write!(text, " {:.2} | {longest:.2} ({intervals:.2}) |", median(windows[row].clone()));
        }
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

fn windows_of(
    site: &Site,
    interval: &str,
    troubles: &[(String, Trouble)],
    each: usize,
    seed: Seed,
) -> Result<Vec<Vec<f64>>> {
    let scaling = groups();
    let numbered = troubles.iter().flat_map(|(_, trouble)| std::iter::repeat_n(trouble, each)).enumerate();
    let start = |(number, trouble): (usize, &Trouble)| Case::start(site, &scaling, number, interval, trouble.clone());
    let mut cases = numbered.map(start).collect::<Result<Vec<_>>>()?;
    cases.iter().for_each(|case| case.watcher.wait_for("ready"));
    let interval = length(interval);
    let (mut rng, start) = (seed.rng(), Instant::now());
    for case in &mut cases {
        case.due = start + interval.mul_f64(rng.random::<f64>());
    }
    while cases.iter().any(|case| case.seen.is_none()) {
        ensure!(start.elapsed() < LIMIT, "a notice was never told of");
        for case in cases.iter_mut().filter(|case| case.seen.is_none()) {
            case.step(interval)?;
        }
        sleep(Duration::from_millis(1));
    }
    let seen: Vec<_> = cases.iter().filter_map(|case| case.seen).map(|seen| seen.as_secs_f64()).collect();
    Ok(seen.chunks(each).map(<[f64]>::to_vec).collect())
}
