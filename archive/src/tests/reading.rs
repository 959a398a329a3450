//! What is read of an archive of random chains is what replaying each chain gives.

use fastrand::Rng;
use ledger::{Money, Timestamp};
use proptest::prelude::*;

use super::archive;
use super::world::{World, append, cells, time};
use crate::chains::Bounds;
use crate::{Balance, Verify};

const SMALL: Bounds = Bounds { waiting_bytes: 700, compared_blocks: 3 };

const PACK_BLOCKS: u64 = 4;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// What the chains themselves say.
fn replayed(world: &World, at: Timestamp) -> Vec<Balance> {
    let newest = world.chains.values().filter_map(|chain| {
        let until: Vec<_> = chain.iter().take_while(|block| block.at <= at).collect();
        let mut open = ledger::open::OpenTransfers::default();
        until.iter().for_each(|block| open.take(block));
        let block = until.last().filter(|block| block.home == cells()[0])?;
        Some(Balance {
            wallet: block.wallet,
            balance: block.state.balance,
            on_hold: block.state.held_at(at),
            in_flight: Money::from_minor(open.iter().map(|open| open.amount.minor()).sum()),
            open_transfers: u32::try_from(open.len()).expect("few"),
            status: block.state.status,
            block: block.number,
            hash: block.hash,
            at: block.at,
        })
    });
    newest.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn balances_at_any_time_are_those_of_each_chain_replayed(seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let (world, archive) = (World::new(&mut rng, 6, 30), archive());
        block_on(world.archive(&mut rng, &archive));
        for bounds in [Bounds::default(), SMALL] {
            let at = time(&mut rng);
            let balances = block_on(archive.balances_within(at, bounds)).expect("it answers");
            prop_assert_eq!(balances.findings.listed, []);
            prop_assert_eq!(balances.wallets, replayed(&world, at));
        }
    }

    #[test]
    fn an_archive_in_any_order_is_sound(seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let (world, archive) = (World::new(&mut rng, 6, 30), archive());
        block_on(world.archive(&mut rng, &archive));
        let each: u64 = world.chains.values().map(|chain| chain.len() as u64).sum();
        for bounds in [Bounds::default(), SMALL] {
            let report = block_on(archive.verify_within(Verify { receipt: None, owners: true }, bounds)).expect("it answers");
            prop_assert_eq!(&report.findings.listed, &[]);
            prop_assert_eq!((report.wallets, report.owners), (6, 6));
            prop_assert_eq!(report.entries, report.newest.expect("written").number);
            prop_assert!(report.blocks >= each);
            if bounds.waiting_bytes > SMALL.waiting_bytes {
                prop_assert_eq!(report.blocks - report.repeated_blocks, each);
            }
        }
        for (wallet, chain) in &world.chains {
            let until = time(&mut rng);
            let history = block_on(archive.history(*wallet, until)).expect("it answers");
            let due: Vec<_> = chain.iter().filter(|block| block.at <= until).cloned().collect();
            prop_assert_eq!(history.blocks, due);
            prop_assert!(history.findings.is_empty());
        }
    }

    /// As of wallets that moved here after some of their blocks had left the table.
    #[test]
    fn what_was_left_out_of_the_log_is_found_in_packs(seed: u64, is_lost: bool) {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(&mut rng, 8, 60);
        let archive = archive().with_packs_of(PACK_BLOCKS);
        let mut blocks = world.shuffled(&mut rng);
        let (mut lost, mut expected) = (None, 0);
        for (wallet, chain) in &world.chains {
            let before = chain.iter().take_while(|block| block.home == cells()[1]).count() as u64;
            let packs = rng.u64(0..=before / PACK_BLOCKS);
            let end = packs * PACK_BLOCKS;
            blocks.retain(|block| block.wallet != *wallet || block.number == 0 || block.number >= end);
            let is_longer = chain.len() as u64 > end && packs > 0;
            for pack in 0..packs {
                let numbers = archive.numbers_of(pack);
                let of_pack: Vec<_> = chain.iter().filter(|block| numbers.contains(&block.number)).cloned().collect();
                match is_lost && is_longer && lost.is_none() && pack + 1 == packs {
                    true => lost = Some((*wallet, chain.iter().any(|block| block.home == cells()[0]))),
                    false => block_on(archive.put_pack(&of_pack)).expect("it answers"),
                }
            }
        }
        block_on(append(&mut rng, &archive, None, blocks));
        if let Some((_, is_served)) = lost {
            expected = u64::from(is_served);
        }
        for bounds in [Bounds::default(), SMALL] {
            let report = block_on(archive.verify_within(Verify::default(), bounds)).expect("it answers");
            prop_assert_eq!(report.wallets_with_missing_blocks, expected, "{:?}", report.findings);
            let at = time(&mut rng);
            let balances = block_on(archive.balances_within(at, bounds)).expect("it answers");
            let is_sound = |balance: &Balance| lost.is_none_or(|(wallet, _)| balance.wallet != wallet);
            let of = |balances: Vec<Balance>| balances.into_iter().filter(is_sound).collect::<Vec<_>>();
            prop_assert_eq!(of(balances.wallets), of(replayed(&world, at)));
        }
        for (wallet, chain) in world.chains.iter().filter(|(wallet, _)| lost.is_none_or(|(of, _)| of != **wallet)) {
            let until = time(&mut rng);
            let history = block_on(archive.history(*wallet, until)).expect("it answers");
            let due: Vec<_> = chain.iter().filter(|block| block.at <= until).cloned().collect();
            prop_assert_eq!(history.blocks, due);
            prop_assert!(history.findings.is_empty());
        }
    }

    /// Packs are of all cells: what a wallet did after it had left is not this cell's history.
    #[test]
    fn the_history_of_a_cell_ends_where_its_log_does(seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(&mut rng, 4, 60);
        let archive = archive().with_packs_of(PACK_BLOCKS);
        for (wallet, chain) in world.chains.iter().filter(|(_, chain)| chain.len() > 2) {
            let whole = chain.len() / PACK_BLOCKS as usize * PACK_BLOCKS as usize;
            for pack in chain[..whole].chunks(PACK_BLOCKS as usize) {
                block_on(archive.put_pack(pack)).expect("it answers");
            }
            let known = rng.usize(2..=chain.len());
            let last = block_on(archive.newest(0)).expect("it answers");
            block_on(append(&mut rng, &archive, last, chain[..known].to_vec()));
            let history = block_on(archive.history(*wallet, Timestamp::MAX)).expect("it answers");
            prop_assert_eq!(&history.blocks, &chain[..known]);
        }
    }

    #[test]
    fn a_fork_or_a_hole_is_named_wherever_it_is(seed: u64, is_hole: bool) {
        let mut rng = Rng::with_seed(seed);
        let (world, archive) = (World::new(&mut rng, 4, 30), archive());
        let mut blocks = world.shuffled(&mut rng);
        let victim = blocks[rng.usize(0..blocks.len())].clone();
        if is_hole {
            blocks.retain(|block| block.hash != victim.hash);
        } else {
            let mut other = victim.clone();
            other.at = other.at.plus_micros(1);
            let bytes = ledger::canonical::encode(&other);
            other.hash = ledger::canonical::hash(&bytes);
            blocks.insert(rng.usize(0..=blocks.len()), other);
        }
        block_on(append(&mut rng, &archive, None, blocks));
        let chain = &world.chains[&victim.wallet];
        let served = chain[victim.number as usize + 1..].iter().any(|block| block.home == cells()[0]);
        for bounds in [Bounds::default(), SMALL] {
            let report = block_on(archive.verify_within(Verify::default(), bounds)).expect("it answers");
            let of_victim = |found: &crate::Finding| found.wallet == Some(victim.wallet) && found.block.is_some();
            prop_assert!(report.findings.listed.iter().all(of_victim), "{:?}", report.findings);
            prop_assert_eq!(report.findings.is_empty(), is_hole && !served, "{:?}", report.findings);
            prop_assert_eq!(report.wallets_with_missing_blocks, u64::from(is_hole && served));
        }
    }
}
