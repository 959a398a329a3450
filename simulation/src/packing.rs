//! Takes old blocks out of the tables of all cells, in every fourth seed, while customers and movers go on: with short packs,
//! and few blocks that stay, so that a short run has something to take out.

use std::sync::Arc;
use std::time::Duration;

use archive::Archive;
use ledger::Block;
use store::packing::Packing;
use store::{BlockRange, Chains};
use tokio::time::{sleep, timeout};
use topology::WalletId;

use super::archiving::Archives;
use super::faults::{HEAD_LIFETIME, LONGEST_DELAY};
use super::mistake::Mistake;
use super::report::{Violation, violated};
use super::world::{CELLS, LARGEST_SKEW, World, cell_id};

pub const PACK_BLOCKS: u64 = 4;
/// As many as are read to see how a chain ends: by an instance that loads a wallet, and by a mover.
const KEPT_BLOCKS: u64 = 34;
/// How old a block is that may go: no write that was decided before it was there can still land.
const OLD: Duration = HEAD_LIFETIME.saturating_add(LONGEST_DELAY);
const LONGEST_LIFE: Duration = Duration::from_secs(4);
const PAGE: usize = 16;

/// The packs of all cells of a run; `None`: nothing is taken out in this one.
pub fn packs(seed: u64, archives: Option<&Archives>) -> Option<Archive> {
    let apart =
        || Archive::open("memory:///", cell_id(0)).expect("nothing is needed for it").with_packs_of(PACK_BLOCKS);
    // Beside the logs, which lack what movers find in packs.
    (seed % 4 == 1).then(|| archives.map_or_else(apart, |archives| archives.archive(0)))
}

impl World {
    /// Packs by processes that are killed again and again, until everything heals.
    pub async fn keep_packing(self: Arc<Self>, wallets: usize, mut random: fastrand::Rng) {
        let Some(packs) = self.cells[0].store.packs().cloned() else { return };
        while !self.is_healed() && self.broken().is_none() {
            sleep(Duration::from_millis(random.u64(1..1_000))).await;
            let (cell, wallet) = (random.usize(0..CELLS), self.wallets(wallets).nth(random.usize(0..wallets)));
            let (Some(wallet), false) = (wallet, self.cells[cell].is_stopped()) else { continue };
            let packed = self.pack(&packs, cell, wallet);
            // One that fails is tried again later.
            let _ = timeout(LONGEST_LIFE.mul_f64(random.f64()), packed).await;
        }
    }

    async fn pack(&self, packs: &Archive, cell: usize, wallet: WalletId) -> Result<u64, store::StoreError> {
        let now = self.clock(LARGEST_SKEW)();
        let old = i64::try_from(OLD.as_micros()).expect("minutes");
        let elsewhere = Archive::open("memory:///", cell_id(0)).expect("nothing is needed for it");
        let elsewhere = elsewhere.with_packs_of(PACK_BLOCKS);
        let usual = Packing { cell: &self.cells[cell].id, packs, before: now.plus_micros(-old), kept: KEPT_BLOCKS };
        let packing = match self.moves.mistake() {
            Mistake::PackLost => Packing { packs: &elsewhere, ..usual },
            Mistake::NewestPacked => Packing { before: now, kept: 0, ..usual },
            _ => usual,
        };
        packing.pack(&self.side(cell).store, wallet).await
    }
}

/// Each chain reads whole where the wallet lives, whatever is left of it in the table.
pub async fn check(world: &World, wallet: WalletId, chain: &[Block]) -> Result<(), Violation> {
    for cell in &world.cells {
        if !cell.serves(wallet).await {
            continue;
        }
        let mut found: Vec<Block> = Vec::new();
        loop {
            let first = found.last().map_or(0, |block| block.number + 1);
            let range = BlockRange { first, last: u64::MAX, newest_first: false };
            let page = cell.store.blocks(wallet, range, PAGE).await;
            let page = page.map_err(|error| Violation(format!("wallet {wallet} cannot be read: {error}")))?;
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        if found != chain {
            let (found, whole) = (found.len(), chain.len());
            return violated(format!("of wallet {wallet}, {found} blocks are read in {}, of {whole}", cell.id));
        }
    }
    Ok(())
}
