//! The change stream: every block comes out, in the order of its wallet, for each reader and after each pause.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::StreamSpecification;
use ledger::moving;
use ledger::{Append, Block, EntryKind, Trace};
use store::dynamodb::{DynamoStore, create_tables};
use store::{Changes, Position, Store, StoreError};
use topology::{CellId, WalletId};
use uuid::Uuid;

use super::{Backdoor, Subject, after, block_zero, deposit, wallet_in};

/// A stream is a moment behind the table.
const POLL: Duration = Duration::from_millis(50);
const MAX_READS: usize = 400;

/// Follows the stream from a position until it has every block of these chains; the blocks of their wallets.
async fn follow<S: Store>(store: &S, position: &mut Position, chains: &[Vec<Block>]) -> Vec<Block> {
    let is_wanted = |wallet: WalletId| chains.iter().any(|chain| chain[0].wallet == wallet);
    let mut seen = Vec::new();
    for _ in 0..MAX_READS {
        let batch = store.changes(position).await.expect("it answers");
        assert!(!batch.lost, "{batch:?}");
        seen.extend(batch.blocks.into_iter().filter(|block| is_wanted(block.wallet)));
        *position = batch.position;
        if chains.iter().flatten().all(|block| seen.contains(block)) {
            return seen;
        }
        if !batch.is_behind {
            tokio::time::sleep(POLL).await;
        }
    }
    panic!("{} blocks of {} came out", seen.len(), chains.iter().flatten().count());
}

/// In the order of their first coming, the blocks of each wallet are its chain.
fn check_order(seen: &[Block], chains: &[Vec<Block>]) {
    let mut first: BTreeMap<WalletId, Vec<Block>> = BTreeMap::new();
    for block in seen {
        let chain = first.entry(block.wallet).or_default();
        if !chain.contains(block) {
            chain.push(block.clone());
        }
    }
    for chain in chains {
        assert_eq!(&first[&chain[0].wallet], chain);
    }
}

/// Writes so many chains, block by block in turn.
async fn write<S: Store>(subject: &Subject<S>, wallets: usize, blocks: usize) -> Vec<Vec<Block>> {
    let mut chains = Vec::new();
    for _ in 0..wallets {
        chains.push(vec![subject.opened().await]);
    }
    for _ in 1..blocks {
        for chain in &mut chains {
            let block = after(chain.last().expect("block 0"), vec![deposit(1)]);
            subject.append(&[&block]).await.expect("no other process writes to it");
            chain.push(block);
        }
    }
    chains
}

pub async fn every_block_comes_out_in_the_order_of_its_wallet<S: Store>(subject: &Subject<S>) {
    let mut newest = subject.store.newest_position().await.expect("it answers");
    let chains = write(subject, 3, 20).await;
    check_order(&follow(&subject.store, &mut Position::default(), &chains).await, &chains);
    check_order(&follow(&subject.store, &mut newest, &chains).await, &chains);
    let nothing = subject.store.changes(&newest).await.expect("it answers");
    assert_eq!((nothing.blocks, nothing.lost), (vec![], false));
}

pub async fn a_saved_position_goes_on_where_it_was<S: Store>(subject: &Subject<S>) {
    let chains = write(subject, 2, 30).await;
    let (mut position, mut seen, mut last) = (Position::default(), vec![], false);
    for _ in 0..MAX_READS {
        let text = serde_json::to_string(&position).expect("plain data");
        position = serde_json::from_str(&text).expect("plain data");
        let batch = subject.store.changes(&position).await.expect("it answers");
        assert!(!batch.lost, "{batch:?}");
        seen.extend(
            batch.blocks.into_iter().filter(|block| chains.iter().any(|chain| chain[0].wallet == block.wallet)),
        );
        position = batch.position;
        last = chains.iter().flatten().all(|block| seen.contains(block));
        if last {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    assert!(last, "{} blocks came out", seen.len());
    check_order(&seen, &chains);
    let more = write(subject, 1, 2).await;
    check_order(&follow(&subject.store, &mut position, &more).await, &more);
}

pub async fn two_readers_at_once_both_get_everything<S: Store>(subject: &Subject<S>) {
    let (mut first, mut second) = (Position::default(), Position::default());
    let chains = write(subject, 2, 20).await;
    let (one, other) =
        tokio::join!(follow(&subject.store, &mut first, &chains), follow(&subject.store, &mut second, &chains));
    check_order(&one, &chains);
    check_order(&other, &chains);
}

pub async fn a_position_of_another_stream_is_lost<S: Store>(subject: &Subject<S>) {
    let chains = write(subject, 1, 5).await;
    let mut position = Position::default();
    follow(&subject.store, &mut position, &chains).await;
    let mut other = serde_json::to_value(&position).expect("plain data");
    other["stream"] = "of tables that were replaced".into();
    let other: Position = serde_json::from_value(other).expect("plain data");
    let mut batch = subject.store.changes(&other).await.expect("it answers");
    assert!(batch.lost);
    batch.position = Position::default();
    check_order(&follow(&subject.store, &mut batch.position, &chains).await, &chains);
}

pub async fn copies_come_out_and_purges_do_not<S: Store>(subject: &Subject<S>) {
    let mut position = subject.store.newest_position().await.expect("it answers");
    let mut chain = vec![block_zero(wallet_in(0x9000..0xa000))];
    for _ in 0..5 {
        chain.push(after(chain.last().expect("block 0"), vec![deposit(1)]));
    }
    let head = chain.last().expect("block 0");
    let elsewhere = CellId::parse("cell-2").expect("sound");
    let stone = moving::moved_block(&head.head(), &elsewhere, 1, Uuid::new_v4(), Trace::default(), head.at);
    chain.push(stone.clone());
    for block in &chain {
        let append = Append::of(vec![block.clone()], None);
        subject.store.append(&append).await.expect("no other process writes to it");
    }
    while let store::Forgotten::Some(_) = subject.store.forget(stone.wallet, stone.number).await.expect("it answers") {}
    let chains = [chain];
    let seen = follow(&subject.store, &mut position, &[vec![stone.clone()]]).await;
    assert!(matches!(seen.last().map(|block| &block.entries[0].kind), Some(EntryKind::Moved { .. })));
    check_order(&seen, &chains);
    let more = write(subject, 1, 2).await;
    check_order(&follow(&subject.store, &mut position, &more).await, &more);
}

/// After the check that spoils a block.
pub async fn what_is_no_sound_block_is_said_and_passed_over(subject: &Subject<DynamoStore>) {
    let chains = write(subject, 1, 3).await;
    let (mut position, mut unsound, mut seen) = (Position::default(), 0, 0);
    for _ in 0..MAX_READS {
        let batch = subject.store.changes(&position).await.expect("it answers");
        unsound += batch.unsound.len();
        seen += batch.blocks.iter().filter(|block| chains[0].contains(block)).count();
        position = batch.position;
        if unsound > 0 && seen >= chains[0].len() {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("{unsound} unsound items, and {seen} blocks that were written after them");
}

pub async fn a_table_without_a_stream_gets_one(subject: &Subject<DynamoStore>) {
    let Backdoor::Tables { client, prefix } = &subject.backdoor else { unreachable!("made of tables") };
    let before = subject.store.newest_position().await.expect("it has a stream");
    let off = StreamSpecification::builder().stream_enabled(false).build().expect("whether it is on is set");
    let update = client.update_table().table_name(format!("{prefix}ledger")).stream_specification(off);
    update.send().await.expect("it answers");
    let none = subject.store.newest_position().await;
    assert!(matches!(&none, Err(StoreError::Rejected(why)) if why.contains("cell tables create")), "{none:?}");
    create_tables(client, prefix).await.expect("switched on");
    let mut position = subject.store.newest_position().await.expect("it has a stream");
    let chains = write(subject, 1, 3).await;
    check_order(&follow(&subject.store, &mut position, &chains).await, &chains);
    assert!(subject.store.changes(&before).await.expect("it answers").lost, "it is of the stream before");
}
