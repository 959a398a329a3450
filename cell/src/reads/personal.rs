//! Owners of wallets, for showing what their chains hold encrypted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ledger::{Block, Owner, Personal, PersonalPart, Status};
use store::{Store, StoreError};
use topology::{UserId, WalletId};
use tracing::warn;

use crate::reads::history::Line;

/// Owners in each of the two halves of what is remembered, at about 150 bytes each.
const REMEMBERED_MAX: usize = 25_000;

/// The owner of a wallet; without one, as after an erasure, nothing personal is shown.
#[derive(Debug, Clone, Default)]
pub struct Opener(Option<Owner>);

impl Opener {
    pub async fn of<S: Store>(store: &S, wallet: WalletId) -> Result<Self, StoreError> {
        Ok(Self(store.owner(wallet).await?))
    }

    pub fn user(self) -> Option<UserId> {
        self.0.map(|owner| owner.user)
    }

    /// Of a wallet that is in this status by now.
    pub fn while_in(self, status: Status) -> Self {
        if status == Status::Erased { Self(None) } else { self }
    }

    /// The entries of a block as a listing shows them, in order.
    pub fn lines(&self, block: &Block) -> impl DoubleEndedIterator<Item = Line> + ExactSizeIterator {
        let personal = self.part(block).entries.into_iter();
        let line = |(entry, personal): (&ledger::Entry, Personal)| Line {
            entry: entry.clone(),
            personal,
            at: block.at,
            block: block.number,
            hash: block.hash,
        };
        block.entries.iter().zip(personal).map(line).collect::<Vec<_>>().into_iter()
    }

    fn part(&self, block: &Block) -> PersonalPart {
        let nothing = || PersonalPart { user: None, entries: vec![Personal::default(); block.entries.len()] };
        let Some(owner) = &self.0 else { return nothing() };
        owner.key.open(block).unwrap_or_else(|error| {
            warn!(wallet = %block.wallet, block = block.number, %error, "a personal part is not shown");
            nothing()
        })
    }
}

/// The owners that were asked for last: a wallet keeps its owner until that is erased, which its head says. So reading a
/// balance again costs no second read.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<Halves>);

/// What was asked for since the first half was full, and before that.
#[derive(Debug, Default)]
struct Halves {
    newer: HashMap<WalletId, Owner>,
    older: HashMap<WalletId, Owner>,
}

impl Remembered {
    pub async fn opener<S: Store>(&self, store: &S, wallet: WalletId) -> Result<Opener, StoreError> {
        if let Some(owner) = self.get(wallet) {
            return Ok(Opener(Some(owner)));
        }
        let found = Opener::of(store, wallet).await?;
        if let Opener(Some(owner)) = &found {
            self.put(wallet, owner.clone());
        }
        Ok(found)
    }

    fn get(&self, wallet: WalletId) -> Option<Owner> {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = halves.newer.get(&wallet) {
            return Some(owner.clone());
        }
        let owner = halves.older.remove(&wallet)?;
        halves.put(wallet, owner.clone());
        Some(owner)
    }

    fn put(&self, wallet: WalletId, owner: Owner) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(wallet, owner);
    }
}

impl Halves {
    fn put(&mut self, wallet: WalletId, owner: Owner) {
        if self.newer.len() >= REMEMBERED_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(wallet, owner);
    }
}

#[cfg(test)]
mod tests {
    use ledger::WalletKey;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_keeps_what_is_asked_for() {
        let remembered = Remembered::default();
        let owner = |number: usize| Owner {
            user: UserId::parse(format!("user-{number}")).expect("sound"),
            key: WalletKey::from_bytes([1; WalletKey::BYTES]),
        };
        let wallet = |number: usize| WalletId::from_uuid(Uuid::from_u128(number as u128));
        for number in 0..5 * REMEMBERED_MAX {
            remembered.put(wallet(number), owner(number));
            assert_eq!(remembered.get(wallet(0)), Some(owner(0)));
        }
        let halves = remembered.0.lock().expect("sound");
        assert!(halves.newer.len() <= REMEMBERED_MAX && halves.older.len() <= REMEMBERED_MAX);
        assert!(!halves.newer.contains_key(&wallet(1)) && !halves.older.contains_key(&wallet(1)));
    }
}
