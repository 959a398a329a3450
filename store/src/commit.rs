//! Carries an append to a known outcome: retries what surely was not written, reads back what may have been, and
//! never guesses.

use std::time::Duration;

use ledger::block::Block;
use ledger::{Append, Conflict};
use tokio::time::{Instant, sleep};

use super::{AppendError, Store, StoreError};

/// First pause between attempts; doubles up to [`MAX_BACKOFF`], each time with full jitter.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_millis(500);
/// Attempts at one append, whatever the time.
const MAX_ATTEMPTS: u32 = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    Applied,
    /// A condition failed. Every block of the append is void for ever.
    Conflict(Conflict),
    /// Gave up before the deadline; surely nothing was written.
    NotApplied(String),
    /// Gave up; the append may be there, or may still land.
    Unknown(String),
}

/// Appends with bounded retries until the outcome is known or `deadline` has passed. `random` gives numbers in [0, 1).
pub async fn commit<S: Store>(
    store: &S,
    append: &Append,
    deadline: Instant,
    random: impl FnMut() -> f64,
) -> CommitOutcome {
    commit_before(store, append, None, deadline, random).await
}

/// [`commit`], but nothing is sent after `sign_by`: see [`Store::append_before`].
pub async fn commit_before<S: Store>(
    store: &S,
    append: &Append,
    sign_by: Option<Instant>,
    deadline: Instant,
    mut random: impl FnMut() -> f64,
) -> CommitOutcome {
    let deadline = sign_by.map_or(deadline, |sign_by| deadline.min(sign_by));
    let mut backoff = MIN_BACKOFF;
    let mut uncertain = false;
    let mut last = String::from("no attempt");
    for _ in 0..MAX_ATTEMPTS {
        match store.append_before(append, sign_by).await {
            Ok(()) => return CommitOutcome::Applied,
            // A condition that fails on a repetition may have failed because of our own first attempt.
            Err(AppendError::Conflict(conflict)) if uncertain => match read_back(store, append).await {
                Ok(Found::Ours) => return CommitOutcome::Applied,
                Ok(Found::Nothing | Found::Other) => return CommitOutcome::Conflict(conflict),
                Err(error) => last = error.to_string(),
            },
            Err(AppendError::Conflict(conflict)) => return CommitOutcome::Conflict(conflict),
            Err(AppendError::NotApplied(why)) => last = why,
            Err(AppendError::Rejected(why)) if !uncertain => return CommitOutcome::NotApplied(why),
            // An earlier attempt may have been written: what the store refuses now says nothing of it.
            Err(AppendError::Rejected(why)) => last = why,
            Err(AppendError::Unknown(why)) => {
                uncertain = true;
                last = why;
                match read_back(store, append).await {
                    Ok(Found::Ours) => return CommitOutcome::Applied,
                    Ok(Found::Other) => return CommitOutcome::Conflict(Conflict { taken: true, guard: false }),
                    // Not there yet: it may still land, so the very same append is tried again, and one of the two wins.
                    Ok(Found::Nothing) | Err(_) => {}
                }
            }
        }
        if Instant::now() >= deadline {
            break;
        }
        metrics::counter!("store_retries_total", "what" => "write").increment(1);
        let pause = backoff.mul_f64(random()).min(deadline.saturating_duration_since(Instant::now()));
        sleep(pause).await;
        backoff = backoff.saturating_mul(2).min(MAX_BACKOFF);
    }
    if uncertain { CommitOutcome::Unknown(last) } else { CommitOutcome::NotApplied(last) }
}

enum Found {
    Ours,
    Other,
    Nothing,
}

/// Whether the append was written. Its blocks are written together, so the last one speaks for all; the first one would
/// not: of a part of a chain that several copy at once, another may have written the beginning alone.
async fn read_back<S: Store>(store: &S, append: &Append) -> Result<Found, StoreError> {
    let Some(Block { wallet, number, hash, .. }) = append.blocks.last() else { return Ok(Found::Nothing) };
    Ok(match store.held(*wallet, *number).await? {
        None => Found::Nothing,
        Some(block) if block.hash == *hash => Found::Ours,
        Some(_) => Found::Other,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::memory::{Fate, Fault, FaultPlan, MemoryStore};

    /// What happens to each call, the last one again and again; and how many there were.
    struct Plan(Mutex<(Vec<Fault>, u32)>);

    impl FaultPlan for Plan {
        fn next(&self, _: bool) -> Fate {
            let mut plan = self.0.lock().expect("sound");
            plan.1 += 1;
            let fault = if plan.0.len() > 1 { plan.0.remove(0) } else { plan.0[0] };
            Fate { fault, ..Fate::default() }
        }
    }

    async fn outcome_of(faults: &[Fault]) -> (CommitOutcome, u32) {
        let plan = Arc::new(Plan(Mutex::new((faults.to_vec(), 0))));
        let store = MemoryStore::default().with_faults(plan.clone());
        let append = Append::of(vec![], None);
        let outcome = commit(&store, &append, Instant::now() + Duration::from_secs(5), || 1.0).await;
        let calls = plan.0.lock().expect("sound").1;
        (outcome, calls)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_store_rejects_is_not_repeated() {
        let began = Instant::now();
        let (outcome, calls) = outcome_of(&[Fault::Rejected]).await;
        assert!(matches!(outcome, CommitOutcome::NotApplied(_)), "{outcome:?}");
        assert_eq!((calls, began.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_says_nothing_of_an_earlier_attempt() {
        let lands = Fault::LandsLater(Duration::from_secs(60));
        let (outcome, calls) = outcome_of(&[lands, Fault::Rejected]).await;
        assert!(matches!(outcome, CommitOutcome::Unknown(_)), "{outcome:?}");
        assert!(calls > 2, "it may be read back: {calls}");
    }
}
