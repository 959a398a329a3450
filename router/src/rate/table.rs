//! The buckets of single wallets in a fixed space: sets of a few places each, found by a keyed hash.
//!
//! A wallet without a place has a full bucket. When a set has no free place, the wallet whose bucket is full, or soonest
//! full, gives up its own; so a wallet at its limit is the last to be forgotten, however many others are asked for.
//! It must never allocate after it is made.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use topology::WalletId;

/// A power of two. With eight places each: 131,072 wallets within one window, in 3.4 MB.
const SETS: usize = 16_384;
const PLACES: usize = 8;

pub struct Table {
    sets: Box<[Mutex<Set>]>,
    /// Its key is this process's secret, so that no client can choose wallets that meet in one set.
    hasher: RandomState,
}

struct Set {
    wallets: [WalletId; PLACES],
    /// When the bucket will be full; 0 in a place that was never taken.
    full_at: [u64; PLACES],
}

impl Table {
    pub fn new() -> Self {
        let nil = WalletId::from_uuid(uuid::Uuid::nil());
        let set = || Mutex::new(Set { wallets: [nil; PLACES], full_at: [0; PLACES] });
        Self { sets: (0..SETS).map(|_| set()).collect(), hasher: RandomState::new() }
    }

    /// Lets `decide` see and change when the wallet's bucket will be full; no other thread decides
    /// about this wallet meanwhile.
    pub fn with<T>(&self, wallet: WalletId, decide: impl FnOnce(&mut u64) -> T) -> T {
        let hash = usize::try_from(self.hasher.hash_one(wallet.as_bytes()) % SETS as u64).expect("below the sets");
        // What a panic left behind is a number that is too old or too new by one request.
        let mut set = self.sets[hash].lock().unwrap_or_else(PoisonError::into_inner);
        let known = (0..PLACES).find(|&place| set.wallets[place] == wallet && set.full_at[place] > 0);
        let place =
            known.unwrap_or_else(|| (0..PLACES).min_by_key(|&place| set.full_at[place]).expect("a set has places"));
        let mut full_at = if known.is_some() { set.full_at[place] } else { 0 };
        let before = full_at;
        let decided = decide(&mut full_at);
        if full_at != before {
            set.wallets[place] = wallet;
            set.full_at[place] = full_at;
        }
        decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_wallet_at_its_limit_is_remembered_through_a_flood() {
        let table = Table::new();
        let wallet = |number: u128| WalletId::from_uuid(Uuid::from_u128(number));
        table.with(wallet(1), |full_at| *full_at = 1_000);
        // Four times what there is room for, each with a bucket that is full sooner.
        for number in 2..4 * (SETS * PLACES) as u128 {
            table.with(wallet(number), |full_at| *full_at = 10);
        }
        assert_eq!(table.with(wallet(1), |full_at| *full_at), 1_000);
    }

    #[test]
    fn what_is_only_looked_at_takes_no_place() {
        let table = Table::new();
        let wallet = WalletId::from_uuid(Uuid::from_u128(1));
        assert_eq!(table.with(wallet, |full_at| *full_at), 0);
        assert!(table.sets.iter().all(|set| set.lock().expect("sound").full_at == [0; PLACES]));
    }
}
