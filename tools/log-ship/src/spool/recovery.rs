//! What an earlier run left of a stream: which of its groups are whole, and which lines the others take with them.
//!
//! Groups lie next to each other and their checksums are found by position, so a damaged group hides none behind it. The
//! offset and the length of a damaged checksum follow from its neighbours.

use super::{GROUP, SUM, boot, crc_of, data_path, sums_path, unpack};
use crate::source::Progress;
use memchr::{memchr, memrchr};
use records::FileId;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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

/// Opens the stream and finds out what of it is whole behind `acked`.
///
/// # Errors
/// It can't be read.
pub(crate) fn recover(dir: &Path, id: FileId, acked: u64) -> io::Result<Recovered> {
    let data = File::open(data_path(dir, id))?;
    let sums = durable::if_there(File::open(sums_path(dir, id)))?.map(read_sums).transpose()?;
    let survey = Survey::of(&data, sums.as_deref(), acked)?;
    let lost = lines_of(&data, acked, survey.end, &survey.damaged);
    let progress = Progress { synced: survey.end.into(), ended: true.into(), ..Progress::default() };
    Ok(Recovered { data, progress: Arc::new(progress), lost, unfinished: survey.unfinished })
}

/// Where a damaged stream is kept; its checksums are beside it.
pub(crate) fn aside_path(dir: &Path, id: FileId) -> PathBuf {
    aside_of(&data_path(dir, id))
}

fn aside_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

/// Gives a damaged stream a second name, under which nothing reads or removes it: before a line behind the damage is
/// acknowledged, since after that nobody would find it.
///
/// # Errors
/// The directory can't be written.
pub(crate) fn set_aside(dir: &Path, id: FileId) -> io::Result<()> {
    let names = [data_path(dir, id), sums_path(dir, id)].map(|from| (aside_of(&from), from));
    for (to, from) in names {
        match fs::hard_link(from, to) {
            Err(error) if ![io::ErrorKind::AlreadyExists, io::ErrorKind::NotFound].contains(&error.kind()) => {
                return Err(error);
            }
            _ => {}
        }
    }
    File::open(dir)?.sync_all()
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

/// All checksums, without those that were given back to the file system.
fn read_sums(file: File) -> io::Result<Vec<Sum>> {
    let mut reader = BufReader::with_capacity(SUM * 1024, file);
    let mut sums = Vec::new();
    let mut bytes = [0; SUM];
    loop {
        match reader.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(sums),
            other => other?,
        }
        if bytes != [0; SUM] {
            let [offset, length, crc] = unpack(&bytes);
            sums.push(Sum { offset, length, crc });
        }
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
    fn of(data: &File, sums: Option<&[Sum]>, acked: u64) -> io::Result<Self> {
        let size = data.metadata()?.len();
        let states = judge(data, sums.unwrap_or_default(), acked);
        // Of a boot before this one: it tells nothing any more.
        let is_old_mark = |(sum, state): (&Sum, &State)| sum.length == 0 && *state == State::Damaged;
        let sums = sums.map(|sums| match sums.split_last().zip(states.last()) {
            Some(((last, before), state)) if is_old_mark((last, state)) => before,
            _ => sums,
        });
        let mut survey = Self { damaged: Vec::new(), end: acked, unfinished: 0 };
        let mut last = None;
        for (number, state) in states.iter().enumerate() {
            match state {
                State::Whole(group) => {
                    survey.lose_to(group.start);
                    survey.end = survey.end.max(group.end);
                    last = Some(number);
                }
                State::Acknowledged { .. } => last = Some(number),
                State::Damaged => {}
            }
        }
        let sums = sums.map(|sums| sums.split_at(last.map_or(0, |last| last + 1)));
        match sums {
            // Without checksums nothing can be told to be whole.
            None => survey.lose_to(size),
            Some((before, [])) => survey.cut_short(before, &states, size),
            Some((_, behind)) => survey.leave_last(behind, size),
        }
        // More than the one group that can have been under way.
        if size.saturating_sub(survey.end) > LONGEST {
            survey.lose_to(size);
        }
        survey.unfinished = survey.unfinished.max(size.saturating_sub(survey.end));
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

    /// All checksums are whole. Of a file that ends within its last group, that one was never finished: disks flip bits, but
    /// only a crash makes a file shorter.
    fn cut_short(&mut self, sums: &[Sum], states: &[State], size: u64) {
        let [.., sum, _] = sums else { return };
        let [.., State::Damaged, _] = states else { return };
        let Some(last) = self.damaged.last_mut().filter(|last| last.end == self.end && size < last.end) else { return };
        let start = sum.offset.clamp(last.start, last.end);
        self.unfinished = self.end - start;
        self.end = start;
        last.end = start;
        if last.is_empty() {
            self.damaged.pop();
        }
    }

    /// The last ones are damaged, and nothing behind them says that they were finished: the very last was not.
    fn leave_last(&mut self, sums: &[Sum], size: u64) {
        if let [.., before, last] = sums {
            let known = before.end().filter(|end| *end == last.offset);
            self.lose_to(known.unwrap_or(last.offset.min(size)));
        }
    }
}

/// What each checksum says.
fn judge(data: &File, sums: &[Sum], acked: u64) -> Vec<State> {
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
            Some(end) if sum.length == 0 && holds(&(end..end), sum.crc ^ boot()) => State::Whole(end..end),
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
            _ => None,
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
    use super::super::{end_mark, write_group};
    use super::*;
    use std::fs::OpenOptions;

    /// Whether something stands behind the last group that says that it was finished.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum End {
        Finished,
        /// Not synced, in this boot.
        Written,
        /// Not synced, in an earlier boot.
        Lost,
        /// By an earlier version.
        Unknown,
    }

    struct Stream {
        dir: tempfile::TempDir,
        data: Vec<u8>,
        sums: Vec<u8>,
        groups: Vec<Range<u64>>,
    }

    const ID: FileId = FileId(7);

    impl Stream {
        fn new(groups: &[&str], end: End) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let open = |path| OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
            let (data, sums) = (open(data_path(dir.path(), ID)), open(sums_path(dir.path(), ID)));
            let (mut offset, mut ranges) = (0, Vec::new());
            for (number, group) in groups.iter().enumerate() {
                write_group(&data, &sums, (number * SUM) as u64, offset, group.as_bytes()).unwrap();
                ranges.push(offset..offset + group.len() as u64);
                offset += group.len() as u64;
            }
            let behind = (groups.len() * SUM) as u64;
            match end {
                End::Finished => {}
                End::Written => sums.write_all_at(&end_mark(offset, boot()), behind).unwrap(),
                End::Lost => sums.write_all_at(&end_mark(offset, boot() ^ 8), behind).unwrap(),
                End::Unknown => sums.set_len(behind).unwrap(),
            }
            let read = |path| fs::read(path).unwrap();
            let (data, sums) = (read(data_path(dir.path(), ID)), read(sums_path(dir.path(), ID)));
            Self { dir, data, sums, groups: ranges }
        }

        /// What is recovered of these bytes.
        fn recover(&self, data: &[u8], sums: &[u8], acked: u64) -> (Vec<Range<u64>>, u64, u64) {
            fs::write(data_path(self.dir.path(), ID), data).unwrap();
            fs::write(sums_path(self.dir.path(), ID), sums).unwrap();
            let found = recover(self.dir.path(), ID, acked).unwrap();
            let end = found.progress.synced.load(std::sync::atomic::Ordering::Relaxed);
            (found.lost, end, found.unfinished)
        }

        /// Which group holds an offset.
        fn group_of(&self, offset: u64) -> usize {
            self.groups.iter().position(|group| group.contains(&offset)).unwrap()
        }
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
        for end in [End::Finished, End::Written, End::Lost, End::Unknown] {
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
        for end in [End::Finished, End::Written] {
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
        let stream = Stream::new(&LINES, End::Finished);
        let size = stream.data.len() as u64;
        for acked in [0, 8] {
            for bit in 0..stream.sums.len() * 8 {
                let (lost, end, _) = stream.recover(&stream.data, &flipped(&stream.sums, bit), acked);
                assert_eq!(end, size, "bit {bit}");
                let (number, field) = (bit / 8 / SUM, bit / 8 % SUM / 8);
                let group = stream.groups.get(number).filter(|group| field == 2 && group.end > acked);
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
        sums[SUM..3 * SUM].fill(0xff);
        assert_eq!(stream.recover(&stream.data, &sums, 0).0, [8..24], "two checksums");
    }

    /// A crash while the last group is written: it is as if it had never been read, and nothing is damaged.
    #[test]
    fn a_torn_end_is_no_damage() {
        for end in [End::Finished, End::Written, End::Lost, End::Unknown] {
            let stream = Stream::new(&LINES, end);
            let last = stream.groups[4].clone();
            for cut in last.start..last.end {
                let (lost, end, unfinished) = stream.recover(&stream.data[..cut as usize], &stream.sums, 0);
                assert_eq!((lost, end), (vec![], last.start), "cut at {cut}");
                assert!(unfinished > 0 || cut == last.start, "cut at {cut}");
            }
        }
        for end in [End::Lost, End::Unknown] {
            let stream = Stream::new(&LINES, end);
            let last = stream.groups[4].clone();
            for cut in 4 * SUM..5 * SUM {
                let (lost, end, unfinished) = stream.recover(&stream.data, &stream.sums[..cut], 0);
                assert_eq!((lost, end, unfinished), (vec![], last.start, last.end - last.start), "cut at {cut}");
            }
            for bit in last.start * 8..last.end * 8 {
                let data = flipped(&stream.data, usize::try_from(bit).unwrap());
                assert_eq!(stream.recover(&data, &stream.sums, 0).0, [], "bit {bit}");
            }
        }
        let stream = Stream::new(&LINES, End::Unknown);
        let last = stream.groups[4].clone();
        let mut more = stream.data.clone();
        more.extend_from_slice(b"never sync");
        assert_eq!(stream.recover(&more, &stream.sums, 0), (vec![], last.end, 10));
    }

    /// Shorter by more than the group that can have been under way.
    #[test]
    fn what_was_finished_and_is_gone() {
        for end in [End::Finished, End::Written, End::Lost, End::Unknown] {
            let stream = Stream::new(&LINES, end);
            for cut in 0..stream.groups[4].start {
                let (lost, _, _) = stream.recover(&stream.data[..cut as usize], &stream.sums, 0);
                let group = &stream.groups[stream.group_of(cut)];
                assert!(lost[0].start <= group.start && lost[0].end == 28, "cut at {cut}: {lost:?}");
                let before: Vec<u64> = stream.groups.iter().map(|group| group.end).filter(|end| *end <= cut).collect();
                let whole = before.last().copied().unwrap_or(0);
                let lines =
                    stream.data[..whole as usize].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                assert_eq!(lost[0].start, lines as u64, "cut at {cut}");
            }
        }
        let stream = Stream::new(&LINES, End::Finished);
        fs::remove_file(sums_path(stream.dir.path(), ID)).unwrap();
        assert_eq!(recover(stream.dir.path(), ID, 8).unwrap().lost, [8..34], "no checksums at all");
    }

    #[test]
    fn it_is_set_aside_under_a_name_that_is_no_stream() {
        let stream = Stream::new(&LINES, End::Finished);
        for _ in 0..2 {
            set_aside(stream.dir.path(), ID).unwrap();
        }
        assert_eq!(fs::read(aside_path(stream.dir.path(), ID)).unwrap(), stream.data);
        assert_eq!(super::super::left(stream.dir.path()), [ID]);
        super::super::remove(stream.dir.path(), ID);
        assert_eq!(super::super::left(stream.dir.path()), []);
        assert_eq!(fs::read_dir(stream.dir.path()).unwrap().count(), 2);
    }
}
