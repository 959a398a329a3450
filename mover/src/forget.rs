//! Purging: what a wallet left behind in the cell it moved away from is deleted, but for its last block, which goes on
//! telling where it went.
//!
//! Must only be called once no write can land that was decided before the wallet left ([`ledger::fence`]): what is deleted
//! leaves places free that such a write would take.

use ledger::{Head, moving};
use store::{Forgotten, HomeChange, HomeKey, HomeRow, HomeState, Store};
use topology::WalletId;

use super::{Holds, MoveError, Mover, Side};

/// Deletions of one wallet, some hundred items each.
const STEPS_MAX: u32 = 10_000_000;

impl<S: Store, H: Holds> Mover<'_, S, H> {
    /// The block by which the wallet has left the source; `None` if it is at home there, or never was.
    pub async fn tombstone(&self, wallet: WalletId) -> Result<Option<Head>, MoveError> {
        let source = &self.route.from;
        let head = source.store.head(wallet).await?;
        Ok(head.filter(|head| moving::is_tombstone(&source.cell, head)).map(|head| head.head()))
    }

    /// Deletes at the source what was moved away; returns the number of items. `tombstone` is the number of the block
    /// that is old enough: since it was read the wallet may have come back and left again. Nothing is deleted of a wallet
    /// that is (or is about to be) at the source, or that the target does not hold whole.
    pub async fn forget_wallet(&self, wallet: WalletId, tombstone: u64) -> Result<u64, MoveError> {
        let source = &self.route.from;
        let Some(head) = source.store.head(wallet).await? else { return Ok(0) };
        if head.home == source.cell {
            return Err(MoveError::NotOurs(format!("wallet {wallet} is at home in {}", source.cell)));
        }
        if head.number != tombstone {
            return Err(MoveError::NotOurs(format!("wallet {wallet} has been in {} again since", source.cell)));
        }
        // With a hole below any other block, what is missing would be unknown.
        if !moving::is_tombstone(&source.cell, &head) {
            return Err(MoveError::NotOurs(format!("{} only holds an unfinished copy of {wallet}", source.cell)));
        }
        self.verify_wallet(wallet).await?;
        // With block 0 gone, only a row says that the wallet must not be created here again.
        let key = HomeKey::Wallet(wallet);
        let state = HomeState::Moved { to: head.home.clone() };
        let expected = source.store.home(key).await?;
        if expected.as_ref().map(|row| &row.state) != Some(&state) {
            let epoch = expected.as_ref().map_or(1, |row| row.epoch.saturating_add(1));
            let change =
                HomeChange { key, expected, row: HomeRow { state, epoch }, unless_chain: false, while_served: None };
            if !source.store.change_homes(&[change]).await? {
                return Err(MoveError::NotOurs(format!("another move decides on wallet {wallet}")));
            }
        }
        match self.delete_below(source, wallet, tombstone).await? {
            Some(items) => Ok(items),
            None => Err(MoveError::NotOurs(format!("wallet {wallet} is coming back to {}", source.cell))),
        }
    }

    /// Deletes what was begun to be forgotten; `None` if the chain goes on after the tombstone.
    async fn delete_below(&self, side: &Side<S>, wallet: WalletId, tombstone: u64) -> Result<Option<u64>, MoveError> {
        let mut deleted = 0;
        for _ in 0..STEPS_MAX {
            self.check_stop()?;
            match side.store.forget(wallet, tombstone).await? {
                Forgotten::Some(items) => deleted += items as u64,
                Forgotten::All => return Ok(Some(deleted)),
                Forgotten::Refused => return Ok(None),
            }
        }
        Err(MoveError::Contended(wallet))
    }
}
