//! Which wallets are written to most: a bounded count of entries over the last while (the Space-Saving algorithm of
//! Metwally, Agrawal and El Abbadi, 2005). A hint for operators; nothing is decided by it.
//!
//! It must never grow with the number of wallets, and never wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::{Block, Timestamp};
use topology::WalletId;
use topology::wire::HotWallet;

/// Wallets counted at a time. A wallet with more writes than the window's total divided by this is
/// certainly among them.
const COUNTED_MAX: usize = 256;
/// Wallets reported.
pub const TOLD_MAX: usize = 20;
const WINDOW_MICROS: i64 = 10_000_000;
const MICROS: f64 = 1_000_000.0;

/// Shared by the feed, which counts, and readers.
#[derive(Clone, Default)]
pub struct Hot(Arc<Mutex<Windows>>);

#[derive(Default)]
struct Windows {
    began: Option<Timestamp>,
    now: HashMap<WalletId, u64>,
    /// The last whole window, hottest first.
    last: Vec<HotWallet>,
}

impl Hot {
    /// Counts the entries of blocks that were written just now. Older ones are those of a wallet that moves in, or the feed
    /// is behind.
    pub fn count(&self, blocks: &[Block], now: Timestamp) {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn(now);
        let since = now.plus_micros(-WINDOW_MICROS);
        for block in blocks.iter().filter(|block| block.at >= since) {
            windows.add(block.wallet, block.entries.len() as u64);
        }
    }

    /// The hottest wallets of the last whole window, hottest first.
    pub fn hottest(&self, at: Timestamp) -> Vec<HotWallet> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn(at);
        windows.last.clone()
    }
}

impl Windows {
    /// Begins a new window when the time of this one is over.
    fn turn(&mut self, at: Timestamp) {
        let began = *self.began.get_or_insert(at);
        let passed = at.micros().saturating_sub(began.micros());
        if passed < WINDOW_MICROS {
            return;
        }
        let seconds = passed as f64 / MICROS;
        let mut all: Vec<(WalletId, u64)> = self.now.drain().collect();
        all.sort_by_key(|(wallet, count)| (std::cmp::Reverse(*count), *wallet));
        let hot = |(wallet, count): (WalletId, u64)| HotWallet { wallet, writes_per_second: count as f64 / seconds };
        self.last = all.into_iter().take(TOLD_MAX).map(hot).collect();
        self.began = Some(at);
    }

    /// One more wallet than can be counted takes the place, and the count, of the coldest: counts are never too low.
    fn add(&mut self, wallet: WalletId, entries: u64) {
        if let Some(count) = self.now.get_mut(&wallet) {
            *count = count.saturating_add(entries);
            return;
        }
        let mut before = 0;
        if self.now.len() >= COUNTED_MAX {
            let coldest = self.now.iter().min_by_key(|(wallet, count)| (**count, **wallet)).map(|(wallet, _)| *wallet);
            before = coldest.and_then(|coldest| self.now.remove(&coldest)).unwrap_or(0);
        }
        self.now.insert(wallet, before.saturating_add(entries));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn wallet(number: u128) -> WalletId {
        WalletId::from_uuid(Uuid::from_u128(number))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_hottest_are_found_among_many_in_bounded_room() {
        let mut windows = Windows::default();
        windows.turn(at(0));
        for round in 0..20_000_u128 {
            windows.add(wallet(1_000 + round), 1);
            if round % 4 == 0 {
                windows.add(wallet(7), 1);
            }
            if round % 8 == 0 {
                windows.add(wallet(8), 1);
            }
        }
        assert_eq!(windows.now.len(), COUNTED_MAX);
        windows.turn(at(10));
        assert_eq!(windows.last.len(), TOLD_MAX);
        assert_eq!((windows.last[0].wallet, windows.last[1].wallet), (wallet(7), wallet(8)));
        assert!(windows.last[0].writes_per_second >= 500.0, "never too low: {:?}", windows.last[0]);
    }

    #[test]
    fn what_was_hot_is_forgotten_in_the_next_window() {
        let hot = Hot::default();
        assert!(hot.hottest(at(0)).is_empty());
        hot.0.lock().expect("alone").add(wallet(7), 50);
        assert!(hot.hottest(at(9)).is_empty(), "the window is not over");
        let found = hot.hottest(at(20));
        assert_eq!(found, [HotWallet { wallet: wallet(7), writes_per_second: 2.5 }]);
        assert!(hot.hottest(at(30)).is_empty());
    }
}
