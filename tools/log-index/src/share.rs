//! How many of the last records became dead letters: more than somebody allows are a fault elsewhere.

use std::collections::VecDeque;

/// Records that are looked at.
const WINDOW: u64 = 10_000;
/// Of fewer than these a share says nothing, unless they are all there are.
const LEAST: u64 = 100;

/// A share in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(f64);

impl Share {
    /// Reads `5%` or `0.05`.
    ///
    /// # Errors
    /// No number, or not from 0 % to 100 %.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let percent = match text.trim().strip_suffix('%') {
            Some(number) => number.trim_end().parse(),
            None => text.trim().parse().map(|share: f64| share * 100.0),
        };
        match percent {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent)),
            _ => Err("expected a share such as 5% or 0.05".to_owned()),
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// The last records, as they were settled.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    parts: VecDeque<(u64, u64)>,
    records: u64,
    rejected: u64,
}

impl Recent {
    /// So many more, of which so many are dead letters.
    pub(crate) fn add(&mut self, records: u64, rejected: u64) {
        self.parts.push_back((records, rejected));
        self.records += records;
        self.rejected += rejected;
        while let Some((records, rejected)) = self.parts.pop_front_if(|(records, _)| self.records - *records >= WINDOW)
        {
            self.records -= records;
            self.rejected -= rejected;
        }
    }

    /// What is said if more of them than allowed are dead letters.
    pub(crate) fn exceeds(&self, most: Share) -> Option<String> {
        self.is_telling().then(|| self.exceed_at_last(most)).flatten()
    }

    /// Whether there are enough of them for a share.
    pub(crate) fn is_telling(&self) -> bool {
        self.records >= LEAST
    }

    /// The same when no more come, however few they are.
    pub(crate) fn exceed_at_last(&self, most: Share) -> Option<String> {
        #[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
        let exceeds = self.rejected as f64 * 100.0 > most.0 * self.records as f64;
        exceeds.then(|| format!("{} of the last {} records can't be indexed", self.rejected, self.records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        for (text, share) in [("5%", 5.0), ("0.05", 5.0), ("0", 0.0), ("100%", 100.0), ("1", 100.0), (" 2.5 %", 2.5)] {
            assert_eq!(Share::new(text), Ok(Share(share)), "{text}");
        }
        for text in ["", "%", "5", "-1%", "101%", "NaN", "inf%", "all"] {
            assert!(Share::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn over_the_last_ten_thousand() {
        let (mut recent, ten) = (Recent::default(), Share(10.0));
        recent.add(99, 99);
        assert_eq!((recent.exceeds(ten), recent.exceed_at_last(ten).is_some()), (None, true));
        recent.add(10_000, 0);
        assert_eq!((recent.records, recent.rejected), (10_000, 0), "what was before is forgotten");
        recent.add(1000, 1000);
        assert_eq!(recent.exceeds(ten), None, "1,000 of 11,000");
        recent.add(200, 200);
        assert_eq!(recent.exceeds(ten).unwrap(), "1200 of the last 11200 records can't be indexed");
        assert_eq!(Recent::default().exceed_at_last(Share(0.0)), None);
    }
}
