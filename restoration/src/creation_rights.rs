//! Which cell may create one wallet: granting it to a cell, and denying it to another, in the cells' own tables, so
//! that their compute need not be alive.
//!
//! A wallet must never be granted to one cell before the cell it would otherwise be created in has been denied it.

use std::time::Duration;

use store::{HomeChange, HomeKey, HomeRow, HomeState, Store, StoreError};
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
    /// A row is there already that says something else.
    OtherRow,
    /// The wallet's bucket is being handed to another cell, or was.
    BucketMoves,
}

/// Lets this cell create the wallet although the wallet's bucket is another cell's. `false`: a row says otherwise.
pub async fn grant(store: &impl Store, wallet: WalletId) -> Result<bool, StoreError> {
    let granted = first_row(wallet, HomeState::Serving);
    Ok(put(store, granted).await? || state(store, wallet).await? == Some(HomeState::Serving))
}

/// Forbids this cell to create the wallet, and says where it belongs; the wallet cannot come into being meanwhile.
pub async fn deny(store: &impl Store, wallet: WalletId, to: &CellId) -> Result<Denied, StoreError> {
    deny_if(store, wallet, to, None).await
}

/// The same, of the cell that serves the wallet's bucket. A move of the bucket hands the denials on that it finds when the
/// cell has closed the bucket, so one that comes later must fail.
pub async fn deny_while_served(store: &impl Store, wallet: WalletId, to: &CellId) -> Result<Denied, StoreError> {
    let genesis = store.genesis().await?;
    let from_start = genesis.is_some_and(|genesis| genesis.contains(wallet.bucket()));
    deny_if(store, wallet, to, Some(from_start)).await
}

/// Lifts the denial that promised the wallet to `to`, a cell that is no more: this cell may create it.
pub async fn take_over(store: &impl Store, wallet: WalletId, to: &CellId) -> Result<bool, StoreError> {
    let Some(row) = store.home(HomeKey::Wallet(wallet)).await? else { return Ok(false) };
    if row.state != (HomeState::Moved { to: to.clone() }) {
        return Ok(row.state == HomeState::Serving);
    }
    let next = HomeRow { state: HomeState::Serving, epoch: row.epoch.saturating_add(1) };
    let change =
        HomeChange { row: next, expected: Some(row), unless_chain: true, ..first_row(wallet, HomeState::Serving) };
    Ok(put(store, change).await? || state(store, wallet).await? == Some(HomeState::Serving))
}

async fn deny_if(
    store: &impl Store,
    wallet: WalletId,
    to: &CellId,
    while_served: Option<bool>,
) -> Result<Denied, StoreError> {
    let denial = HomeState::Moved { to: to.clone() };
    // A grant that was not used may be taken back.
    let granted = store.home(HomeKey::Wallet(wallet)).await?.filter(|row| row.state == HomeState::Serving);
    let epoch = granted.as_ref().map_or(FIRST_EPOCH, |row| row.epoch.saturating_add(1));
    let row = HomeRow { state: denial.clone(), epoch };
    let change = HomeChange { key: HomeKey::Wallet(wallet), expected: granted, row, unless_chain: true, while_served };
    if put(store, change).await? {
        return Ok(Denied::Yes);
    }
    match state(store, wallet).await? {
        Some(state) if state == denial => Ok(Denied::Yes),
        Some(HomeState::Moved { .. } | HomeState::Closing { .. }) => Ok(Denied::OtherRow),
        Some(HomeState::Serving) | None => match serves_bucket(store, wallet, while_served).await? {
            true => Ok(Denied::AlreadyHasWallet),
            false => Ok(Denied::BucketMoves),
        },
    }
}

async fn serves_bucket(store: &impl Store, wallet: WalletId, while_served: Option<bool>) -> Result<bool, StoreError> {
    let Some(from_start) = while_served else { return Ok(true) };
    let row = store.home(HomeKey::Bucket(wallet.bucket())).await?;
    Ok(row.map_or(from_start, |row| row.state == HomeState::Serving))
}

async fn state(store: &impl Store, wallet: WalletId) -> Result<Option<HomeState>, StoreError> {
    Ok(store.home(HomeKey::Wallet(wallet)).await?.map(|row| row.state))
}

fn first_row(wallet: WalletId, state: HomeState) -> HomeChange {
    let row = HomeRow { state, epoch: FIRST_EPOCH };
    HomeChange { key: HomeKey::Wallet(wallet), expected: None, row, unless_chain: false, while_served: None }
}

async fn put(store: &impl Store, change: HomeChange) -> Result<bool, StoreError> {
    let change = [change];
    for attempt in 1..ATTEMPTS_MAX {
        match store.change_homes(&change).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(BACKOFF * attempt).await,
            outcome => return outcome,
        }
    }
    store.change_homes(&change).await
}
