//! Taking a number: a conditional create that one builder wins, on a store that has shown to keep conditions.

use crate::claim::Claim;
use crate::layout::Layout;
use crate::number::ReleaseNumber;
use crate::probe::{self, Verdict};
use crate::settle::{self, Settled};
use crate::sweep::Own;
use failure::Failure;
use store::{Attributes, Condition, Objects};
use uuid::Uuid;

/// Numbers tried in a row before giving up: more builders than that never race.
const TRIES: u64 = 10_000;
/// Numbers lost one after the other before some are passed over. Dozens of builders that all ask for the very next one
/// would each win once in dozens of tries; the few numbers that nobody gets then are a small price.
const PATIENCE: u64 = 16;

/// Claims the first free number from `first` on. `trying` hears of every number before it is asked for, so that
/// whoever cleans up knows which claim may exist although its reply never came.
///
/// # Errors
/// The store fails, or ignores conditions (permanent: two builds could take one number).
pub async fn claim(
    store: &dyn Objects,
    layout: &Layout,
    first: ReleaseNumber,
    build: Uuid,
    attributes: &Attributes,
    trying: impl Fn(ReleaseNumber) + Send,
) -> Result<Own, Failure> {
    let body = Claim::of_this_process(build).to_bytes();
    let mut number = first;
    for lost in 1..=TRIES {
        trying(number);
        let key = layout.record(number);
        match settle::put(store, &key, &body, Condition::Absent, attributes).await? {
            Settled::Ours(tag) => {
                return match probe::writes(store, &key, &body, attributes).await? {
                    Verdict::Kept => Ok(Own { number, build, tag }),
                    Verdict::Ignored(header) => {
                        // As if it had never been there; if that fails too, the reason is still the one below.
                        let _ = store.delete(&key).await;
                        Err(probe::refusal(store, header, "two builds could take the same number, so none is taken"))
                    }
                };
            }
            Settled::Theirs(_) => {
                let passed_over = u64::from(Uuid::new_v4().as_fields().0) % (lost / PATIENCE + 1);
                number = (0..passed_over).try_fold(number.next()?, |number, _| number.next())?;
            }
        }
    }
    Err(Failure::temporary(format!("unable to claim a number in {}: others took {TRIES} in a row", store.url(""))))
}
