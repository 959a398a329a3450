//! The one write: conditions, atomicity, and what a conflict says.

use std::time::Duration;

use ledger::block::{EntryKind, Route};
use ledger::rows::rows_of;
use ledger::{Append, Conflict, Guard};
use store::commit::{CommitOutcome, commit};
use store::{AppendError, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;
use topology::wire::CreditRefusal;
use uuid::Uuid;

use super::{Subject, after, block_zero, deposit, wallet_in};

const WRITERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(20);

fn conflict(result: Result<(), AppendError>) -> Conflict {
    match result {
        Err(AppendError::Conflict(conflict)) => conflict,
        other => panic!("not a conflict: {other:?}"),
    }
}

pub async fn a_block_is_appended_once<S: Store>(subject: &Subject<S>) {
    let zero = subject.opened().await;
    let wallets = vec![zero.wallet];
    let one = after(&zero, vec![deposit(5)]);
    subject.append(&[&one]).await.expect("no other process writes to it");
    for again in [&one, &after(&zero, vec![deposit(6)])] {
        assert_eq!(
            conflict(subject.append(&[again]).await),
            Conflict { wallets: wallets.clone(), ..Conflict::default() }
        );
    }
    let again = subject.create(&block_zero(zero.wallet), Guard::Bucket { genesis: true }).await;
    assert_eq!(conflict(again), Conflict { wallets, ..Conflict::default() });
    assert_eq!(subject.store.head(zero.wallet).await, Ok(Some(one)));
}

/// By a single write and by a transaction: see `ledger::fence`.
pub async fn nothing_is_sent_after_its_head_is_too_old<S: Store>(subject: &Subject<S>) {
    let (ann, bob) = (subject.opened().await, subject.opened().await);
    for blocks in
        [vec![after(&ann, vec![deposit(5)])], vec![after(&ann, vec![deposit(5)]), after(&bob, vec![deposit(6)])]]
    {
        let append = Append { blocks, guard: None };
        let late = subject.store.append_before(&append, Some(Instant::now() - Duration::from_millis(1))).await;
        assert!(matches!(late, Err(AppendError::NotApplied(_))), "{late:?}");
        assert_eq!(subject.store.head(ann.wallet).await, Ok(Some(ann.clone())), "nothing was written");
    }
    let append = Append { blocks: vec![after(&ann, vec![deposit(5)])], guard: None };
    subject.store.append_before(&append, Some(Instant::now() + PATIENCE)).await.expect("in time");
}

/// Single writes and transactions alike; an engine may tell a loser first that nothing was done.
pub async fn one_of_many_concurrent_appends_wins<S: Store>(subject: &Subject<S>) {
    for wallets in [1, 2] {
        let mut heads = Vec::new();
        for _ in 0..wallets {
            heads.push(subject.opened().await);
        }
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let blocks = heads.iter().map(|head| after(head, vec![deposit(1)])).collect();
            let (store, append) = (subject.store.clone(), Append { blocks, guard: None });
            writers.spawn(async move {
                let first = store.append(&append).await;
                let outcome = match &first {
                    Ok(()) => CommitOutcome::Applied,
                    Err(AppendError::Conflict(conflict)) => CommitOutcome::Conflict(conflict.clone()),
                    Err(_) => commit(&store, &append, Instant::now() + PATIENCE, fastrand::f64).await,
                };
                (first, outcome, append)
            });
        }
        let done = writers.join_all().await;
        let retried = done.iter().filter(|(first, ..)| matches!(first, Err(AppendError::NotApplied(_)))).count();
        eprintln!("{WRITERS} appends over {wallets} wallets at once: {retried} had to try again");
        let won: Vec<_> = done.iter().filter(|(_, outcome, _)| *outcome == CommitOutcome::Applied).collect();
        let lost = done.iter().filter(|(_, outcome, _)| matches!(outcome, CommitOutcome::Conflict(_))).count();
        assert_eq!((won.len(), lost), (1, WRITERS - 1), "{done:?}");
        for block in &won[0].2.blocks {
            assert_eq!(subject.store.head(block.wallet).await.expect("it answers").as_ref(), Some(block));
        }
    }
}

pub async fn a_commit_over_several_wallets_is_all_or_nothing<S: Store>(subject: &Subject<S>) {
    let (ann, bob) = (subject.funded().await, subject.opened().await);
    let transfer = Uuid::new_v4();
    let out = EntryKind::TransferOut { to: wallet_in(0x8000..0x9000), route: Route::Across, reverses: None };
    let paying = after(&ann, vec![(out, 300, transfer)]);
    let overtaken = after(&bob, vec![deposit(1)]);
    subject.append(&[&after(&bob, vec![deposit(2)])]).await.expect("no other process writes to it");
    let met = conflict(subject.append(&[&paying, &overtaken]).await);
    assert_eq!(met, Conflict { wallets: vec![bob.wallet], ..Conflict::default() });
    assert_eq!(subject.store.head(ann.wallet).await, Ok(Some(ann.clone())));
    assert_eq!(subject.store.out_row(ann.wallet, transfer).await, Ok(None));
    // Without the one that was overtaken the very same block goes in, with its row.
    subject.append(&[&paying]).await.expect("its place is free");
    assert!(subject.store.out_row(ann.wallet, transfer).await.expect("it answers").is_some());
}

pub async fn a_conflict_names_what_it_met<S: Store>(subject: &Subject<S>) {
    // Another transfer is in flight, so that the end of one is possible.
    let out = EntryKind::TransferOut { to: wallet_in(0x8000..0x9000), route: Route::Across, reverses: None };
    let head = after(&subject.funded().await, vec![(out, 7, Uuid::new_v4())]);
    subject.append(&[&head]).await.expect("no other process writes to it");
    let (known, unknown) = (Uuid::new_v4(), Uuid::new_v4());
    let receive = |id| (EntryKind::TransferIn { from: wallet_in(0x8000..0x9000), route: Route::Across }, 7, id);
    let received = after(&head, vec![receive(known)]);
    subject.append(&[&received]).await.expect("no other process writes to it");
    let refused =
        EntryKind::TransferRefused { transfer: known, from: wallet_in(0..1), reason: CreditRefusal::WalletFrozen };
    let settled = EntryKind::TransferSettled { transfer: unknown };
    let returned = EntryKind::TransferReturned { transfer: unknown, reason: CreditRefusal::WalletClosed };
    for (what, transfers) in [
        (vec![receive(known)], vec![known]),
        (vec![(refused, 0, Uuid::new_v4())], vec![known]),
        (vec![(settled.clone(), 0, Uuid::new_v4())], vec![unknown]),
        (vec![(returned, 7, Uuid::new_v4())], vec![unknown]),
        (vec![deposit(1), receive(known), (settled, 0, Uuid::new_v4())], vec![known, unknown]),
    ] {
        // On a free place only the rows are in the way; on a taken one the wallet as well.
        for (previous, wallets) in [(&received, vec![]), (&head, vec![head.wallet])] {
            let block = after(previous, what.clone());
            assert!(!rows_of(&block).is_empty());
            let met = conflict(subject.append(&[&block]).await);
            assert_eq!(met, Conflict { wallets, transfers: transfers.clone(), guard: false });
        }
    }
    assert_eq!(subject.store.head(head.wallet).await, Ok(Some(received)));
    let existing = conflict(subject.create(&block_zero(head.wallet), Guard::Bucket { genesis: false }).await);
    assert_eq!(existing, Conflict { wallets: vec![head.wallet], transfers: vec![], guard: true });
}
