//! What an earlier run left of a stream: which of its groups are whole, and which lines the others take with them.
//!
//! Groups lie next to each other and their checksums are found by position, so a damaged group hides none behind it. The
//! offset and the length of a damaged checksum follow from its neighbours. What was finished is known besides: of that nothing
//! can be missing but by damage, and behind it at most one group can have been under way.

use super::{GROUP, HEAD, Head, SUM, VERSION, crc_of, sums_of, unpack};
use crate::source::Progress;
use durable::{Dir, if_there};
use failure::Failure;
use memchr::{memchr, memrchr};
use records::FileId;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Longest group that is believed.
const LONGEST: u64 = 2 * GROUP as u64;
/// Bytes looked through at a time for the end of a line.
const WINDOW: u64 = 64 * 1024;

/// A stream that an earlier run left.
pub(crate) struct Recovered {
    pub(crate) data: File,
    pub(crate) progress: Arc<Progress>,
    /// Damaged groups, and what stands beside them of lines that are not whole without them.
    pub(crate) lost: Vec<Range<u64>>,
    /// Bytes of the last group, which was still being written when the run or the machine ended.
    pub(crate) unfinished: u64,
}

/// Opens the stream and finds out what of it is whole behind `acked`; up to `seen` it was finished, if not farther.
///
/// # Errors
/// It can't be read.
pub(crate) fn recover(dir: &Dir, id: FileId, acked: u64, seen: u64) -> io::Result<Recovered> {
    let data = dir.file(id.to_string())?;
    let sums = if_there(dir.file(sums_of(id)))?;
    let sums = sums.map(|file| Sums::read(BufReader::with_capacity(SUM * 1024, file))).transpose()?.unwrap_or_default();
    Recovered::of(data, sums, acked, seen)
}

impl Recovered {
    fn of(data: File, sums: Sums, acked: u64, seen: u64) -> io::Result<Self> {
        let survey = Survey::of(&data, sums, acked, seen)?;
        let lost = lines_of(&data, acked, survey.end, &survey.damaged);
        let progress = Progress { synced: survey.end.into(), ended: true.into(), ..Progress::default() };
        Ok(Self { data, progress: Arc::new(progress), lost, unfinished: survey.unfinished })
    }
}

/// How far a stream was finished whose bytes are gone, as far as its checksums tell.
pub(crate) fn finished(dir: &Dir, id: FileId) -> u64 {
    let sums = dir.file(sums_of(id)).and_then(|file| Sums::read(BufReader::new(file)));
    sums.ok().and_then(|sums| sums.head).map_or(0, |head| head.finished())
}

/// Where a damaged stream is kept; its checksums are beside it.
pub(crate) fn aside_path(dir: &Dir, id: FileId) -> PathBuf {
    dir.path().join(aside_of(&id.to_string()))
}

fn aside_of(name: &str) -> String {
    format!("{name}.damaged")
}

/// Gives a damaged stream a second name, under which nothing reads or removes it: before a line behind the damage is
/// acknowledged, since after that nobody would find it.
///
/// # Errors
/// The directory can't be written.
pub(crate) fn set_aside(dir: &Dir, id: FileId) -> Result<(), Failure> {
    for from in [id.to_string(), sums_of(id)] {
        // One that is gone can't be kept.
        if dir.entry(&from).is_ok_and(|there| there.is_some()) {
            dir.link(dir, &from, aside_of(&from))?;
        }
    }
    Ok(())
}

/// The checksum of a group, as it was read.
#[derive(Clone, Copy, Debug)]
struct Sum {
    offset: u64,
    length: u64,
    crc: u64,
}

impl Sum {
    fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }
}

/// What stands in a file of checksums.
#[derive(Debug, Default)]
struct Sums {
    head: Option<Head>,
    /// Without those that were given back to the file system.
    sums: Vec<Sum>,
}

impl Sums {
    fn read(mut reader: impl Read) -> io::Result<Self> {
        let mut first = Vec::new();
        reader.by_ref().take(HEAD as u64).read_to_end(&mut first)?;
        let mut found = Self { head: Head::unpack(&first), sums: Vec::new() };
        if found.head.is_none() {
            // As an earlier version wrote them.
            first.as_chunks().0.iter().for_each(|bytes| found.add(bytes));
        }
        let mut bytes = [0; SUM];
        loop {
            match reader.read_exact(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(found),
                other => other?,
            }
            found.add(&bytes);
        }
    }

    fn add(&mut self, bytes: &[u8; SUM]) {
        if *bytes != [0; SUM] {
            let [offset, length, crc] = unpack(bytes);
            self.sums.push(Sum { offset, length, crc });
        }
    }

    /// What each says, and up to where the stream of `size` bytes was finished.
    fn judge(&mut self, data: &File, size: u64, acked: u64) -> (Vec<State>, u64) {
        let finished = if let Some(head) = self.head {
            head.finished()
        } else {
            let states = judge(data, &self.sums, acked, None);
            let finished = finished_before(&self.sums, &states, size);
            if states.iter().any(|state| matches!(state, State::Whole(_))) {
                return (states, finished);
            }
            // The head, which is gone, was there before the first byte.
            finished.max(size)
        };
        self.sums.iter_mut().for_each(|sum| sum.crc ^= VERSION);
        (judge(data, &self.sums, acked, Some(finished)), finished)
    }
}

/// Up to where an earlier version had finished a stream: behind its last group stood one of no bytes, if nothing went wrong,
/// or a piece of that. Without it, the last group may have been under way.
fn finished_before(sums: &[Sum], states: &[State], size: u64) -> u64 {
    let sums = match sums.split_last().zip(states.last()) {
        Some(((mark, _), State::Whole(_))) if mark.length == 0 => return mark.offset,
        // It counted until the next boot.
        Some(((mark, before), _)) if mark.length == 0 => before,
        _ => sums,
    };
    match sums {
        [.., before, last] if before.end() == Some(last.offset) => last.offset,
        [.., last] => last.offset.min(size),
        [] => 0,
    }
}

/// What a checksum says of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It is acknowledged, and need not be there any more.
    Acknowledged {
        end: u64,
    },
    Whole(Range<u64>),
    Damaged,
}

/// What is there of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Survey {
    damaged: Vec<Range<u64>>,
    /// Where the last finished group ends.
    end: u64,
    unfinished: u64,
}

impl Survey {
    fn of(data: &File, mut sums: Sums, acked: u64, seen: u64) -> io::Result<Self> {
        let size = data.metadata()?.len();
        let (states, finished) = sums.judge(data, size, acked);
        let mut survey = Self { damaged: Vec::new(), end: acked, unfinished: 0 };
        for state in states {
            if let State::Whole(group) = state {
                survey.lose_to(group.start);
                survey.end = survey.end.max(group.end);
            }
        }
        survey.lose_to(finished.max(seen));
        // A group is begun when the one before it is finished.
        let behind = sums.sums.iter().filter(|sum| sum.offset >= survey.end);
        let begun = behind.flat_map(|sum| [Some(sum.offset), sum.end()]).flatten().filter(|at| *at < size);
        if let Some(begun) = begun.max() {
            survey.lose_to(begun);
        }
        // More than a group was never under way.
        if size.saturating_sub(survey.end) > GROUP as u64 {
            survey.lose_to(size);
        }
        survey.unfinished = size.saturating_sub(survey.end);
        Ok(survey)
    }

    /// What lies between here and `start` is damaged.
    fn lose_to(&mut self, start: u64) {
        if start > self.end {
            match self.damaged.last_mut().filter(|last| last.end == self.end) {
                Some(last) => last.end = start,
                None => self.damaged.push(self.end..start),
            }
            self.end = start;
        }
    }
}

/// What each checksum says. The last group ends at `finished`, most likely.
fn judge(data: &File, sums: &[Sum], acked: u64, finished: Option<u64>) -> Vec<State> {
    let mut buffer = Vec::new();
    let mut holds = |range: &Range<u64>, crc: u64| {
        let length = range.end.saturating_sub(range.start);
        buffer.resize(usize::try_from(length.min(LONGEST)).unwrap_or(0), 0);
        // What the disk does not give back is damaged as well.
        length <= LONGEST && data.read_exact_at(&mut buffer, range.start).is_ok() && crc_of(range.start, &buffer) == crc
    };
    let mut states: Vec<State> = sums
        .iter()
        .map(|sum| match sum.end() {
            Some(end) if end <= acked => State::Acknowledged { end },
            Some(end) if holds(&(sum.offset..end), sum.crc) => State::Whole(sum.offset..end),
            _ => State::Damaged,
        })
        .collect();
    for (number, sum) in sums.iter().enumerate() {
        let before = match number.checked_sub(1).map(|before| &states[before]) {
            Some(State::Acknowledged { end } | State::Whole(Range { end, .. })) => Some(*end),
            Some(State::Damaged) => None,
            None => Some(0),
        };
        let after = match states.get(number + 1) {
            Some(State::Whole(group)) => Some(group.start),
            Some(_) => None,
            None => finished,
        };
        let candidates = match (&states[number], before, after) {
            // A checksum that says too little of itself.
            (State::Acknowledged { end }, _, Some(after)) if after > acked && after > *end => [before, Some(after)],
            (State::Damaged, ..) => [before, after],
            _ => continue,
        };
        let [before, after] = candidates;
        let ranges = [
            before.and_then(|start| Some(start..start.checked_add(sum.length)?)),
            after.and_then(|end| Some(end.checked_sub(sum.length)?..end)),
            after.map(|end| sum.offset..end),
            before.zip(after).map(|(start, end)| start..end),
        ];
        let mut ranges = ranges.into_iter().flatten().filter(|range| !range.is_empty() && range.end > acked);
        let range = ranges.find(|range| holds(range, sum.crc));
        if let Some(range) = range {
            states[number] = State::Whole(range);
        }
    }
    states
}

/// The lines that `damaged` takes with it, of those between `from` and `to`.
fn lines_of(data: &File, from: u64, to: u64, damaged: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut lost: Vec<Range<u64>> = Vec::new();
    for (number, gap) in damaged.iter().enumerate() {
        let floor = lost.last().map_or(from, |last| last.end);
        let ceiling = damaged.get(number + 1).map_or(to, |next| next.start);
        let start = last_newline(data, floor, gap.start).map_or(floor, |at| at + 1).min(gap.start.max(floor));
        // The last byte of what is damaged is most likely what it was.
        let ends = gap.end > 0 && last_newline(data, gap.end - 1, gap.end).is_some();
        let end = if ends { gap.end } else { first_newline(data, gap.end, ceiling).map_or(ceiling, |at| at + 1) };
        match lost.last_mut().filter(|last| last.end >= start) {
            Some(last) => last.end = end,
            None => lost.push(start..end),
        }
    }
    lost
}

/// Where the last newline stands between two offsets; none where it can't be read.
fn last_newline(data: &File, from: u64, to: u64) -> Option<u64> {
    let mut end = to;
    while end > from {
        let start = end.saturating_sub(WINDOW).max(from);
        let bytes = window(data, start..end)?;
        if let Some(at) = memrchr(b'\n', &bytes) {
            return Some(start + at as u64);
        }
        end = start;
    }
    None
}

/// Where the first newline stands between two offsets; none where it can't be read.
fn first_newline(data: &File, from: u64, to: u64) -> Option<u64> {
    let mut start = from;
    while start < to {
        let end = (start + WINDOW).min(to);
        let bytes = window(data, start..end)?;
        if let Some(at) = memchr(b'\n', &bytes) {
            return Some(start + at as u64);
        }
        start = end;
    }
    None
}

fn window(data: &File, range: Range<u64>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
    data.read_exact_at(&mut bytes, range.start).ok()?;
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one lost range is what is meant")]
mod tests {
    use super::super::{boot, sum_of, write_group};
    use super::*;
    use std::fs;

    /// What is known of the last group.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum End {
        Finished,
        /// Not synced, in this boot.
        Written,
        /// Not synced, in an earlier boot.
        Lost,
        /// By an earlier version, which had synced it.
        Marked,
        /// By an earlier version, which may not have.
        Bare,
    }

    struct Stream {
        place: tempfile::TempDir,
        dir: Dir,
        data: Vec<u8>,
        sums: Vec<u8>,
        groups: Vec<Range<u64>>,
        /// Where the checksum of the first group stands.
        first: usize,
        /// Nothing before this offset can have been under way.
        finished: u64,
    }

    const ID: FileId = FileId(7);

    impl Stream {
        fn new(groups: &[&str], end: End) -> Self {
            let place = tempfile::tempdir().unwrap();
            let dir = Dir::open(place.path()).unwrap();
            let make = |name: String| dir.new_file(name, 0o600).unwrap();
            let (data, sums) = (make(ID.to_string()), make(sums_of(ID)));
            let old = matches!(end, End::Marked | End::Bare);
            let first = if old { 0 } else { HEAD };
            let (mut offset, mut ranges) = (0, Vec::new());
            for (number, group) in groups.iter().enumerate() {
                let summed = (first + number * SUM) as u64;
                if old {
                    data.write_all_at(group.as_bytes(), offset).unwrap();
                    sums.write_all_at(&sum_of(offset, group.as_bytes(), 0), summed).unwrap();
                } else {
                    write_group(&data, &sums, summed, offset, group.as_bytes()).unwrap();
                }
                ranges.push(offset..offset + group.len() as u64);
                offset += group.len() as u64;
            }
            let synced = ranges.last().unwrap().start;
            let head = |boot| Head { synced, written: offset, boot }.pack();
            match end {
                End::Finished | End::Bare => {}
                End::Written => sums.write_all_at(&head(boot()), 0).unwrap(),
                End::Lost => sums.write_all_at(&head(boot() ^ 8), 0).unwrap(),
                End::Marked => sums.write_all_at(&sum_of(offset, &[], 0), (groups.len() * SUM) as u64).unwrap(),
            }
            let finished = if matches!(end, End::Lost | End::Bare) { synced } else { offset };
            let read = |path| fs::read(path).unwrap();
            let (data, sums) = (read(place.path().join(ID.to_string())), read(place.path().join(sums_of(ID))));
            Self { place, dir, data, sums, groups: ranges, first, finished }
        }

        /// What is recovered of these bytes.
        fn recover(&self, data: &[u8], sums: &[u8], acked: u64) -> (Vec<Range<u64>>, u64, u64) {
            fs::write(self.place.path().join(ID.to_string()), data).unwrap();
            fs::write(self.place.path().join(sums_of(ID)), sums).unwrap();
            let found = recover(&self.dir, ID, acked, 0).unwrap();
            let end = found.progress.synced.load(std::sync::atomic::Ordering::Relaxed);
            (found.lost, end, found.unfinished)
        }

        /// Of a stream that was finished, nothing is left out: each byte is what it was, or counted as lost.
        fn nothing_is_silent(&self, (data, file): &(Vec<u8>, File), sums: &[u8], what: &str) {
            let found = Recovered::of(file.try_clone().unwrap(), Sums::read(sums).unwrap(), 0, 0).unwrap();
            let Recovered { lost, unfinished, progress, .. } = found;
            let end = progress.synced.load(std::sync::atomic::Ordering::Relaxed);
            // Without a head nobody knows how much there was.
            let size = if Head::unpack(sums).is_none() { data.len() } else { self.data.len() };
            assert_eq!((end, unfinished), (size as u64, 0), "{what}");
            for at in 0..size {
                let is_lost = lost.iter().any(|lost| lost.contains(&(at as u64)));
                assert!(is_lost || data.get(at) == Some(&self.data[at]), "{what}: byte {at} of {lost:?}");
            }
        }

        /// Which group holds an offset.
        fn group_of(&self, offset: u64) -> usize {
            self.groups.iter().position(|group| group.contains(&offset)).unwrap()
        }
    }

    fn on_disk(data: Vec<u8>) -> (Vec<u8>, File) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&data, 0).unwrap();
        (data, file)
    }

    /// The first bytes of a file, and zeros up to its old length.
    fn blank(bytes: &[u8], from: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[from..].fill(0);
        bytes
    }

    fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    }

    /// Groups that end with a line, and groups that cut one.
    const LINES: [&str; 5] = ["one\ntwo\n", "three\n", "four\nfi", "ve\nsix\n", "seven\n"];

    #[test]
    fn what_is_whole_is_there() {
        for end in [End::Finished, End::Written, End::Lost, End::Marked, End::Bare] {
            let stream = Stream::new(&LINES, end);
            let size = stream.data.len() as u64;
            for acked in [0, 4, 8, size] {
                assert_eq!(stream.recover(&stream.data, &stream.sums, acked), (vec![], size, 0));
            }
        }
    }

    /// Each bit of the bytes in turn: the lines of its group are lost, and counted, and no other.
    #[test]
    fn a_flipped_bit_takes_its_group() {
        for end in [End::Finished, End::Written, End::Marked] {
            each_bit(&Stream::new(&LINES, end));
        }
    }

    fn each_bit(stream: &Stream) {
        let size = stream.data.len() as u64;
        for acked in [0, 4, 8] {
            for bit in 0..stream.data.len() * 8 {
                let at = (bit / 8) as u64;
                let (lost, end, unfinished) = stream.recover(&flipped(&stream.data, bit), &stream.sums, acked);
                assert_eq!((end, unfinished), (size, 0), "bit {bit}");
                let group = &stream.groups[stream.group_of(at)];
                if group.end <= acked {
                    assert_eq!(lost, [], "bit {bit}");
                    continue;
                }
                let [lost] = &lost[..] else { panic!("bit {bit}: {lost:?}") };
                assert!(lost.start <= group.start.max(acked) && lost.end >= group.end, "bit {bit}: {lost:?}");
                // Beyond the group, only what is left of lines that it cuts. Where its last newline was hit, nobody can know
                // that the line behind it is another one.
                let text = |range: Range<u64>| &stream.data[range.start as usize..range.end as usize];
                assert!(!text(lost.start..group.start.max(lost.start)).contains(&b'\n'), "bit {bit}: {lost:?}");
                let behind = text(group.end..lost.end);
                assert!(behind.iter().filter(|byte| **byte == b'\n').count() <= 1, "bit {bit}: {lost:?}");
                let cuts = stream.data[group.end as usize - 1] != b'\n' || at == group.end - 1;
                assert!(cuts || behind.is_empty(), "bit {bit}: {lost:?}");
            }
        }
    }

    /// Each bit of the checksums in turn: where a group lies follows from its neighbours, and only a damaged checksum itself
    /// takes its group with it.
    #[test]
    fn a_flipped_bit_of_a_checksum() {
        for end in [End::Finished, End::Written, End::Marked] {
            each_bit_of_a_checksum(&Stream::new(&LINES, end));
        }
    }

    fn each_bit_of_a_checksum(stream: &Stream) {
        let size = stream.data.len() as u64;
        for acked in [0, 8] {
            for bit in 0..stream.sums.len() * 8 {
                let (lost, end, unfinished) = stream.recover(&stream.data, &flipped(&stream.sums, bit), acked);
                assert_eq!((end, unfinished), (size, 0), "bit {bit}");
                let number = (bit / 8).checked_sub(stream.first).map(|behind| behind / SUM);
                let group = number.and_then(|number| stream.groups.get(number));
                let group = group.filter(|group| bit / 8 % SUM / 8 == 2 && group.end > acked);
                assert_eq!(lost.len(), usize::from(group.is_some()), "bit {bit}: {lost:?}");
                if let (Some(group), Some(lost)) = (group, lost.first()) {
                    assert!(
                        lost.start <= group.start && lost.end >= group.end && lost.end - lost.start <= 16,
                        "{lost:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn several_places() {
        let stream = Stream::new(&LINES, End::Finished);
        let size = stream.data.len() as u64;
        let hit = |groups: &[usize]| {
            let mut data = stream.data.clone();
            groups.iter().for_each(|group| data[stream.groups[*group].start as usize] ^= 1);
            stream.recover(&data, &stream.sums, 0)
        };
        assert_eq!(hit(&[0, 4]).0, [0..8, 28..34], "the first and the last");
        assert_eq!(hit(&[0, 1]).0, [0..14], "two that lie together");
        assert_eq!(hit(&[2, 4]).0, [14..24, 28..34]);
        assert_eq!(hit(&[0, 1, 2, 3, 4]), (vec![0..size], size, 0));
        let mut sums = stream.sums.clone();
        sums[HEAD + SUM..HEAD + 3 * SUM].fill(0xff);
        assert_eq!(stream.recover(&stream.data, &sums, 0).0, [8..24], "two checksums");
        let mut sums = stream.sums.clone();
        [3, 4].iter().for_each(|group| sums[HEAD + group * SUM + 20] ^= 1);
        assert_eq!(stream.recover(&stream.data, &sums, 0), (vec![19..size], size, 0), "the last two");
    }

    /// A crash while the last group is written: it is as if it had never been read, and nothing is damaged.
    #[test]
    fn a_torn_end_is_no_damage() {
        for end in [End::Lost, End::Bare] {
            let stream = Stream::new(&LINES, end);
            let last = stream.groups[4].clone();
            let sum = stream.first + 4 * SUM;
            // In whatever order the disk took them: a piece of it, zeros for the rest, and as much of its checksum.
            for to in usize::try_from(last.start).unwrap()..stream.data.len() {
                for at in (sum..=sum + SUM).step_by(8) {
                    for sums in [stream.sums[..at].to_vec(), blank(&stream.sums, at)] {
                        let cut = stream.recover(&stream.data[..to], &sums, 0);
                        assert_eq!(cut, (vec![], last.start, to as u64 - last.start), "{end:?}: to {to}, {at}");
                        let blank = stream.recover(&blank(&stream.data, to), &sums, 0);
                        assert_eq!(blank, (vec![], last.start, last.end - last.start), "{end:?}: to {to}, {at}");
                    }
                }
            }
            for cut in sum..sum + SUM {
                let found = stream.recover(&stream.data, &stream.sums[..cut], 0);
                assert_eq!(found, (vec![], last.start, last.end - last.start), "{end:?}: checksum cut at {cut}");
            }
            for bit in last.start * 8..last.end * 8 {
                let data = flipped(&stream.data, usize::try_from(bit).unwrap());
                assert_eq!(stream.recover(&data, &stream.sums, 0).0, [], "{end:?}: bit {bit}");
            }
        }
        for end in [End::Finished, End::Written, End::Lost, End::Marked, End::Bare] {
            let stream = Stream::new(&LINES, end);
            let size = stream.data.len() as u64;
            let mut more = stream.data.clone();
            more.extend_from_slice(b"never sync");
            assert_eq!(stream.recover(&more, &stream.sums, 0), (vec![], size, 10), "{end:?}");
            more.resize(stream.data.len() + GROUP, b'x');
            assert_eq!(stream.recover(&more, &stream.sums, 0), (vec![], size, GROUP as u64), "{end:?}");
            more.push(b'x');
            let all = more.len() as u64;
            assert_eq!(stream.recover(&more, &stream.sums, 0), (vec![size..all], all, 0), "{end:?}: more than a group");
        }
        // The machine stopped while nothing was written yet.
        let stream = Stream::new(&LINES, End::Finished);
        assert_eq!(stream.recover(&[], &[], 0), (vec![], 0, 0));
        assert_eq!(stream.recover(&[], &stream.sums[..HEAD], 0).0, [0..34], "the head knows better");
        let nothing = Head::new(0, 0).pack();
        assert_eq!(stream.recover(b"one\ntw", &nothing, 0), (vec![], 0, 6));
    }

    /// Behind a group of which the head does not know yet stands something: so it was finished.
    #[test]
    fn what_stands_behind_a_group_tells_that_it_was_finished() {
        let stream = Stream::new(&LINES, End::Lost);
        let last = stream.groups[4].clone();
        let data = [&flipped(&stream.data, 8 * 28)[..], b"eight"].concat();
        assert_eq!(stream.recover(&data, &stream.sums, 0), (vec![28..34], 34, 5), "bytes");
        let sums = [&stream.sums[..], &sum_of(last.end, b"eight\n", VERSION)].concat();
        let data = [&flipped(&stream.data, 8 * 28)[..], b"eight\n"].concat();
        assert_eq!(stream.recover(&data, &sums, 0), (vec![28..34], 40, 0), "another group");
    }

    /// Shorter than what was finished.
    #[test]
    fn what_was_finished_and_is_gone() {
        for end in [End::Finished, End::Written, End::Lost, End::Marked, End::Bare] {
            let stream = Stream::new(&LINES, end);
            for cut in 0..stream.finished {
                let (lost, to, unfinished) = stream.recover(&stream.data[..cut as usize], &stream.sums, 0);
                assert_eq!((to, unfinished), (stream.finished, 0), "{end:?}: cut at {cut}");
                let before: Vec<u64> = stream.groups.iter().map(|group| group.end).filter(|end| *end <= cut).collect();
                let whole = before.last().copied().unwrap_or(0);
                let lines =
                    stream.data[..whole as usize].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                assert_eq!(lost, [lines as u64..stream.finished], "{end:?}: cut at {cut}");
            }
        }
        let stream = Stream::new(&LINES, End::Finished);
        stream.dir.remove(sums_of(ID)).unwrap();
        assert_eq!(recover(&stream.dir, ID, 8, 0).unwrap().lost, [8..34], "no checksums at all");
        stream.recover(&[], &[], 0);
        assert_eq!(recover(&stream.dir, ID, 0, 34).unwrap().lost, [0..34], "nothing but what was seen of it");
        stream.recover(&[], &stream.sums, 0);
        assert_eq!(finished(&stream.dir, ID), 34);
    }

    /// Each length of the bytes with each length of the checksums, both cut or blank behind it.
    #[test]
    fn no_end_is_left_out() {
        for end in [End::Finished, End::Written] {
            let stream = Stream::new(&LINES, end);
            for to in 0..=stream.data.len() {
                for data in [on_disk(stream.data[..to].to_vec()), on_disk(blank(&stream.data, to))] {
                    for at in 0..=stream.sums.len() {
                        let what = format!("{end:?}: to {to}, checksums to {at}");
                        stream.nothing_is_silent(&data, &stream.sums[..at], &what);
                        stream.nothing_is_silent(&data, &blank(&stream.sums, at), &what);
                    }
                }
            }
        }
    }

    /// Sectors of zeros, in the bytes, in the checksums and in both.
    #[test]
    fn no_hole_is_left_out() {
        const SECTOR: usize = 512;
        let lines: Vec<String> = (0..100).map(|line| format!("line {line:03} and what it says\n")).collect();
        let stream = Stream::new(&lines.iter().map(String::as_str).collect::<Vec<_>>(), End::Finished);
        let holes = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let sectors = bytes.len().div_ceil(SECTOR);
            let each = (0..sectors).flat_map(|from| (from..sectors + 1).map(move |to| (from * SECTOR, to * SECTOR)));
            let hole = |(from, to): (usize, usize)| {
                let mut bytes = bytes.to_vec();
                let to = to.min(bytes.len());
                bytes[from..to].fill(0);
                bytes
            };
            each.map(hole).collect()
        };
        for data in holes(&stream.data).into_iter().map(on_disk) {
            for sums in holes(&stream.sums) {
                stream.nothing_is_silent(&data, &sums, "a hole");
            }
        }
    }

    #[test]
    fn it_is_set_aside_under_a_name_that_is_no_stream() {
        let stream = Stream::new(&LINES, End::Finished);
        for _ in 0..2 {
            set_aside(&stream.dir, ID).unwrap();
        }
        assert_eq!(fs::read(aside_path(&stream.dir, ID)).unwrap(), stream.data);
        assert_eq!(super::super::left(&stream.dir), [ID]);
        super::super::remove(&stream.dir, ID);
        assert_eq!(super::super::left(&stream.dir), []);
        assert_eq!(fs::read_dir(stream.place.path()).unwrap().count(), 2);
    }

    #[test]
    fn almost_a_file_of_checksums() {
        let stream = Stream::new(&LINES, End::Finished);
        let (data, file) = on_disk(stream.data.clone());
        let acked = [0, 4, data.len() as u64, u64::MAX];
        testkit::comes_to_an_end("almost_a_file_of_checksums", &[&stream.sums], |sums| {
            let acked = acked[sums.iter().map(|byte| usize::from(*byte)).sum::<usize>() % acked.len()];
            let sums = Sums::read(sums).unwrap();
            let recovered = Recovered::of(file.try_clone().unwrap(), sums, acked, data.len() as u64).unwrap();
            assert!(recovered.lost.iter().all(|lost| lost.start < lost.end), "{:?}", recovered.lost);
        });
    }
}
