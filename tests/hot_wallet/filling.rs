//! A day of keyed deposits in a minute: full blocks are appended past the cell, and their runs recorded.

use ledger::marks::{MarkRun, run_of};
use ledger::{Append, Block, Entry, EntryKind, Key, Money, ShortText, Trace, chain};
use store::Chains;
use store::dynamodb::DynamoStore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use topology::WalletId;
use uuid::Uuid;

/// Deposits in a block, as many as group commit makes.
const FULL: u64 = 100;
/// Blocks that are written at once.
const AT_ONCE: usize = 16;
const CENT: Money = Money::from_minor(1);

/// `count` deposits of a cent, each with a key that no caller has. No other process may write to the wallet meanwhile.
pub async fn fill(store: &DynamoStore, wallet: WalletId, count: u64) {
    let first = store.head(wallet).await.expect("the tables answer").expect("the wallet is here");
    let (mut random, started) = (fastrand::Rng::with_seed(first.number), Instant::now());
    let (mut last, mut run, mut writes) = (first.clone(), Vec::new(), JoinSet::new());
    for full in 0..count.div_ceil(FULL) {
        let mut state = last.state.clone();
        let entries = (0..FULL.min(count - full * FULL)).map(|_| {
            state.balance = state.balance.checked_add(CENT).expect("it is not that many");
            deposit(&mut random, state.balance)
        });
        let entries = entries.collect();
        let passed = i64::try_from(started.elapsed().as_micros()).expect("not that long");
        let block = chain::next(&last.head(), state, entries, first.at.plus_micros(passed));
        if writes.len() >= AT_ONCE {
            writes.join_next().await.expect("some are under way").expect("it ends");
        }
        if run_of(block.number) != run_of(last.number) {
            writes.spawn(record(store.clone(), std::mem::take(&mut run)));
        }
        run.push(block.clone());
        writes.spawn(append(store.clone(), block.clone()));
        last = block;
    }
    writes.spawn(record(store.clone(), run));
    writes.join_all().await;
}

fn deposit(random: &mut fastrand::Rng, balance_after: Money) -> Entry {
    let key = Some(Key { key: random.u128(..).to_be_bytes(), request: [0; 16] });
    let id = Uuid::from_u128(random.u128(..));
    let (reference, trace) = (ShortText::default(), Trace::default());
    Entry { id, kind: EntryKind::Deposit, amount: CENT, balance_after, key, reference, trace }
}

async fn append(store: DynamoStore, block: Block) {
    store.append(&Append::next(block)).await.expect("no other process writes to it");
}

/// What is no full run is left to the cell.
async fn record(store: DynamoStore, blocks: Vec<Block>) {
    if let Some(run) = MarkRun::of(&blocks) {
        store.put_run(blocks[0].wallet, &run).await.expect("the tables answer");
    }
}
