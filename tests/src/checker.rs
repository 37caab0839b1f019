//! What must hold in a store, checked from outside. Each checker returns what it found wrong, so that a test can also
//! show that it finds something where a server lies.

use crate::place::{Look, Place};
use release::layout::Key;
use release::record::sha256;
use release::{Claim, Record};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What is wrong with the objects of a store that nobody works on: a pointer that names a missing, short or wrong
/// artifact, an artifact that no sealed record names, an open claim, an upload.
#[must_use]
pub fn leftovers(look: &Look<'_>) -> Vec<String> {
    let mut wrong = broken_pointers(look);
    let objects = look.objects();
    let layout = look.layout();
    for (key, body) in &objects {
        match layout.parse(key) {
            Some(Key::Record(_)) => match (Record::parse(body), Claim::parse(body)) {
                (Ok(record), _) if record.artifact().is_some() => {}
                (_, Some(Claim::Abandoned { .. })) => {}
                (_, Some(Claim::Claimed { .. })) => wrong.push(format!("{key} is an open claim")),
                _ => wrong.push(format!("{key} is neither record nor claim")),
            },
            Some(Key::Artifact(number, _)) => {
                let record = objects.get(&layout.record(number)).and_then(|body| Record::parse(body).ok());
                let named = record.and_then(|record| record.artifact().map(|artifact| artifact.file == *key));
                if named != Some(true) {
                    wrong.push(format!("{key} has no sealed record"));
                }
            }
            None => {}
        }
    }
    wrong.extend(look.uploads().into_iter().map(|key| format!("there is an upload of {key}")));
    wrong
}

/// What is wrong with pointers and sealed records, which must hold at every moment.
#[must_use]
pub fn broken_pointers(look: &Look<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, body) in look.objects() {
        let sealed = key.ends_with(".release") && Claim::parse(&body).is_none();
        if !sealed && !key.ends_with(".txt") {
            continue;
        }
        let Ok(record) = Record::parse(&body) else {
            wrong.push(format!("{key} is no record"));
            continue;
        };
        let Some(artifact) = record.artifact() else {
            wrong.push(format!("{key} is not sealed"));
            continue;
        };
        match look.get(&artifact.file) {
            None => wrong.push(format!("{key} names {}, which is missing", artifact.file)),
            Some(bytes) if bytes.len() as u64 != artifact.size => wrong.push(format!("{} is short", artifact.file)),
            Some(bytes) if sha256(&bytes) != artifact.sha256 => wrong.push(format!("{} is damaged", artifact.file)),
            Some(_) => {}
        }
    }
    wrong
}

/// The number that `latest.txt` names, and the highest sealed one.
#[must_use]
pub fn latest_and_highest(look: &Look<'_>) -> (Option<u64>, Option<u64>) {
    let latest = look.get("latest.txt").and_then(|body| Record::parse(&body).ok());
    let layout = look.layout();
    let sealed = look.objects().into_iter().filter(|(key, _)| matches!(layout.parse(key), Some(Key::Record(_))));
    let highest = sealed.filter_map(|(_, body)| Record::parse(&body).ok()).map(|record| record.number().get()).max();
    (latest.map(|record| record.number().get()), highest)
}

/// Runs `work` while reading `latest.txt` over and over; reports every time it went back or was no record. `work` is
/// told the last number that was read.
pub fn watch_latest<T>(place: &Place, work: impl FnOnce(&AtomicU64) -> T) -> (T, Vec<String>) {
    let done = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let look = place.look();
            let mut wrong = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let before = seen.load(Ordering::Relaxed);
                match look.get("latest.txt").map(|body| Record::parse(&body).map(|record| record.number().get())) {
                    None if before > 0 => wrong.push(format!("latest.txt vanished after {before}")),
                    None => {}
                    Some(Err(error)) => wrong.push(format!("latest.txt is no record: {error}")),
                    Some(Ok(now)) => {
                        if now < before {
                            wrong.push(format!("latest.txt went back from {before} to {now}"));
                        }
                        seen.store(now, Ordering::Relaxed);
                    }
                }
                // Often enough to meet every state, without taking a core from the builders.
                thread::park_timeout(Duration::from_micros(500));
            }
            wrong
        });
        let ended = Ended(&done);
        let result = work(&seen);
        drop(ended);
        (result, poller.join().expect("the poller only collects"))
    })
}

/// Ends the poller, also when the work panics: the scope would wait for it for ever.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Numbers that more than one build got.
#[must_use]
pub fn doubles(numbers: &[u64]) -> Vec<String> {
    let mut count: BTreeMap<u64, u32> = BTreeMap::new();
    for number in numbers {
        *count.entry(*number).or_default() += 1;
    }
    count.into_iter().filter(|(_, times)| *times > 1).map(|(n, times)| format!("{times} builds got {n}")).collect()
}
