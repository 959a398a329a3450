//! Compares blocks that are in the log more than once, some millions at a time.

use std::collections::HashMap;

use ledger::Block;
use topology::WalletId;

/// Some numbers of some wallets, with the beginning of the hash of each block that came by: with its flag 16 bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Windows(HashMap<WalletId, Window>);

#[derive(Debug, PartialEq, Eq)]
struct Window {
    first: u64,
    blocks: usize,
    /// Made when the first block comes.
    hashes: Vec<Option<[u8; 15]>>,
}

impl Windows {
    /// Whether another block of this wallet and number came before.
    pub fn differs(&mut self, block: &Block) -> bool {
        let Some(window) = self.0.get_mut(&block.wallet) else { return false };
        let place = block.number.checked_sub(window.first).and_then(|place| usize::try_from(place).ok());
        let Some(place) = place.filter(|place| *place < window.blocks) else { return false };
        window.hashes.resize(window.blocks, None);
        let half = block.hash.0.first_chunk().copied();
        std::mem::replace(&mut window.hashes[place], half).is_some_and(|before| Some(before) != half)
    }
}

/// What each pass compares: at most `most` blocks.
pub(super) fn plan(repeated: impl Iterator<Item = (WalletId, (u64, u64))>, most: usize) -> Vec<Windows> {
    let (mut plan, mut windows, mut taken) = (Vec::new(), Windows::default(), 0_usize);
    for (wallet, (mut first, last)) in repeated {
        while first <= last {
            let rest = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
            let blocks = rest.min(most - taken);
            windows.0.insert(wallet, Window { first, blocks, hashes: Vec::new() });
            first += blocks as u64;
            taken += blocks;
            if taken == most {
                plan.push(std::mem::take(&mut windows));
                taken = 0;
            }
        }
    }
    if taken > 0 {
        plan.push(windows);
    }
    plan
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_plan_covers_each_number_once_within_its_bound() {
        let wallet = |number| WalletId::from_uuid(Uuid::from_u128(number));
        let repeated = [(wallet(1), (5, 5)), (wallet(2), (3, 17)), (wallet(3), (0, 1))];
        let mut covered = Vec::new();
        for windows in plan(repeated.into_iter(), 4) {
            assert!(windows.0.values().map(|window| window.blocks).sum::<usize>() <= 4);
            for (wallet, window) in windows.0 {
                covered.extend((window.first..).take(window.blocks).map(|number| (wallet, number)));
            }
        }
        covered.sort_unstable();
        let each = repeated.iter().flat_map(|(wallet, (first, last))| (*first..=*last).map(|number| (*wallet, number)));
        assert_eq!(covered, each.collect::<Vec<_>>());
    }
}
