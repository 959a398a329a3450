//! Wallets on their way to this cell, or away from it: what this cell does for a move beside keeping the ledger's rules.
//! A move needs none of it to be safe; it makes the moment of the cutover short.

use std::time::Duration;

use ledger::{Append, Block, Head, Status, moving};
use store::Store;
use store::commit::{CommitOutcome, commit_before};
use tokio::time::Instant;
use topology::WalletId;
use tracing::warn;

use super::Wallets;
use crate::peers::Peers;

/// How long the last block of a move is tried to be appended before the request goes on without it.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(2);
/// How long writes of a wallet that is about to leave are held at most.
pub const HOLD_MAX: Duration = Duration::from_millis(200);

impl<S: Store, P: Peers> Wallets<S, P> {
    /// The block by which a wallet left another cell for this one, brought by a request that met the other cell
    /// first: if it is the only one missing here, the move is completed, whatever has become of the migrator.
    pub async fn adopt(&self, moved: &Block) {
        let began = Instant::now();
        let head = match self.store.head(moved.wallet).await {
            Ok(Some(head)) => head.head(),
            Ok(None) => return,
            Err(error) => return warn!(wallet = %moved.wallet, %error, "a move was not completed"),
        };
        if moving::adopts(&self.cell, &head, moved) && self.has_owner(&head).await {
            // What is left here of an earlier stay may be purged at this moment.
            let append = Append::onto(vec![moved.clone()]);
            let mut random = self.clock.random();
            // Later the block may be one that no cell knows any more: the cell that wrote it may
            // have been restored.
            let sign_by = began + ADOPTION_PATIENCE;
            // Whatever comes of it, the request that follows reads the chain.
            let outcome = commit_before(&self.store, &append, Some(sign_by), sign_by, || random.f64()).await;
            if outcome == CommitOutcome::Applied {
                metrics::counter!("cell_moves_completed_total").increment(1);
            }
            tracing::debug!(wallet = %moved.wallet, ?outcome, "completed a move");
        }
    }

    /// Whether the mover has brought what it brings before the last block.
    async fn has_owner(&self, head: &Head) -> bool {
        head.state.status == Status::Erased || matches!(self.store.owner(head.wallet).await, Ok(Some(_)))
    }

    /// Has the open transfers of a wallet, which has a block of this number, carried on.
    pub async fn carry_on(&self, wallet: WalletId, number: u64) {
        self.submitter.carry_on(wallet, number).await;
    }

    /// Holds the wallet's writes for at most [`HOLD_MAX`].
    pub async fn hold(&self, wallet: WalletId) {
        self.submitter.hold(wallet, HOLD_MAX).await;
    }

    pub async fn release(&self, wallet: WalletId) {
        self.submitter.release(wallet).await;
    }
}
