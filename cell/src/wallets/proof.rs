//! What the cell has committed to of a wallet, for its customer to check without the cell.

use store::Store;
use store::log::{Log, Proof};
use topology::WalletId;

use super::Wallets;
use crate::failure::Failure;
use crate::peers::Peers;

impl<S: Store, P: Peers> Wallets<S, P> {
    /// The latest leaf of the wallet with the newest checkpoint over it.
    pub async fn proof(&self, wallet: WalletId) -> Result<Proof, Failure> {
        self.head(wallet).await?;
        let log = Log::new(self.store.clone(), self.cell.clone());
        log.prove(wallet).await?.ok_or(Failure::NoCheckpointYet(wallet))
    }
}
