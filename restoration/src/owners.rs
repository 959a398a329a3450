//! The owners of wallets in a cell that is being restored.

use ledger::Owner;
use mover::Side;
use store::Store;
use topology::WalletId;

use crate::Result;

/// Writes an owner, unless it was erased after the export or the archive's copy was made: every cell knows that.
pub async fn put<S: Store>(store: &S, others: &[Side<S>], wallet: WalletId, owner: &Owner) -> Result<()> {
    for other in others {
        if other.store.is_erased(wallet).await? {
            return Ok(store.erase_owner(wallet).await?);
        }
    }
    Ok(store.put_owner(wallet, owner).await?)
}
