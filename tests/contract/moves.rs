//! What a move of a wallet asks of a store: copies, lists of members, forgetting.

use ledger::moving::{self, Copy, NEWEST_BLOCKS};
use ledger::{Append, Block, EntryKind, Guard, Trace};
use store::{AppendError, BlockRange, Forgotten, Store};
use topology::{CellId, WalletId};
use uuid::Uuid;

use super::{Subject, after, block_zero, cell, deposit, wallet_in};

const NEWEST: BlockRange = BlockRange { first: 0, last: u64::MAX, newest_first: true };
const ALL: BlockRange = BlockRange { first: 0, last: u64::MAX, newest_first: false };

/// A chain of another cell: one transfer in flight out of it, one that has settled, and one received.
fn story() -> Vec<Block> {
    let mut blocks = vec![block_zero(wallet_in(0x8000..0x9000))];
    let (open, settled, received) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let other = wallet_in(0..0x8000);
    let out = EntryKind::TransferOut { to: other, reverses: None };
    let happenings = [
        deposit(1_000),
        (out.clone(), 100, settled),
        (EntryKind::TransferSettled { transfer: settled }, 0, Uuid::new_v4()),
        (out, 200, open),
        (EntryKind::TransferIn { from: other }, 50, received),
    ];
    for happening in happenings {
        blocks.push(after(blocks.last().expect("never empty"), vec![happening]));
    }
    blocks
}

fn elsewhere() -> CellId {
    CellId::parse("cell-2").expect("sound")
}

pub fn moved(head: &Block) -> Block {
    moving::moved_block(&head.head(), &elsewhere(), 7, Uuid::new_v4(), Trace::default(), head.at)
}

/// Copies as the migrator does.
async fn copy<S: Store>(subject: &Subject<S>, blocks: &[Block], guard: Option<Guard>) -> Result<(), AppendError> {
    let mut rest = blocks;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(moving::chunk(rest));
        subject.store.append(&Append::of(chunk.to_vec(), guard)).await?;
        rest = after;
    }
    Ok(())
}

async fn forget_all<S: Store>(subject: &Subject<S>, wallet: WalletId, tombstone: u64) -> usize {
    let mut deleted = 0;
    loop {
        match subject.store.forget(wallet, tombstone).await.expect("it answers") {
            Forgotten::Some(items) => deleted += items,
            Forgotten::All => return deleted,
            Forgotten::Refused => panic!("the wallet has moved away"),
        }
    }
}

pub async fn a_chain_is_copied_and_listed<S: Store>(subject: &Subject<S>) {
    let blocks = story();
    let wallet = blocks[0].wallet;
    copy(subject, &blocks, None).await.expect("no other process copies it");
    assert_eq!(subject.store.blocks(wallet, ALL, 100).await, Ok(blocks.clone()));
    let again = copy(subject, &blocks, None).await;
    assert!(matches!(again, Err(AppendError::Conflict(conflict)) if conflict.taken));
    let listed = subject.store.members((wallet.bucket(), wallet.bucket()), None, 10).await;
    assert!(listed.expect("it answers").contains(&wallet));
}

pub async fn members_are_listed_by_bucket_in_pages<S: Store>(subject: &Subject<S>) {
    let mut wallets: Vec<WalletId> = (0..40).map(|_| wallet_in(0xa0f0..0xa220)).collect();
    for wallet in &wallets {
        copy(subject, &[block_zero(*wallet)], None).await.expect("its own wallet");
    }
    wallets.sort_unstable();
    let (first, last) = (topology::Bucket(0xa100), topology::Bucket(0xa1ff));
    wallets.retain(|wallet| (first..=last).contains(&wallet.bucket()));
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = subject.store.members((first, last), after, 7).await.expect("it answers");
        assert!(page.len() <= 7);
        let Some(end) = page.last() else { break };
        after = Some(*end);
        listed.extend(page);
    }
    assert_eq!(listed, wallets);
    let across = subject.store.members((topology::Bucket(0xa0f0), topology::Bucket(0xa21f)), None, 1_000).await;
    assert!(across.expect("it answers").len() >= wallets.len().min(16), "a run of buckets may cross partitions");
}

pub async fn what_was_forgotten_can_be_copied_back<S: Store>(subject: &Subject<S>) {
    let mut blocks = story();
    let wallet = blocks[0].wallet;
    blocks.push(moved(blocks.last().expect("never empty")));
    let stone = blocks.last().expect("never empty").clone();
    copy(subject, &blocks, None).await.expect("no other process copies it");
    assert!(forget_all(subject, wallet, stone.number).await >= blocks.len() - 1);
    assert_eq!(subject.store.blocks(wallet, ALL, 100).await, Ok(vec![stone.clone()]));
    assert_eq!(forget_all(subject, wallet, stone.number).await, 0, "once is enough");

    let held = Copy::of(&cell(), &subject.store.blocks(wallet, NEWEST, NEWEST_BLOCKS).await.expect("it answers"));
    assert!(held.prefix.is_none() && held.tombstone.is_some());
    let hole = copy(subject, &blocks[1..2], Some(Guard::Unbroken)).await;
    assert!(matches!(hole, Err(AppendError::Conflict(conflict)) if conflict.guard), "no hole is left in a copy");
    copy(subject, &blocks[..blocks.len() - 1], Some(Guard::Unbroken)).await.expect("in order");
    assert_eq!(subject.store.blocks(wallet, ALL, 100).await, Ok(blocks.clone()));
    let next = after(&stone, vec![deposit(1)]);
    let other = after(&after(&stone, vec![deposit(2)]), vec![deposit(1)]);
    copy(subject, &[next], Some(Guard::Unbroken)).await.expect("nothing is missing before it");
    let onto_another = copy(subject, &[other], Some(Guard::Unbroken)).await;
    assert!(matches!(onto_another, Err(AppendError::Conflict(conflict)) if conflict.guard), "the block below differs");
}

pub async fn nothing_is_forgotten_of_a_chain_that_goes_on<S: Store>(subject: &Subject<S>) {
    let mut blocks = story();
    let wallet = blocks[0].wallet;
    blocks.push(moved(blocks.last().expect("never empty")));
    let stone = blocks.last().expect("never empty").number;
    blocks.push(after(blocks.last().expect("never empty"), vec![deposit(5)]));
    copy(subject, &blocks, None).await.expect("no other process copies it");
    assert_eq!(subject.store.forget(wallet, stone).await, Ok(Forgotten::Refused));
    assert_eq!(subject.store.blocks(wallet, ALL, 100).await, Ok(blocks));
}
