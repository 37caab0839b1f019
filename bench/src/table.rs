//! Rounds of contestants, one after the other, and the Markdown table of their medians. Every contestant keeps its row.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, Result};

use crate::measure::{Pipeline, Sample, run};

/// What has to be done before a run, outside of the measured time. It is given the run's number.
pub type Prepare<'a> = Box<dyn Fn(usize) -> Result<()> + 'a>;
/// The steps of a run. They are given the run's number, for a name of its own in the store.
pub type Steps<'a> = Box<dyn Fn(usize) -> Vec<Pipeline> + 'a>;

/// One row.
pub struct Contestant<'a> {
    /// The row's name, with the flags that matter.
    pub label: String,
    prepare: Prepare<'a>,
    steps: Steps<'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant that needs nothing prepared.
    pub fn new(label: impl Into<String>, steps: impl Fn(usize) -> Vec<Pipeline> + 'a) -> Self {
        Self { label: label.into(), prepare: Box::new(|_| Ok(())), steps: Box::new(steps) }
    }

    /// The same with `prepare` before each run.
    pub fn prepared(mut self, prepare: impl Fn(usize) -> Result<()> + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Runs once.
    ///
    /// # Errors
    /// When the preparation or a stage fails.
    pub fn measure(&self, number: usize) -> Result<Sample> {
        (self.prepare)(number).with_context(|| format!("preparing {}", self.label))?;
        run(&(self.steps)(number)).with_context(|| format!("running {}", self.label))
    }
}

/// Runs one warm-up round and `rounds` measured ones: A B C, A B C, …, so that a slow spell of the machine hits all alike.
/// The first contestant is ours, against which the others' ratios are taken round by round.
///
/// # Errors
/// When any run fails: a table with a hole would be read as a result.
pub fn compare(title: &str, rounds: usize, contestants: &[Contestant<'_>]) -> Result<String> {
    let mut samples = vec![Vec::new(); contestants.len()];
    for round in 0..=rounds {
        progress(&format!("{title}: round {round} of {rounds}"));
        for (row, contestant) in samples.iter_mut().zip(contestants) {
            let sample = contestant.measure(round)?;
            if round > 0 {
                row.push(sample);
            }
        }
    }
    Ok(render(title, rounds, contestants, &samples))
}

fn render(title: &str, rounds: usize, contestants: &[Contestant<'_>], samples: &[Vec<Sample>]) -> String {
    let mut text = format!(
        "### {title}\n\nMedians of {rounds} rounds after a warm-up. Ratio: to the first row, round by round: median (lowest–highest).\n\n\
         | run | wall s | CPU s | largest process MiB | sum of peaks MiB | wall ratio | CPU ratio |\n|---|---:|---:|---:|---:|---:|---:|\n"
    );
    for (contestant, row) in contestants.iter().zip(samples) {
        let wall = |sample: &Sample| sample.wall.as_secs_f64();
        let cpu = |sample: &Sample| sample.cpu.as_secs_f64();
        let of = |value: &dyn Fn(&Sample) -> f64| median(row.iter().map(value).collect());
        let ratio = |value: &dyn Fn(&Sample) -> f64| {
            let ratios: Vec<_> =
                row.iter().zip(&samples[0]).map(|(theirs, ours)| value(theirs) / value(ours)).collect();
            spread(ratios)
        };
        let _ = writeln!(
            text,
            "| {} | {:.3} | {:.3} | {:.0} | {:.0} | {} | {} |",
            contestant.label.replace('|', "\\|"),
            of(&wall),
            of(&cpu),
            of(&|sample| mebibytes(sample.largest)),
            of(&|sample| mebibytes(sample.sum)),
            ratio(&wall),
            ratio(&cpu),
        );
    }
    text.push('\n');
    text
}

/// For printing.
#[expect(clippy::cast_precision_loss, reason = "printed with one decimal at most")]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The middle value; of an even number the mean of the two in the middle. 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn spread(values: Vec<f64>) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({lowest:.2}–{highest:.2})", median(values))
}

/// Head of a table of rows by [`alone`].
pub const ALONE: &str = "| run | wall s | CPU s | peak MiB |\n|---|---:|---:|---:|\n";

/// The row of a run that has no peer: medians of `runs` after a warm-up.
///
/// # Errors
/// When a run fails.
pub fn alone(label: &str, runs: usize, steps: &[Pipeline]) -> Result<String> {
    progress(label);
    run(steps)?;
    let samples = (0..runs).map(|_| run(steps)).collect::<Result<Vec<_>>>()?;
    let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value).collect());
    Ok(format!(
        "| {label} | {:.3} | {:.3} | {:.0} |\n",
        of(|sample| sample.wall.as_secs_f64()),
        of(|sample| sample.cpu.as_secs_f64()),
        of(|sample| mebibytes(sample.largest)),
    ))
}

/// Says a step on stderr.
pub fn progress(words: &str) {
    // Progress is a courtesy: a closed stderr fails no benchmark.
    let _ = writeln!(std::io::stderr(), "bench: {words}");
}

#[cfg(test)]
mod tests {
    use super::{median, spread};

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn the_spread_keeps_both_ends() {
        assert_eq!(spread(vec![2.0, 0.5, 1.0]), "1.00 (0.50–2.00)");
    }
}
