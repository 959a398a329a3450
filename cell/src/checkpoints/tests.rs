//! Rounds over the store and an archive in memory.

use std::sync::Arc;

use archive::{Draft, Segment};
use ledger::{Append, Block, Entry as LedgerEntry, EntryKind, Money, chain};
use object_store::memory::InMemory;
use store::memory::MemoryStore;
use store::{Chains, Genesis};
use topology::Bucket;

use super::*;
use crate::feed::tests::{HERE, START, cell, wallet};

const EVERY: Duration = Duration::from_secs(60);

struct Cell {
    store: MemoryStore,
    archive: Archive,
    key: String,
    rounds: i64,
}

impl Cell {
    /// Writes the next block of a chain.
    async fn write(&self, number: u128) -> Block {
        let head = self.store.head(wallet(number)).await.expect("it answers");
        let kind = if head.is_none() { EntryKind::Opened } else { EntryKind::Deposit };
        let entry = LedgerEntry::new(Uuid::from_u128(7), kind, Money::ZERO, Money::ZERO);
        let block = match &head {
            None => chain::open(wallet(number), cell(HERE), START, entry, None),
            Some(head) => chain::next(&head.head(), head.state.clone(), vec![entry], START),
        };
        self.store.append(&Append::next(block.clone())).await.expect("free");
        block
    }

    async fn archive(&self, blocks: Vec<Block>) {
        let newest = self.archive.newest(0).await.expect("it answers");
        let draft = Draft { segment: Segment { blocks }, at: START, position: String::new() };
        self.archive.append(newest.as_ref(), &draft).await.expect("it answers").expect("nothing else writes");
    }

    /// A round of a process that has just started: what it commits to, in the order of wallets.
    async fn round(&mut self) -> Vec<(WalletId, u64, u64)> {
        self.rounds += 1;
        let now = START.plus_micros(self.rounds * i64::try_from(EVERY.as_micros()).expect("small"));
        let key = SigningKey::from_pem(&self.key).expect("its own");
        let (store, archive) = (self.store.clone(), self.archive.clone());
        let clock = Clock::new(1, move || now);
        let job = Checkpoints::new(store, archive, clock, "a".to_owned(), EVERY, key);
        let before = job.log.newest().await.expect("it answers").map_or(0, |entry| entry.signed.checkpoint.number);
        job.turn(&mut Watch::default()).await.expect("a round");
        let mut leaves = Vec::new();
        for number in before + 1.. {
            let Some(entry) = job.log.entry(number).await.expect("it answers") else { break };
            leaves.extend(job.log.leaves(&entry).await.expect("sound"));
        }
        leaves.sort_by_key(|leaf| leaf.wallet);
        for leaf in &leaves {
            let proof = job.log.prove(leaf.wallet).await.expect("it answers").expect("it is committed to");
            assert_eq!(proof.leaf, *leaf);
        }
        leaves.iter().map(|leaf| (leaf.wallet, leaf.first, leaf.block)).collect()
    }
}

#[tokio::test]
async fn a_round_commits_to_what_the_archive_says_has_changed() {
    let store = MemoryStore::new(Genesis::of(Bucket::all()));
    let archive = Archive::new(Arc::new(InMemory::new()), cell(HERE));
    let mut cell = Cell { store, archive, key: SigningKey::generate().expect("randomness"), rounds: 0 };
    assert_eq!(cell.round().await, []);
    let (one, two) = (cell.write(1).await, cell.write(2).await);
    let more = cell.write(1).await;
    assert_eq!(cell.round().await, [], "nothing is archived");
    cell.archive(vec![one]).await;
    cell.archive(vec![two, more]).await;
    let leaf = |number, first, block| (wallet(number), first, block);
    assert_eq!(cell.round().await, [leaf(1, 0, 1), leaf(2, 0, 0)]);
    assert_eq!(cell.round().await, []);
    let (more, three) = (cell.write(1).await, cell.write(3).await);
    // What is not archived yet is left to the next round.
    let last = cell.write(1).await;
    cell.archive(vec![more, three.clone()]).await;
    assert_eq!(cell.round().await, [leaf(1, 2, 2), leaf(3, 0, 0)]);
    cell.archive(vec![last]).await;
    assert_eq!(cell.round().await, [leaf(1, 3, 3)]);
    // Repeated by the archive.
    cell.archive(vec![three]).await;
    assert_eq!(cell.round().await, []);
    // Another archive, which lacks what was archived: what is in it is looked at from its beginning.
    cell.archive = Archive::new(Arc::new(InMemory::new()), self::cell(HERE));
    let four = cell.write(4).await;
    cell.archive(vec![four]).await;
    assert_eq!(cell.round().await, [leaf(4, 0, 0)]);
}
