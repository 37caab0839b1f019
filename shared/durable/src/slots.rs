//! Small state that changes often: two files, written in turn, so that one of them is whole at any moment.

use crate::Dir;
use crc_fast::{CrcAlgorithm, checksum};
use failure::Failure;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// Bytes of disk that each of the two has from the start.
const RESERVED: u64 = 16 * 1024;
/// `slots 1 GENERATION LENGTH CHECKSUM\n`, each number at its full width: the payload always begins at the same place.
const HEAD: usize = "slots 1 ".len() + 3 * 17;
/// Longer payloads are not believed: a damaged length must not be reserved.
const LONGEST: u64 = 1 << 30;

/// The pair of files `NAME.0` and `NAME.1`.
#[derive(Debug)]
pub struct Slots {
    dir: Dir,
    slots: [(String, File); 2],
    generation: u64,
}

impl Slots {
    /// Opens or makes the pair and returns the newer payload that is whole; `None` if none was ever saved.
    ///
    /// # Errors
    /// The files can't be made or read, or were there and neither is whole (permanent).
    pub fn open(dir: &Dir, name: &str) -> Result<(Self, Option<Vec<u8>>), Failure> {
        let mut newest: Option<(u64, Vec<u8>)> = None;
        let mut broken = 0;
        let mut open = |number: usize| {
            let slot = format!("{name}.{number}");
            let is_new = dir.entry(&slot).map_err(|error| dir.failed("open", &slot, error))?.is_none();
            let file = dir.private_file(&slot).map_err(|error| dir.failed("open", &slot, error))?;
            // Small state can be saved on a disk that is full by then: often that is what lets space be given back. Where
            // there is no room now, or no such call, the first save says so.
            let _ = fallocate(&file, FallocateFlags::KEEP_SIZE, 0, RESERVED);
            // A file that says nothing is then one that was emptied, or whose content a power cut took.
            if is_new && let Err(error) = write(&file, 0, b"") {
                dir.remove(&slot)?;
                return Err(dir.failed("write", &slot, error));
            }
            match read(&file).map_err(|error| dir.failed("read", &slot, error))? {
                Content::Whole(generation, payload) => {
                    if newest.as_ref().is_none_or(|(newer, _)| generation > *newer) {
                        newest = Some((generation, payload));
                    }
                }
                Content::Broken => broken += 1,
                Content::Unknown(version) => {
                    let why = format!("another version wrote it ({version}); this one knows slots 1");
                    return Err(dir.failed("use", &slot, io::Error::new(ErrorKind::Unsupported, why)));
                }
            }
            Ok((slot, file))
        };
        let slots = [open(0)?, open(1)?];
        dir.sync()?;
        if newest.is_none() && broken == 2 {
            let what = format!("unable to read {}: both copies are damaged or empty", dir.path().join(name).display());
            return Err(Failure::permanent(what));
        }
        let (generation, payload) = newest.unwrap_or_default();
        let payload = (generation > 0).then_some(payload);
        Ok((Self { dir: dir.clone(), slots, generation }, payload))
    }

    /// Writes `payload` over the older slot and waits until it is on disk. The other one stays as it was.
    ///
    /// # Errors
    /// The disk did not take it; what was saved before still counts.
    pub fn save(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let next = self.generation + 1;
        let (slot, file) = &self.slots[usize::from(next % 2 == 1)];
        write(file, next, payload).map_err(|error| self.dir.failed("write", slot, error))?;
        self.generation = next;
        Ok(())
    }
}

fn write(file: &File, generation: u64, payload: &[u8]) -> io::Result<()> {
    let (length, seal) = (payload.len(), seal(generation, payload));
    let head = format!("slots 1 {generation:016x} {length:016x} {seal:016x}\n");
    file.write_all_at(&[head.as_bytes(), payload].concat(), 0)?;
    file.sync_data()
}

enum Content {
    /// As a later version writes it.
    Unknown(String),
    Broken,
    Whole(u64, Vec<u8>),
}

/// The generation is sealed with the payload: a head from one write over the payload of another is no state.
fn seal(generation: u64, payload: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, payload) ^ generation.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn read(file: &File) -> io::Result<Content> {
    let size = file.metadata()?.len();
    let mut head = [0; HEAD];
    match file.read_exact_at(&mut head, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Content::Broken),
        other => other?,
    }
    if let Some(version) = unknown(&head) {
        return Ok(Content::Unknown(version));
    }
    let Some([generation, length, crc]) = parse(&head) else { return Ok(Content::Broken) };
    let (Ok(room), true) = (usize::try_from(length), length <= LONGEST.min(size - HEAD as u64)) else {
        return Ok(Content::Broken);
    };
    let mut payload = vec![0; room];
    file.read_exact_at(&mut payload, HEAD as u64)?;
    Ok(if seal(generation, &payload) == crc { Content::Whole(generation, payload) } else { Content::Broken })
}

/// The version, if it is another one.
fn unknown(head: &[u8]) -> Option<String> {
    let (name, rest) = std::str::from_utf8(head).ok()?.split_once(' ')?;
    let version: u64 = rest.split_once(' ')?.0.parse().ok()?;
    (name == "slots" && version > 1).then(|| format!("slots {version}"))
}

fn parse(head: &[u8]) -> Option<[u64; 3]> {
    let text = std::str::from_utf8(head).ok()?.strip_prefix("slots 1 ")?.strip_suffix('\n')?;
    let mut numbers = text.split(' ').map(|number| u64::from_str_radix(number, 16).ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn open(dir: &Path) -> Result<(Slots, Option<Vec<u8>>), Failure> {
        Slots::open(&Dir::open(dir)?, "s")
    }

    fn reopen(dir: &Path) -> Option<Vec<u8>> {
        open(dir).unwrap().1
    }

    #[test]
    fn the_newest_that_is_whole_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut slots, before) = open(dir.path()).unwrap();
        assert_eq!(before, None);
        for state in ["one", "two, and longer", "3"] {
            slots.save(state.as_bytes()).unwrap();
            assert_eq!(reopen(dir.path()).as_deref(), Some(state.as_bytes()));
        }
    }

    /// The write of a new state is cut off after each byte in turn, and each byte of it is damaged in turn.
    #[test]
    fn a_torn_write_leaves_the_state_before() {
        let dir = tempfile::tempdir().unwrap();
        let (mut slots, _) = open(dir.path()).unwrap();
        slots.save(b"before").unwrap();
        slots.save(b"between").unwrap();
        let path = dir.path().join("s.1");
        let old = fs::read(&path).unwrap();
        slots.save(b"the last state").unwrap();
        let new = fs::read(&path).unwrap();
        for cut in 0..new.len() {
            let mut torn = new[..cut].to_vec();
            torn.extend_from_slice(old.get(cut..).unwrap_or_default());
            fs::write(&path, torn).unwrap();
            assert_eq!(reopen(dir.path()).as_deref(), Some(&b"between"[..]), "cut at {cut}");
            let mut flipped = new.clone();
            flipped[cut] ^= 1;
            fs::write(&path, flipped).unwrap();
            assert_eq!(reopen(dir.path()).as_deref(), Some(&b"between"[..]), "flipped at {cut}");
        }
    }

    #[test]
    fn a_later_version_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap().0.save(b"state").unwrap();
        let path = dir.path().join("s.1");
        let later = String::from_utf8(fs::read(&path).unwrap()).unwrap().replacen("slots 1", "slots 2", 1);
        fs::write(&path, &later).unwrap();
        let failure = open(dir.path()).unwrap_err();
        assert!(
            failure.to_string().contains("another version wrote it (slots 2)") && !failure.is_temporary(),
            "{failure}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), later);
    }

    #[test]
    fn a_first_write_that_was_torn_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        assert_eq!(reopen(dir.path()), None);
        fs::write(dir.path().join("s.1"), "slots 1 00").unwrap();
        assert_eq!(reopen(dir.path()), None);
        // One that was made before its first byte came.
        fs::remove_file(dir.path().join("s.1")).unwrap();
        fs::write(dir.path().join("s.0"), "").unwrap();
        assert_eq!(reopen(dir.path()), None);
    }

    #[test]
    fn two_damaged_slots_are_said() {
        for (one, other) in [("x", "y"), ("", ""), ("x", "")] {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path()).unwrap().0.save(b"state").unwrap();
            fs::write(dir.path().join("s.0"), one).unwrap();
            fs::write(dir.path().join("s.1"), other).unwrap();
            let failure = open(dir.path()).unwrap_err();
            assert!(failure.to_string().ends_with("both copies are damaged or empty") && !failure.is_temporary());
        }
    }
}
