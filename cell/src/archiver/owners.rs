//! The owners of wallets in the archive: each is there while its wallet lives in this cell. An owner that is to be
//! erased is erased in all cells, and in the archive of the cell where the wallet is; so no other archive may have it.

use std::collections::BTreeSet;

use archive::Archive;
use futures_util::{StreamExt, TryStreamExt, stream};
use ledger::{Block, EntryKind, Status};
use store::{Store, StoreError};
use topology::WalletId;

use super::Failed;
use super::tenure::patiently;

/// Owners that are put or erased at the same time.
const AT_ONCE: usize = 32;

/// Before these blocks are archived: puts the owners of wallets that were opened here or have arrived, and erases those
/// of wallets that have left or were erased. Safe to repeat.
pub async fn settle<S: Store>(store: &S, archive: &Archive, blocks: &[Block]) -> Result<(), Failed> {
    let wallets: BTreeSet<WalletId> = blocks.iter().filter(|block| concerns(block)).map(|block| block.wallet).collect();
    let each = stream::iter(wallets).map(|wallet| settle_one(store, archive, wallet));
    each.buffer_unordered(AT_ONCE).try_collect().await
}

fn concerns(block: &Block) -> bool {
    let does = |kind: &EntryKind| matches!(kind, EntryKind::Moved { .. } | EntryKind::Erased);
    block.number == 0 || block.entries.iter().any(|entry| does(&entry.kind))
}

/// As the chain's newest block says: what comes after these blocks comes to the archive after them. An owner that is
/// missing in the tables is not erased in the archive, since tables can be lost.
async fn settle_one<S: Store>(store: &S, archive: &Archive, wallet: WalletId) -> Result<(), Failed> {
    let is_here = match store.head(wallet).await {
        Ok(Some(head)) => head.home == *archive.cell() && head.state.status != Status::Erased,
        Ok(None) => return Ok(()),
        // Its owner is needed once it is restored.
        Err(StoreError::Corrupt(_)) => true,
        Err(error) => return Err(error.into()),
    };
    if is_here && let Some(owner) = store.owner(wallet).await? {
        patiently(archive.put_owner(wallet, &owner)).await?;
    }
    // After that: it may have been erased meanwhile, and the block that says so archived by another process.
    if !is_here || store.is_erased(wallet).await? {
        patiently(archive.erase_owner(wallet)).await?;
    }
    Ok(())
}
