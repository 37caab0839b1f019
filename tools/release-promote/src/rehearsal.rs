//! What a run would change, said and not done.

use crate::tag::Tag;
use cli::Console;
use failure::Failure;
use release::Record;
use release::pointer::Pointer;

/// A dry run's words.
pub(crate) struct Rehearsal<'a> {
    pub(crate) channel: &'a str,
    pub(crate) tag: Option<&'a Tag>,
    pub(crate) console: Console,
}

impl Rehearsal<'_> {
    /// Says exactly what a run would change on the way to a pointer with the record `next`.
    ///
    /// # Errors
    /// The tag or its commit can't be looked at.
    pub(crate) async fn foretell(&self, standing: Option<&Pointer>, next: &Record) -> Result<(), Failure> {
        let (channel, number) = (self.channel, next.number());
        let now = standing.map(|pointer| &pointer.record);
        let stays = now.is_some_and(|now| now.promotion() == next.promotion());
        if stays {
            self.console.tell(format!("dry run: {channel} is {number} already"));
        } else {
            let now = now.map_or_else(|| "no release".to_owned(), |now| now.number().to_string());
            self.console.tell(format!("dry run: {channel} would change from {now} to {number}"));
        }
        let (Some(tag), Some(commit)) = (self.tag, next.git_commit()) else { return Ok(()) };
        let (commit, read) = (tag.check(commit).await?, tag.read().await?);
        let shown = next.promotion().is_some_and(|promotion| read.promotion == Some(promotion.n));
        self.console.tell(match read.place() {
            Some(place) if shown && place == commit => format!("dry run: the tag {} is at {commit} already", tag.name),
            Some(place) => format!("dry run: the tag {} would move from {place} to {commit}", tag.name),
            None => format!("dry run: the tag {} would be made at {commit}", tag.name),
        });
        Ok(())
    }

    /// The same of `previous` where a promotion is not finished.
    ///
    /// # Errors
    /// As [`Rehearsal::foretell`].
    pub(crate) async fn foretell_end(&self, standing: Option<&Pointer>, unfinished: &Record) -> Result<(), Failure> {
        let number = unfinished.number();
        self.console.tell(format!(
            "dry run: the promotion of release {number} is not finished: a run would finish it and not go back"
        ));
        self.foretell(standing, unfinished).await
    }
}
