//! Cells that are refilled from archives: over the store and the object store in memory.

pub(crate) mod fixture;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledger::marks::MarkRun;
use ledger::snapshots::snapshots_of;
use ledger::{Append, moving};
use store::memory::{Fate, Fault, FaultPlan, MemoryStore};
use store::{Chains, Derived, HomeKey, Homes, Owners};

use self::fixture::{Chains as AllChains, World, a_chain, deposit, fork, owner, wallet};
use super::*;

/// All blocks, rows and owners that must follow from these chains.
async fn check_whole(store: &MemoryStore, chains: &AllChains) {
    assert_eq!(&store.chains(), chains);
    check_rows(store, chains).await;
}

async fn check_rows(store: &MemoryStore, chains: &AllChains) {
    for (&wallet, blocks) in chains {
        let mut rows = Vec::new();
        loop {
            let after = rows.last().map(Derived::key);
            let page = store.stored_rows(wallet, after.as_deref(), 100).await.expect("answers");
            rows.extend(page.items.into_iter().map(|item| item.value.expect("sound")));
            if !page.more {
                break;
            }
        }
        let runs = blocks.chunks(64).filter_map(MarkRun::of).map(Derived::Marks);
        let snapshots = snapshots_of(None, blocks).into_iter().map(Derived::Snapshot);
        let mut expected: Vec<Derived> = runs.chain(snapshots).collect();
        expected.sort_by_key(Derived::key);
        assert_eq!(rows, expected, "{wallet}");
        assert_eq!(store.owner(wallet).await.expect("answers"), Some(owner(wallet)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_cell_gets_all_blocks_rows_and_owners() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        let chains = world.chains(1..40, 1..150);
        world.archive_all(&chains).await;
        let report = world.refill("first").await.expect("refilled");
        check_whole(&world.store, &chains).await;
        let blocks = chains.values().map(|blocks| blocks.len() as u64).sum();
        assert_eq!((report.written, report.there, report.wallets), (blocks, 0, chains.len() as u64), "seed {seed}");
        assert_eq!((report.missing, report.damages, report.entries), (vec![], 0, report.last_entry));
        // Once more, and in a later restore.
        assert_eq!(world.refill("first").await.expect("refilled").written, blocks, "nothing is written twice");
        let again = world.refill("second").await.expect("refilled");
        assert_eq!((again.written, again.there), (0, blocks));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_region_follows_a_log_that_grows() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        // Of all cells: those that live elsewhere may come back.
        let mut chains = world.chains(1..30, 1..60);
        let away =
            (0..5).map(|number| wallet(0xf000_0000 + number)).map(|wallet| (wallet, fixture::a_chain(wallet, 9)));
        chains.extend(away);
        let mut random = world.random.fork();
        let half = |(wallet, blocks): (&WalletId, &Vec<Block>)| (*wallet, blocks[..blocks.len().div_ceil(2)].to_vec());
        let first: AllChains = chains.iter().map(half).collect();
        for part in [&first, &chains] {
            world.archive_all(part).await;
            // Some processes die on the way.
            for _ in 0..random.usize(0..4) {
                let is_behind = world.follow(Instant::now()).await.expect("followed");
                assert!(is_behind || world.store.chains().len() >= part.len(), "seed {seed}");
            }
            let later = Instant::now() + Duration::from_secs(60);
            assert!(!world.follow(later).await.expect("followed"));
            check_whole(&world.store, part).await;
        }
        // When the cell comes here, there is nothing left to write.
        let report = world.refill_as(&fixture::restoring("first", false, true)).await.expect("refilled");
        assert_eq!((report.missing, report.damages), (vec![], 0), "seed {seed}");
        check_whole(&world.store, &chains).await;
    }
}

/// The log lacks what is in packs: so do the tables, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_cell_is_refilled_above_what_is_in_packs() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.shuffles = seed % 2 == 0;
        let chains = world.chains(1..12, 1..400);
        let unpacked = world.pack(&chains).await;
        world.archive_all(&unpacked).await;
        let is_mirror = seed % 4 < 2;
        if is_mirror {
            for _ in 0..world.random.usize(0..30) {
                world.follow(Instant::now()).await.expect("followed");
            }
        } else {
            let plan = Arc::new(EndsAt(world.random.usize(0..800), AtomicUsize::new(0)));
            let _ = world.refill_through(&world.store.with_faults(plan), "first", false).await;
        }
        if is_mirror && !world.shuffles {
            while world.follow(Instant::now()).await.expect("followed") {}
        } else {
            let report = world.refill_as(&fixture::restoring("first", false, is_mirror)).await.expect("refilled");
            assert_eq!((report.missing, report.damages), (vec![], 0), "seed {seed}");
        }
        assert_eq!(world.store.chains(), unpacked, "seed {seed}");
        check_rows(&world.store, &chains).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_is_lost_is_a_hole() {
    let mut world = World::new(1);
    let chain = a_chain(wallet(1), 40);
    // Nothing is packed.
    world.append(&[&chain[..1], &chain[36..]].concat()).await;
    let report = world.refill("first").await.expect("refilled");
    assert_eq!(report.missing.len(), 1);
    assert!(report.missing[0].why.contains("blocks 1 to 35 are in no segment or pack"), "{report:?}");
}

/// Refuses every write from one on.
struct EndsAt(usize, AtomicUsize);

impl FaultPlan for EndsAt {
    fn next(&self, write: bool) -> Fate {
        let number = if write { self.1.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let fault = if number >= self.0 { Fault::Rejected } else { Fault::None };
        Fate { fault, ..Fate::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_ends_at_any_write_is_gone_on_with() {
    let mut world = World::new(7);
    world.shuffles = false;
    let chains = world.chains(4..5, 1..80);
    world.archive_all(&chains).await;
    let empty = world.store.tables();
    for writes in 0.. {
        world.store.rewind(empty.clone());
        let plan = Arc::new(EndsAt(writes, AtomicUsize::new(0)));
        let ended = world.refill_through(&world.store.with_faults(plan), "first", false).await;
        assert_eq!(is_half_read(&world.store, "first").await.expect("answers"), ended.is_err() && writes > 0);
        world.refill("first").await.expect("refilled");
        check_whole(&world.store, &chains).await;
        if ended.is_ok() {
            return;
        }
    }
}

/// Answers late, or not at all.
struct Slow(std::sync::Mutex<fastrand::Rng>);

impl FaultPlan for Slow {
    fn next(&self, _: bool) -> Fate {
        let mut random = self.0.lock().expect("sound");
        let fault = match random.u32(0..40) {
            0 => Fault::Refused,
            1 => Fault::AnswerLost,
            _ => Fault::None,
        };
        let mut pause = || Duration::from_millis(random.u64(0..20));
        Fate { before: pause(), fault, after: pause() }
    }
}

#[tokio::test(start_paused = true)]
async fn two_restores_at_once_write_the_same() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let chains = world.chains(1..12, 1..100);
        world.archive_all(&chains).await;
        let [one, other] = [1, 2].map(|number| {
            let random = fastrand::Rng::with_seed(seed * 2 + number);
            world.store.with_faults(Arc::new(Slow(std::sync::Mutex::new(random))))
        });
        let (one, other) =
            tokio::join!(world.refill_through(&one, "first", false), world.refill_through(&other, "first", false));
        assert!(one.is_ok() || other.is_ok(), "seed {seed}: {:?}, {:?}", one.err(), other.err());
        check_whole(&world.store, &chains).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_damaged_segment_held_is_named_and_the_rest_is_restored() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        let chains = world.chains(2..20, 1..60);
        world.bytes_max = (seed % 3 == 0).then_some(500);
        world.shuffles = seed % 2 == 0;
        let segments = world.archive_all(&chains).await;
        let number = world.random.u64(1..=segments);
        // That the last entry is missing, nothing shows.
        let how = if number == segments { seed % 2 } else { seed % 4 };
        let lost = world.damage(number, how).await;
        let report = world.refill("first").await.expect("the rest is restored");
        assert_eq!((report.damages, report.damaged[0].entry), (report.damaged.len() as u64, number), "seed {seed}");
        assert!(report.done);
        let found = world.store.chains();
        let mut expected_missing = Vec::new();
        for (wallet, blocks) in &chains {
            let kept = |number: u64| !lost.contains(&(*wallet, number));
            let prefix = blocks.iter().take_while(|block| kept(block.number)).count();
            let newest = blocks.iter().rev().find(|block| kept(block.number));
            let mut expected = blocks[..prefix].to_vec();
            // Only what shows that blocks are missing.
            if let Some(newest) = newest.filter(|newest| newest.number >= prefix as u64) {
                expected.push(newest.clone());
                expected_missing.push(*wallet);
                // Without a block below it, only a row keeps the wallet from being created again.
                let row = world.store.home(HomeKey::Wallet(*wallet)).await.expect("answers");
                assert_eq!(row.is_some(), prefix == 0, "seed {seed}");
            }
            assert_eq!(found.get(wallet).cloned().unwrap_or_default(), expected, "seed {seed}");
        }
        let missing: Vec<_> = report.missing.iter().map(|missing| missing.wallet).collect();
        assert_eq!(missing, expected_missing, "seed {seed}");
        // The object is found again: a further restore fills the holes.
        world.repair().await;
        let report = world.refill("second").await.expect("refilled");
        assert_eq!((report.missing, report.damages), (vec![], 0), "seed {seed}");
        check_whole(&world.store, &chains).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_filled_from_where_the_wallet_lived() {
    let mut world = World::new(3);
    let mut blocks = a_chain(wallet(5), 3);
    let there = moving::moved_block(
        &blocks[2].head(),
        &fixture::cell(2),
        1,
        uuid::Uuid::from_u128(1),
        Default::default(),
        blocks[2].at,
    );
    let back = moving::moved_block(
        &there.head(),
        &fixture::cell(1),
        2,
        uuid::Uuid::from_u128(2),
        Default::default(),
        blocks[2].at,
    );
    blocks.extend([there, back]);
    for _ in 0..20 {
        blocks.push(deposit(blocks.last().expect("not empty")));
    }
    world.others[0].store.append(&Append::of(blocks[..5].to_vec(), None)).await.expect("free");
    world.append(&blocks[..2]).await;
    world.append(&blocks[2..5]).await;
    world.append(&blocks[5..]).await;
    world.archive.put_owner(blocks[0].wallet, &owner(blocks[0].wallet)).await.expect("put");
    world.damage(2, 0).await;
    let report = world.refill("first").await.expect("refilled");
    assert_eq!((report.missing, report.damages), (vec![], 1));
    check_whole(&world.store, &BTreeMap::from([(blocks[0].wallet, blocks)])).await;
}

#[tokio::test(start_paused = true)]
async fn a_wallet_that_left_gets_its_tombstone_only() {
    let mut world = World::new(3);
    // Its bucket belongs to the other cell.
    let away = wallet(0x8000_0001);
    let mut blocks = a_chain(away, 4);
    let left = moving::moved_block(
        &blocks[3].head(),
        &fixture::cell(2),
        1,
        uuid::Uuid::from_u128(1),
        Default::default(),
        blocks[3].at,
    );
    blocks.push(left.clone());
    world.others[0].store.append(&Append::of(blocks.clone(), None)).await.expect("free");
    world.append(&blocks[..3]).await;
    world.append(&blocks[3..]).await;
    world.archive.put_owner(away, &owner(away)).await.expect("put");
    let report = world.refill("first").await.expect("refilled");
    assert_eq!((report.wallets, report.elsewhere, report.written), (0, 1, 0));
    assert_eq!(world.store.chains(), BTreeMap::from([(away, vec![left])]));
    assert_eq!(world.store.owner(away).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_erased_stays_erased() {
    let mut world = World::new(3);
    let (gone, late) = (a_chain(wallet(1), 2), a_chain(wallet(2), 2));
    world.append(&[&gone[..], &late[..]].concat()).await;
    // The other cell knows of the erasure; the archive's copy outlived it.
    world.archive.put_owner(late[0].wallet, &owner(late[0].wallet)).await.expect("put");
    world.others[0].store.erase_owner(late[0].wallet).await.expect("erased");
    world.refill("first").await.expect("refilled");
    for blocks in [gone, late] {
        assert_eq!(world.store.owner(blocks[0].wallet).await, Ok(None));
        assert_eq!(world.store.chains()[&blocks[0].wallet], blocks);
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_hold_more_than_the_archive_lose_nothing() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        let chains = world.chains(1..12, 30..120);
        let mut random = world.random.fork();
        let archived: AllChains = chains
            .iter()
            .map(|(wallet, blocks)| (*wallet, blocks[..random.usize(1..=blocks.len())].to_vec()))
            .collect();
        world.archive_all(&archived).await;
        // Rows of the table are gone here and there.
        let mut holes = Vec::new();
        for (wallet, blocks) in &chains {
            for block in blocks {
                match random.u32(0..4) {
                    0 => {
                        holes.extend((block.number >= archived[wallet].len() as u64).then_some((*wallet, block.number)))
                    }
                    _ => world.store.append(&Append::next(block.clone())).await.expect("free"),
                }
            }
            world.store.put_owner(*wallet, &owner(*wallet)).await.expect("put");
        }
        let report = world.refill_through(&world.store, "first", true).await.expect("refilled");
        let mut expected = chains.clone();
        for (wallet, number) in &holes {
            expected.get_mut(wallet).expect("known").retain(|block| block.number != *number);
        }
        assert_eq!(world.store.chains(), expected, "seed {seed}");
        // A hole shows by what is above it.
        let shown = |wallet: &WalletId, number: u64| expected[wallet].last().is_some_and(|last| last.number > number);
        let mut named: Vec<_> =
            holes.iter().filter(|(wallet, number)| shown(wallet, *number)).map(|(w, _)| *w).collect();
        named.dedup();
        assert_eq!(report.missing.iter().map(|missing| missing.wallet).collect::<Vec<_>>(), named, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_block_of_the_same_number_is_never_replaced() {
    let mut world = World::new(3);
    let blocks = a_chain(wallet(1), 5);
    let other = fork(&blocks[2]);
    world.append(&blocks).await;
    for block in blocks[..3].iter().chain([&other]) {
        world.store.append(&Append::next(block.clone())).await.expect("free");
    }
    let report = world.refill_through(&world.store, "first", true).await.expect("refilled");
    assert_eq!(report.missing.len(), 1);
    assert!(report.missing[0].why.contains("another block 3"), "{report:?}");
    assert_eq!(world.store.chains()[&blocks[0].wallet], [&blocks[..3], &[other]].concat());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_is_asked_again_for_a_while() {
    let asked = AtomicUsize::new(0);
    let ask = |times: usize| {
        let asked = &asked;
        move || async move {
            match asked.fetch_add(1, Ordering::Relaxed) {
                number if number + 1 < times => Err(ArchiveError::Unavailable("away".into())),
                _ => Ok(()),
            }
        }
    };
    assert_eq!(patiently(ask(8)).await, Ok(()));
    asked.store(0, Ordering::Relaxed);
    let began = Instant::now();
    assert!(patiently(ask(1_000)).await.is_err());
    assert!(began.elapsed() < PATIENCE * 2);
    let unsound = || async { Err::<(), _>(ArchiveError::Unsound("damaged".into())) };
    let began = Instant::now();
    assert!(patiently(unsound).await.is_err() && began.elapsed().is_zero());
}
