//! How our own tools grow: with the number of files and with bytes, to the null sink.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;

use crate::cases::pack_command;
use crate::data::{self, Files};
use crate::measure::{Env, Pipeline};
use crate::site::{BUCKET, Site};
use crate::table::{ALONE, alone};

/// Packs 1,000 to 100,000 files and 0.1 to 10 GB: memory has to stay, time has to grow with the work.
///
/// # Errors
/// When a run fails.
pub fn linearity(site: &Site, env: &Env, quick: bool) -> Result<String> {
    let title = "### Growth, to the null sink\n\nartifact-pack alone, medians of 3 runs after a warm-up.\n\n";
    let mut text = title.to_owned() + ALONE;
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
    let store = format!("s3://{BUCKET}/growth");
    let steps = [Pipeline::new(env, vec![pack_command(site, "growth", &store, &dir.to_string_lossy())])];
    text.push_str(&alone(label, 3, &steps)?);
    fs::remove_dir_all(dir)?;
    Ok(())
}
