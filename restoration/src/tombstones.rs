//! The blocks by which wallets left a cell with lost tables: without them the cell would serve the
//! beginning of a chain that is copied back to it one day, and create a second wallet for its user.

use ledger::{Append, Head};
use mover::{Side, last_departure};
use store::{BlockRange, Store};
use topology::CellId;

use super::chains::append;
use crate::{Result, creation_rights};

/// Leaves it for a wallet that ever lived in the restored cell, if nothing is there. `head`: the end of the chain that
/// `other` holds.
pub async fn leave<S: Store>(cell: &CellId, store: &S, other: &Side<S>, head: &Head) -> Result<()> {
    if head.home == *cell || store.head(head.wallet).await?.is_some() {
        return Ok(());
    }
    let Some(departure) = last_departure(&other.store, cell, head).await? else { return Ok(()) };
    // First: while block 0 is not there, only this row keeps the wallet from being created again.
    creation_rights::deny(store, head.wallet, &head.home).await?;
    append(store, Append::of(vec![departure], None)).await
}

/// The same where block 0 says that the wallet began in the restored cell. Of others, those that came and left, the whole
/// chain would have to be read; a mover leaves their tombstone when it brings one back.
pub async fn leave_if_born_here<S: Store>(cell: &CellId, store: &S, other: &Side<S>, head: &Head) -> Result<()> {
    let first = BlockRange { first: 0, last: 0, newest_first: false };
    let born = other.store.blocks(head.wallet, first, 1).await?;
    match born.first() {
        Some(block) if block.home == *cell => leave(cell, store, other, head).await,
        _ => Ok(()),
    }
}
