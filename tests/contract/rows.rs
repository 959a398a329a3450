//! What is derived from blocks: transfers in flight and received, runs of keys, snapshots.

use ledger::block::{EntryKind, Route};
use ledger::keys::{KeyRun, last_of};
use ledger::limits::RUN_BLOCKS;
use ledger::rows::{InRow, OutRow};
use ledger::snapshots::Snapshot;
use ledger::{Block, Money, Timestamp, TransactionId};
use store::{RecordedRuns, Store};
use topology::wire::{CreditOutcome, CreditRefusal};
use uuid::Uuid;

use super::{START, Subject, after, wallet_in};
use crate::fleet::until;

/// The index of transfers in flight may be this much behind.
const INDEX_LAG_S: u64 = 10;

fn sent(previous: &Block, amount: u64) -> (Block, OutRow) {
    let (to, transfer) = (wallet_in(0x8000..0x9000), Uuid::new_v4());
    let block =
        after(previous, vec![(EntryKind::TransferOut { to, route: Route::Across, reverses: None }, amount, transfer)]);
    let amount = Money::from_minor(amount);
    let row = OutRow { wallet: block.wallet, transfer, to, amount, at: block.at, block: block.number };
    (block, row)
}

pub async fn transfers_leave_and_take_their_rows<S: Store>(subject: &Subject<S>) {
    let store = &subject.store;
    let head = subject.funded().await;
    let (out, row) = sent(&head, 10);
    subject.append(&[&out]).await.expect("no other process writes to it");
    assert_eq!(store.out_row(row.wallet, row.transfer).await, Ok(Some(row.clone())));
    assert_eq!(store.in_row(row.wallet, row.transfer).await, Ok(None));
    let settled = after(&out, vec![(EntryKind::TransferSettled { transfer: row.transfer }, 0, Uuid::new_v4())]);
    subject.append(&[&settled]).await.expect("the row is there");
    assert_eq!(store.out_row(row.wallet, row.transfer).await, Ok(None));

    let from = wallet_in(0x8000..0x9000);
    let received = Uuid::new_v4();
    let mut expected = vec![(received, CreditOutcome::Received)];
    let mut happenings = vec![(EntryKind::TransferIn { from, route: Route::Across }, 5, received)];
    for reason in [CreditRefusal::WalletFrozen, CreditRefusal::WalletClosed, CreditRefusal::BalanceLimit] {
        let transfer = Uuid::new_v4();
        expected.push((transfer, CreditOutcome::Refused { reason }));
        happenings.push((EntryKind::TransferRefused { transfer, from, reason }, 0, Uuid::new_v4()));
    }
    // Inside a cell a transfer is settled by its commit and leaves no row.
    let inside: TransactionId = Uuid::new_v4();
    happenings.push((EntryKind::TransferIn { from, route: Route::Inside }, 5, inside));
    let block = after(&settled, happenings);
    subject.append(&[&block]).await.expect("no other process writes to it");
    for (transfer, outcome) in expected {
        let row = InRow { wallet: block.wallet, transfer, outcome, block: block.number };
        assert_eq!(store.in_row(block.wallet, transfer).await, Ok(Some(row)));
    }
    assert_eq!(store.in_row(block.wallet, inside).await, Ok(None));
}

pub async fn open_transfers_come_oldest_first<S: Store>(subject: &Subject<S>) {
    let mut rows = Vec::new();
    for depth in [4, 1, 3, 2, 5, 2] {
        let mut head = subject.funded().await;
        for _ in 0..depth {
            let (block, row) = sent(&head, 1);
            subject.append(&[&block]).await.expect("no other process writes to it");
            rows.push(row);
            head = block;
        }
    }
    rows.sort_by_key(|row| (row.at, row.transfer));
    let mine = async |limit| {
        let open = subject.store.open_transfers(ledger::Timestamp::from_micros(0), limit).await.expect("it answers");
        assert!(open.len() <= limit && open.is_sorted_by_key(|row| (row.at, row.transfer)), "{open:?}");
        open
    };
    until(INDEX_LAG_S, "every transfer in flight is in the index", async || {
        let open = mine(1_000).await;
        let found: Vec<_> = open.iter().filter(|row| rows.contains(row)).cloned().collect();
        found == rows
    })
    .await;
    let all = mine(1_000).await;
    for limit in [1, 5, rows.len()] {
        assert_eq!(mine(limit).await, all[..limit.min(all.len())], "limit {limit}");
    }
}

pub async fn runs_of_keys_come_newest_first<S: Store>(subject: &Subject<S>) {
    let wallet = wallet_in(0..0x8000);
    let run = |number: u64| KeyRun {
        run: number,
        last_at: START.plus_micros(i64::try_from(number).expect("small") * 1_000),
        keys: (0..RUN_BLOCKS)
            .map(|i| ([u8::try_from(i).expect("a run is shorter"); 11], number * RUN_BLOCKS + i))
            .collect(),
    };
    let snapshot = |run: &KeyRun| Snapshot {
        at: run.last_at,
        block: last_of(run.run),
        next: last_of(run.run + 1),
        balance: Money::from_minor(run.run),
        hash: ledger::Hash([7; 32]),
    };
    let none = RecordedRuns { runs: vec![], is_all: true };
    assert_eq!(subject.store.key_runs(wallet, START, 100).await, Ok(none));
    // Over the boundary of a digit, in no order, and one of them twice.
    for number in [9, 2, 10, 11, 100, 9] {
        let run = run(number);
        subject.store.put_run(wallet, &run).await.expect("it answers");
        subject.store.put_snapshots(wallet, &[snapshot(&run)]).await.expect("it answers");
    }
    let since = |number: u64| run(number).last_at;
    let of_each = RUN_BLOCKS as usize;
    for (since, most, expected, is_all) in [
        (Timestamp::from_micros(i64::MIN), usize::MAX, vec![100, 11, 10, 9, 2], true),
        (since(2), 5 * of_each, vec![100, 11, 10, 9, 2], true),
        (since(2).plus_micros(1), 1_000, vec![100, 11, 10, 9], true),
        (since(10), 1_000, vec![100, 11, 10], true),
        (since(100).plus_micros(1), 1_000, vec![], true),
        // Until there are enough keys.
        (since(2), 2 * of_each, vec![100, 11], false),
        (since(2), 2 * of_each + 1, vec![100, 11, 10], false),
        (since(10), 3 * of_each, vec![100, 11, 10], true),
    ] {
        let expected = RecordedRuns { runs: expected.into_iter().map(run).collect(), is_all };
        assert_eq!(subject.store.key_runs(wallet, since, most).await, Ok(expected));
    }
}

pub async fn the_latest_snapshot_before_a_time_is_found<S: Store>(subject: &Subject<S>) {
    let wallet = wallet_in(0..0x8000);
    let snapshot = |seconds: i64, block: u64| Snapshot {
        at: START.plus_micros(seconds * 1_000_000),
        block,
        next: block + 64,
        balance: Money::from_minor(block),
        hash: ledger::Hash([9; 32]),
    };
    // Two blocks may bear the same time: the later one counts.
    let all = [snapshot(10, 63), snapshot(20, 127), snapshot(20, 191), snapshot(30, 255)];
    subject.store.put_snapshots(wallet, &all).await.expect("it answers");
    let moment = |seconds: i64| START.plus_micros(seconds * 1_000_000);
    for (at, expected) in [
        (Timestamp::from_micros(0), None),
        (moment(10).plus_micros(-1), None),
        (moment(10), Some(all[0])),
        (moment(20).plus_micros(-1), Some(all[0])),
        (moment(20), Some(all[2])),
        (moment(29), Some(all[2])),
        (moment(30), Some(all[3])),
        (moment(1_000_000), Some(all[3])),
    ] {
        assert_eq!(subject.store.snapshot_before(wallet, at).await, Ok(expected), "{at}");
    }
    assert_eq!(subject.store.snapshot_before(wallet_in(0..1), moment(30)).await, Ok(None));
}
