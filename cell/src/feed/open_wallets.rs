//! Which wallets of a cell have open transfers, as the newest block that was seen of each says.
//!
//! Pure. Order and repetitions are judged by the number of a block alone, so that blocks may come late, twice, or not at
//! all where a later one of the same wallet comes.

use std::collections::BTreeMap;
use std::ops::Bound;

use ledger::{Block, Timestamp};
use topology::{CellId, WalletId};

/// Most wallets in the set: about 60 MB. What does not fit is found by a walk once there is room.
pub const MAX_OPEN_WALLETS: usize = 500_000;

/// A wallet with open transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The newest block that was seen.
    pub number: u64,
    pub transfers: u32,
    /// The block by which the oldest of them left, and when it was first seen to be the oldest.
    pub block: u64,
    pub since: Timestamp,
}

/// What the whole set adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    pub transfers: u64,
    pub oldest_micros: i64,
    /// Wallets with transfers that have been open for longer than an age.
    pub stuck: u64,
}

#[derive(Debug)]
pub struct OpenWallets {
    cell: CellId,
    most: usize,
    wallets: BTreeMap<WalletId, Open>,
    has_overflowed: bool,
}

impl OpenWallets {
    pub fn new(cell: CellId, known: impl IntoIterator<Item = (WalletId, Open)>) -> Self {
        let wallets = known.into_iter().take(MAX_OPEN_WALLETS).collect();
        Self { cell, most: MAX_OPEN_WALLETS, wallets, has_overflowed: false }
    }

    /// A block of the change stream. An older one than was seen of its wallet changes nothing.
    pub fn take(&mut self, block: &Block) {
        if self.wallets.get(&block.wallet).is_none_or(|open| open.number < block.number) {
            self.set(block);
        }
    }

    /// The head of a wallet as the table has it now, or none: it is right, whatever was seen.
    pub fn read(&mut self, wallet: WalletId, head: Option<&Block>) {
        match head {
            Some(head) => self.set(head),
            None => drop(self.wallets.remove(&wallet)),
        }
    }

    fn set(&mut self, block: &Block) {
        let transfers = if block.home == self.cell { block.state.open_count } else { 0 };
        if transfers == 0 {
            self.wallets.remove(&block.wallet);
            return;
        }
        let known = self.wallets.get(&block.wallet);
        if known.is_none() && self.wallets.len() >= self.most {
            self.has_overflowed = true;
            return;
        }
        let oldest = block.state.open_since;
        let since = known.filter(|known| known.block == oldest).map_or(block.at, |known| known.since);
        self.wallets.insert(block.wallet, Open { number: block.number, transfers, block: oldest, since });
    }

    /// Whether a wallet did not fit since this was last asked.
    pub fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.has_overflowed)
    }

    pub fn len(&self) -> usize {
        self.wallets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.wallets.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (WalletId, Open)> {
        self.wallets.iter().map(|(wallet, open)| (*wallet, *open))
    }

    /// The wallets with transfers that were open at this time already, each with the number of its newest block: those
    /// after `after`, then those up to it.
    pub fn open_since(&self, time: Timestamp, after: Option<WalletId>) -> impl Iterator<Item = (WalletId, u64)> {
        let later = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let up_to = after.map(|after| self.wallets.range(..=after)).into_iter().flatten();
        let all = self.wallets.range(later).chain(up_to);
        all.filter(move |(_, open)| open.since <= time).map(|(wallet, open)| (*wallet, open.number))
    }

    pub fn figures(&self, now: Timestamp, stuck_micros: i64) -> Figures {
        let mut figures = Figures::default();
        for open in self.wallets.values() {
            let age = now.micros().saturating_sub(open.since.micros());
            figures.transfers = figures.transfers.saturating_add(u64::from(open.transfers));
            figures.oldest_micros = figures.oldest_micros.max(age);
            figures.stuck = figures.stuck.saturating_add(u64::from(age > stuck_micros));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::tests::{HERE, START, block, cell, wallet};

    const ELSEWHERE: &str = "cell-2";
    const SECOND: i64 = 1_000_000;

    fn none() -> OpenWallets {
        OpenWallets::new(cell(HERE), [])
    }

    fn held(wallets: &OpenWallets) -> Option<(u64, u32, i64)> {
        let open = wallets.iter().next().map(|(_, open)| open);
        open.map(|open| (open.number, open.transfers, (open.since.micros() - START.micros()) / SECOND))
    }

    #[test]
    fn the_newest_block_of_a_wallet_decides() {
        // Blocks in the order in which they come: number, open transfers, home. The time of a block is its number.
        type Case<'a> = (&'a [(u64, u32, &'a str)], Option<(u64, u32, i64)>);
        let cases: [Case<'_>; 9] = [
            (&[(1, 0, HERE)], None),
            (&[(1, 1, HERE)], Some((1, 1, 1))),
            (&[(1, 1, HERE), (2, 2, HERE), (3, 1, HERE)], Some((3, 1, 1))),
            (&[(1, 1, HERE), (2, 0, HERE)], None),
            (&[(1, 1, HERE), (2, 0, HERE), (3, 1, HERE)], Some((3, 1, 3))),
            // Late and repeated ones change nothing.
            (&[(3, 1, HERE), (2, 0, HERE), (1, 5, HERE), (3, 1, HERE)], Some((3, 1, 3))),
            // One that moves away, and one that arrives.
            (&[(1, 1, HERE), (2, 1, ELSEWHERE)], None),
            (&[(1, 1, ELSEWHERE), (2, 1, HERE)], Some((2, 1, 2))),
            // Blocks that are read again from an earlier position end where they ended before.
            (&[(1, 1, HERE), (2, 0, HERE), (1, 1, HERE), (2, 0, HERE)], None),
        ];
        for (blocks, expected) in cases {
            let mut wallets = none();
            for (number, transfers, home) in blocks {
                wallets.take(&block(wallet(1), *number, *transfers, home));
            }
            assert_eq!(held(&wallets), expected, "{blocks:?}");
        }
    }

    #[test]
    fn its_age_is_that_of_the_oldest_open_transfer() {
        let mut wallets = none();
        for (number, oldest) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 5)] {
            let mut block = block(wallet(1), number, 2, HERE);
            block.state.open_since = oldest;
            wallets.take(&block);
        }
        let since: Vec<i64> = held(&wallets).into_iter().map(|(_, _, since)| since).collect();
        assert_eq!(since, [5], "the wallet has had open transfers all the time");
    }

    #[test]
    fn what_the_table_has_is_right_whatever_was_seen() {
        let mut wallets = none();
        wallets.take(&block(wallet(1), 9, 1, HERE));
        wallets.read(wallet(1), Some(&block(wallet(1), 4, 2, HERE)));
        assert_eq!(held(&wallets), Some((4, 2, 9)), "the tables were rewound");
        wallets.read(wallet(1), None);
        assert!(wallets.is_empty());
    }

    #[test]
    fn wallets_that_do_not_fit_are_noticed_once() {
        let mut wallets = OpenWallets { most: 2, ..none() };
        for number in 1..=3 {
            wallets.take(&block(wallet(number), 1, 1, HERE));
        }
        assert_eq!((wallets.len(), wallets.take_overflow(), wallets.take_overflow()), (2, true, false));
        wallets.take(&block(wallet(2), 2, 3, HERE));
        assert!(!wallets.take_overflow(), "it has its place already");
    }

    #[test]
    fn old_ones_come_in_turn_and_add_up() {
        let mut wallets = none();
        for number in 1..=4 {
            wallets.take(&block(wallet(number), u64::try_from(number).expect("small"), 2, HERE));
        }
        let at = |seconds: i64| START.plus_micros(seconds * SECOND);
        let since = |time, after: Option<u128>| {
            wallets.open_since(time, after.map(wallet)).map(|(wallet, _)| wallet).collect::<Vec<_>>()
        };
        assert_eq!(since(at(3), None), [1, 2, 3].map(wallet));
        assert_eq!(since(at(3), Some(1)), [2, 3, 1].map(wallet));
        assert_eq!(since(at(0), Some(1)), []);
        let figures = Figures { transfers: 8, oldest_micros: 9 * SECOND, stuck: 2 };
        assert_eq!(wallets.figures(at(10), 7 * SECOND), figures);
    }
}
