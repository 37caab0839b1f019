//! Trees to pack.

use std::fs;
use std::path::Path;

/// A tree that makes an archive of several parts: `megabytes` in a few files, and some small ones.
///
/// # Panics
/// The disk does not take it.
pub fn write(dir: &Path, megabytes: u32, salt: u8) {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("the disk takes directories");
        fs::write(path, bytes).expect("the disk takes files");
    };
    for index in 0..megabytes {
        let block: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ salt).collect();
        write(&format!("data/{index}.bin"), block);
    }
    for index in 0..5 {
        write(&format!("code/{index}.sh"), vec![salt; 100 * index]);
    }
}
