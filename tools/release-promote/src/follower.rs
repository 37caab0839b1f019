//! The git tag, which follows the pointer.

use crate::channel::{Channel, ROUNDS};
use crate::choice::Choice;
use crate::ledger::Standings;
use crate::tag::{Push, Standing, Tag, Words};
use cli::Console;
use failure::{Class, Failure};
use release::history::Row;
use release::pointer::Pointer;
use release::{Pauses, Record};

/// Pushes lost in a row against a tag that does not move.
const LOSSES: u32 = 10;

/// A tag that shows what a channel's pointer names.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    pub(crate) channel: &'a Channel<'a>,
    pub(crate) tag: Tag,
    pub(crate) dry_run: bool,
    pub(crate) console: Console,
}

impl Follower<'_> {
    /// Brings the tag up to the present pointer, if it is behind; the pointer's record if there was something to do.
    ///
    /// # Errors
    /// The remote does not answer, or the tag can't be moved.
    pub(crate) async fn finish(
        &self,
        choice: &Choice<'_>,
        standing: Option<&Pointer>,
        history: &Standings,
    ) -> Result<Option<Record>, Failure> {
        // Also tells that the remote answers, while nothing is changed yet.
        let read = self.tag.read().await?;
        let (Some(pointer), Some(row)) = (standing, history.list.last()) else { return Ok(None) };
        if pointer.record.git_commit().is_none() {
            return Ok(None);
        }
        // A tag that shows no promotion yet is one of the old job's, or none: the next promotion moves it. Only the
        // row of this promotion missing as well says that somebody was cut off.
        let behind = history.current && read.promotion.map_or(history.repaired, |shown| shown < row.n);
        if behind && self.dry_run {
            return Ok(Some(pointer.record.clone()));
        }
        if behind {
            self.follow(&pointer.record).await?;
            self.console.warn(format!(
                "finished the promotion of release {}, whose tag had not been moved{}",
                pointer.record.number(),
                choice.stopped()
            ));
            return Ok(Some(pointer.record.clone()));
        }
        if read.promotion.is_none() && choice.is_previous() && !self.dry_run {
            self.mark(&read, pointer, row).await?;
        }
        Ok(None)
    }

    /// Lets a tag that shows no promotion show the present one before `previous` leaves it. Cut off after that, it is
    /// seen to be behind; a tag that shows nothing would let the same `previous`, run again, go back to what it left.
    async fn mark(&self, read: &Standing, pointer: &Pointer, row: &Row) -> Result<(), Failure> {
        let Some(commit) = pointer.record.git_commit() else { return Ok(()) };
        if let Err(failure) = self.tag.check(commit).await {
            self.console.step(format!("the tag {} can't show the present release: {failure}", self.tag.name));
            return Ok(());
        }
        let release = format!("{}-{}", self.channel.layout, row.to);
        let words = Words { commit, promotion: row.n, release, promoted_at: &row.time, reason: &row.reason };
        // Overtaken: somebody else made it show a promotion.
        self.tag.push(read, &words).await.map(drop)
    }

    /// Moves the tag until it names the pointer's promotion, whoever moved the pointer last.
    ///
    /// # Errors
    /// The tag is not moved, and the message says how to move it (temporary).
    pub(crate) async fn follow(&self, promoted: &Record) -> Result<(), Failure> {
        let (channel, tag) = (self.channel, &self.tag);
        let behind = |failure: Failure| {
            // By number: where the end of a push could not be seen, `previous` may mean another release by now.
            let (number, channel, tag) = (promoted.number(), channel.name, &tag.name);
            let what = format!(
                "release {number} is {channel}, but the tag {tag} was not moved; run again with --release {number} to move it"
            );
            failure.with_class(Class::Temporary).context(what)
        };
        let mut stuck: Option<(Standing, u32)> = None;
        let mut pauses = Pauses::default();
        for _ in 0..ROUNDS {
            // The tag first, then the pointer: a lease on an older tag fails, one on a newer can't carry an older pointer.
            let read = tag.read().await.map_err(behind)?;
            let now = channel.pointer().await.map_err(behind)?;
            let now = now.ok_or_else(|| behind(Failure::temporary("the pointer vanished")))?.record;
            let Some(promotion) = now.promotion() else {
                return Err(behind(Failure::temporary("an old script moved the pointer meanwhile")));
            };
            let commit = now
                .git_commit()
                .ok_or_else(|| behind(Failure::permanent(format!("release {} names no commit", now.number()))))?;
            let full = tag.check(commit).await.map_err(behind)?;
            if read.promotion == Some(promotion.n) && read.commit.as_ref() == Some(&full) {
                if now.promotion() != promoted.promotion() {
                    self.console.warn(format!(
                        "overtaken: release {} was promoted after release {}",
                        now.number(),
                        promoted.number()
                    ));
                }
                return Ok(());
            }
            let words = Words {
                commit: &full,
                promotion: promotion.n,
                release: channel.layout.name(now.number()),
                promoted_at: &promotion.at,
                reason: &promotion.reason,
            };
            match tag.push(&read, &words).await.map_err(behind)? {
                Push::Done => self.console.step(format!("the tag {} is at {full} on {}", tag.name, tag.remote)),
                Push::Overtaken(words) => {
                    // Who is overtaken sees the tag move. A lock that a dead push left behind looks the same but for that.
                    let losses = stuck.filter(|(seen, _)| *seen == read).map_or(1, |(_, losses)| losses + 1);
                    if losses == LOSSES {
                        return Err(behind(words));
                    }
                    stuck = Some((read, losses));
                    pauses.pause().await;
                }
            }
        }
        Err(behind(Failure::temporary("others keep moving it")))
    }
}
