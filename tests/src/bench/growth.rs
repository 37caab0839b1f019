//! How our own tools grow: with the number of files and with bytes, to the null sink.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;

use crate::cases::pack_command;
use crate::data::{self, Files};
use crate::measure::{Env, Pipeline, run};
use crate::site::{BUCKET, Site};
use crate::table::{median, progress};

/// Packs 1,000 to 100,000 files and 0.1 to 10 GB: memory has to stay, time has to grow with the work.
///
/// # Errors
/// When a run fails.
pub fn linearity(site: &Site, env: &Env, quick: bool) -> Result<String> {
    let mut text = String::from(
        "### Growth, to the null sink\n\nartifact-pack alone, medians of 3 runs after a warm-up.\n\n\
         | tree | wall s | CPU s | peak MiB |\n|---|---:|---:|---:|\n",
    );
    let scale = if quick { 100 } else { 1 };
    for count in [1_000, 10_000, 100_000].map(|count| count / scale) {
        let dir = site.scratch.join("growing");
        fs::create_dir_all(&dir)?;
        data::write(&dir, &[Files { count, least: 1024, most: 1024 }])?;
        row(site, env, &dir, &format!("{count} files of 1 KiB"), &mut text)?;
    }
    for megabytes in [100, 1_000, 10_000].map(|megabytes| megabytes / scale) {
        let dir = site.scratch.join("growing");
        fs::create_dir_all(&dir)?;
        // Holes: they read as zeros, and reading and hashing zeros takes as long as any bytes. The disk is not measured.
        for number in 0..megabytes.div_ceil(4) {
            File::create(dir.join(format!("{number}.dat")))?.set_len(4_000_000)?;
        }
        row(site, env, &dir, &format!("{megabytes} MB in files of 4 MB (holes)"), &mut text)?;
    }
    text.push('\n');
    Ok(text)
}

fn row(site: &Site, env: &Env, dir: &Path, label: &str, text: &mut String) -> Result<()> {
    progress(&format!("growth: {label}"));
    let store = format!("s3://{BUCKET}/growth");
    let steps = [Pipeline::new(env, vec![pack_command(site, "growth", &store, &dir.to_string_lossy())])];
    run(&steps)?;
    let samples = [run(&steps)?, run(&steps)?, run(&steps)?];
    #[expect(clippy::cast_precision_loss, reason = "printed without decimals")]
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(
        text,
        "| {label} | {:.3} | {:.3} | {:.0} |",
        median(samples.iter().map(|sample| sample.wall.as_secs_f64()).collect()),
        median(samples.iter().map(|sample| sample.cpu.as_secs_f64()).collect()),
        median(samples.iter().map(|sample| mebibytes(sample.largest)).collect()),
    );
    fs::remove_dir_all(dir)?;
    Ok(())
}
