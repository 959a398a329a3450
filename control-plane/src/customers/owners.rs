//! Owners of wallets in the tables of cells: destroyed where a customer's data is to be erased, exported with what a cell is
//! restored from. Only an admin may do either.

use control_api::ledgers::ExportedOwner;
use ledger::canonical;
use store::Owners;
use topology::{CellState, WalletId};

use crate::audit::chains;
use crate::cells::fleet::Fleet;
use crate::error::{Result, no_placement};

/// Destroys the key of a wallet's personal data in every cell: one that the wallet has left may hold it still, and a copy
/// that is on its way must find that it was erased.
pub async fn erase(fleet: &Fleet, wallet: WalletId) -> Result<()> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    for cell in now.placement.cells().iter().filter(|cell| cell.state != CellState::Removed) {
        fleet.side(&cell.id).await?.store.erase_owner(wallet).await?;
    }
    Ok(())
}

/// The owner as the wallet's cell holds it; `None` if it is erased.
pub async fn export(fleet: &Fleet, wallet: WalletId) -> Result<Option<ExportedOwner>> {
    let side = chains::home(fleet, wallet).await?;
    let owner = side.store.owner(wallet).await?;
    Ok(owner.map(|owner| ExportedOwner { user: owner.user, key: canonical::hex(owner.key.as_bytes()) }))
}
