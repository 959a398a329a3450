//! Which cell may create one wallet: granting it to a cell, and denying it to another, in the cells' own tables, so
//! that their compute need not be alive.
//!
//! A wallet must never be granted to one cell before the cell it would otherwise be created in has been denied it.

use std::time::Duration;

use ledger::store::{HomeChange, HomeKey, HomeRow, HomeState, Store, StoreError};
use topology::{CellId, WalletId};

/// Attempts at one change that met another one, or was not answered; the row tells afterwards what was done.
const ATTEMPTS_MAX: u32 = 8;
const BACKOFF: Duration = Duration::from_millis(10);
/// Rows written here are the first of their wallet.
const FIRST_EPOCH: u64 = 1;

#[derive(Debug, PartialEq, Eq)]
pub enum Denied {
    /// The cell will never create this wallet.
    Yes,
    /// Too late: the wallet lives in this cell, or once did.
    AlreadyHasWallet,
    /// A row stood there already that says something else.
    OtherRow,
}

/// Lets this cell create the wallet although the wallet's bucket is another cell's. `false`: a row says otherwise.
pub async fn grant(store: &impl Store, wallet: WalletId) -> Result<bool, StoreError> {
    let granted = put(store, wallet, HomeState::Serving, false).await?;
    Ok(granted || state(store, wallet).await? == Some(HomeState::Serving))
}

/// Forbids this cell to create the wallet, and says where it belongs; the wallet cannot come into being meanwhile.
pub async fn deny(store: &impl Store, wallet: WalletId, to: &CellId) -> Result<Denied, StoreError> {
    let denial = HomeState::Moved { to: to.clone() };
    if put(store, wallet, denial.clone(), true).await? {
        return Ok(Denied::Yes);
    }
    match state(store, wallet).await? {
        Some(state) if state == denial => Ok(Denied::Yes),
        Some(_) => Ok(Denied::OtherRow),
        None => Ok(Denied::AlreadyHasWallet),
    }
}

async fn state(store: &impl Store, wallet: WalletId) -> Result<Option<HomeState>, StoreError> {
    Ok(store.home(HomeKey::Wallet(wallet)).await?.map(|row| row.state))
}

async fn put(store: &impl Store, wallet: WalletId, state: HomeState, unless_chain: bool) -> Result<bool, StoreError> {
    let row = HomeRow { state, epoch: FIRST_EPOCH };
    let change = [HomeChange { key: HomeKey::Wallet(wallet), expected: None, row, unless_chain }];
    for attempt in 1..ATTEMPTS_MAX {
        match store.change_homes(&change).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(BACKOFF * attempt).await,
            outcome => return outcome,
        }
    }
    store.change_homes(&change).await
}
