//! The one write: conditions, atomicity, and what a conflict says.

use std::time::Duration;

use ledger::{Append, Conflict, Guard};
use store::commit::{CommitOutcome, commit};
use store::{AppendError, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Subject, after, block_zero, deposit};

const WRITERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(20);

const TAKEN: Conflict = Conflict { taken: true, guard: false };

fn conflict(result: Result<(), AppendError>) -> Conflict {
    match result {
        Err(AppendError::Conflict(conflict)) => conflict,
        other => panic!("not a conflict: {other:?}"),
    }
}

pub async fn a_block_is_appended_once<S: Store>(subject: &Subject<S>) {
    let zero = subject.opened().await;
    let one = after(&zero, vec![deposit(5)]);
    subject.append(&[&one]).await.expect("no other process writes to it");
    for again in [&one, &after(&zero, vec![deposit(6)])] {
        assert_eq!(conflict(subject.append(&[again]).await), TAKEN);
    }
    let again = subject.create(&block_zero(zero.wallet), Guard::Bucket { genesis: true }).await;
    assert_eq!(conflict(again), TAKEN);
    assert_eq!(subject.store.head(zero.wallet).await, Ok(Some(one)));
}

/// By a single write and by a transaction: see `ledger::fence`.
pub async fn nothing_is_sent_after_its_head_is_too_old<S: Store>(subject: &Subject<S>) {
    let ann = subject.opened().await;
    for guard in [None, Some(Guard::Unbroken)] {
        let append = Append::of(vec![after(&ann, vec![deposit(5)])], guard);
        let late = subject.store.append_before(&append, Some(Instant::now() - Duration::from_millis(1))).await;
        assert!(matches!(late, Err(AppendError::NotApplied(_))), "{late:?}");
        assert_eq!(subject.store.head(ann.wallet).await, Ok(Some(ann.clone())), "nothing was written");
    }
    let append = Append::of(vec![after(&ann, vec![deposit(5)])], None);
    subject.store.append_before(&append, Some(Instant::now() + PATIENCE)).await.expect("in time");
}

/// Single writes and transactions alike; an engine may tell a loser first that nothing was done.
pub async fn one_of_many_concurrent_appends_wins<S: Store>(subject: &Subject<S>) {
    for guard in [None, Some(Guard::Unbroken)] {
        let head = subject.opened().await;
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let append = Append::of(vec![after(&head, vec![deposit(1)])], guard);
            let store = subject.store.clone();
            writers.spawn(async move {
                let first = store.append(&append).await;
                let outcome = match &first {
                    Ok(()) => CommitOutcome::Applied,
                    Err(AppendError::Conflict(conflict)) => CommitOutcome::Conflict(*conflict),
                    Err(_) => commit(&store, &append, Instant::now() + PATIENCE, fastrand::f64).await,
                };
                (first, outcome, append)
            });
        }
        let done = writers.join_all().await;
        let retried = done.iter().filter(|(first, ..)| matches!(first, Err(AppendError::NotApplied(_)))).count();
        eprintln!("{WRITERS} appends ({guard:?}) at once: {retried} had to try again");
        let won: Vec<_> = done.iter().filter(|(_, outcome, _)| *outcome == CommitOutcome::Applied).collect();
        let lost = done.iter().filter(|(_, outcome, _)| matches!(outcome, CommitOutcome::Conflict(_))).count();
        assert_eq!((won.len(), lost), (1, WRITERS - 1), "{done:?}");
        for block in &won[0].2.blocks {
            assert_eq!(subject.store.head(block.wallet).await.expect("it answers").as_ref(), Some(block));
        }
    }
}

pub async fn a_conflict_names_what_it_met<S: Store>(subject: &Subject<S>) {
    let head = subject.funded().await;
    let existing = conflict(subject.create(&block_zero(head.wallet), Guard::Bucket { genesis: false }).await);
    assert_eq!(existing, Conflict { taken: true, guard: true });
    let gap = after(&after(&head, vec![deposit(1)]), vec![deposit(2)]);
    let above = Append::of(vec![gap], Some(Guard::Unbroken));
    assert_eq!(conflict(subject.store.append(&above).await), Conflict { taken: false, guard: true });
    let again = Append::of(vec![head.clone()], Some(Guard::Unbroken));
    assert_eq!(conflict(subject.store.append(&again).await), TAKEN);
    assert_eq!(subject.store.head(head.wallet).await, Ok(Some(head)));
}
