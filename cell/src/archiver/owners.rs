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
///
/// A process that lost the job, and does not know yet, may do this by an older block, and later than the one that archives:
/// so each of them looks again when it is done.
async fn settle_one<S: Store>(store: &S, archive: &Archive, wallet: WalletId) -> Result<(), Failed> {
    let Some(mut is_here) = lives_here(store, archive, wallet).await? else { return Ok(()) };
    loop {
        if !is_here {
            patiently(archive.erase_owner(wallet)).await?;
        } else if let Some(owner) = store.owner(wallet).await? {
            patiently(archive.put_owner(wallet, &owner)).await?;
        }
        let was_here = is_here;
        is_here = lives_here(store, archive, wallet).await?.unwrap_or(was_here);
        if is_here == was_here {
            return Ok(());
        }
    }
}

/// Whether the wallet lives in the cell and its owner was not erased; `None`: the tables have nothing of it.
async fn lives_here<S: Store>(store: &S, archive: &Archive, wallet: WalletId) -> Result<Option<bool>, StoreError> {
    let is_here = match store.head(wallet).await {
        Ok(Some(head)) => head.home == *archive.cell() && head.state.status != Status::Erased,
        Ok(None) => return Ok(None),
        // Its owner is needed once it is restored.
        Err(StoreError::Corrupt(_)) => true,
        Err(error) => return Err(error),
    };
    Ok(Some(is_here && !store.is_erased(wallet).await?))
}
