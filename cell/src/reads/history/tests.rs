//! History by snapshots against history by replay.

use ledger::block::{Key, ShortText, Trace};
use ledger::marks::MarkRun;
use ledger::snapshots::{is_heavy, snapshots_of};
use ledger::{Append, Guard, Money, chain};
use proptest::prelude::*;
use store::Chains;
use store::Genesis;
use store::memory::MemoryStore;
use topology::{Bucket, CellId};
use uuid::Uuid;

use super::*;

/// A chain with blocks of these sizes (in entries) and these steps of time between them.
fn a_chain(blocks: &[(usize, i64)]) -> Vec<Block> {
    let wallet = WalletId::from_uuid(Uuid::from_u128(9));
    let mut number = 0_u128;
    let mut entry = |kind, amount, balance_after| {
        number += 1;
        let trace = Trace { request_id: ShortText::cut(&"x".repeat(96), 96), ..Trace::default() };
        let key = Some(Key { key: number.to_be_bytes(), request: [1; 16] });
        Entry { key, trace, ..Entry::new(Uuid::from_u128(number), kind, amount, balance_after) }
    };
    let home = CellId::parse("cell-1").expect("sound");
    let opened = entry(EntryKind::Opened, Money::ZERO, Money::ZERO);
    let mut chain = vec![chain::open(wallet, home, Timestamp::from_micros(1_000), opened, None)];
    for &(entries, step) in blocks {
        let last = chain.last().expect("block 0");
        let (mut state, mut made) = (last.state.clone(), vec![]);
        for _ in 0..entries {
            let mut deposit = entry(EntryKind::Deposit, Money::from_minor(1), Money::ZERO);
            let applied = state.apply(deposit.id, &deposit.kind, deposit.amount, (last.number + 1, last.at));
            applied.expect("far from the limit");
            deposit.balance_after = state.balance;
            made.push(deposit);
        }
        chain.push(chain::next(&last.head(), state, made, last.at.plus_micros(step)));
    }
    chain
}

async fn stored(chain: &[Block], missing: &[usize]) -> MemoryStore {
    let store = MemoryStore::new(Genesis::of(Bucket::all()));
    for block in chain {
        let guard = (block.number == 0).then_some(Guard::Bucket { genesis: true });
        store.append(&Append::of(vec![block.clone()], guard)).await.expect("nothing else writes");
    }
    let wallet = chain[0].wallet;
    for run in chain.chunks(RUN_BLOCKS as usize).filter_map(MarkRun::of) {
        store.put_run(wallet, &run).await.expect("it answers");
    }
    let due = snapshots_of(None, chain).into_iter().enumerate();
    let kept: Vec<_> = due.filter(|(index, _)| !missing.contains(index)).map(|(_, snapshot)| snapshot).collect();
    store.put_snapshots(wallet, &kept).await.expect("it answers");
    store
}

/// The same by replaying the whole chain.
fn replayed(chain: &[Block], at: Timestamp) -> Past {
    let before = chain.iter().rposition(|block| block.at <= at);
    match before {
        None => Past::Before(chain[0].clone()),
        Some(last) if last + 1 == chain.len() => Past::Head(chain[last].clone()),
        Some(last) => Past::Block(chain[last].clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the sizes of the blocks, the times (several blocks may bear the same one) and the snapshots missing.
    #[test]
    fn history_by_snapshots_is_history_by_replay_at_every_time(
        blocks in proptest::collection::vec((prop_oneof![4 => 1_usize..3, 1 => 60_usize..70], 0_i64..3), 0..220),
        missing in proptest::collection::vec(0_usize..12, 0..6),
    ) {
        let chain = a_chain(&blocks);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it builds");
        runtime.block_on(async {
            let store = stored(&chain, &missing).await;
            let end = chain.last().expect("block 0").at.micros();
            for at in (998..=end + 2).map(Timestamp::from_micros) {
                let past = past(&store, chain[0].wallet, at).await.expect("a sound chain");
                assert_eq!(past, replayed(&chain, at), "{at}");
            }
        });
    }

    /// What the two queries rest on: from each snapshot the next is as near as it says, and all between are light.
    #[test]
    fn between_two_snapshots_there_are_only_light_blocks(
        blocks in proptest::collection::vec((prop_oneof![4 => 1_usize..3, 1 => 60_usize..70], 0_i64..3), 0..220),
    ) {
        let chain = a_chain(&blocks);
        let snapshots = snapshots_of(None, &chain);
        for (index, snapshot) in snapshots.iter().enumerate() {
            let end = snapshots.get(index + 1).map_or(chain.len() as u64, |next| next.block);
            prop_assert!(end <= snapshot.next || end == chain.len() as u64);
            let between = chain.iter().filter(|block| (snapshot.block + 1..end).contains(&block.number));
            prop_assert!(between.clone().count() < RUN_BLOCKS as usize && between.clone().all(|block| !is_heavy(block)));
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_its_blocks_is_not_believed() {
    let chain = a_chain(&[(1, 1); 80]);
    let store = stored(&chain, &[]).await;
    let mut forged = snapshot_of(&chain[63]);
    forged.balance = Money::from_minor(1_000_000);
    store.put_snapshots(chain[0].wallet, &[forged]).await.expect("it answers");
    let past = past(&store, chain[0].wallet, chain[70].at).await;
    assert!(matches!(past, Err(StoreError::Corrupt(_))), "{past:?}");
}

/// An id as a process makes it at this time.
fn id_of(at: Timestamp) -> TransactionId {
    crate::clock::Clock::new(1, move || at).transaction_id()
}

const SECOND: i64 = 1_000_000;

#[tokio::test]
async fn an_id_is_found_where_block_times_have_jumped() {
    // A clock was an hour ahead once, at block 300; until it is that late, all blocks bear that time.
    let mut steps = vec![(1, SECOND); 299];
    steps.push((1, 3_600 * SECOND));
    steps.extend(vec![(1, 0); 400]);
    steps.push((1, SECOND));
    let mut chain = a_chain(&steps);
    let made = chain[299].at.plus_micros(30 * SECOND);
    for number in [301, 500, 700] {
        let mut changed = chain.clone();
        changed[number].entries[0].id = id_of(made);
        let store = stored(&changed, &[]).await;
        let head = changed.last().expect("block 0");
        let found = entry(&store, head, id_of(made)).await.expect("a sound chain");
        assert_eq!(found.map(|found| found.block), Some(number as u64));
        assert_eq!(entry(&store, head, id_of(made.plus_micros(SECOND))).await, Ok(None), "no such id");
    }
    // A block that no search is long enough for is not taken for one that is not there.
    let last = chain.last().expect("block 0").at;
    let steps = vec![(1, 0); PAGE_BLOCKS * MAX_PAGES];
    chain.extend(a_chain(&steps).into_iter().skip(1).zip(702..).map(|(block, number)| Block {
        number,
        at: last,
        ..block
    }));
    let store = stored(&chain, &[]).await;
    let missing = entry(&store, chain.last().expect("block 0"), id_of(last)).await;
    assert!(matches!(missing, Err(StoreError::Unavailable(_))), "{missing:?}");
}

#[tokio::test]
async fn a_transfer_that_ended_far_away_is_not_in_flight() {
    let mut chain = a_chain(&vec![(1, SECOND); MAX_OUTCOME_PAGES * PAGE_BLOCKS + 10]);
    let id = id_of(chain[2].at);
    let to = WalletId::from_uuid(Uuid::from_u128(10));
    let leaving = EntryKind::TransferOut { to, reverses: None };
    (chain[2].entries[0].id, chain[2].entries[0].kind) = (id, leaving);
    let settled = EntryKind::TransferSettled { transfer: id };
    for (number, expected) in [(3, Outcome::Settled { at: Some(chain[3].at) }), (chain.len() - 1, Outcome::Ended)] {
        let mut changed = chain.clone();
        changed[number].entries[0].kind = settled.clone();
        let store = stored(&changed, &[]).await;
        let record = transfer(&store, changed.last().expect("block 0"), id).await.expect("a sound chain");
        assert_eq!(record.map(|record| record.outcome), Some(expected), "settled in block {number}");
    }
    let store = stored(&chain[..10], &[]).await;
    let record = transfer(&store, &chain[9], id).await.expect("a sound chain");
    assert_eq!(record.map(|record| record.outcome), Some(Outcome::InFlight));
}
