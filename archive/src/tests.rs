//! The archive over an object store in memory.

mod example;
mod reading;
mod tampering;
mod world;

use std::sync::Arc;

use fastrand::Rng;
use ledger::{Block, Entry as LedgerEntry, EntryKind, Money, Timestamp, chain};
use object_store::memory::InMemory;
use topology::{CellId, UserId, WalletId};
use uuid::Uuid;

use self::world::{World, append};
use super::*;
use crate::log::{Draft, Entry};

const NAMESPACE: Uuid = Uuid::from_u128(7);

fn cell() -> CellId {
    CellId::parse("cell-1").expect("sound")
}

fn archive() -> Archive {
    Archive::new(Arc::new(InMemory::new()), cell())
}

fn block(user: &str) -> Block {
    let wallet = WalletId::for_user(NAMESPACE, &UserId::parse(user).expect("sound"));
    let opened = LedgerEntry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
    chain::open(wallet, cell(), Timestamp::from_micros(1_760_000_000_000_000), opened, None)
}

fn draft(users: &[&str], position: &str) -> Draft {
    let segment = Segment { blocks: users.iter().map(|user| block(user)).collect() };
    Draft { segment, at: Timestamp::from_micros(1_760_000_001_000_000), position: position.to_owned() }
}

#[tokio::test]
async fn what_is_appended_is_read_again() {
    let archive = archive();
    assert_eq!(archive.newest(0).await, Ok(None));
    let mut last: Option<Entry> = None;
    for number in 1..=9 {
        let position = number.to_string();
        let draft = draft(&["ada", &position], &position);
        let entry = archive.append(last.as_ref(), &draft).await.expect("it answers").expect("nothing else writes");
        assert_eq!(archive.segment(&entry).await, Ok(draft.segment));
        for known in 0..=number {
            assert_eq!(archive.newest(known).await, Ok(Some(entry.clone())));
        }
        last = Some(entry);
    }
    let second = archive.entry(2).await.expect("it answers").expect("written");
    let third = archive.entry(3).await.expect("it answers").expect("written");
    assert_eq!((third.previous, third.number), (second.hash, 3));
}

#[tokio::test]
async fn the_last_number_is_found_behind_a_hole() {
    let archive = archive();
    assert_eq!(archive.last_number().await, Ok(0));
    let mut last: Option<Entry> = None;
    for number in 1..=9 {
        last = archive.append(last.as_ref(), &draft(&["ada"], &number.to_string())).await.expect("it answers");
        assert_eq!(archive.last_number().await, Ok(number));
    }
    for number in [2, 4, 5] {
        archive.delete(&archive.entry_path(number)).await.expect("deleted");
        assert_eq!(archive.last_number().await, Ok(9));
    }
}

#[tokio::test]
async fn of_two_writers_one_writes_a_number() {
    let archive = archive();
    let first = archive.append(None, &draft(&["ada"], "1")).await.expect("it answers");
    assert!(first.is_some());
    assert_eq!(archive.append(None, &draft(&["bob"], "2")).await, Ok(None), "a process that woke up late");
    assert_eq!(archive.append(None, &draft(&["ada"], "1")).await, Ok(first), "the answer was lost");
}

#[tokio::test]
async fn a_fence_begins_an_epoch_and_nothing_else_does() {
    let archive = archive();
    let first = archive.append(None, &draft(&["ada"], "1")).await.expect("it answers");
    let at = Timestamp::from_micros(1_760_000_002_000_000);
    let fence = archive.fence(first.as_ref(), 1, at, "2".to_owned()).await.expect("it answers").expect("alone");
    assert_eq!(archive.append(first.as_ref(), &draft(&["bob"], "2")).await, Ok(None), "the former Region is late");
    let next = archive.append(Some(&fence), &draft(&["cyd"], "3")).await.expect("it answers").expect("alone");
    assert_eq!([first.map(|first| first.epoch), Some(fence.epoch), Some(next.epoch)], [Some(0), Some(1), Some(1)]);
    let faults = async || {
        let mut reader = archive.reader(1..=3);
        let mut faults = Vec::new();
        while let Some(fetched) = reader.next().await.expect("it answers") {
            faults.extend(fetched.faults);
        }
        faults.into_iter().filter(|fault| fault.contains("epoch")).collect::<Vec<_>>()
    };
    assert!(faults().await.is_empty());
    for forged in [Entry { epoch: 0, ..fence.clone() }, Entry { epoch: 2, ..next.clone() }, Entry { epoch: 0, ..next }]
    {
        let path = archive.entry_path(forged.number);
        let there = archive.read(&path).await.expect("it answers").expect("written");
        archive.put(&path, forged.to_bytes()).await.expect("it answers");
        assert!(!faults().await.is_empty(), "{forged:?}");
        archive.put(&path, there).await.expect("it answers");
    }
}

#[tokio::test]
async fn a_reader_gives_entries_in_order_and_names_what_is_not_sound() {
    let archive = archive();
    let mut last: Option<Entry> = None;
    for number in 1..=20 {
        let draft = draft(&[&number.to_string()], "");
        last = archive.append(last.as_ref(), &draft).await.expect("it answers");
    }
    let mut reader = archive.reader(5..=20);
    for number in 5..=20 {
        let fetched = reader.next().await.expect("it answers").expect("written").sound().expect("sound");
        let entry = archive.entry(number).await.expect("it answers");
        assert_eq!((fetched.number, &fetched.entry), (number, &entry));
        assert_eq!(archive.segment(&entry.expect("written")).await.ok(), fetched.segment);
    }
    assert_eq!(reader.next().await, Ok(None));

    let entry = archive.entry(3).await.expect("it answers").expect("written");
    archive.put(&archive.segment_path(entry.segment), b"other bytes".to_vec()).await.expect("it answers");
    archive.delete(&archive.entry_path(5)).await.expect("it answers");
    let forged =
        Entry { position: "forged".to_owned(), ..archive.entry(8).await.expect("it answers").expect("written") };
    archive.put(&archive.entry_path(8), forged.to_bytes()).await.expect("it answers");
    let (mut reader, mut unsound) = (archive.reader(1..=10), Vec::new());
    while let Some(fetched) = reader.next().await.expect("it answers") {
        unsound.extend(fetched.faults.first().map(|_| (fetched.number, fetched.segment.is_some())));
    }
    assert_eq!(unsound, [(3, false), (5, false), (9, true)]);
}

#[tokio::test]
async fn a_reader_leaves_out_segments_that_are_too_late() {
    let archive = archive();
    let entry = archive.append(None, &draft(&["ada"], "")).await.expect("it answers").expect("alone");
    for (until, is_read) in [(entry.first_at, true), (entry.first_at.plus_micros(-1), false)] {
        let fetched = archive.reader_until(1..=1, until).next().await.expect("it answers").expect("written");
        assert_eq!((fetched.segment.is_some(), fetched.faults.len()), (is_read, 0));
    }
}

#[tokio::test]
async fn one_wrong_name_does_not_make_a_verification_endless() {
    let archive = archive();
    let entry = archive.append(None, &draft(&["ada"], "")).await.expect("it answers").expect("alone");
    archive.put(&archive.entry_path(u64::MAX), entry.to_bytes()).await.expect("it answers");
    let report = archive.verify(Verify::default()).await.expect("it answers");
    let entries: Vec<_> = report.findings.listed.iter().map(|found| found.entry).collect();
    assert_eq!((report.entries, entries), (1, vec![Some(u64::MAX), Some(2)]));
}

/// As a wallet that left and came by again: the block by which it left is not in this log.
#[tokio::test]
async fn no_owner_is_missed_where_the_wallet_may_have_left_above_a_hole() {
    let leaves = |chain: &[Block]| leaves_at(chain).filter(|at| *at > 1);
    let mut chains = (0..).flat_map(|seed| World::new(&mut Rng::with_seed(seed), 3, 8).chains.into_values());
    let chain = chains.find(|chain| leaves(chain).is_some()).expect("one of them");
    let left = leaves(&chain).expect("it does");
    let (archive, mut dice) = (archive(), Rng::with_seed(8));
    let known: Vec<Block> = chain.iter().filter(|block| block.number != left - 1).cloned().collect();
    let last = append(&mut dice, &archive, None, known).await;
    let findings = async || archive.verify(Verify { receipt: None, owners: true }).await.expect("it answers").findings;
    assert_eq!(findings().await, Findings::default());
    // What was in the hole is there: it did leave.
    append(&mut dice, &archive, last, vec![chain[usize::try_from(left - 1).expect("small")].clone()]).await;
    assert_eq!(findings().await, Findings::default());
}

/// The block by which a wallet leaves this cell for good.
fn leaves_at(chain: &[Block]) -> Option<u64> {
    let stayed = chain.iter().rposition(|block| block.home == cell())?;
    chain.get(stayed + 1).filter(|_| chain[0].home == cell()).map(|block| block.number)
}
