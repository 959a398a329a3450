//! How a cell gets back what is its own after its tables were lost or rewound: chains, tombstones,
//! and the right to create wallets. The rules run over any store; the control plane and the
//! simulator carry them out.
//!
//! They must never make a second home for a wallet, nor give a bucket to two cells.

pub mod around;
pub mod chains;
pub mod creation_rights;
pub mod diverged;
mod holes;
pub mod owners;
pub mod refill;
pub mod rights;
mod tombstones;

use archive::ArchiveError;
use control_api::{Refusal, Refused};
use store::StoreError;
use topology::{CellEntry, CellIndex, Placement, WalletId};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Refused(Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A stored row that no program of ours can have written.
    #[error("stored data is unsound: {0}")]
    Unsound(String),
}

pub type Result<T> = std::result::Result<T, Error>;

fn refused(refusal: Refusal, detail: impl Into<String>) -> Error {
    Error::Refused(refusal.detail(detail))
}

pub fn bad_chain(detail: String) -> Error {
    refused(Refusal::BadChain, detail)
}

pub fn try_again(detail: String) -> Error {
    refused(Refusal::TryAgain, detail)
}

/// The cell that has the wallet by the placement.
pub fn owner(placement: &Placement, wallet: WalletId) -> Result<&CellEntry> {
    let index: CellIndex = placement.cell_of(wallet);
    placement.cell(index).ok_or_else(|| Error::Unsound(format!("cell {index:?} is not listed")))
}
