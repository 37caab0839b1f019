//! What stood before earlier offsets of a file: few marks, close together near its end and near its beginning, by which a
//! copy that was made before all of it was read is known.

use crate::contents::Mark;

/// Ends of what was read that are kept; older ones lie farther apart.
const ENDS: usize = 16;
/// Smallest offset that is marked, whatever was read together; so is every power of two above.
const FIRST: u64 = 64;

/// The marks, by offset.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    ends: Vec<Mark>,
    powers: Vec<Mark>,
}

impl Trail {
    /// `bytes` were read, up to where `end` was made; they begin with what had been read before.
    pub(crate) fn passed(&mut self, end: Mark, bytes: &[u8]) {
        let start = end.at - bytes.len() as u64;
        let mut power = self.powers.last().map_or(FIRST, |last| last.at * 2).max(start.next_power_of_two());
        while power > start && power <= end.at {
            let before = usize::try_from(power - start).unwrap_or(bytes.len());
            self.powers.push(Mark::of(power, &bytes[..before]));
            power *= 2;
        }
        if self.ends.len() == ENDS {
            // Every second one of the older half: the rest lies twice as far apart.
            let mut number = 0;
            self.ends.retain(|_| {
                number += 1;
                number > ENDS / 2 || number % 2 == 0
            });
        }
        self.ends.push(end);
    }

    /// The last mark at or before `size`.
    pub(crate) fn last_within(&self, size: u64) -> Option<Mark> {
        let last = |marks: &[Mark]| marks.iter().rev().find(|mark| mark.at <= size).copied();
        last(&self.ends).into_iter().chain(last(&self.powers)).max_by_key(|mark| mark.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_never_far() {
        let text: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        let mut trail = Trail::default();
        for end in (100..=text.len()).step_by(100) {
            let start = end.saturating_sub(164);
            trail.passed(Mark::of(end as u64, &text[start..end]), &text[start..end]);
        }
        assert!(trail.ends.len() <= ENDS);
        for size in 64..text.len() {
            let mark = trail.last_within(size as u64).unwrap();
            assert!(mark.at <= size as u64 && mark.at * 2 >= size as u64, "{size}: {mark:?}");
        }
        assert_eq!(trail.last_within(99_950).unwrap().at, 99_900, "the last ones are all there");
        assert_eq!(trail.last_within(63), None);
    }
}
