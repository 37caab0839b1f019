//! Trees to pack: the same bytes on every machine, which no compressor can make smaller.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// `SplitMix64`: a few lines, no dependency, the same everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// How many files of how many bytes.
#[derive(Clone, Copy)]
pub struct Files {
    /// The number of files.
    pub count: u64,
    /// The smallest, in bytes.
    pub least: u64,
    /// The largest, in bytes.
    pub most: u64,
}

/// Writes `kinds` of files below `dir`, 100 to a directory, directories two deep.
///
/// # Errors
/// When a file cannot be written.
pub fn write(dir: &Path, kinds: &[Files]) -> Result<u64> {
    let mut noise = Noise(42);
    let mut buffer = Vec::new();
    let mut total = 0;
    for (kind, files) in kinds.iter().enumerate() {
        for number in 0..files.count {
            let folder = dir.join(format!("{kind}-{:03}/{:03}", number / 10_000, number / 100));
            if number % 100 == 0 {
                fs::create_dir_all(&folder)?;
            }
            // The product of two draws: as in real trees, most files are small.
            let span = files.most - files.least + 1;
            let size = files.least + (noise.next() % span) * (noise.next() % span) / span;
            buffer.resize(usize::try_from(size)?, 0);
            noise.fill(&mut buffer);
            let file = folder.join(format!("{number:06}.dat"));
            File::create(&file)
                .and_then(|mut file| file.write_all(&buffer))
                .with_context(|| format!("unable to write {}", file.display()))?;
            total += size;
        }
    }
    rustix::fs::syncfs(File::open(dir)?)?;
    Ok(total)
}
