//! Blocks of wallets that came before the ones below them: held until these come, or until it is known that they do not.

use std::collections::BTreeMap;

use ledger::{Block, canonical};
use topology::WalletId;

/// Most bytes of blocks that are held back. Above that, of each further wallet only its newest block is, and the log is
/// read once more for the others.
const AHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Ahead {
    wallets: BTreeMap<WalletId, Held>,
    bytes: usize,
    /// The first entry with a block that is not held any more.
    dropped_from: Option<u64>,
    /// Another bound, of a test.
    pub bytes_max: Option<usize>,
}

struct Held {
    /// None of them is in an earlier entry.
    entry: u64,
    /// The lowest number of any, held or dropped.
    lowest: u64,
    /// Not empty.
    blocks: Vec<Block>,
}

fn size(blocks: &[Block]) -> usize {
    blocks.iter().map(canonical::size).sum()
}

impl Ahead {
    pub fn hold(&mut self, wallet: WalletId, blocks: Vec<Block>, entry: u64) {
        if blocks.is_empty() {
            return;
        }
        let most = self.bytes_max.unwrap_or(AHEAD_BYTES_MAX);
        self.bytes = self.bytes.saturating_add(size(&blocks));
        let lowest = blocks.iter().map(|block| block.number).min().unwrap_or(0);
        let held = self.wallets.entry(wallet).or_insert_with(|| Held { entry, lowest, blocks: Vec::new() });
        held.lowest = held.lowest.min(lowest);
        held.entry = held.entry.min(entry);
        held.blocks.extend(blocks);
        if self.bytes > most && held.blocks.len() > 1 {
            self.bytes = self.bytes.saturating_sub(size(&held.blocks));
            held.blocks.sort_unstable_by_key(|block| block.number);
            held.blocks = held.blocks.pop().into_iter().collect();
            self.bytes = self.bytes.saturating_add(size(&held.blocks));
            self.dropped_from = Some(self.dropped_from.map_or(held.entry, |first| first.min(held.entry)));
        }
    }

    /// The blocks that are held of a wallet, with the entry from which on they are in the log.
    pub fn take(&mut self, wallet: WalletId) -> (Vec<Block>, Option<u64>) {
        let Some(held) = self.wallets.remove(&wallet) else { return (Vec::new(), None) };
        self.bytes = self.bytes.saturating_sub(size(&held.blocks));
        (held.blocks, Some(held.entry))
    }

    pub fn wallets(&self) -> Vec<WalletId> {
        self.wallets.keys().copied().collect()
    }

    pub fn first_entry(&self) -> Option<u64> {
        self.wallets.values().map(|held| held.entry).min()
    }

    pub fn dropped_from(&self) -> Option<u64> {
        self.dropped_from
    }

    pub fn forget_dropped(&mut self) {
        self.dropped_from = None;
    }

    /// Of each wallet, the newest block that is held, and the number of the lowest one.
    pub fn newest(&self) -> impl Iterator<Item = (WalletId, &Block, u64)> {
        self.wallets.iter().filter_map(|(wallet, held)| {
            let newest = held.blocks.iter().max_by_key(|block| block.number)?;
            Some((*wallet, newest, held.lowest))
        })
    }
}
